"""The result of a curve fit and what every fit starts from: clean values, their peak and their noise."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

NO_VALUES = "no slice has a focus value"
TOO_FEW = "fewer than three slices have a focus value"
AT_END = "the largest focus value is at an end of the stack"
REPEATED_Z = "two slices beside the peak share one z"
NOT_POSITIVE = "focus values beside the peak are negative and have no logarithm"
NOT_A_PEAK = "the curve does not bend downwards at its largest value"

MEDIAN_OF_NORMAL = 0.6745  # median magnitude of a normal variable of standard deviation 1


@dataclass(frozen=True)
class CurveFit:
    """The best position that a fit found, or why it found none.

    Parameters
    ----------
    position
        Where focus is best, in the units of z; NaN when the fit failed.
    standard_error
        In the units of z, see the fit's docstring for what it covers; NaN where there is nothing to base it on.
    reason
        Why the fit failed, as a clause; empty when it did not. A failed fit is falsy.
    curve
        The fitted curve, focus as a function of z, meant for pictures; None where the method fits none.
    """

    position: float = np.nan
    standard_error: float = np.nan
    reason: str = ""
    curve: Callable[[np.ndarray], np.ndarray] | None = field(default=None, compare=False, repr=False)

    def __bool__(self) -> bool:
        """Tell whether there is a position to use."""
        return not self.reason


def peak_index(focus: np.ndarray) -> int:
    """Index of the largest finite value; among equals the middle one, so that a plateau is met at its centre.

    ``focus`` must hold at least one finite value.
    """
    equals = np.flatnonzero(focus == np.nanmax(focus))
    return int(equals[(len(equals) - 1) // 2])


def curve_noise(z: np.ndarray, focus: np.ndarray) -> float:
    """Standard deviation of one focus value, from how the curve's flanks scatter; NaN with less than two triples.

    Each value is compared with the straight line between its two neighbours (a second difference, for any spacing);
    for independent errors of standard deviation s the difference has variance ``s**2 (1 + w1**2 + w2**2)``, w1 and w2
    being the neighbours' weights. Triples that touch the peak are left out, for there the curve bends, and the median
    over the others passes over the shoulders, where it does too. What bend is left counts as noise, so that smooth
    curves come out too noisy rather than too clean. ``z`` ascending, both finite.
    """
    middle = np.arange(1, len(z) - 1)
    middle = middle[np.abs(middle - peak_index(focus)) > 1]
    if len(middle) < 2:
        return np.nan
    width = z[middle + 1] - z[middle - 1]
    if np.any(width <= 0):
        return np.nan
    right = (z[middle] - z[middle - 1]) / width
    straight = (1 - right) * focus[middle - 1] + right * focus[middle + 1]
    deviation = np.abs(focus[middle] - straight) / np.sqrt(1 + right**2 + (1 - right) ** 2)
    return float(np.median(deviation) / MEDIAN_OF_NORMAL)


def clean(z: ArrayLike, focus: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return z and focus without what is not finite, sorted by z; ValueError unless they are vectors of one length."""
    at, values = np.asarray(z, dtype=float), np.asarray(focus, dtype=float)
    if at.ndim != 1 or at.shape != values.shape:
        raise ValueError(f"z {at.shape} and focus {values.shape} must be two vectors of one length")
    finite = np.isfinite(at) & np.isfinite(values)
    at, values = at[finite], values[finite]
    order = np.argsort(at, kind="stable")
    return at[order], values[order]
