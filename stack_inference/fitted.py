"""The sharpness curve that a pick was fitted with, sampled for pictures."""

import numpy as np

from focus_picker.stack_inference import status
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.decide import DEFAULT_METHOD
from focus_picker.stack_inference.evidence import SHARPNESS_FIT
from focus_picker.stack_inference.pick import Pick, index_at

SHOWN = 1.3  # slices beyond best plane and peak, about what the fit has seen
SAMPLES = 60


def fitted_sharpness(pick: Pick, z: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit the sharpness of a pick's slices again, as its method did.

    Parameters
    ----------
    pick
        From ``pick_focus``.
    z
        Positions of its slices, from ``scoring.positions``.

    Returns
    -------
    tuple or None
        Places in slices from 0 about best plane and peak, and the curve's values there, ``(SAMPLES,)`` each; None
        where the pick is not ``ok``, where its method fitted scores and not sharpness, and where there is no curve.
    """
    scored = any(np.isfinite(part.score) for part in pick.slices)
    by_sharpness = pick.method == DEFAULT_METHOD or (pick.method in CURVES and not scored)
    if pick.status != status.OK or not by_sharpness:
        return None
    fit = CURVES[SHARPNESS_FIT if pick.method == DEFAULT_METHOD else pick.method]
    found = fit(z, np.array([part.sharpness for part in pick.slices]))
    curve = found.curve
    if curve is None:
        return None
    # The best plane may lie beside the curve's peak: signed scores have a say, and what looks sharpest is offset.
    ends = sorted((pick.best_position, index_at(z, found.position)[0]))
    first, last = max(0.0, ends[0] - SHOWN), min(pick.n_slices - 1.0, ends[1] + SHOWN)
    place = np.linspace(first, last, SAMPLES)
    return place, curve(np.interp(place, np.arange(len(z)), z))
