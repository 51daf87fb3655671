"""From a score and its interval to what the microscope should do."""

import numpy as np
from numpy.typing import ArrayLike

UNSURE, UNCALIBRATED = "unsure", "uncalibrated"
NOT_CALIBRATED = "not calibrated on this microscope: record stacks and run adapt"
OUTSIDE = "outside what this model knows, or the picture fits both sides of focus: take a second picture one step away"
ADVICE = {UNCALIBRATED: NOT_CALIBRATED, UNSURE: OUTSIDE}
"""What to do about a state, for people."""


def focus_state(score: ArrayLike, lower: ArrayLike, upper: ArrayLike, score_per_slice: float) -> np.ndarray:
    """Name the state of focus of each image.

    An image is ``in_focus`` when its score is within half a slice of zero (labels are given to the nearest slice, so
    no finer statement is supported by them), otherwise ``pre_focal`` or ``post_focal`` by sign. It is ``unsure`` when
    its interval reaches beyond one slice on *both* sides: then a move in either direction could be wrong by more than
    a slice, and moving the wrong way is what costs an instrument most (the next image is worse and the search starts
    again). An interval that reaches beyond one slice on one side only is a matter of how far, never of which way, and
    one that stays within a slice on both sides is near focus whatever its sign; neither is unsure.

    Parameters
    ----------
    score, lower, upper
        Predicted score and ends of its interval, in score units; scalars or arrays of one shape.
    score_per_slice
        Score difference of two neighbouring slices, positive.

    Returns
    -------
    numpy.ndarray
        ``in_focus``, ``pre_focal`` (the lens is too close: move it away), ``post_focal`` (too far: move it closer) or
        ``unsure``, in the shape of ``score``. A value that is not finite gives ``unsure``.

    Raises
    ------
    ValueError
        If ``score_per_slice`` is not a positive number.
    """
    if not score_per_slice > 0:
        raise ValueError(f"score_per_slice is {score_per_slice}; expected a positive number.")
    score, lower, upper = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (score, lower, upper)))
    finite = np.isfinite(score) & np.isfinite(lower) & np.isfinite(upper)
    both_signs = (lower < -score_per_slice) & (upper > score_per_slice)
    in_focus = np.abs(score) <= score_per_slice / 2
    # np.select takes the first condition that holds: doubt goes before any statement.
    return np.select([~finite | both_signs, in_focus, score < 0], [UNSURE, "in_focus", "pre_focal"], "post_focal")


def stated(state: np.ndarray, calibrated: bool) -> np.ndarray:
    """What a model may state of ``focus_state``'s answers ``(n,)``.

    A model whose intervals were not measured on this microscope does not know how wrong it is there: it may say that it
    is ``unsure``, and otherwise only that it is ``uncalibrated``.
    """
    return state if calibrated else np.where(state == UNSURE, UNSURE, UNCALIBRATED)
