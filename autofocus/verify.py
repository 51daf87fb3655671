"""Predict, move, verify: focus from single frames that bear each other out."""

from collections.abc import Sequence

import numpy as np

from focus_picker.autofocus.belief import Belief
from focus_picker.autofocus.calibration import Calibration
from focus_picker.autofocus.frames import Frame
from focus_picker.autofocus.search import Search

MOST_LOOKS = 8
"""Frames after which scores are given up and the sweep takes over."""

MOST_BLIND = 2
"""Frames without any score after which the sweep takes over."""

CLOSE = 0.35
"""Depths of field within which a frame counts as taken at a place: it looks the same there."""

APART = 0.5
"""Depths of field by which two frames must differ to say more than one."""

PROBE = 1.2
"""Depths of field to the side at which a frame that seems sharp is put to the test."""

USUAL = 3.0
"""Standard errors by which a score may miss what the calibration knows for its place, to bear a focus out."""

CLEAR_FALL = 3.0
"""Standard errors by which sharpness must usually fall between two frames for the pair to say where focus is."""

MOST_SHORT = 1.0
"""Standard errors by which sharpness may fall less than usual beside focus: one good search in six takes a further
frame for it."""

SURE_WITHIN_HALF, DOUBT_BEYOND_ONE = 0.90, 1e-3
"""Probability that must lie within half a depth of field, and that may lie beyond one, to call focus confirmed."""


def by_frames(search: Search) -> float | None:
    """Look where focus is believed to be until a place is confirmed; return it, or None where scores do not serve.

    The first frame has been taken. What a single score says far from focus is vague, and the belief is as wide as the
    calibration found it: more frames follow, never a confirmation.
    """
    while len(search.frames) < MOST_LOOKS:
        belief, calibration = search.belief(), search.calibration
        if belief is None or calibration is None or _blind(search.frames):
            return None
        place = confirmed_place(belief, search.frames, calibration)
        if place is not None and place == search.mover.inside(place):
            return place
        target = search.mover.inside(next_place(belief, search.frames, search.depth_um))
        if _taken(target, search.frames, search.depth_um):
            return None  # a limit is in the way
        search.look(target, "predicted")
    return None


def next_place(belief: Belief, frames: Sequence[Frame], depth_um: float) -> float:
    """Where to look next: where focus is believed, or beside it where that was seen already."""
    focus_um = belief.focus_um
    if not _taken(focus_um, frames, depth_um):
        return focus_um
    above, below = focus_um + PROBE * depth_um, focus_um - PROBE * depth_um
    return max((above, below), key=lambda z_um: min(abs(z_um - frame.z_um) for frame in frames))


def confirmed_place(belief: Belief, frames: Sequence[Frame], calibration: Calibration) -> float | None:
    """Return the believed focus where the frames bear it out, else None.

    These must hold: two frames apart from each other have scores that fit there; the belief leaves no room for another
    place; a frame was taken there whose own score is near zero; and sharpness falls from it to the frames taken
    elsewhere, by what the calibration knows of it. Scores alone come to rest on a flank where they mistake the side or
    are off everywhere. A model may abstain in focus, where an image has no side: then scores that fit and sharpness
    that falls must be there on both sides.
    """
    focus_um, depth_um = belief.focus_um, calibration.depth_um
    there = min(frames, key=lambda frame: abs(frame.z_um - focus_um))
    elsewhere = [frame for frame in frames if abs(frame.z_um - there.z_um) > CLOSE * depth_um]
    agreeing = [frame.z_um for frame in frames if _agrees(frame, focus_um, calibration)]
    abstained = there.score != there.score
    both_sides = len(set(np.sign(np.array(agreeing) - there.z_um))) > 1
    holds = (
        len(agreeing) > 1
        and max(agreeing) - min(agreeing) >= APART * depth_um
        and belief.within(focus_um, depth_um / 2) >= SURE_WITHIN_HALF
        and belief.within(focus_um, depth_um) >= 1 - DOUBT_BEYOND_ONE
        and abs(there.z_um - focus_um) <= CLOSE * depth_um
        and (both_sides if abstained else abs(there.score) * calibration.um_per_score <= depth_um)
        and _falls(there, elsewhere, focus_um, calibration, both_sides_needed=abstained)
    )
    return focus_um if holds else None


def _agrees(frame: Frame, focus_um: float, calibration: Calibration) -> bool:
    """Whether a frame has a score, and one that is usual for focus at ``focus_um``."""
    response, defocus = calibration.response, calibration.direction * np.array(frame.z_um - focus_um)
    away = abs(frame.score - response.at("score", defocus))
    shared = calibration.cell_error_um / calibration.um_per_score
    return bool(away <= USUAL * np.hypot(response.at("score_error", defocus), shared))


def _falls(
    there: Frame, elsewhere: Sequence[Frame], focus_um: float, calibration: Calibration, *, both_sides_needed: bool
) -> bool:
    """Whether every other frame is less sharp, those that should be clearly so on both sides or by about what is usual.

    Frames that are too near to the focus, or all far from it, look alike there: they bear nothing out. How much
    sharpness falls differs from cell to cell, so that a cell that falls by less than usual is seen from both sides.
    """
    if not elsewhere:
        return False
    response, z_um = calibration.response, np.array([frame.z_um for frame in (there, *elsewhere)])
    defocus = calibration.direction * (z_um - focus_um)
    usual, error = response.at("sharpness", defocus), response.at("sharpness_error", defocus)
    fall = there.sharpness - np.array([frame.sharpness for frame in elsewhere])
    error = np.sqrt(error[0] ** 2 + error[1:] ** 2 + 2 * calibration.frame_noise**2)
    clear = usual[0] - usual[1:] >= CLEAR_FALL * error
    if not (fall > 0).all() or not clear.any():
        return False
    seen = clear & (fall > CLEAR_FALL * np.sqrt(2) * calibration.frame_noise)
    from_both_sides = len(set(np.sign(z_um[1:] - there.z_um)[seen])) > 1
    short = (usual[0] - usual[1:] - fall) / error
    return bool(from_both_sides or (not both_sides_needed and short[clear].mean() <= MOST_SHORT))


def _taken(z_um: float, frames: Sequence[Frame], depth_um: float) -> bool:
    """Whether a frame was taken at this place, or as good as."""
    return any(abs(frame.z_um - z_um) <= CLOSE * depth_um for frame in frames)


def _blind(frames: Sequence[Frame]) -> bool:
    """Whether no frame had a score; beside one that had, others may abstain because they are in focus."""
    return len(frames) >= MOST_BLIND and all(frame.score != frame.score for frame in frames)
