"""Small pictures of slices, for plots and for the page."""

from collections.abc import Sequence

import cv2
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import to_uint8
from focus_picker.dataset.stacks import Stack, read_each
from focus_picker.stack_inference.scoring import common_window


def thumbnails(stack: Stack, shown: Sequence[int], size: int) -> list[np.ndarray | None]:
    """Read slices and reduce them.

    Parameters
    ----------
    stack
        From ``dataset.stacks``.
    shown
        Indices of its slices.
    size
        Longer side of a thumbnail in pixels, at most.

    Returns
    -------
    list
        One uint8 RGB picture each, cut to the window that all share, None for a slice that cannot be read.
    """
    read = read_each([stack.slices[index] for index in shown])
    images = [None if isinstance(image, InputError) else image for image in read]
    return [None if image is None else reduced(image, size) for image in common_window(images)]


def reduced(image: np.ndarray, size: int) -> np.ndarray:
    """8-bit copy of ``(H, W, 3)`` with a longer side of at most ``size`` pixels; nothing is enlarged."""
    factor = min(1.0, size / max(image.shape[:2]))
    return cv2.resize(to_uint8(image), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
