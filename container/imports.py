"""What a command can come to import, read from the source: files of ours, and packages of others."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reached:
    """Files of ours, and top-level names of everything else but Python's own modules."""

    files: frozenset[Path]
    packages: frozenset[str]


def reached_by(root: Path, command: str) -> Reached:
    """Follow all imports, wherever in a file they stand, from a command's function in ``cli.py``.

    Parameters
    ----------
    root
        Folder of ``cli.py`` and the packages.
    command
        Name of the function.
    """
    import sys

    cli = root / "cli.py"
    body = ast.parse(cli.read_text(encoding="utf-8")).body
    shared = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    own = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == command]
    files, packages, names = {cli}, set(), set(_imported([*shared, *own]))
    while names:
        name = names.pop()
        found = _files(root, name)
        if not found and not (root / name.split(".")[0]).is_dir():
            packages.add(name.split(".")[0])
        for file in found - files:
            files.add(file)
            names |= set(_imported([ast.parse(file.read_text(encoding="utf-8"))]))
    return Reached(frozenset(files), frozenset(packages - set(sys.stdlib_module_names)))


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Full names of what is imported; ``from a import b`` gives ``a.b``, which may be a module or a name in ``a``."""
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(root: Path, name: str) -> set[Path]:
    """Files that an import of ``name`` runs: the packages above it, and itself where it is a module."""
    parts = name.split(".")
    folders = [root.joinpath(*parts[: k + 1]) for k in range(len(parts))]
    found = {folder / "__init__.py" for folder in folders} | {folder.with_suffix(".py") for folder in folders}
    return {file for file in found if file.is_file()}
