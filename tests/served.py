"""The real service in a process of its own, for tests that talk to it over a socket."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKOUT = (sys.executable, "cli.py")


class Address(str):
    """Address of a service, with the number of its process and the most memory it was seen to take."""

    pid: int

    def processes(self) -> list[int]:
        """The service's process and all below it."""
        return [self.pid, *_below(self.pid)]

    @contextmanager
    def watched(self, most_bytes: int) -> Iterator[None]:
        """Fail if all processes together take more than ``most_bytes`` meanwhile; what they share is counted once."""
        stop, seen = threading.Event(), [0]

        def watch() -> None:
            while not stop.wait(0.03):
                seen[0] = max(seen[0], sum(_own_bytes(pid) for pid in self.processes()))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert 0 < seen[0] < most_bytes, f"{seen[0] / 2**20:.0f} MiB"


def _below(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [number for child in children for number in (child, *_below(child))]


def _own_bytes(pid: int) -> int:
    """Proportional share of the memory of a process; 0 for one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def served(*arguments: str, program: Sequence[str] = CHECKOUT, **environment: str) -> Iterator[Address]:
    """Run the command ``serve`` on a free port and yield its address; ``environment`` adds variables."""
    command = [*program, "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()  # it is written once the socket listens and the model is loaded
        assert line.startswith("http://"), line + process.stderr.read()
        address = Address(line.split()[0])
        address.pid = process.pid
        yield address
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors, errors  # warnings of rubbish received are as they should be
