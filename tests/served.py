"""The real service in a process of its own, for tests that talk to it over a socket."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKOUT = (sys.executable, "cli.py")


@contextmanager
def served(*arguments: str, program: Sequence[str] = CHECKOUT, **environment: str) -> Iterator[str]:
    """Run the command ``serve`` on a free port and yield its address; ``environment`` adds variables."""
    command = [*program, "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()  # it is written once the socket listens and the model is loaded
        assert line.startswith("http://"), line + process.stderr.read()
        yield line.split()[0]
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors, errors  # warnings of rubbish received are as they should be
