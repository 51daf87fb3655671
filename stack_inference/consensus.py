"""The sharpest plane by several measures: each curve is fitted for itself, and their median decides.

A measure that is off (variance of the Laplacian under noise, a gradient that follows one dark rim) is outvoted. Their
disagreement goes into the error.
"""

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import MEDIAN_OF_NORMAL, CurveFit
from focus_picker.stack_inference.curves import parabola

PANEL = ("tenengrad", "brenner", "vollath_f4", "half_scale_gradient", "modified_laplacian", "half_scale_laplacian")
"""Measures that vote: gradients and second derivatives, at full and at half scale, linear and squared."""


def consensus(z: ArrayLike, curves: np.ndarray) -> CurveFit:
    """Median of the measures' fitted peaks.

    Parameters
    ----------
    z
        ``(n,)``.
    curves
        ``(measures, n)``, the first being the one that is drawn; NaN for gaps.

    Returns
    -------
    CurveFit
        The standard error is the larger of the median of the fits' own and of what the measures' disagreement
        says: their median distance from the median, as a normal variable's deviation.

    Notes
    -----
    Fails where no measure's fit succeeds, for the reason of the first one.
    """
    fits = [parabola(z, focus, logarithm=True) for focus in curves]
    found = [fit for fit in fits if fit]
    if not found:
        return fits[0]
    places = np.array([fit.position for fit in found])
    position = float(np.median(places))
    disagreement = float(np.median(np.abs(places - position))) / MEDIAN_OF_NORMAL
    own = np.array([fit.standard_error for fit in found])
    error = float(np.fmax(np.median(own), disagreement))
    return CurveFit(position, error, curve=found[0].curve)
