"""The fallback: a fine sweep, about where scores point or else about the peak of a coarse one, picked by sharpness."""

import numpy as np

from focus_picker.autofocus.devices import Stopped
from focus_picker.autofocus.frames import Frame
from focus_picker.autofocus.search import Search
from focus_picker.dataset.arrays import array_stack
from focus_picker.models.intervals import SIGMA_OF_90
from focus_picker.stack_inference import status
from focus_picker.stack_inference.pick import Pick, pick_focus

NO_PEAK = "in_limits_no_peak"

COARSE, FINE, FINE_FRAMES = 1.5, 0.5, 7
"""Depths of field between the frames of the two sweeps, and frames of the second."""

FLANK = 1.0
"""Depths of field that the drive must be able to go beyond focus on either side: a peak needs two flanks."""

FALLEN = 0.05
"""Log sharpness by which the verifying frame may stay below the best of the fine sweep."""


def by_sweep(search: Search) -> float:
    """Sweep finely where scores leave little doubt; where that shows no peak, coarsely first. Return the place.

    Raises
    ------
    Stopped
        No peak within the range, at its edge, several that rival, or the verifying frame does not bear it out.
    """
    belief = search.belief()
    if belief is not None and belief.error_um <= search.depth_um / 2:
        try:
            return _finely(search, belief.focus_um)
        except Stopped as stop:
            if stop.reason != NO_PEAK:
                raise
    return _finely(search, _coarsely(search))


def _coarsely(search: Search) -> float:
    """Sharpest plane of a sweep over the search range."""
    mover = search.mover
    low = mover.inside(mover.start_um - search.settings.search_um)
    high = mover.inside(mover.start_um + search.settings.search_um)
    count = max(5, int(np.ceil((high - low) / (COARSE * search.depth_um))) + 1)
    return _peak(search, np.linspace(low, high, count), "coarse sweep")[0]


def _finely(search: Search, about_um: float) -> float:
    """Sharpest plane of a fine sweep, held against the limits, its error, and a frame there."""
    mover, depth_um = search.mover, search.depth_um
    half = FINE * depth_um * (FINE_FRAMES // 2)
    places = np.linspace(mover.inside(about_um - half), mover.inside(about_um + half), FINE_FRAMES)
    focus_um, error_um = _peak(search, places, "fine sweep")
    if min(focus_um - mover.lowest_um, mover.highest_um - focus_um) < FLANK * depth_um:
        raise Stopped(NO_PEAK, f"the sharpest plane, {focus_um:.2f} um, lies too near a limit to be sure of")
    if not SIGMA_OF_90 * error_um <= depth_um / 2:
        raise Stopped(NO_PEAK, f"the sharpest plane is known to {error_um:.2f} um only")
    best = max(frame.sharpness for frame in search.frames)
    if search.look(focus_um, "verify").sharpness < best - FALLEN:
        raise Stopped(NO_PEAK, "the frame at the picked plane is less sharp than the sharpest one was")
    return focus_um


def _peak(search: Search, places: np.ndarray, why: str) -> tuple[float, float]:
    """Best plane of frames at equally spaced places and its standard error, micrometres."""
    frames = [search.look(float(z_um), why) for z_um in places]
    pick = _picked(frames)
    if pick.status != status.OK:
        raise Stopped(NO_PEAK, f"{why}: {pick.status}; {pick.advice}")
    step_um = (places[-1] - places[0]) / (len(places) - 1)
    if not 0 < pick.best_position < len(places) - 1:
        raise Stopped(NO_PEAK, f"{why}: the sharpest plane lies at its end or beyond")
    return float(places[0] + pick.best_position * step_um), pick.standard_error * step_um


def _picked(frames: list[Frame]) -> Pick:
    """Pick by sharpness: scores had their chance before."""
    return pick_focus(array_stack([frame.image for frame in frames], "sweep"))
