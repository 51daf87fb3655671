"""The peak of a skewed focus curve: a learned fit of the five values about the largest.

Through-focus curves fall faster on one side than on the other, because of spherical aberration, axial colour and
phase. A parabola through three values sits beside their peak, a symmetric shape in the middle of the curve. What the
skew does to the peak can be read off the two values further out: position is a polynomial in the shape of the five
values, whose coefficients ``peak_learning`` finds and ``skewed.json`` holds.

The shape is free of offset and scale of focus: with the drops ``u`` of the four neighbours below the largest value and
their sum as the unit, what is left is how far left and right differ, near the peak and further out, and which share of
the drop is near the peak. Every term changes its sign where the window is mirrored, so that a stack in reverse order
gets the mirrored position. Where the stack ends beside the peak there are fewer values and other terms.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import (
    NO_VALUES,
    NOT_A_PEAK,
    TOO_FEW,
    CurveFit,
    clean,
    curve_noise,
    peak_index,
)
from focus_picker.stack_inference.vertex import parabola

COEFFICIENTS = Path(__file__).parent / "skewed.json"
FORMAT = "focus-picker skewed peak 1"

REACH = 2  # values to either side of the largest: halves of ten planes have no more
FARTHEST = 1.0  # spacings from the largest value to the peak: beyond, another value would be larger but for noise
USUAL_WIDTH = 4  # slices above half height for which five values hold the peak and both its shoulders
SAME_STEP = 1e-6  # differences of steps that are rounding


def _inside(window: np.ndarray) -> np.ndarray:
    """Terms ``(n, 19)`` of windows ``(n, 5)``: products of one or three odd numbers with powers of the even one."""
    drop = window[:, REACH, None] - window
    total = _unit(drop.sum(axis=1))
    near, far = (drop[:, 1] - drop[:, 3]) / total, (drop[:, 0] - drop[:, 4]) / total
    share = (drop[:, 1] + drop[:, 3]) / total
    odd = (_vertex(near, share), 3 * near, 2 * far)  # each of the order of 1
    even = 3 * share - 1  # 0 where the inner neighbours have a third of the drop, as on a parabola's top and flanks
    terms = []
    for degree, powers in ((1, 3), (3, 1)):
        for factors in combinations_with_replacement(odd, degree):
            product = np.prod(factors, axis=0)
            terms += [product * even**power for power in range(powers)]
    return np.stack(terms, axis=1)


def _one_missing(window: np.ndarray) -> np.ndarray:
    """Terms ``(n, 9)`` where the stack ends one value to the left of the largest."""
    drop = window[:, REACH, None] - window
    total = _unit(drop[:, 1] + drop[:, 3] + drop[:, 4])
    near, share = (drop[:, 1] - drop[:, 3]) / total, (drop[:, 1] + drop[:, 3]) / total
    vertex, one = _vertex(near, share), np.ones(len(window))
    powers = [one, vertex, vertex**2, vertex**3, share, share**2]
    return np.stack([*powers, vertex * share, vertex**2 * share, vertex * share**2], axis=1)


def _at_end(window: np.ndarray) -> np.ndarray:
    """Terms ``(n, 4)`` where the largest value is the first: powers of the first step's share of the drop."""
    drop = window[:, REACH, None] - window
    return np.vander(drop[:, 3] / _unit(drop[:, 4]), 4, increasing=True)


def _unit(total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, total, 1.0)


