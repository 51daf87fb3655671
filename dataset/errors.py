"""The one error that bad input raises."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Input or arguments are at fault: one sentence saying what, where and how to fix it.

    Raised by every package for anything a user can mend. The command line prints the message on one line of stderr
    and exits with 2; every other exception is a defect of ours (exit 1).
    """


def first_fault(error: "ValidationError") -> str:
    """Say in a clause what pydantic found wrong first: the key, and why (``window_px: Input should be ...``)."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"]) or "file"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"
