"""The vertex fits: the best slice itself, and the parabola through the slices about it."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import (
    AT_END,
    NO_VALUES,
    NOT_A_PEAK,
    NOT_POSITIVE,
    REPEATED_Z,
    TOO_FEW,
    CurveFit,
    clean,
    curve_noise,
    peak_index,
)

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


def parabola(z: ArrayLike, focus: ArrayLike, *, logarithm: bool = False) -> CurveFit:
    """Vertex of the parabola through the largest value and its two neighbours.

    Parameters
    ----------
    z, focus
        ``(n,)`` each. Non-finite values are left out.
    logarithm
        Fit the logarithm of focus, that is a Gaussian to focus. Exact for a Gaussian without background whose three
        values are above ``LOG_FLOOR`` of the largest.

    Returns
    -------
    CurveFit
        The standard error is the values' error (``curve_noise``) carried through the vertex formula to first order;
        NaN where the stack is too short for that. It covers random error only: a skewed curve moves the vertex beyond.

    Notes
    -----
    Fails when no slice has a focus value, or fewer than three have; when the largest value is at an end of the stack;
    when two of the three slices share one z; when one of the values is negative, or none is above zero (logarithm
    only); when the curve does not bend downwards at its largest value (a plateau).
    """
    z, focus = clean(z, focus)
    if not len(z):
        return CurveFit(reason=NO_VALUES)
    if len(z) < 3:
        return CurveFit(reason=TOO_FEW)
    peak = peak_index(focus)
    if peak in (0, len(z) - 1):
        return CurveFit(reason=AT_END)
    offset, value = z[peak - 1 : peak + 2] - z[peak], focus[peak - 1 : peak + 2]
    if np.any(np.diff(offset) <= 0):
        return CurveFit(reason=REPEATED_Z)
    sigma = np.full(3, curve_noise(z, focus))
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
    """Vertex of the parabola through three values whose largest is in the middle, at z = 0; z ascending."""
    half_width, height = np.abs(z).max(), np.ptp(focus)
    if height == 0:
        return CurveFit(reason=NOT_A_PEAK)
    # Centred and scaled, so that the equations stay well conditioned wherever the stage's zero is.
    u, value = z / half_width, (focus - focus.max()) / height
    solve = np.linalg.inv(np.vander(u, 3))  # coefficients of u**2, u, 1 from the values
    curvature, slope, _ = solve @ value
    if curvature > -MIN_CURVATURE:
        return CurveFit(reason=NOT_A_PEAK)
    vertex = -slope / (2 * curvature)
    gradient = (slope / curvature * solve[0] - solve[1]) / (2 * curvature)  # of the vertex, by each value
    standard_error = np.sqrt(np.sum((gradient * sigma / height) ** 2)) * half_width

    def curve(at: np.ndarray) -> np.ndarray:
        return focus.max() + height * np.polyval(solve @ value, at / half_width)

    return CurveFit(float(vertex * half_width), float(standard_error), curve=curve)
