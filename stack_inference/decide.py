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
from focus_picker.stack_inference.curve_fit import CurveFit, peak_index
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.evidence import Evidence, fit_sharpness, gather, signed_posterior
from focus_picker.stack_inference.fusion import combine
from focus_picker.stack_inference.scoring import StackScores
from focus_picker.stack_inference.signed import ONE_SIGN, spacing_of, zero_crossing

ERROR_FACTORS = {
    "fused": 1.3,
    "argmax": 1.0,
    "parabola": 2.4,
    "parabola_5": 0.8,
    "parabola_log": 1.9,
    "asymmetric_gaussian": 0.8,
    "template": 1.3,
    "chosen_shape": 1.2,
}
"""Standard error to report by the one that a fit of sharpness gives, so that 1.645 of them hold 90 % of the scatter
about the sharpest plane on three simulated instruments (``benchmarks/stacks.py``)."""

LEAST_ERROR = 0.02
"""In slices: below this, JPEG and the cell's thickness decide, whatever a fit believes."""

COMMON_ERROR = 2.0
"""Standard error of the scores' zero by that for independent errors; with ``signed.DEFAULT_TEMPERATURE``, four slices
count as one."""

NEAR_END, NEAR_RIVAL = 2.5, 1.5
"""How far, in slices, signed scores may place the focus from the sharpest end slice, or from a rival peak, to be taken
as meaning the same plane."""

MOST_UNSURE = 0.5
"""Share of slices of which the model itself is unsure, above which its scores have no say."""


@dataclass(frozen=True)
class Finding:
    """A position in the units of z, the status, and advice; the position is NaN where nothing can be said.

    ``sharpness`` is the fit of the sharpness behind it, for pictures; None where scores alone decided.
    """

    fit: CurveFit
    state: str
    advice: str = ""
    sharpness: CurveFit | None = None


Method = Callable[[StackScores, StackCalibration, float | None], Finding]


def by_curve(name: str, scores: StackScores, calibration: StackCalibration, z_step_um: float | None) -> Finding:
    """Fit one curve: sharpness, or minus the squared scores where the scores decide.

    ``edge`` when the best value is at an end of what can be used (with one usable slice, at both), where the position
    is that slice; ``ambiguous`` when a second peak rivals the first; else ``ok``. When the fit fails inside the stack,
    the position is the slice with the best value, without an error, and the advice gives the reason.

    One exception to ``edge``: where signed scores change sign between the end slice and the one beside it, the focus
    lies between the two, and the straight line between their scores gives the position.
    """
    del calibration
    return _by_fit(CURVES[name](scores.z, scores.focus), name, scores, z_step_um)


def _by_fit(fit: CurveFit, name: str, scores: StackScores, z_step_um: float | None) -> Finding:
    """Decide by a fit of ``scores.focus``; see ``by_curve``."""
    side = status.edge_side(scores.focus)
    crossing = status.end_crossing(scores.z, scores.score, side)
    if np.isfinite(scores.focus).sum() == 1 or (side and np.isnan(crossing)):
        return at_edge(scores, side, z_step_um)
    fit = CurveFit(crossing) if side else fit
    if not fit:
        return Finding(best_slice(scores), status.OK, f"took the best slice itself, because {fit.reason}")
    rivals = () if scores.signed else status.rival_peaks(scores.sharpness)
    state, advice = (status.AMBIGUOUS, rival_advice(scores, rivals)) if rivals else (status.OK, "")
    factor = 1.0 if scores.signed else ERROR_FACTORS[name]
    return Finding(with_error(fit, scores, factor), state, advice, None if scores.signed else fit)


def by_scores(name: str, scores: StackScores, calibration: StackCalibration, z_step_um: float | None) -> Finding:
    """Zero of the scores alone: on their line, or by the posterior of their distributions.

    A calibrated model's offset is taken off and its measured error given; else the error of the line is doubled,
    because the slices of one cell err alike. ``edge`` when all scores have one sign; otherwise, where the scores show
    no zero, the position is the slice with the score nearest to it, and the advice gives the reason.
    """
    line = zero_crossing(scores.z, scores.score)
    fit = line if name == "zero_crossing" else signed_posterior(scores, line, calibration.temperature).fit
    factor = COMMON_ERROR if name == "zero_crossing" else 1.0
    return _by_zero(fit, line, factor, scores, calibration, z_step_um)


