"""The one error that bad input raises."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Input or arguments are at fault: one sentence saying what, where and how to fix it.

    Raised by every package for anything a user can correct. The command line prints the message on one line of stderr
    and exits with 2; every other exception is a defect of ours (exit 1).
    """


def first_fault(error: "ValidationError") -> str:
    """Say in a clause what pydantic found wrong first: ``window_px: Input should be ... (given: 'wide')``."""
    fault = error.errors()[0]
    where, given = ".".join(map(str, fault["loc"])), fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{where}'"
    if fault["type"] == "missing":
        return f"key '{where}' is missing"
    if fault["type"] in ("model_type", "dict_type") and not where:
        return "it holds no 'key: value' pairs"
    message = fault["msg"].removeprefix("Value error, ")
    if not where:
        return message
    is_short = isinstance(given, int | float | str | None) and len(str(given)) < 40
    return f"{where}: {message} (given: {given!r})" if is_short else f"{where}: {message}"
