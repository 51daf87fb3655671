"""Where the cell and its nucleus end, and the mean grey level at each distance from these boundaries.

A stained nucleus is the darkest large thing in the crop, a cell is what is darker than the empty background. The masks
are made at half scale: they only say where to look, the levels are then read from the image.
"""

from typing import NamedTuple

import cv2
import numpy as np

REACH_PX = 4  # rings on each side of a boundary, one pixel wide each
N_RINGS = 2 * REACH_PX

_WINDOW_PX = 2 * REACH_PX + 1
_RING_OF_COUNT = np.zeros(256, np.uint8)
_RING_OF_COUNT[1 : N_RINGS * _WINDOW_PX + 1] = np.repeat(np.arange(N_RINGS, 0, -1), _WINDOW_PX)
_RINGS = np.arange(1, N_RINGS + 1, dtype=np.uint8)[:, None]

LEAST_CONTRAST = 4.0  # grey levels between nucleus and background; below it an image counts as empty
_GREY_LEVELS = np.arange(256.0)


class Levels(NamedTuple):
    """Grey levels that tell the parts of a crop apart, 0-255, and whether they differ enough to mean anything."""

    nucleus: float
    nucleus_bound: float
    cell_bound: float
    background: float

    @property
    def contrast(self) -> float:
        """Levels between background and nucleus."""
        return self.background - self.nucleus

    @property
    def found(self) -> bool:
        """Whether there is anything darker than the background."""
        return self.contrast >= LEAST_CONTRAST


def part_levels(image: np.ndarray, histogram: np.ndarray, cumulated: np.ndarray) -> Levels:
    """Levels of nucleus, cell and background.

    Otsu's threshold (1979) parts the nucleus from the rest; the background is the median of the brighter half of that
    rest; the cell ends a fifth of the way from the background to the nucleus' bound.

    Parameters
    ----------
    image
        Grey, 0-255; half scale will do for the threshold.
    histogram, cumulated
        Share of the pixels at each level, ``(256,)``, and its running sum.
    """
    bound, _ = cv2.threshold(cv2.convertScaleAbs(image), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    end = int(bound) + 1
    dark = float(cumulated[end - 1])
    nucleus = float(histogram[:end] @ _GREY_LEVELS[:end]) / dark if dark > 0 else bound
    background = float(cumulated.searchsorted(1 - (1 - dark) / 4))
    return Levels(nucleus, bound + 0.5, background - (background - bound) / 5, background)


def ring_numbers(inside: np.ndarray) -> np.ndarray:
    """Ring of each pixel about a mask's boundary: 1 innermost, ``N_RINGS`` outermost, 0 beyond, ``uint8``.

    A pixel's distance from the boundary is read off the share of the 9 x 9 pixels about it that lie inside: along a
    straight boundary each pixel farther out has nine fewer of them. That takes a fifth of the time of two distance
    transforms, and specks and notches of the mask make no rings of their own.

    Parameters
    ----------
    inside
        ``(h, w)`` ``uint8``, 0 or 1.
    """
    count = cv2.boxFilter(inside, cv2.CV_8U, (_WINDOW_PX, _WINDOW_PX), normalize=False, borderType=cv2.BORDER_REPLICATE)
    return cv2.LUT(count, _RING_OF_COUNT)


def ring_means(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Mean of each channel in each ring about a mask's boundary, ``(channels, N_RINGS)``; 0 for a ring without pixels.

    Parameters
    ----------
    image
        ``(h, w, channels)`` or ``(h, w)`` float32.
    inside
        ``(h, w)`` ``uint8``, 0 or 1.
    """
    rings = (ring_numbers(inside).reshape(1, -1) == _RINGS).astype(np.float32)
    sums = rings @ image.reshape(inside.size, -1)
    counts = rings @ np.ones(inside.size, np.float32)
    return sums.T / np.maximum(counts, 1)
