"""The part of the images that all slices of a stack share, what of it is weighed, and small pictures of it."""

import cv2
import numpy as np

from focus_picker.dataset.images import to_uint8

WEIGHT_SIGMA = 0.35
"""Of the weight, by the side of the crop: a third is left in the middle of a side, a seventh in a corner. Of none, 0.35
and 0.5, the one that comes nearest to the truth of simulated cells among neighbours at other heights."""

HALF_WEIGHT = WEIGHT_SIGMA * float(np.sqrt(2 * np.log(2)))
"""Half axis of the ellipse of half the weight, by the side of the crop."""


def centre(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut ``(H, W, ...)`` about its centre to at most ``height`` and ``width``, without resampling."""
    top, left = max(0, image.shape[0] - height) // 2, max(0, image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def cell_weight(shape: tuple[int, int]) -> np.ndarray:
    """Weight of each pixel ``(H, W)`` in sharpness: 1 in the middle, where a tracked cell is, falling as a Gaussian.

    The same for all slices of a stack, so that nothing that changes with focus can move it. A red cell at the crop's
    border, whose rim may be sharpest a plane away from the nucleus, counts for little.
    """
    down, across = (np.exp(-((np.linspace(-1, 1, size) / (2 * WEIGHT_SIGMA)) ** 2) / 2) for size in shape)
    return np.outer(down, across).astype(np.float32)


def weighed_grey(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Luma of an image on the 0-255 scale, ``(H, W)`` float32, drawn towards its mean where the weight is small.

    Any measure of the result is one of the weighed cell: differences shrink with the weight, and the weight's own
    slope, over a quarter of the crop, is no edge.
    """
    grey = image.astype(np.float32)
    if image.dtype == np.uint16:
        grey *= np.float32(1 / 257)
    if grey.ndim == 3:
        grey = np.asarray(cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY), dtype=np.float32)
    mean = np.float32(grey.mean())
    return mean + weight * (grey - mean)


def reduced(image: np.ndarray, size: int) -> np.ndarray:
    """8-bit copy of ``(H, W, 3)`` with a longer side of at most ``size`` pixels; nothing is enlarged."""
    height, width = image.shape[:2]
    factor = min(1.0, size / max(height, width))
    to = max(1, round(factor * width)), max(1, round(factor * height))
    return cv2.resize(to_uint8(image), to, interpolation=cv2.INTER_AREA)
