"""Backlash of the drive and noise of its frames, measured where there is something to see."""

import numpy as np

from focus_picker.autofocus.record import look_at
from focus_picker.autofocus.search import Search
from focus_picker.dataset.arrays import array_stack
from focus_picker.stack_inference import status
from focus_picker.stack_inference.pick import pick_focus

REPEATS = 8


def measure_backlash(search: Search, focus_um: float, depth_um: float) -> float:
    """How much higher focus appears when it is reached from below than from above, micrometres; NaN where unclear.

    Parameters
    ----------
    search
        Whose mover approaches straight: with an approach from one side nothing would be seen.
    focus_um, depth_um
        Where focus is about, and the depth of field: frames are taken a half of it apart, three to either side.
    """
    places = focus_um + depth_um / 2 * np.arange(-6, 7)
    rising = _peak(search, places)
    falling = _peak(search, places[::-1])
    return max(rising - falling, 0.0)


def measure_noise(search: Search, focus_um: float) -> float:
    """Standard deviation of log sharpness of frames taken one after the other at one place."""
    frames = list(look_at(search, np.full(REPEATS, focus_um), "noise"))
    return float(np.std([frame.sharpness for frame in frames], ddof=1))


def _peak(search: Search, places: np.ndarray) -> float:
    frames = list(look_at(search, places, "backlash"))
    pick = pick_focus(array_stack([frame.image for frame in frames], "backlash"))
    if pick.status != status.OK:
        return np.nan
    return float(np.interp(pick.best_position, np.arange(len(places)), places))
