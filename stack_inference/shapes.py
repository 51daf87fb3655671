"""Fits of a whole peak shape: the centre by its posterior, everything else marginalised over a grid or solved for.

A curve is modelled as ``background + height * shape((z - centre) / width)``. Height and background follow from linear
least squares at every point of a grid over centre and width (and asymmetry), so that no optimiser can stop at the
wrong place; the centre is the mean of its posterior. No real curve has exactly the shape, and it is least like it far
from the peak: the expected misfit grows with the distance from the centre, which lets the slices beside the peak
decide.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import (
    AT_END,
    NO_VALUES,
    NOT_A_PEAK,
    REPEATED_Z,
    TOO_FEW,
    CurveFit,
    clean,
    peak_index,
)

TEMPLATE_FILE = Path(__file__).parent / "templates" / "tenengrad.json"
TEMPLATE_FORMAT = "focus-picker curve template 1"

MISFIT, MISFIT_GROWTH, MISFIT_REACH = 0.08, 0.05, 2.0
"""Expected misfit by the peak's height: at the centre, what the squared distance in half widths adds to it, and the
distance from which it grows no more. Chosen where halves of real curves agree best among the values at which the
scatter about the truth of simulated stacks is that of a parabola through three points (docs/stack_inference.md).
Without an end to its growth, a slice could be explained by moving away from it, and positions would shrink towards the
middle."""

BACKGROUND = 0.4
"""Standard deviation of the background above the smallest value, by the peak's height: hardly a restriction."""

USUAL_HALF_WIDTH, HALF_WIDTH_SPREAD = 1.2, 0.3
"""Half width at half height in slice spacings, and the scale of its logarithm's heavy-tailed prior: a stack is recorded
with a step that suits the depth of field. Sharper peaks than this are narrow because of one noisy slice more often
than because the stack is coarse."""

CENTRES, HALF_WIDTHS = 41, np.exp(np.linspace(-1.6, 1.7, 34))
MOST_SLICES = 25  # around the peak; beyond them there is only background
ASYMMETRIES, ASYMMETRY_SPREAD = np.linspace(-0.6, 0.6, 7), 0.25
BAD_MISFIT = 0.4  # squared misfit by the expected one from which a single outlier is looked for
SPIKE_SHARE = 0.3  # of the highest value that no other reaches where one slice is spoilt: depths of field overlap
FEWEST_FOR_OUTLIERS = 6
USUAL_MISFIT, USUAL_WEIGHT = 0.3, 4.0  # what smooth curves reach, and with the weight of how many slices

Shape = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Template:
    """A peak shape learned from curves: values at ``step * index`` half widths from the centre, 1 at the centre."""

    step: float
    values: np.ndarray

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Height at a signed distance from the centre in half widths; symmetric, flat beyond the last value."""
        return np.interp(np.abs(distance), self.step * np.arange(len(self.values)), self.values)


@cache
def load_template(path: Path = TEMPLATE_FILE) -> Template:
    """Read a template written by ``stack_inference.template_learning``; a file of another format is a ValueError."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != TEMPLATE_FORMAT:
        raise ValueError(f"{path} has the format {content['format']!r}, expected {TEMPLATE_FORMAT!r}: learn it again")
    return Template(float(content["step_half_widths"]), np.array(content["values"], dtype=float))


def gaussian(distance: np.ndarray) -> np.ndarray:
    """Gaussian of half width 1."""
    return np.exp(-np.log(2) * distance**2)


def expected_misfit(distance: np.ndarray) -> np.ndarray:
    """Standard deviation of a value about the shape, by the peak's height, at a distance in half widths."""
    return MISFIT + MISFIT_GROWTH * np.minimum(np.abs(distance), MISFIT_REACH) ** 2


def template(z: ArrayLike, focus: ArrayLike) -> CurveFit:
    """Fit the learned template: shift, scale, width and background; see ``fit_shape`` for errors and failures."""
    return fit_shape(z, focus, load_template())


def asymmetric_gaussian(z: ArrayLike, focus: ArrayLike) -> CurveFit:
    """Fit a Gaussian with a width of its own on each side; see ``fit_shape`` for errors and failures."""
    return fit_shape(z, focus, gaussian, ASYMMETRIES)


SHAPES: dict[str, tuple[Callable[[ArrayLike, ArrayLike], CurveFit], int]] = {
    "template": (template, 4),
    "asymmetric_gaussian": (asymmetric_gaussian, 5),
}
"""Fits that ``chosen_shape`` chooses among, each with its number of free parameters."""


