"""The loaded model as a worker uses it: answers from files in memory."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.stacks import Stack
from focus_picker.drift.quantities import quantities_of
from focus_picker.stack_inference.decide import uses_scores
from focus_picker.stack_inference.loading import find_model, load_model
from focus_picker.stack_inference.moves import Move, move_from_judged
from focus_picker.stack_inference.pick import Pick, pick_focus
from focus_picker.stack_inference.single_image import ImageScore, row_of, unreadable

THUMBNAIL_QUALITY = 85
WARM_UP_PX = 64


@dataclass(frozen=True)
class Scored:
    """One image: its row, the step of the lens, and what drift is told by (``drift.quantities``).

    ``move`` and ``quantities`` are None and empty for an image that could not be read.
    """

    row: ImageScore
    move: Move | None
    quantities: dict[str, float]


@dataclass(frozen=True)
class Picked:
    """One stack: its pick, thumbnails as data URLs or None, and the distance of its slices in micrometres if known."""

    pick: Pick
    thumbnails: list[str | None]
    z_step_um: float | None


class Engine:
    """Scores images and picks planes in a process of its own; one call at a time.

    Parameters
    ----------
    model
        Model file or run folder.

    Raises
    ------
    InputError
        If the model cannot be loaded.
    """

    def __init__(self, model: Path) -> None:
        cv2.setNumThreads(1)  # the processes are the threads; OpenCV's own would wait for each other by spinning
        self.path = find_model(model)
        self.model = load_model(self.path)
        self.model.judge([np.zeros((WARM_UP_PX, WARM_UP_PX, 3), np.uint8)])  # builds the interpreter

    def score(self, file: MemoryFile, max_pixels: int, z_step_um: float | None = None) -> Scored:
        """Score one image; raises InputError where it cannot be read."""
        image = read_image(file, max_pixels)
        judged = self.model.judge([image])
        move = move_from_judged(judged, self.model.side, z_step_um)
        return Scored(row_of(file.name, judged), move, quantities_of(image, judged))

    def score_batch(self, files: Sequence[MemoryFile], max_pixels: int, z_step_um: float | None) -> list[Scored]:
        """Score images one after the other; an unreadable one becomes a row that says why."""
        scored = []
        for file in files:
            try:
                scored.append(self.score(file, max_pixels, z_step_um))
            except InputError as error:
                scored.append(Scored(unreadable(file.name, error), None, {}))
        return scored

    def pick(self, stack: Stack, method: str | None, z_step_um: float | None, thumbnail_px: int) -> Picked:
        """Find the best plane of a stack; thumbnails only where their size is not 0."""
        pick = pick_focus(
            stack,
            method=method,
            model=self.model if uses_scores(method) else None,
            z_step_um=z_step_um,
            thumbnail_px=thumbnail_px,
        )
        pictures = pick.thumbnails or (None,) * pick.n_slices
        step = z_step_um or (abs(stack.z_um[1] - stack.z_um[0]) if stack.z_um and len(stack.z_um) > 1 else None)
        return Picked(pick, [None if picture is None else as_data_url(picture) for picture in pictures], step)


def as_data_url(picture: np.ndarray) -> str:
    """JPEG of a uint8 RGB picture as text that a page shows."""
    _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")
