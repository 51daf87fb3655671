"""Reading and writing the project's JSON and YAML files: one way, and one wording of what is wrong with them.

What a file must hold is declared once, as a pydantic model or any other type that pydantic knows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from focus_picker.dataset.errors import InputError, first_fault
from focus_picker.dataset.files import refuse_passage, write_text

Declared = TypeVar("Declared")


def read_json(path: str | Path, declaration: type[Declared], *, what: str, fix: str) -> Declared:
    """Read a JSON file and hold it against its declaration.

    Parameters
    ----------
    path
        The file.
    declaration
        Model or type of its content; ``dict[str, Any]`` where nothing more is declared.
    what
        What the file is, for messages: ``drift profile``.
    fix
        What to do where it is not, for messages, without a full stop.

    Raises
    ------
    InputError
        The file cannot be read, is not JSON, or does not hold what is declared.
    """
    return _validated(path, declaration, what, fix, TypeAdapter(declaration).validate_json)


def read_yaml(path: str | Path, declaration: type[Declared], *, what: str, fix: str, **defaults: Any) -> Declared:
    """Read a YAML file as :func:`read_json` reads JSON; ``defaults`` hold for keys that the file leaves out."""
    import yaml

    def validate(content: bytes) -> Declared:
        try:
            values = yaml.safe_load(content)
        except (yaml.YAMLError, RecursionError, ValueError) as error:  # bad syntax, thousands of levels, a month 13
            raise InputError(
                f"{path} is no {what} (not readable YAML: {' '.join(str(error).split())}): {fix}."
            ) from None
        return TypeAdapter(declaration).validate_python(defaults | values if isinstance(values, dict) else values)

    return _validated(path, declaration, what, fix, validate)


def read_named(name_or_file: str, folder: Path, declaration: type[Declared], *, what: str, **defaults: Any) -> Declared:
    """Read a YAML file of ``folder`` by its name without suffix, or one of the user's own by its path.

    Raises
    ------
    InputError
        No such name (the known ones are listed), or a file that :func:`read_yaml` refuses.
    """
    path = Path(name_or_file)
    if path.suffix not in {".yaml", ".yml"}:
        path = folder / f"{name_or_file}.yaml"
        if not path.is_file():
            known = ", ".join(names_in(folder))
            raise InputError(f"unknown {what} '{name_or_file}'; known ones: {known}, or give a .yaml file")
    example = f"conf/{folder.name}/{names_in(folder)[0]}.yaml"
    return read_yaml(path, declaration, what=what, fix=f"write it like {example}", **defaults)


def names_in(folder: Path) -> list[str]:
    """Names that :func:`read_named` knows."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def write_json(path: str | Path, content: Any) -> None:
    """Write strict JSON, whole or not at all: NaN and infinities, which JSON does not have, become null.

    ``content`` may be a pydantic model, or hold dataclasses, NumPy arrays and NumPy numbers.
    """
    text = to_json(content, indent=1, inf_nan_mode="null", fallback=lambda value: value.tolist()).decode()
    write_text(path, text + "\n")


def _validated(
    path: str | Path, declaration: Any, what: str, fix: str, validate: Callable[[bytes], Declared]
) -> Declared:
    try:
        refuse_passage(Path(path))
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {path} does not exist: {fix}.") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror}): {fix}.") from None
    try:
        return validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        known = ""
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1 and issubclass(declaration, BaseModel):
            known = f"; known keys: {', '.join(declaration.model_fields)}"
        raise InputError(f"{path} is no {what} ({first_fault(error)}{known}): {fix}.") from None
