"""Best plane from signed scores: where they pass zero, and the posterior that their distributions give together.

Scores rise with the number of the slice in a stack recorded away from the cell and fall in the reverse order, so either
direction is taken; what is not taken is a score without a direction.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.models.contract import ScoreDistribution
from focus_picker.models.stack_calibration import DEFAULT_TEMPERATURE
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

STEP = 0.05  # of the posterior's grid, in slice spacings
MOST_SPACINGS = 12.0  # slices further from the crossing than this add nothing
RATES = np.exp(np.linspace(-0.9, 0.9, 13))
RATE_SPREAD = 0.3
"""Scores per slice by the model's own, and the standard deviation of its logarithm: stacks come with other z steps."""

OUTLIER_SHARE, OUTLIER_DENSITY = 0.05, 0.2
"""Share of slices on which a model is plainly wrong, and the density of its score there (one by its range)."""

FLOOR_SHARE = 0.02


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


def log_density(slices: ScoreDistribution, score: np.ndarray) -> np.ndarray:
    """Logarithm of the density at ``score`` (..., n), each column by its own slice; NaN slices say nothing (0).

    Scores beyond the outer bins count as these: there the model saturates. A share of outliers keeps one slice
    from ruling out what all others say.
    """
    width = slices.centres[1] - slices.centres[0]
    place = np.clip((score - slices.centres[0]) / width, 0, len(slices.centres) - 1)
    left = np.minimum(place.astype(int), len(slices.centres) - 2)
    share = place - left
    column = np.arange(score.shape[-1])
    value = slices.probability[column, left] * (1 - share) + slices.probability[column, left + 1] * share
    return np.nan_to_num(np.log((1 - OUTLIER_SHARE) * value / width + OUTLIER_SHARE * OUTLIER_DENSITY))


@dataclass(frozen=True)
class PlanePosterior:
    """Posterior of the best plane.

    Parameters
    ----------
    plane
        ``(g,)`` candidate planes in the units of z.
    probability
        ``(g,)``, sums to 1; empty when there is none.
    rate
        Most probable score per slice by the model's own, negative where scores fall with z.
    reason
        Why there is none; empty otherwise.
    """

    plane: np.ndarray = field(default_factory=lambda: np.empty(0))
    probability: np.ndarray = field(default_factory=lambda: np.empty(0))
    rate: float = np.nan
    reason: str = ""

    @property
    def fit(self) -> CurveFit:
        """Mean and standard deviation of the highest mode.

        A hot posterior has a floor over the whole stack, which would draw the mean to the middle; what lies beyond the
        points where the density falls to ``FLOOR_SHARE`` of the mode's is left out.
        """
        if self.reason:
            return CurveFit(reason=self.reason)
        mode = int(np.argmax(self.probability))
        low = self.probability < FLOOR_SHARE * self.probability[mode]
        first = mode - int(np.argmax(low[mode::-1])) + 1 if low[:mode].any() else 0
        last = mode + int(np.argmax(low[mode:])) if low[mode:].any() else len(low)
        plane, weight = self.plane[first:last], self.probability[first:last] / self.probability[first:last].sum()
        mean = float(weight @ plane)
        deviation = float(np.sqrt(max(weight @ (plane - mean) ** 2, 0.0)))
        return CurveFit(mean, deviation, curve=lambda at: np.interp(at, self.plane, self.probability))

    def log_density_at(self, plane: float) -> float:
        """Logarithm of the density at a plane, per slice spacing's grid step; that of the smallest outside."""
        return float(np.log(np.interp(plane, self.plane, self.probability, left=0, right=0) + 1e-12))


def plane_posterior(
    z: np.ndarray,
    slices: ScoreDistribution,
    score_per_slice: float,
    *,
    temperature: float = DEFAULT_TEMPERATURE,
    direction: int = 0,
) -> PlanePosterior:
    """Multiply the slices' score distributions, each shifted by its z, into one posterior of the best plane.

    For a plane c the slice at z should have the score ``rate * score_per_slice * (z - c) / spacing``; the rate is
    marginalised over ``RATES``. Slices of one stack show the same cell, so their errors are not independent, and the
    product would be far too sure: its logarithm is divided by the ``temperature``.

    Parameters
    ----------
    z
        ``(n,)`` positions.
    slices
        Distributions of the n slices.
    score_per_slice
        Of the model.
    temperature
        Calibrated, see ``calibration``.
    direction
        1 or -1 to accept only scores that rise or fall with z; 0 tries both.

    Returns
    -------
    PlanePosterior
        With a reason when fewer than three slices have a distribution, or when the mode lies at an end of the range
        that was searched, one spacing beyond the stack.
    """
    known = np.isfinite(slices.probability).all(axis=1) & np.isfinite(z)
    if known.sum() < 3:
        return PlanePosterior(reason=TOO_FEW if known.any() else NO_VALUES)
    z, slices = z[known], ScoreDistribution(slices.centres, slices.probability[known])
    spacing = spacing_of(z)
    plane = _candidates(z, slices, spacing)
    near = np.abs(z - plane.mean()) <= (np.ptp(plane) / 2 + MOST_SPACINGS * spacing)
    z, slices = z[near], ScoreDistribution(slices.centres, slices.probability[near])
    away = (z - plane[:, None]) * (score_per_slice / spacing)  # (g, n)
    likely = _tempered(away, slices, _rates(direction), temperature)  # (r, g)
    likely = np.exp(likely - likely.max())
    probability = likely.sum(axis=0) / likely.sum()
    if np.argmax(probability) in (0, len(plane) - 1):
        return PlanePosterior(reason=ONE_SIGN)
    return PlanePosterior(plane, probability, float(_rates(direction)[np.argmax(likely.max(axis=1))]))


def _rates(direction: int) -> np.ndarray:
    signs = [direction] if direction else [1, -1]
    return np.concatenate([sign * RATES for sign in signs])


def _tempered(away: np.ndarray, slices: ScoreDistribution, rates: np.ndarray, temperature: float) -> np.ndarray:
    prior = -((np.log(np.abs(rates)) / RATE_SPREAD) ** 2) / 2
    evidence = np.array([log_density(slices, rate * away).sum(axis=1) for rate in rates])
    return evidence / temperature + prior[:, None]


def _candidates(z: np.ndarray, slices: ScoreDistribution, spacing: float) -> np.ndarray:
    """Planes from one spacing before the stack to one behind; of a long stack only those around the crossing."""
    low, high = z.min() - spacing, z.max() + spacing
    long = high - low > 2 * MOST_SPACINGS * spacing
    if long and (crossing := zero_crossing(z, slices.probability @ slices.centres)):
        low = max(low, crossing.position - MOST_SPACINGS / 2 * spacing)
        high = min(high, crossing.position + MOST_SPACINGS / 2 * spacing)
    return np.arange(low, high + STEP * spacing / 2, STEP * spacing)
