"""Best plane from signed scores: where they pass zero.

Scores rise with the number of the slice in a stack recorded away from the cell and fall in the reverse order, so either
direction is taken; what is not taken is a score without a direction.
"""

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import NO_VALUES, TOO_FEW, CurveFit, clean

NO_TREND = "the scores do not run from one sign to the other"
ONE_SIGN = "the scores have one sign throughout the stack"

STEADY_SHARE = 0.65
"""Share of the pairs of slices around the zero whose scores must differ in the same sense; pure noise gives 0.5."""

SIGN_SHARE = 0.75
"""Share of the slices that must have the sign of their side of the zero."""

NEAR_SPACINGS = 3.0
"""Slices this far from the change of sign decide where the line lies: further out scores saturate."""

MEDIAN_TO_SIGMA = 1.4826
EFFICIENCY_OF_MEDIAN = 1.2533


def spacing_of(z: np.ndarray) -> float:
    """Median distance of neighbouring slices, 1 where there is none."""
    gaps = np.diff(np.unique(z))
    return float(np.median(gaps)) if len(gaps) else 1.0


def zero_crossing(z: ArrayLike, score: ArrayLike) -> CurveFit:
    """Position where scores pass zero on the Theil-Sen line through the slices around their change of sign.

    The line's slope is the median slope of all pairs of slices and bears 29 % of arbitrary scores (Theil 1950; Sen
    1968, J. Am. Stat. Assoc. 63:1379). Only slices near the change of sign are used, because scores saturate far out;
    that change lies where the fewest slices have the sign of the other side, which bears wild scores as well.

    Parameters
    ----------
    z, score
        ``(n,)`` each, in any order; non-finite values are left out.

    Returns
    -------
    CurveFit
        Its standard error is that of a median of the slices' scatter about the line, independent errors taken for
        granted.

    Notes
    -----
    Fails when no slice has a score, or fewer than three have; when less than ``SIGN_SHARE`` of the slices have the sign
    of their side, or less than ``STEADY_SHARE`` of the pairs near the change agree on the direction; when all scores
    have one sign or the line passes zero outside the stack.
    """
    at, values = clean(z, score)
    if not len(at):
        return CurveFit(reason=NO_VALUES)
    if len(at) < 3:
        return CurveFit(reason=TOO_FEW)
    change, rising, share = _change_of_sign(at, values)
    if np.isinf(change):
        return CurveFit(reason=ONE_SIGN if _pair_slope(at, values)[1] else NO_TREND)
    near = np.abs(at - change) <= NEAR_SPACINGS * spacing_of(at)
    near = near if near.sum() >= 3 else np.ones(len(at), dtype=bool)
    slope, steady = _pair_slope(at[near], values[near])
    if share < SIGN_SHARE or not steady or slope * rising <= 0:
        return CurveFit(reason=NO_TREND)
    zeros = at[near] - values[near] / slope
    crossing = float(np.median(zeros))
    if not at[0] <= crossing <= at[-1]:
        return CurveFit(reason=ONE_SIGN)
    count = near.sum()
    scatter = MEDIAN_TO_SIGMA * np.median(np.abs(zeros - crossing)) * count / (count - 2)  # two numbers were fitted
    error = float(scatter * EFFICIENCY_OF_MEDIAN / np.sqrt(count))
    return CurveFit(crossing, error, curve=lambda where: slope * (np.asarray(where) - crossing))


def _change_of_sign(z: np.ndarray, score: np.ndarray) -> tuple[float, int, float]:
    """Where scores change their sign, whether they rise (1) or fall (-1), and the share of slices that agree.

    Infinite where one sign throughout explains as many slices. ``z`` ascending.
    """
    sign = np.sign(score)
    total = sign.sum()
    before = np.concatenate([[0.0], np.cumsum(sign)])  # signs of the first k slices, k = 0 ... n
    agreement = total - 2 * before  # of a rise after k slices; a fall agrees by its negative
    k = int(np.argmax(np.abs(agreement)))
    if k in (0, len(z)):
        return (np.inf if k else -np.inf), 1, 1.0
    ends = [place for place in range(1, len(z)) if abs(agreement[place]) == abs(agreement[k])]
    k = ends[(len(ends) - 1) // 2]
    return float((z[k - 1] + z[k]) / 2), int(np.sign(agreement[k])), float((1 + abs(agreement[k]) / len(z)) / 2)


def _pair_slope(z: np.ndarray, score: np.ndarray) -> tuple[float, bool]:
    """Median slope of all pairs, and whether enough of those that differ have its sign."""
    i, j = np.triu_indices(len(z), 1)
    apart = z[j] > z[i]
    if not apart.any():
        return 0.0, False
    slopes = (score[j] - score[i])[apart] / (z[j] - z[i])[apart]
    trend = np.sign(slopes[slopes != 0])
    steady = len(trend) > 0 and max(np.mean(trend > 0), np.mean(trend < 0)) >= STEADY_SHARE
    return float(np.median(slopes)), bool(steady)


def end_trend(z: ArrayLike, score: ArrayLike) -> float:
    """Slope of scores of one sign near the end at which they come closest to zero, per unit of z.

    The Theil-Sen slope of the slices within ``NEAR_SPACINGS`` of the end with the smaller magnitude. NaN where it is
    not steady or leads away from zero: then nothing says where beyond the stack they would pass it.
    """
    at, values = clean(z, score)
    if len(at) < 3:
        return np.nan
    towards = 1 if abs(values[-1]) <= abs(values[0]) else -1
    end = at[-1] if towards > 0 else at[0]
    near = np.abs(at - end) <= NEAR_SPACINGS * spacing_of(at)
    slope, steady = _pair_slope(at[near], values[near])
    closing = slope * towards * np.sign(np.median(values[near])) < 0
    return slope if steady and closing else np.nan
