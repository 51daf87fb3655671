"""Curve fits: from focus values at known z to the z where focus is best.

``CURVES`` is the family: a new fit is one function and one line there, and gets its tests, its ``--method`` choice and
its row in the tables from that line. Larger focus is better. z may be irregular, unsorted and have gaps (non-finite
focus). Every member follows z when z is shifted, scaled or reversed, and ignores the scale of focus.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import (
    AT_END,
    NO_VALUES,
    NOT_A_PEAK,
    NOT_POSITIVE,
    REPEATED_Z,
    TOO_FEW,
    VERTEX_OUTSIDE,
    CurveFit,
    clean,
    curve_noise,
    peak_index,
)
from focus_picker.stack_inference.shapes import asymmetric_gaussian, chosen_shape, template

# A parabola through values scaled to range 1 over a window scaled to half width 1 has a curvature near -1; less than
# this is rounding error.
MIN_CURVATURE = 1e-9

LOG_FLOOR = 1e-3
"""Share of the peak below which a value is taken as this share before its logarithm: curves with their minimum
subtracted hold zeros."""


def argmax(z: ArrayLike, focus: ArrayLike) -> CurveFit:
    """Take the z of the largest value (among equals the middle one).

    The standard error is that of rounding to slices: the slice stands for the z halfway to its neighbours, and a
    uniform distribution over that width has the standard deviation width / sqrt(12). It takes for granted that the
    largest value is at the right slice. NaN at an end of the stack, where one halfway point is missing.

    Fails when no slice has a focus value.
    """
    z, focus = clean(z, focus)
    if not len(z):
        return CurveFit(reason=NO_VALUES)
    peak = peak_index(focus)
    inside = 0 < peak < len(z) - 1
    width = (z[peak + 1] - z[peak - 1]) / 2 if inside else np.nan
    return CurveFit(float(z[peak]), float(width / np.sqrt(12)))


def parabola(z: ArrayLike, focus: ArrayLike, *, points: int = 3, logarithm: bool = False) -> CurveFit:
    """Vertex of the least-squares parabola through the values around the largest one.

    Parameters
    ----------
    z, focus
        ``(n,)`` each. Non-finite values are left out.
    points
        Odd width of the window in slices, centred on the largest value and cut off at the ends of the stack. With 3 the
        parabola goes through its points.
    logarithm
        Fit the logarithm of focus, that is a Gaussian to focus. Exact for a Gaussian without background whose values
        in the window are above ``LOG_FLOOR`` of the largest.

    Returns
    -------
    CurveFit
        The standard error is the values' error carried through the vertex formula to first order. Where the window
        holds more points than the parabola has parameters, the values' error is the scatter about the parabola: noise
        and misfit, from few degrees of freedom. Otherwise it is ``curve_noise``; NaN where the stack is too short for
        that. Either way it covers random error only: a skewed curve or aberrations move the vertex beyond it.

    Notes
    -----
    Fails when no slice has a focus value, or fewer than three have; when the largest value is at an end of the stack;
    when two slices of the window share one z; when a value of the window is negative, or none is above zero (logarithm
    only); when the curve does not bend downwards at its largest value (a plateau); when the vertex lies outside the
    slices beside it.
    """
    z, focus = clean(z, focus)
    if not len(z):
        return CurveFit(reason=NO_VALUES)
    if len(z) < 3:
        return CurveFit(reason=TOO_FEW)
    peak = peak_index(focus)
    if peak in (0, len(z) - 1):
        return CurveFit(reason=AT_END)
    window = slice(max(0, peak - points // 2), peak + points // 2 + 1)
    offset, value = z[window] - z[peak], focus[window]
    if np.any(np.diff(offset) <= 0):
        return CurveFit(reason=REPEATED_Z)
    sigma = np.full(len(value), curve_noise(z, focus))
    if logarithm:
        if value.min() < 0 or value.max() == 0:
            return CurveFit(reason=NOT_POSITIVE)
        value = np.maximum(value, LOG_FLOOR * value.max())
        sigma, value = sigma / value, np.log(value)
    fit = _vertex(offset, value, sigma)
    around_peak = fit.curve
    if around_peak is None:
        return fit

    def curve(at: np.ndarray) -> np.ndarray:
        fitted = around_peak(at - z[peak])
        return np.exp(fitted) if logarithm else fitted

    return replace(fit, position=fit.position + z[peak], curve=curve)


def _vertex(z: np.ndarray, focus: np.ndarray, sigma: np.ndarray) -> CurveFit:
    """Vertex of the parabola through a window whose largest value is at z = 0, z ascending."""
    half_width, height = np.abs(z).max(), np.ptp(focus)
    if height == 0:
        return CurveFit(reason=NOT_A_PEAK)
    # Centred and scaled, so that the normal equations stay well conditioned wherever the stage's zero is.
    u, value = z / half_width, (focus - focus.max()) / height
    design = np.vander(u, 3)
    solve = np.linalg.pinv(design)  # (3, n): coefficients of u**2, u, 1 from the values
    curvature, slope, _ = solve @ value
    if curvature > -MIN_CURVATURE:
        return CurveFit(reason=NOT_A_PEAK)
    vertex = -slope / (2 * curvature)
    if not u[u < 0].max() <= vertex <= u[u > 0].min():
        return CurveFit(reason=VERTEX_OUTSIDE)
    degrees = len(u) - 3
    if degrees:
        misfit = value - design @ (solve @ value)
        scatter = np.full(len(u), np.sqrt(misfit @ misfit / degrees))
    else:
        scatter = sigma / height
    gradient = (slope / curvature * solve[0] - solve[1]) / (2 * curvature)  # of the vertex, by each value
    standard_error = np.sqrt(np.sum((gradient * scatter) ** 2)) * half_width

    def curve(at: np.ndarray) -> np.ndarray:
        return focus.max() + height * np.polyval(solve @ value, at / half_width)

    return CurveFit(float(vertex * half_width), float(standard_error), curve=curve)


CURVES: dict[str, Callable[[ArrayLike, ArrayLike], CurveFit]] = {
    "argmax": argmax,
    "parabola": parabola,
    "parabola_5": partial(parabola, points=5),
    "parabola_log": partial(parabola, logarithm=True),
    "asymmetric_gaussian": asymmetric_gaussian,
    "template": template,
    "chosen_shape": chosen_shape,
}
"""Curve fits by name: function (z, focus) -> CurveFit."""

SHARPNESS_ONLY = frozenset({"parabola_log", "asymmetric_gaussian", "template", "chosen_shape"})
"""Members made for sharpness: a logarithm, or a peak with flanks, which minus a squared score does not have."""