def _by_zero(
    fit: CurveFit,
    line: CurveFit,
    factor: float,
    scores: StackScores,
    calibration: StackCalibration,
    z_step_um: float | None,
) -> Finding:
    """Decide by a fit of the scores' zero and their line; ``factor`` of its error without a calibration."""
    if fit.reason == ONE_SIGN or np.isfinite(scores.score).sum() < 2:
        return at_edge(scores, _side_of_zero(scores), z_step_um)
    if not fit:
        return Finding(best_slice(scores), status.OK, f"took the best slice itself, because {fit.reason}")
    if not line.curve or not calibration.stacks:
        return Finding(with_error(fit, scores, factor), status.OK)
    spacing, known = spacing_of(scores.z), calibration.signed
    side = np.sign(float(line.curve(np.array(line.position + spacing))))
    error = known.error * max(1.0, fit.standard_error / spacing / known.usual_error) * spacing
    place = fit.position - side * known.offset * spacing
    return Finding(replace(fit, position=place, standard_error=error), status.OK)


def _side_of_zero(scores: StackScores) -> int:
    """End of the stack beyond which scores of one sign should pass zero: -1 or 1, 0 with a single score."""
    magnitude = np.abs(scores.score[np.isfinite(scores.score)])
    return 0 if len(magnitude) < 2 else 1 if magnitude[-1] <= magnitude[0] else -1


def fused(scores: StackScores, calibration: StackCalibration, z_step_um: float | None) -> Finding:
    """Sharpness by several measures; signed scores where sharpness cannot answer.

    Scores have a say where the model is unsure of no more than half of the slices and they behave as on the stacks they
    were calibrated on: one direction, the usual rate per slice, the usual scatter. Where they do not, the advice says
    why. Where they do and contradict the sharpness, the status is ``disagree``. A clear peak of sharpness is the best
    plane either way: a learned score may be wrong with confidence on images unlike its training's, a gradient not.

    Scores that can be trusted also settle what sharpness cannot: a peak at the end of the stack whose focus lies just
    inside; and at which of two rival peaks the position is, which stays ``ambiguous``, because a model that sees two
    cells side by side may mean either.
    """
    sharpness = fit_sharpness(scores)
    without_scores = replace(scores, signed=False, score=np.full_like(scores.score, np.nan))
    alone = _by_fit(sharpness, "fused", without_scores, z_step_um)
    if not scores.signed:
        return alone
    evidence = gather(scores, sharpness, calibration.temperature)
    doubt = doubt_about_scores(evidence, scores, calibration)
    if scores.unsure > MOST_UNSURE:
        return replace(alone, advice="; ".join(filter(None, [alone.advice, "scores not used: the model is unsure"])))
    if ONE_SIGN in (evidence.crossing.reason, evidence.signed.reason) and alone.state != status.EDGE:
        return contradicted(alone, scores, "all scores have one sign")
    if doubt:
        return replace(alone, advice="; ".join(filter(None, [alone.advice, f"scores not used: {doubt}"])))
    if alone.state == status.OK and evidence.complete:
        return _held_against(alone, evidence, scores, calibration)
    return _settled(alone, evidence, scores, calibration)


def _held_against(alone: Finding, evidence: Evidence, scores: StackScores, calibration: StackCalibration) -> Finding:
    if combine(evidence, calibration, spacing_of(scores.z)).contradiction > calibration.contradiction:
        place = status.plane_text(scores.z, evidence.signed.position)
        return contradicted(alone, scores, f"the scores place the focus at {place}")
    return alone


def _settled(alone: Finding, evidence: Evidence, scores: StackScores, calibration: StackCalibration) -> Finding:
    """Let trusted scores decide where sharpness is at an edge or has rivals, if they mean one of these planes."""
    by_model = _by_zero(evidence.signed, evidence.crossing, 1.0, scores, calibration, None)
    if by_model.state != status.OK or not by_model.fit:
        return alone
    spacing, place = spacing_of(scores.z), by_model.fit.position
    if alone.state == status.EDGE:
        inside = scores.z.min() < place < scores.z.max()
        near = abs(place - alone.fit.position) <= NEAR_END * spacing
        return (
            replace(by_model, advice="sharpest at an end of the stack; the scores pass zero inside")
            if inside and near
            else alone
        )
    peaks = scores.z[list(status.rival_peaks(scores.sharpness))]
    if not len(peaks) or np.abs(peaks - place).min() > NEAR_RIVAL * spacing:
        return alone
    claim = f"the scores mean {status.plane_text(scores.z, place)}"
    return replace(by_model, state=status.AMBIGUOUS, advice=f"{alone.advice}; {claim}")


