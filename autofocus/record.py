"""Stacks that the microscope records by itself, position by position."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from focus_picker.autofocus.frames import Frame, check_brightness, take
from focus_picker.autofocus.search import Search

GoTo = Callable[[float, float], None]
"""Moves the table to x, y in micrometres and waits."""


@dataclass(frozen=True)
class RecordedStack:
    """A recorded stack: ``(n,)`` positions of the drive, rising, and its frames, as measured by no model."""

    name: str
    z_um: np.ndarray
    frames: tuple[Frame, ...]

    @property
    def sharpness(self) -> np.ndarray:
        """Log sharpness ``(n,)``."""
        return np.array([frame.sharpness for frame in self.frames])

    @property
    def sharpest_um(self) -> float:
        """Position of the sharpest frame."""
        return float(self.z_um[np.argmax(self.sharpness)])


def spiral(count: int, spacing_um: float) -> list[tuple[float, float]]:
    """``count`` places of a square spiral about the origin, ``spacing_um`` apart."""
    places: list[tuple[float, float]] = []
    x, y, dx, dy = 0, 0, 1, 0
    run, left, turns = 1, 1, 0
    while len(places) < count:
        places.append((x * spacing_um, y * spacing_um))
        x, y, left = x + dx, y + dy, left - 1
        if left == 0:
            dx, dy, turns = -dy, dx, turns + 1
            run += turns % 2 == 0
            left = run
    return places


def record_stack(search: Search, centre_um: float, range_um: float, step_um: float, name: str) -> RecordedStack:
    """Record frames from ``range_um`` below ``centre_um`` to as far above it, rising.

    Raises
    ------
    Stopped
        Cancelled, a faulty drive or camera, or wrong exposure at the first frame.
    """
    count = 2 * math.ceil(range_um / step_um - 1e-9) + 1
    places = centre_um + step_um * (np.arange(count) - count // 2)
    places = places[(places >= search.mover.lowest_um) & (places <= search.mover.highest_um)]
    return RecordedStack(name, places, tuple(look_at(search, places, "record")))


def look_at(search: Search, places: np.ndarray, why: str) -> Iterator[Frame]:
    """Frames at places, in their order."""
    for number, z_um in enumerate(places):
        z_um = search.mover.to(float(z_um), why)
        frame = take(search.microscope.camera, z_um, search.settings, None)
        if number == 0:
            check_brightness(frame.image, search.settings)
        yield frame


def write_stack(stack: RecordedStack, dataset: Path) -> None:
    """Write a stack as a folder of PNG files in z order."""
    folder = dataset / "cell_stacks" / stack.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(stack.frames):
        _, data = cv2.imencode(".png", frame.image[..., ::-1])
        (folder / f"{number}.png").write_bytes(data.tobytes())
