"""What a student has seen: an image outside of it gets no say, however sure the network is."""

import cv2
import numpy as np

from focus_picker.dataset.images import LUMA
from focus_picker.models.bins import ScoreBins
from focus_picker.models.side_file import Competence

PROPERTIES = ("contrast", "brightness", "chroma", "saturated")
# The range seen in training is widened by a share of itself on both sides, on a logarithmic scale, as lamp and stain
# scale what they change; and by a tenth at least, as the next laboratory day is a little different.
MARGIN, LEAST_FACTOR = 0.25, 1.1


def image_properties(windows: np.ndarray) -> dict[str, np.ndarray]:
    """Simple properties of windows ``(N, H, W, 3)`` uint8.

    Returns
    -------
    dict
        ``contrast`` (standard deviation of luminance, grey levels), ``brightness`` (its mean), ``chroma`` (mean
        difference of the largest and the smallest channel) and ``saturated`` (share of pixels at 0 or at 255 in all
        channels), each ``(N,)``.
    """
    rows = [_properties(window) for window in windows]
    return {name: np.array([row[place] for row in rows]) for place, name in enumerate(PROPERTIES)}


def _properties(window: np.ndarray) -> tuple[float, float, float, float]:
    """Values of ``PROPERTIES`` of one window; OpenCV takes a twentieth of the time of NumPy's sums along channels."""
    mean, deviation = cv2.meanStdDev(cv2.transform(window.astype(np.float32), LUMA[np.newaxis]))
    red, green, blue = cv2.split(window)
    highest, lowest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    extreme = np.count_nonzero(highest == 0) + np.count_nonzero(lowest == 255)
    chroma = cv2.mean(cv2.subtract(highest, lowest))[0]
    return deviation.item(), mean.item(), chroma, extreme / highest.size


def learn_competence(windows: np.ndarray, spread: np.ndarray) -> Competence:
    """Note the range of training images and of the student's spread on validation images.

    Parameters
    ----------
    windows
        Training windows ``(N, H, W, 3)`` uint8.
    spread
        Spread ``(M,)`` that the student gives to validation images, score units.
    """
    properties = image_properties(windows)
    return Competence(
        contrast=_widened(properties["contrast"]),
        brightness=_widened(properties["brightness"]),
        chroma=_widened(properties["chroma"]),
        saturated=min(1.0, float(properties["saturated"].max()) + 0.02),
        spread=float(np.quantile(spread, 0.999)) * (1 + MARGIN),
    )


def _widened(values: np.ndarray) -> tuple[float, float]:
    """Range of positive values with its margin; one that begins at zero keeps its beginning."""
    low, high = float(values.min()), float(values.max())
    factor = max((high / low) ** MARGIN, LEAST_FACTOR) if low > 0 else 1 + MARGIN
    return low / factor, high * factor


def other_side(bins: ScoreBins, distribution: np.ndarray) -> np.ndarray:
    """Probability ``(N,)`` that a distribution ``(N, bins)`` gives to the less likely side of focus.

    The bin about zero is of both sides, half each.
    """
    above = np.clip(bins.centres / bins.width + 0.5, 0, 1)
    far = distribution @ above / distribution.sum(axis=1)
    return np.minimum(far, 1 - far)


def outside_competence(
    properties: dict[str, np.ndarray], spread: np.ndarray, doubt: np.ndarray, competence: Competence
) -> np.ndarray:
    """Which images ``(N,)`` are unlike anything seen: too flat, dark, bright, grey, saturated, or too undecided.

    ``properties`` are those of ``image_properties``, ``spread`` is what the student gives, ``doubt`` is ``other_side``.
    """
    strange = (properties["saturated"] > competence.saturated) | (spread > competence.spread)
    strange |= doubt > competence.other_side
    for name in ("contrast", "brightness", "chroma"):
        low, high = getattr(competence, name)
        strange |= (properties[name] < low) | (properties[name] > high)
    return strange
