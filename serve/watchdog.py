"""Ends a service that stands still, so that what has started it (compose, systemd) starts it again."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Self

STILL_SECONDS = 60.0
LOOKS = 6  # in that time; a process that was itself suspended misses a single one


def end_still() -> None:
    """End the process at once: its event loop, which would end it in good order, is what stands still."""
    print(f"error: the service has stood still for {STILL_SECONDS:g} s and ends; start it again", file=sys.stderr)
    os._exit(1)


class Watchdog:
    """Expects signs of life for as long as its context lasts.

    Parameters
    ----------
    seconds
        Without one after which ``end`` is called.
    end
        What to do then.
    """

    def __init__(self, seconds: float = STILL_SECONDS, end: Callable[[], None] = end_still) -> None:
        self._pause = seconds / LOOKS
        self._end = end
        self._alive, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def alive(self) -> None:
        """Give a sign of life."""
        self._alive.set()

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        missed = 0
        while not self._over.wait(self._pause):
            missed = 0 if self._alive.is_set() else missed + 1
            self._alive.clear()
            if missed == LOOKS:
                self._end()
                return