def doubt_about_scores(evidence: Evidence, scores: StackScores, calibration: StackCalibration) -> str:
    """Why the scores of this stack cannot be trusted, as a clause; empty where they can."""
    if not evidence.crossing:
        return evidence.crossing.reason
    if not evidence.signed:
        return evidence.signed.reason
    low, high = calibration.rate
    if not low <= abs(evidence.rate) <= high:
        return f"they change by {abs(evidence.rate):.2g} of the usual step a slice, as on another pixel size or z step"
    if evidence.scatter > calibration.scatter:
        return "they scatter about a straight line more than usual"
    return ""


def contradicted(alone: Finding, scores: StackScores, claim: str) -> Finding:
    """Sharpness decides; the status says that the scores contradict it, unless sharpness itself was ``ambiguous``."""
    place = status.plane_text(scores.z, alone.fit.position)
    advice = f"{claim}, but the stack is sharpest at {place}: look at both, and check that the model suits these images"
    state = status.AMBIGUOUS if alone.state == status.AMBIGUOUS else status.DISAGREE
    return Finding(alone.fit, state, "; ".join(filter(None, [advice, alone.advice])))


def with_error(fit: CurveFit, scores: StackScores, factor: float) -> CurveFit:
    """Fit with the error to report, at least ``LEAST_ERROR`` slices; NaN stays."""
    least = LEAST_ERROR * spacing_of(scores.z)
    return replace(fit, standard_error=float(np.maximum(factor * fit.standard_error, least)))


def best_slice(scores: StackScores) -> CurveFit:
    """Position of the slice with the best value."""
    return CurveFit(float(scores.z[peak_index(scores.focus)]))


def at_edge(scores: StackScores, side: int, z_step_um: float | None) -> Finding:
    """Position of the end slice on a side, with advice on which way and how far to extend; 0 for a single slice."""
    known = np.flatnonzero(np.isfinite(scores.focus))
    end = known[-1] if side > 0 else known[0]
    return Finding(CurveFit(float(scores.z[end])), status.EDGE, edge_advice(scores, side, z_step_um))


def rival_advice(scores: StackScores, rivals: tuple[int, ...]) -> str:
    """Name the rival peaks."""
    places = " and ".join(f"{index} ({scores.files[index]})" for index in rivals)
    return (
        f"two peaks of sharpness, at slices {places}: two cells at different heights or dirt in the crop; "
        "crop closer to the cell, or choose by eye"
    )


def edge_advice(scores: StackScores, side: int, z_step_um: float | None) -> str:
    """Say which way and how far to extend, and why it is thought so."""
    known = np.flatnonzero(np.isfinite(scores.focus))
    if len(known) == 1:
        return f"only one slice can be used ({scores.files[known[0]]}): add slices on both sides of it"
    end, number, towards = (known[-1], "last", "larger") if side > 0 else (known[0], "first", "smaller")
    nearest = "nearest to focus" if scores.signed else "sharpest"
    count = status.slices_to_add(scores.z, scores.focus, side)
    step = z_step_um or (float(np.abs(np.diff(scores.z)).min()) if scores.z_in_um else None)
    distance = f" ({count * step:.3g} um)" if step else ""
    usable = "" if end in (0, len(scores.files) - 1) else " usable"
    lens = ""
    if scores.signed and scores.score[end]:
        lens = f", where the lens is still too {'far' if scores.score[end] > 0 else 'close'}"
    return (
        f"{nearest} at the {number}{usable} slice ({scores.files[end]}){lens}: extend the stack beyond it by at least "
        f"{count} slices{distance}, towards {towards} slice numbers"
    )


METHODS: dict[str, Method] = {
    "fused": fused,
    **{name: partial(by_curve, name) for name in CURVES},
    "zero_crossing": partial(by_scores, "zero_crossing"),
    "posterior": partial(by_scores, "posterior"),
}
"""What ``--method`` accepts."""

DEFAULT_METHOD = "fused"
NEEDS_SCORES = frozenset({"zero_crossing", "posterior"})
"""Methods that cannot do without a model; those of ``curves.SHARPNESS_ONLY`` cannot do with its scores."""


def uses_scores(method: str | None) -> bool:
    """Whether a method has a use for a model's scores where none was asked for by name; None is the default method."""
    return (method or DEFAULT_METHOD) in {DEFAULT_METHOD, *NEEDS_SCORES}
