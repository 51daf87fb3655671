"""What a command owes the shell that it runs in: closed streams, signals that end it, refusals of the system."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BROKEN_PIPE = 128 + signal.SIGPIPE  # what a shell reports of a program whose reader has gone


def open_streams() -> None:
    """Make the standard streams usable whatever the shell did to them.

    A stream that was closed (``2>&-``) gets the null device: else the next file to be opened would take its number and
    receive what libraries print. A character that the terminal's encoding lacks, or a name that is no text, is printed
    as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Let what is still to be printed go nowhere, so that Python's own flush at the end does not fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM is Ctrl-C: drafts are removed and workers ended on the way out.

    Signals can be handled in the main thread alone; elsewhere nothing changes.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_workers() -> None:
    """End the processes of ``parallel_map`` at once, which would otherwise first finish what they are at."""
    if "joblib.externals.loky.reusable_executor" in sys.modules:
        from joblib.externals.loky import reusable_executor

        if (executor := reusable_executor._executor) is not None:
            executor.shutdown(wait=True, kill_workers=True)


def in_one_sentence(error: OSError) -> str:
    """Say which file the operating system refused, and why."""
    where = error.filename if error.filename is not None else "stdout"
    return f"{where} cannot be read or written ({error.strerror or error}); check path, permissions and free space"
