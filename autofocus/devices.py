"""What the loop needs of a microscope: a focus drive, a camera and a clock. No microscope library is imported here."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class Stage(Protocol):
    """A focus drive. Positions are its own, in micrometres; which way is up is measured by the calibration."""

    def position_um(self) -> float:
        """Where the drive says that it is."""

    def start_move(self, z_um: float) -> None:
        """Send the drive to ``z_um``; may return before it is there."""

    def is_busy(self) -> bool:
        """Whether the drive is still moving. False does not mean settled."""

    def stop(self) -> None:
        """Stop where it is."""


class Camera(Protocol):
    """A camera that gives one image at a time."""

    def snap(self) -> np.ndarray:
        """Take an image: ``(H, W)`` or ``(H, W, 3)`` RGB, ``uint8``, or ``uint16`` scaled to a full scale of 65535."""

    def prepare(self, exposure_ms: float | None, channel: tuple[str, str] | None) -> Any:
        """Make ready for single frames and return what ``put_back`` needs to undo it.

        Live mode and continuous focus are stopped, the channel (group and preset) and the exposure are set; None leaves
        what there is. Whatever raises on the way has undone its part.
        """

    def put_back(self, remembered: Any) -> None:
        """Restore what ``prepare`` found."""


class Clock(Protocol):
    """Time in seconds."""

    def now_s(self) -> float:
        """Seconds since some start."""

    def sleep_s(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The computer's own."""

    def now_s(self) -> float:
        """Seconds since some start."""
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


ShouldCancel = Callable[[], bool]
"""Asked before every move and every frame, and all the while the drive moves."""


class Stopped(Exception):
    """A search that ends without focus, for a reason that is no defect; ``reason`` is one of ``result.REASONS``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
