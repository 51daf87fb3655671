"""No module needs itself: an import hidden in a function still ties two modules to each other."""

import ast
from graphlib import TopologicalSorter

from tests.test_architecture import ALLOWED, ROOT


def test_no_module_imports_itself_in_a_circle():
    files = [file for room in ALLOWED for file in (ROOT / room).rglob("*.py")]
    modules = {".".join(("focus_picker", *file.relative_to(ROOT).with_suffix("").parts)): file for file in files}
    graph = {}
    for name, file in modules.items():
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
        graph[name] = (named | {node.module for node in imports}) & set(modules)
    assert sum(map(len, graph.values())) > 2 * len(graph)
    TopologicalSorter(graph).prepare()  # CycleError names the modules
