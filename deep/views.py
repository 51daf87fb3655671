"""Several looks at one image: its windows, turned against each other, and one answer from all of them.

A cell has no upright and blur no direction, but a network of few weights answers a turned window otherwise. What it is
wrong by in one orientation and at one place says little of what it is wrong by in another: their mean is truer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focus_picker.deep.window import spread_windows
from focus_picker.models.feature_head import LEAST_PROBABILITY

ORIENTATIONS = 8
LOOKS_AT_ONE = 4  # quarter turns of an image that is one window; the mirrored ones tell hardly more


def oriented(windows: np.ndarray, orientation: int) -> np.ndarray:
    """One of the eight orientations of square windows ``(N, S, S, C)``: four quarter turns, and those mirrored."""
    quarter = np.rot90(windows, orientation % 4, axes=(1, 2))
    return quarter if orientation < 4 else quarter[:, ::-1]


def turned(windows: np.ndarray) -> list[np.ndarray]:
    """All eight orientations of square windows ``(N, S, S, C)``."""
    return [np.ascontiguousarray(oriented(windows, at)) for at in range(ORIENTATIONS)]


@dataclass(frozen=True)
class ImageWindows:
    """Windows cut from some images.

    Attributes
    ----------
    windows
        ``(W, S, S, 3)`` uint8, those of an image one behind the other, the central one first.
    first
        ``(N,)`` where each image's windows begin.
    """

    windows: np.ndarray
    first: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Windows ``(N,)`` of each image."""
        return np.diff([*self.first, len(self.windows)])

    @property
    def image(self) -> np.ndarray:
        """Number ``(W,)`` of each window's image."""
        return np.repeat(np.arange(len(self.first)), self.counts)

    @property
    def central(self) -> np.ndarray:
        """Central window ``(N, S, S, 3)`` of each image."""
        return self.windows[self.first]

    def of(self, chosen: np.ndarray) -> "ImageWindows":
        """Those of the images chosen by a mask ``(N,)``."""
        return ImageWindows(self.windows[chosen[self.image]], _begins(self.counts[chosen]))

    def looks(self) -> "ImageWindows":
        """Turn the windows of each image against each other, a single one into four looks."""
        looks = np.where(self.counts == 1, LOOKS_AT_ONE, self.counts)
        begins = _begins(looks)
        orientation = np.arange(looks.sum()) - np.repeat(begins, looks)
        place = np.where(np.repeat(self.counts, looks) == 1, 0, orientation)
        views = self.windows[np.repeat(self.first, looks) + place]
        for at in range(1, orientation.max(initial=0) + 1):
            chosen = orientation == at
            views[chosen] = oriented(views[chosen], at)
        return ImageWindows(views, begins)

    def pooled(self, distribution: np.ndarray) -> np.ndarray:
        """One distribution of each image ``(N, bins)`` from those of its windows ``(W, bins)``: their geometric mean.

        Where windows agree it is as narrow as they are, which the arithmetic mean is not.
        """
        surprise = np.log(np.maximum(distribution.astype(float), LEAST_PROBABILITY))
        mean = np.exp(np.add.reduceat(surprise, self.first) / self.counts[:, np.newaxis])
        mean /= mean.sum(axis=1, keepdims=True)
        return np.where(self.counts[:, np.newaxis] > 1, mean, distribution[self.first])


def windows_of(images: Sequence[np.ndarray], size: int) -> ImageWindows:
    """Cut images into windows, see :func:`deep.window.spread_windows`."""
    cut = [spread_windows(image, size) for image in images]
    return ImageWindows(np.stack([window for several in cut for window in several]), _begins(list(map(len, cut))))


def alone(windows: np.ndarray) -> ImageWindows:
    """Windows ``(N, S, S, 3)`` of which each is an image."""
    return ImageWindows(windows, np.arange(len(windows)))


def _begins(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.cumsum([0, *counts[:-1]])
