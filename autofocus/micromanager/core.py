"""Route B: a core that has our autofocus as its autofocus device; the stock engine and the widgets use it unchanged."""

import time
from typing import Any

from pymmcore_plus.experimental.unicore import UniMMCore

from focus_picker.autofocus.micromanager.autofocuser import Autofocuser

DEVICE = "FocusPicker"
RETRY_S = 2.0
"""Seconds within which another try at the same place is the engine's retry: it gets the same answer, not three runs."""


class AutofocusCore(UniMMCore):
    """A core whose ``fullFocus`` is ours.

    ``use_autofocus`` must be called once; before, the core behaves as any other.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._autofocuser: Autofocuser | None = None
        self._failed: tuple[tuple[float, ...], float, str] | None = None

    def use_autofocus(self, autofocuser: Autofocuser) -> None:
        """Take this for the core's autofocus device."""
        self._autofocuser, self._failed = autofocuser, None

    def getAutoFocusDevice(self) -> Any:
        """Name of our device, or the configuration's where none of ours is in use."""
        return DEVICE if self._autofocuser else super().getAutoFocusDevice()

    def fullFocus(self) -> None:
        """Focus; RuntimeError where focus was not confirmed, as Micro-Manager's own devices have it."""
        if self._autofocuser is None:
            super().fullFocus()
            return
        place = self._place()
        if self._failed and self._failed[0] == place and time.monotonic() - self._failed[1] < RETRY_S:
            raise RuntimeError(self._failed[2])
        result = self._autofocuser.run(self, position=", ".join(f"{value:g}" for value in place[:-1]) or "here")
        self._failed = None
        if not result:
            self._failed = place, time.monotonic(), f"{DEVICE}: {result.message}"
            raise RuntimeError(self._failed[2])

    def incrementalFocus(self) -> None:
        """Do the same as ``fullFocus``: our search is short when it starts near focus."""
        self.fullFocus()

    def _place(self) -> tuple[float, ...]:
        """Position of the table, where there is one, and of the drive."""
        table = self.getXYPosition() if self.getXYStageDevice() else ()
        return (*(round(value, 2) for value in table), round(self.getPosition(), 3))
