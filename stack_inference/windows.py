"""The part of the images that all slices of a stack share, and small pictures of it."""

from collections.abc import Sequence

import cv2
import numpy as np

from focus_picker.dataset.images import to_uint8


def common_window(images: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """Cut ``(H, W, ...)`` images to the smallest height and width about the centre, without resampling; None stays."""
    shapes = [image.shape[:2] for image in images if image is not None]
    if not shapes:
        return list(images)
    height, width = np.min(shapes, axis=0)
    return [None if image is None else _centre(image, int(height), int(width)) for image in images]


def _centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def reduced(image: np.ndarray, size: int) -> np.ndarray:
    """8-bit copy of ``(H, W, 3)`` with a longer side of at most ``size`` pixels; nothing is enlarged."""
    height, width = image.shape[:2]
    factor = min(1.0, size / max(height, width))
    to = max(1, round(factor * width)), max(1, round(factor * height))
    return cv2.resize(to_uint8(image), to, interpolation=cv2.INTER_AREA)


def thumbnails(images: Sequence[np.ndarray | None], size: int) -> tuple[np.ndarray | None, ...]:
    """Small uint8 RGB pictures of the shared window, one a slice; None for a slice that cannot be read."""
    return tuple(None if image is None else reduced(image, size) for image in common_window(images))
