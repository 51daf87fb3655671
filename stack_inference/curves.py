"""Curve fits: from focus values at known z to the z where focus is best.

``CURVES`` is the family: a new fit is one function and one line there, and gets its tests, its ``--method`` choice and
its row in the tables from that line. Larger focus is better. z may be irregular, unsorted and have gaps (non-finite
focus). Every member follows z when z is shifted, scaled or reversed, and ignores the scale of focus.
"""

from collections.abc import Callable
from functools import partial

from numpy.typing import ArrayLike

from focus_picker.stack_inference.curve_fit import CurveFit
from focus_picker.stack_inference.skewed import skewed
from focus_picker.stack_inference.vertex import argmax, parabola

CURVES: dict[str, Callable[[ArrayLike, ArrayLike], CurveFit]] = {
    "argmax": argmax,
    "parabola": parabola,
    "parabola_log": partial(parabola, logarithm=True),
    "skewed": skewed,
}
"""Curve fits by name: function (z, focus) -> CurveFit."""
