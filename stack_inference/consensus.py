"""The sharpest plane by several measures: each curve is fitted for itself, and the middle ones decide.

A measure that is off (a gradient that follows one dark rim, a second derivative under noise) is outvoted. Their
disagreement goes into the error: where measures differ, the cell has no one sharpest plane.
"""

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import CurveFit
from focus_picker.stack_inference.skewed import load_fitted, skewed

PANEL = (
    "tenengrad",
    "brenner",
    "vollath_f4",
    "gradient_mean",
    "tenengrad_variance",
    "half_scale_laplacian",
    "half_scale_gradient",
)
"""Measures that vote: squared, absolute and strong gradients, correlation, a second derivative; full and half scale."""


def consensus(z: ArrayLike, curves: np.ndarray) -> CurveFit:
    """Mean of the middle of the measures' fitted peaks.

    Parameters
    ----------
    z
        ``(n,)``.
    curves
        ``(measures, n)``, the first being the one that is drawn; NaN for gaps.

    Returns
    -------
    CurveFit
        The standard error holds the fits' own and the measures' disagreement, in proportions that
        ``peak_learning`` found on stacks with known planes.

    Notes
    -----
    Fails where no measure's fit succeeds, for the reason of the first one.
    """
    fits = [skewed(z, focus) for focus in curves]
    found = [fit for fit in fits if fit]
    if not found:
        return fits[0]
    places = np.array([fit.position for fit in found])
    own = float(np.median([fit.standard_error for fit in found]))
    learned = load_fitted()
    error = np.hypot(learned.own * own, learned.spread * spread(places))
    return CurveFit(middle_mean(places), float(error), curve=found[0].curve)


def middle_mean(places: np.ndarray) -> float:
    """Mean without the lowest and the highest quarter, rounded down: of seven, one on each side."""
    left_out = len(places) // 4
    return float(np.sort(places)[left_out : len(places) - left_out].mean())


def spread(places: np.ndarray) -> float:
    """Standard deviation of the places that the mean is taken of."""
    left_out = len(places) // 4
    return float(np.sort(places)[left_out : len(places) - left_out].std())
