"""Predict, move, verify: focus from single frames that bear each other out."""

from collections.abc import Sequence

from focus_picker.autofocus.belief import Belief
from focus_picker.autofocus.frames import Frame
from focus_picker.autofocus.search import Search

MOST_LOOKS = 8
"""Frames after which scores are given up and the sweep takes over."""

MOST_BLIND = 2
"""Frames in a row without a score after which the sweep takes over."""

CLOSE = 0.35
"""Depths of field within which a frame counts as taken at a place: it looks the same there."""

APART = 0.5
"""Depths of field by which two frames must differ to say more than one."""

SEEN = 0.75
"""Depths of field between focus and the nearest frame up to which a belief that leaves no doubt is taken."""

PROBE = 1.2
"""Depths of field to the side at which a frame that seems sharp is put to the test."""

SURE_WITHIN_HALF, DOUBT_BEYOND_ONE = 0.90, 2e-3
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
        place = confirmed_place(belief, search.frames, search.depth_um, calibration.um_per_score)
        if place is not None:
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


def confirmed_place(belief: Belief, frames: Sequence[Frame], depth_um: float, um_per_score: float) -> float | None:
    """Return the believed focus where the frames bear it out, else None.

    Four things must hold: two frames were taken apart from each other; the belief leaves no room for another place; a
    frame was taken there, or so near that it looks alike, whose own score is near zero; and no frame taken elsewhere is
    sharper than that one.
    """
    focus_um = belief.focus_um
    there = min(frames, key=lambda frame: abs(frame.z_um - focus_um))
    elsewhere = [frame for frame in frames if abs(frame.z_um - focus_um) > depth_um]
    scored = [frame.z_um for frame in frames if frame.score == frame.score]
    holds = (
        len(scored) > 1
        and max(scored) - min(scored) >= APART * depth_um
        and belief.within(focus_um, depth_um / 2) >= SURE_WITHIN_HALF
        and belief.within(focus_um, depth_um) >= 1 - DOUBT_BEYOND_ONE
        and abs(there.z_um - focus_um) <= SEEN * depth_um
        and abs(there.score) * um_per_score <= depth_um
        and all(frame.sharpness < there.sharpness for frame in elsewhere)
    )
    return focus_um if holds else None


def _taken(z_um: float, frames: Sequence[Frame], depth_um: float) -> bool:
    """Whether a frame was taken at this place, or as good as."""
    return any(abs(frame.z_um - z_um) <= CLOSE * depth_um for frame in frames)


def _blind(frames: Sequence[Frame]) -> bool:
    """Whether the last frames had no score."""
    return len(frames) >= MOST_BLIND and all(frame.score != frame.score for frame in frames[-MOST_BLIND:])
