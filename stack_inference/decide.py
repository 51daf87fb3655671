"""Methods: from the numbers of a stack's slices to a position, a status and advice.

``METHODS`` is the family behind ``--method``. A method decides for one stack that is neither unreadable nor flat; a
stage controller can act on what it says.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference import status
from focus_picker.stack_inference.consensus import consensus
from focus_picker.stack_inference.curve_fit import CurveFit, peak_index
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.scoring import StackScores
from focus_picker.stack_inference.signed import ONE_SIGN, end_trend, spacing_of
from focus_picker.stack_inference.skewed import load_fitted
from focus_picker.stack_inference.trial import Line, calibrated_zero, contradicts, doubt, line_of

NEAR = 2.0
"""Slices between the scores' zero and the sharpest end or a rival peak within which both mean one plane: rivals are
three slices apart or more (``status.rival_peaks``), and the peak may lie a slice beside the sharpest slice."""


@dataclass(frozen=True)
class Finding:
    """A position in the units of z, the status, and advice; the position is NaN where nothing can be said.

    ``sharpness`` is the fit of the sharpness behind it, for pictures; None where scores alone decided. ``scores_used``
    tells whether a model's scores passed the stack's test and have a say.
    """

    fit: CurveFit
    state: str
    advice: str = ""
    sharpness: CurveFit | None = None
    scores_used: bool = False


Method = Callable[[StackScores, StackCalibration | None, float | None], Finding]


def by_curve(name: str, scores: StackScores, calibration: StackCalibration | None, z_step_um: float | None) -> Finding:
    """Fit one curve to the chosen measure; see ``by_sharpness``.

    The error to report is the fit's own by what it turned out to be worth on stacks with known planes.
    """
    del calibration
    fit = CURVES[name](scores.z, scores.sharpness)
    return by_sharpness(
        replace(fit, standard_error=load_fitted().factors[name] * fit.standard_error), scores, z_step_um
    )


def by_sharpness(fit: CurveFit, scores: StackScores, z_step_um: float | None) -> Finding:
    """Decide by a fit of the sharpness.

    ``edge`` when the largest value is at an end of what can be used (with one usable slice, at both), where the
    position is that slice; ``ambiguous`` when a second peak rivals the first; else ``ok``. When the fit fails inside
    the stack, the position is the slice with the largest value, without an error, and the advice gives the reason.
    """
    side = status.edge_side(scores.sharpness)
    if side or np.isfinite(scores.sharpness).sum() == 1:
        return at_edge(scores, scores.sharpness, side, edge_advice(scores, side, "sharpest", z_step_um))
    if not fit:
        best = CurveFit(float(scores.z[peak_index(scores.sharpness)]))
        return Finding(best, status.OK, f"took the best slice itself, because {fit.reason}")
    rivals = status.rival_peaks(scores.everywhere)
    state, advice = (status.AMBIGUOUS, rival_advice(scores, rivals)) if rivals else (status.OK, "")
    return Finding(fit, state, advice, fit)


def by_scores(scores: StackScores, calibration: StackCalibration | None, z_step_um: float | None) -> Finding:
    """Zero of the scores alone, on their line.

    A calibrated model's offset is taken off and its measured error given; without a calibration the error is not known.
    ``edge`` when all scores have one sign; otherwise, where the scores show no zero, the position is the slice with the
    score nearest to it, and the advice gives the reason.
    """
    line = line_of(scores)
    nearness = -np.abs(scores.score)
    if line.zero.reason == ONE_SIGN or np.isfinite(scores.score).sum() < 2:
        side = _side_of_zero(scores)
        advice = edge_advice(scores, side, "nearest to focus", z_step_um, _slices_beyond(scores, line), lens=True)
        return replace(at_edge(scores, nearness, side, advice), scores_used=True)
    if not line.zero:
        best = CurveFit(float(scores.z[peak_index(nearness)]))
        reason = f"took the slice with the score nearest to zero, because {line.zero.reason}"
        return Finding(best, status.OK, reason, scores_used=True)
    zero = calibrated_zero(line, calibration) if calibration else replace(line.zero, standard_error=np.nan)
    return Finding(zero, status.OK, scores_used=True)


def fused(scores: StackScores, calibration: StackCalibration | None, z_step_um: float | None) -> Finding:
    """Sharpness by several measures; signed scores only where sharpness cannot answer.

    A clear peak of sharpness is the best plane, with a model or without: a learned score may be wrong with confidence
    on images unlike its training's, a gradient not. Scores have a say where the model was calibrated on this
    microscope and the stack itself bears them out (``trial``); where not, the advice names the reason. They settle
    whether the focus lies just inside the sharpest end or beyond it, and how far; and at which of two rival peaks the
    position is, which stays ``ambiguous``, because a model that sees two cells side by side may mean either. Scores
    that pass every test but that of a clear peak make the status ``disagree``.
    """
    alone = by_sharpness(consensus(scores.z, scores.curves), scores, z_step_um)
    if not scores.signed:
        return alone
    line = line_of(scores)
    reason = doubt(scores, line, calibration)
    if reason or calibration is None:
        return without_scores(alone, reason)
    if alone.state == status.EDGE:
        return _settled_edge(alone, line, scores, calibration, z_step_um)
    if line.zero.reason == ONE_SIGN:
        return contradicted(alone, scores, "all scores have one sign")
    zero = calibrated_zero(line, calibration)
    if alone.state == status.AMBIGUOUS:
        return _settled_rivals(alone, zero, scores)
    if contradicts(alone.fit, zero, line.spacing):
        return contradicted(
            alone, scores, f"the scores place the focus at {status.plane_text(scores.z, zero.position)}"
        )
    return replace(alone, scores_used=True)


def without_scores(alone: Finding, reason: str) -> Finding:
    """Sharpness decides, and the advice says why the scores have no say."""
    return replace(alone, advice="; ".join(filter(None, [alone.advice, f"scores not used: {reason}"])))


def contradicted(alone: Finding, scores: StackScores, claim: str) -> Finding:
    """Sharpness decides; the status says that the scores contradict it, unless sharpness itself was ``ambiguous``."""
    place = status.plane_text(scores.z, alone.fit.position)
    advice = f"{claim}, but the stack is sharpest at {place}: look at both, and check that the model suits these images"
    state = status.AMBIGUOUS if alone.state == status.AMBIGUOUS else status.DISAGREE
    return replace(alone, state=state, advice="; ".join(filter(None, [advice, alone.advice])))


def _settled_edge(
    alone: Finding, line: Line, scores: StackScores, calibration: StackCalibration, z_step_um: float | None
) -> Finding:
    """Take from trusted scores whether the focus is just inside the sharpest end, or how far beyond it."""
    if line.zero:
        zero = calibrated_zero(line, calibration)
        if abs(zero.position - alone.fit.position) > NEAR * line.spacing:
            return without_scores(
                alone, f"they pass zero at {status.plane_text(scores.z, zero.position)}, not at this end"
            )
        inside = float(np.clip(zero.position, scores.z.min(), scores.z.max()))
        advice = "sharpest at an end of the stack; the scores pass zero inside"
        return Finding(replace(zero, position=inside), status.OK, advice, scores_used=True)
    side = status.edge_side(scores.sharpness)
    if side != _side_of_zero(scores):
        return without_scores(alone, "they come closest to zero at the other end")
    advice = edge_advice(scores, side, "sharpest", z_step_um, _slices_beyond(scores, line), lens=True)
    return replace(alone, advice=advice, scores_used=True)


def _settled_rivals(alone: Finding, zero: CurveFit, scores: StackScores) -> Finding:
    """Take the rival peak that trusted scores mean, if they mean one."""
    peaks = scores.z[list(status.rival_peaks(scores.everywhere))]
    place = status.plane_text(scores.z, zero.position)
    if np.abs(peaks - zero.position).min() > NEAR * spacing_of(scores.z):
        return without_scores(alone, f"they pass zero at {place}, at neither peak")
    return Finding(zero, status.AMBIGUOUS, f"{alone.advice}; the scores mean {place}", scores_used=True)


def _side_of_zero(scores: StackScores) -> int:
    """End of the stack beyond which scores of one sign should pass zero: -1 or 1, 0 with a single score."""
    magnitude = np.abs(scores.score[np.isfinite(scores.score)])
    return 0 if len(magnitude) < 2 else 1 if magnitude[-1] <= magnitude[0] else -1


def _slices_beyond(scores: StackScores, line: Line) -> int | None:
    """How many slices beyond the end scores of one sign should pass zero, one more for a flank; None where unsteady."""
    slope = end_trend(scores.z, scores.score) * line.spacing
    nearest = np.nanmin(np.abs(scores.score))
    return max(2, int(np.ceil(nearest / abs(slope) + 1 - 1e-6))) if np.isfinite(slope) else None


def at_edge(scores: StackScores, focus: np.ndarray, side: int, advice: str) -> Finding:
    """Position of the end slice on a side among those with a ``focus`` value; 0 for a single slice."""
    known = np.flatnonzero(np.isfinite(focus))
    end = known[-1] if side > 0 else known[0]
    return Finding(CurveFit(float(scores.z[end])), status.EDGE, advice)


def rival_advice(scores: StackScores, rivals: tuple[int, ...]) -> str:
    """Name the rival peaks."""
    places = " and ".join(f"{index} ({scores.files[index]})" for index in rivals)
    return (
        f"two peaks of sharpness, at slices {places}: two cells at different heights or dirt in the crop; "
        "crop closer to the cell, or choose by eye"
    )


def edge_advice(
    scores: StackScores,
    side: int,
    nearest: str,
    z_step_um: float | None,
    count: int | None = None,
    *,
    lens: bool = False,
) -> str:
    """Say which way and how far to extend, and why it is thought so.

    ``nearest`` says what the end slice is; ``count`` slices are asked for, by the sharpness where it is None; ``lens``
    tells on which side of focus the lens is there by its score.
    """
    focus = scores.sharpness if nearest == "sharpest" else -np.abs(scores.score)
    known = np.flatnonzero(np.isfinite(focus))
    if len(known) == 1:
        return f"only one slice can be used ({scores.files[known[0]]}): add slices on both sides of it"
    end, number, towards = (known[-1], "last", "larger") if side > 0 else (known[0], "first", "smaller")
    count = count or status.slices_to_add(scores.z, focus, side)
    step = z_step_um or (float(np.abs(np.diff(scores.z)).min()) if scores.z_in_um else None)
    distance = f" ({count * step:.3g} um)" if step else ""
    usable = "" if end in (0, len(scores.files) - 1) else " usable"
    too = f", where the lens is still too {'far' if scores.score[end] > 0 else 'close'}" if lens else ""
    return (
        f"{nearest} at the {number}{usable} slice ({scores.files[end]}){too}: extend the stack beyond it by at least "
        f"{count} slices{distance}, towards {towards} slice numbers"
    )


METHODS: dict[str, Method] = {
    "fused": fused,
    **{name: partial(by_curve, name) for name in CURVES},
    "zero_crossing": by_scores,
}
"""What ``--method`` accepts."""

DEFAULT_METHOD = "fused"
NEEDS_SCORES = frozenset({"zero_crossing"})
"""Methods that cannot do without a model."""


def uses_scores(method: str | None) -> bool:
    """Whether a method has a use for a model's scores; None is the default method."""
    return (method or DEFAULT_METHOD) in {DEFAULT_METHOD, *NEEDS_SCORES}