def chosen_shape(z: ArrayLike, focus: ArrayLike) -> CurveFit:
    """Take the shape with the smallest corrected Akaike information criterion, the simplest where slices are few.

    ``n log(rss / n) + 2 k + 2 k (k + 1) / (n - k - 1)`` for n slices and k parameters (Hurvich and Tsai 1989,
    Biometrika 76:297); a shape with ``n <= k + 1`` is not considered unless it is the first. Fails where ``fit_shape``
    does.
    """
    at, values = clean(z, focus)
    fits = [(fit(at, values), k) for fit, k in SHAPES.values()]
    scored = [(_criterion(fit, at, values, k), fit) for fit, k in fits if fit]
    return min(scored, key=lambda pair: pair[0])[1] if scored else fits[0][0]


def _criterion(fit: CurveFit, z: np.ndarray, focus: np.ndarray, k: int) -> float:
    n = len(z)
    assert fit.curve is not None
    mean_square = np.mean((focus - fit.curve(z)) ** 2) + np.finfo(float).tiny
    if n <= k + 1:
        return np.inf if k > 4 else 0.0
    return float(n * np.log(mean_square) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def fit_shape(z: ArrayLike, focus: ArrayLike, shape: Shape, asymmetries: np.ndarray = np.zeros(1)) -> CurveFit:  # noqa: B008
    """Fit centre, width, height and background of a shape by maximum likelihood with weak priors.

    Parameters
    ----------
    z, focus
        ``(n,)`` each, in any order; non-finite values are left out. Slices may share one z.
    shape
        Height at a distance from the centre in half widths.
    asymmetries
        Logarithms of the right width by the geometric mean of both; ``[0]`` for a symmetric peak.

    Returns
    -------
    CurveFit
        The position is the posterior mean of the centre, between the slices beside the largest value. The standard
        error is the posterior's standard deviation scaled by the misfit found to the misfit expected. Random error and
        misfit of the shape are covered; aberrations that move the sharpest plane itself are not.

    Notes
    -----
    A slice that spoils the fit is left out. Where the misfit is large, each slice in turn is, and the fit stands that
    brings the misfit down to a quarter. Where the largest value stands alone (``is_spike``), it is left
    out if the others have a good peak at another place. Neither is tried with fewer than six slices.

    Fails when no slice has a focus value, or fewer than three have; when the largest value is at an end of the stack;
    when all slices that could tell share one z; when no peak of positive height fits (a constant curve).
    """
    at, values = clean(z, focus)
    whole = _posterior(at, values, shape, asymmetries)
    if not whole.fit or len(at) < FEWEST_FOR_OUTLIERS:
        return whole.fit
    peak = peak_index(values)
    if is_spike(values):
        others = _posterior(np.delete(at, peak), np.delete(values, peak), shape, asymmetries)
        away = abs(others.fit.position - at[peak]) > 1.5 * np.median(np.diff(at))
        return others.fit if others.fit and away and others.misfit < BAD_MISFIT else whole.fit
    if whole.misfit < BAD_MISFIT:
        return whole.fit
    without = [_posterior(np.delete(at, k), np.delete(values, k), shape, asymmetries) for k in range(len(at))]
    best = min(without, key=lambda found: found.misfit)
    return best.fit if best.fit and best.misfit < whole.misfit / 4 else whole.fit


def is_spike(values: np.ndarray) -> bool:
    """Tell whether the largest value stands alone: no other reaches ``SPIKE_SHARE`` of its height above the lowest."""
    others = np.delete(values, peak_index(values))
    return bool(others.max() - values.min() < SPIKE_SHARE * np.ptp(values))


@dataclass(frozen=True)
class _Posterior:
    """A fit and its squared misfit by the expected one."""

    fit: CurveFit
    misfit: float = np.inf


def _posterior(z: np.ndarray, focus: np.ndarray, shape: Shape, asymmetries: np.ndarray) -> _Posterior:
    """Fit clean values."""
    reason = _reason_against(z, focus)
    if reason:
        return _Posterior(CurveFit(reason=reason))
    peak = peak_index(focus)
    near = slice(max(0, peak - MOST_SLICES // 2), peak + MOST_SLICES // 2 + 1)
    bottom, height = focus[near].min(), np.ptp(focus[near])
    offset, value = z[near] - z[peak], (focus[near] - bottom) / height
    grid = _grid(offset, asymmetries)
    found = _linear(value, shape(grid.distance), expected_misfit(grid.distance))
    likely = -found.chi2 / 2 - found.log_determinant / 2 + grid.log_prior
    likely = np.where(found.height > 0, likely, -np.inf)
    best = int(np.argmax(likely))
    if not np.isfinite(likely[best]):
        return _Posterior(CurveFit(reason=NOT_A_PEAK))
    weight = np.exp(likely - likely[best])
    weight /= weight.sum()
    centre = float(weight @ grid.centre)
    deviation = np.sqrt(max(weight @ (grid.centre - centre) ** 2, 0.0))
    degrees = max(len(value) - 4, 1)
    expected = (found.chi2[best] + USUAL_WEIGHT * USUAL_MISFIT) / (degrees + USUAL_WEIGHT)

    def distance(away: np.ndarray) -> np.ndarray:
        return away / grid.width[best] * np.exp(np.where(away > 0, -1, 1) * grid.asymmetry[best])

    around = distance(offset - centre)[None]
    drawn = _linear(value, shape(around), expected_misfit(around))

    def curve(at: np.ndarray) -> np.ndarray:
        relative = drawn.background[0] + drawn.height[0] * shape(distance(np.asarray(at) - z[peak] - centre))
        return bottom + height * relative

    fit = CurveFit(float(z[peak] + centre), float(deviation * np.sqrt(expected)), curve=curve)
    return _Posterior(fit, float(found.chi2[best] / degrees))


def _reason_against(z: np.ndarray, focus: np.ndarray) -> str:
    if not len(z):
        return NO_VALUES
    if len(z) < 3:
        return TOO_FEW
    peak = peak_index(focus)
    if peak in (0, len(z) - 1):
        return AT_END
    if z[peak] in (z[0], z[-1]):
        return REPEATED_Z
    return NOT_A_PEAK if np.ptp(focus) == 0 else ""


@dataclass(frozen=True)
class _Grid:
    """Candidates, ``(g,)`` each, and the distance of every slice from each in half widths, ``(g, n)``."""

    centre: np.ndarray
    width: np.ndarray
    asymmetry: np.ndarray
    log_prior: np.ndarray
    distance: np.ndarray


def _grid(offset: np.ndarray, asymmetries: np.ndarray) -> _Grid:
    """Centres between the slices beside the peak (at offset 0), widths around the usual one, asymmetries."""
    spacing = float(np.median(np.diff(np.unique(offset))))
    every = 1 if len(asymmetries) == 1 else 2  # a grid of one more axis is coarser in the others
    centres = np.linspace(offset[offset < 0].max(), offset[offset > 0].min(), CENTRES)[::every]
    centre, width, asymmetry = (
        axis.ravel()
        for axis in np.meshgrid(centres, HALF_WIDTHS[::every] * USUAL_HALF_WIDTH, asymmetries, indexing="ij")
    )
    away = offset - centre[:, None]
    distance = away / (width * spacing)[:, None] * np.exp(np.where(away > 0, -1, 1) * asymmetry[:, None])
    narrow_or_wide = (np.log(width / USUAL_HALF_WIDTH) / HALF_WIDTH_SPREAD) ** 2 / 2
    log_prior = -2 * np.log1p(narrow_or_wide / 2) - (asymmetry / ASYMMETRY_SPREAD) ** 2 / 2
    return _Grid(centre, width * spacing, asymmetry, log_prior, distance)


@dataclass(frozen=True)
class _Linear:
    """Height and background of every candidate with its chi-square and the determinant of its covariance."""

    height: np.ndarray
    background: np.ndarray
    chi2: np.ndarray
    log_determinant: np.ndarray


def _linear(value: np.ndarray, shape: np.ndarray, sigma: np.ndarray) -> _Linear:
    """Least squares of ``value`` (n,) by ``height * shape + background``; shape and sigma (g, n).

    The background has a normal prior of standard deviation ``BACKGROUND`` and is marginalised.
    """
    weight = 1 / sigma**2
    total = weight.sum(axis=1) + 1 / BACKGROUND**2
    weighted = weight * shape
    shape_sum, value_sum = weighted.sum(axis=1), weight @ value
    shape_square = np.maximum((weighted * shape).sum(axis=1) - shape_sum**2 / total, 1e-12)
    product = weighted @ value - shape_sum * value_sum / total
    height = product / shape_square
    chi2 = weight @ value**2 - value_sum**2 / total - height * product
    log_determinant = 2 * np.log(sigma).sum(axis=1) + np.log(total * BACKGROUND**2)
    return _Linear(height, (value_sum - height * shape_sum) / total, np.maximum(chi2, 0), log_determinant)