def _vertex(near: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Twice the vertex of the parabola through the middle three, -1 to 1."""
    return np.clip(near / np.maximum(share, np.finfo(float).tiny), -1, 1)


TERMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"2 2": _inside, "1 2": _one_missing, "0 2": _at_end}
"""Terms by the number of values before and after the largest; windows with fewer before are mirrored from the other."""


@dataclass(frozen=True)
class Window:
    """The values about a place, in the direction in which no fewer come after it than before.

    Attributes
    ----------
    key
        Of ``TERMS``.
    values
        ``(5,)``, NaN where the stack has ended.
    z
        Of the values that are there.
    place, step
        Of the largest value, and from one value to the next: negative where the window is mirrored.
    """

    key: str
    values: np.ndarray
    z: np.ndarray
    place: float
    step: float


@dataclass(frozen=True)
class Fitted:
    """What ``peak_learning`` found.

    Attributes
    ----------
    coefficients
        Of the terms, by window.
    error
        Root mean square error on stacks that it was not learned from, in spacings of the window, by window.
    own, spread
        Shares of the fits' own error and of the measures' spread in the error of their consensus.
    factors
        Error of the fits of one curve by the one that they report, by name, so that 90 % intervals hold 90 %.
    """

    coefficients: dict[str, np.ndarray]
    error: dict[str, float]
    own: float
    spread: float
    factors: dict[str, float]


@cache
def load_fitted(path: Path = COEFFICIENTS) -> Fitted:
    """Read what ``peak_learning`` wrote; a file of another format is a ValueError."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != FORMAT:
        raise ValueError(f"{path} has the format {content['format']!r}, expected {FORMAT!r}: learn it again")
    coefficients = {key: np.array(value) for key, value in content["coefficients"].items()}
    return Fitted(coefficients, content["error"], content["own"], content["spread"], content["factors"])


def skewed(z: ArrayLike, focus: ArrayLike) -> CurveFit:
    """Peak by the learned fit of five values; where these are not equally spaced, a parabola of the logarithm.

    Parameters
    ----------
    z, focus
        ``(n,)`` each, in any order; non-finite values are left out.

    Returns
    -------
    CurveFit
        The position may lie up to ``FARTHEST`` spacings from the largest value, also beyond the end of the stack. The
        standard error holds the fit's usual error and the values' noise, carried through it to first order.

    Notes
    -----
    Curves sampled so finely that five values do not span the peak are smoothed and thinned first.

    Fails when no slice has a focus value or fewer than three have, when all values are equal, and where the parabola
    does for slices that are not equally spaced.
    """
    z, focus = clean(z, focus)
    if not len(z):
        return CurveFit(reason=NO_VALUES)
    if len(z) < 3:
        return CurveFit(reason=TOO_FEW)
    if np.ptp(focus) == 0:
        return CurveFit(reason=NOT_A_PEAK)
    windows = windows_of(z, focus)
    if not windows:
        return parabola(z, focus, logarithm=bool(focus.min() >= 0))
    noise = float(np.nan_to_num(curve_noise(z, focus)))
    fits = [_fit(window, noise) for window in windows]
    position = float(np.mean([fit.position for fit in fits]))
    error = float(np.mean([fit.standard_error for fit in fits]))
    return CurveFit(position, error, curve=fits[0].curve)


def windows_of(z: np.ndarray, focus: np.ndarray) -> list[Window]:
    """Window about the largest value; two where two are equal, so that mirrored stacks mirror; none where it fails."""
    stride = stride_of(focus)
    smooth = thinned(focus, stride)
    first = peak_index(smooth)
    last = len(smooth) - 1 - peak_index(smooth[::-1])
    windows = [window_about(z, smooth, peak, stride) for peak in sorted({first, last})]
    return [window for window in windows if window] if all(windows) else []


def stride_of(focus: np.ndarray) -> int:
    """How many slices apart the values of a window are taken: 1 unless more than the usual number stand out."""
    above = focus > (focus.min() + focus.max()) / 2
    return max(1, round(above.sum() / USUAL_WIDTH - 0.25))


def thinned(focus: np.ndarray, stride: int) -> np.ndarray:
    """Values smoothed by a triangle of twice the stride, so that what lies between the window's values counts."""
    if stride == 1:
        return focus
    triangle = np.convolve(np.ones(stride), np.ones(stride))
    known = np.convolve(np.ones(len(focus)), triangle, mode="same")
    return np.convolve(focus, triangle, mode="same") / known


def window_about(z: np.ndarray, focus: np.ndarray, peak: int, stride: int) -> Window | None:
    """Window about slice ``peak``, ``z`` ascending; None where there are too few values or unequal steps."""
    before, after = min(REACH, peak // stride), min(REACH, (len(focus) - 1 - peak) // stride)
    side = -1 if before > after else 1
    key = f"{min(before, after)} {max(before, after)}"
    places = peak + side * stride * np.arange(-min(before, after), max(before, after) + 1)
    steps = np.diff(z[places])
    if key not in TERMS or not steps.all() or np.ptp(steps) > SAME_STEP * np.abs(steps).max():
        return None
    values = np.full(2 * REACH + 1, np.nan)
    values[-len(places) :] = focus[places]
    return Window(key, values, z[places], float(z[peak]), float(steps.mean()))


def _fit(window: Window, noise: float) -> CurveFit:
    """Fit a window whose values have an error of ``noise``."""
    learned = load_fitted()
    nudge = NUDGE * np.nanmax(np.abs(window.values - window.values[REACH]))
    rows = np.vstack([window.values, window.values + nudge * np.eye(len(window.values))])
    moved = TERMS[window.key](rows) @ learned.coefficients[window.key]
    slope = (moved[1:] - moved[0])[np.isfinite(window.values)] / nudge
    moved = np.clip(moved, -FARTHEST, FARTHEST)
    error = float(np.hypot(learned.error[window.key], noise * np.sqrt(np.sum(slope**2))))
    known = window.values[np.isfinite(window.values)]
    position = window.place + moved[0] * window.step
    return CurveFit(float(position), error * abs(window.step), curve=_through(window.z, known))


NUDGE = 1e-4  # of the range, for derivatives by difference


def _through(z: np.ndarray, focus: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Polynomial through the window's values, for pictures."""
    middle, scale = z.mean(), np.abs(z - z.mean()).max()
    polynomial = np.polyfit((z - middle) / scale, focus, len(z) - 1)
    return lambda at: np.polyval(polynomial, (np.asarray(at) - middle) / scale)
