"""The best plane of a stack as one declared row: where, how sure, and whether to believe it.

``Pick`` is the definition that JSON, ``picks.csv`` and the picture are made from. ``pick_focus`` reads and measures,
``pick_from_scores`` decides without touching a file.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dataset.errors import InputError
from dataset.stacks import Stack
from stack_inference import status
from stack_inference.curves import CURVES, POSITIVE_ONLY, CurveFit, peak_index
from stack_inference.scoring import Scorer, StackScores, score_stack

METHODS: dict[str, Callable[[ArrayLike, ArrayLike], CurveFit]] = {**CURVES}
"""What ``--method`` accepts: function (z, focus) -> CurveFit."""

DEFAULT_METHOD = "parabola_log"
"""For sharpness. Estimated from the even and from the odd planes of 12,900 real curves, its positions differ by 0.17
plane; the plain parabola's differ by 0.22. Five points differ by 0.17 too, but fail on 3 % of the stacks and scatter
about the truth of simulated stacks twice as widely (0.13 against 0.06 slice)."""

DEFAULT_SIGNED_METHOD = "parabola"
"""For signed scores: minus the squared score is a parabola, and negative, so that it has no logarithm."""


@dataclass(frozen=True)
class SlicePick:
    """One slice of a pick: index in z order from 0, file, signed score and sharpness (NaN where not known)."""

    index: int
    file: str
    score: float
    sharpness: float


@dataclass(frozen=True)
class Pick:
    """The best plane of one stack; its fields are the keys of ``pick-focus --json``, in this order.

    Parameters
    ----------
    stack
        Name of the stack.
    n_slices
        Number of slices, unusable ones included.
    best_index, best_file
        The usable slice nearest to ``best_position``; None and empty when the status is ``flat`` or ``unreadable``.
    best_position
        In slices from 0, fractional; NaN when there is none.
    standard_error
        Of ``best_position``, in slices, as the method gives it (see ``curves``); NaN where it gives none.
    best_z_um
        ``best_position`` in micrometres from the first slice, NaN where no z step is known.
    status
        One of ``status.STATUSES``.
    advice
        What to do, and which slices were left out and why; empty when there is nothing to say.
    method
        Name in ``METHODS``.
    slices
        One entry a slice.
    """

    stack: str
    n_slices: int
    best_index: int | None
    best_file: str
    best_position: float
    standard_error: float
    best_z_um: float
    status: str
    advice: str
    method: str
    slices: tuple[SlicePick, ...]

    def as_row(self) -> dict[str, Any]:
        """Return the row of ``picks.csv``: every field but the slices, None for what is not known."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self) if field.name != "slices"}

    def as_json(self) -> str:
        """Return one line of strict JSON; what is not known is null."""
        slices = [{field.name: _plain(getattr(part, field.name)) for field in fields(part)} for part in self.slices]
        return json.dumps({**self.as_row(), "slices": slices}, ensure_ascii=False, allow_nan=False)

    def as_sentence(self) -> str:
        """Return one line for people: the stack, its best plane with error, the status where it is not ok, advice."""
        if self.best_index is None:
            place = "no best plane"
        else:
            error = f" +- {self.standard_error:.2f}" if math.isfinite(self.standard_error) else ""
            in_um = f", {self.best_z_um:.4g} um" if math.isfinite(self.best_z_um) else ""
            place = f"best plane {self.best_position:.2f}{error} ({self.best_file}{in_um})"
        state = "" if self.status == status.OK else f", {self.status}"
        advice = f"; {' '.join(self.advice.split())}" if self.advice else ""
        return f"{self.stack}: {place}{state}{advice}"


def pick_focus(
    stack: Stack,
    *,
    measure: str = "tenengrad",
    method: str | None = None,
    scorer: Scorer | None = None,
    z_step_um: float | None = None,
) -> Pick:
    """Find the best plane of a stack.

    Parameters
    ----------
    stack
        From ``dataset.stacks.find_stacks``.
    measure
        Sharpness measure, a name in ``features.MEASURES``. The largest value is taken as the sharpest.
    method
        A name in ``METHODS``; None takes ``DEFAULT_METHOD``, or ``DEFAULT_SIGNED_METHOD`` with a scorer.
    scorer
        Model of signed scores. With one, the best plane is where the score is zero; sharpness still tells ``flat``.
    z_step_um
        Distance of two slices, overriding what the file declares.

    Raises
    ------
    InputError
        If there is no such measure or method, the method cannot take signed scores, or the z step is not positive.
    """
    method = choose_method(method, signed=scorer is not None)
    _check_step(z_step_um)
    return pick_from_scores(score_stack(stack, measure=measure, scorer=scorer), method=method, z_step_um=z_step_um)


def choose_method(method: str | None, *, signed: bool) -> str:
    """Return the name in ``METHODS`` to use, or raise InputError."""
    if method is None:
        return DEFAULT_SIGNED_METHOD if signed else DEFAULT_METHOD
    if method not in METHODS:
        raise InputError(f"There is no method '{method}': take one of {', '.join(METHODS)}.")
    if signed and method in POSITIVE_ONLY:
        others = ", ".join(name for name in METHODS if name not in POSITIVE_ONLY)
        raise InputError(f"The method '{method}' needs positive values and cannot take a model's scores: use {others}.")
    return method


def pick_from_scores(scores: StackScores, *, method: str = DEFAULT_METHOD, z_step_um: float | None = None) -> Pick:
    """Decide the best plane and the status from the numbers of the slices.

    In this order: ``unreadable`` when every slice is a gap for want of an image; ``flat`` by ``status.is_flat``;
    ``edge`` when the best value is at an end of what can be used (with one usable slice, at both), where the position
    is that slice; else ``ok``. When the fit fails inside the stack (a plateau, a window cut by gaps), the position is
    the slice with the best value, without an error, and the advice gives the reason.

    One exception to ``edge``: where signed scores change sign between the end slice and the one beside it, the focus
    lies between the two, and the straight line between their scores gives the position.
    """
    if np.isnan(scores.grey_spread).all():
        return _without_position(scores, method, status.UNREADABLE, f"no slice can be read: {_first_problem(scores)}")
    if status.is_flat(scores.sharpness, scores.grey_spread) or np.isnan(scores.focus).all():
        return _without_position(scores, method, status.FLAT, FLAT_ADVICE)
    side = status.edge_side(scores.focus)
    crossing = status.end_crossing(scores.z, scores.score, side)
    alone = np.isfinite(scores.focus).sum() == 1
    if alone or (side and np.isnan(crossing)):
        position, advice = float(scores.z[peak_index(scores.focus)]), _edge_advice(scores, side, z_step_um)
        return _with_position(scores, method, CurveFit(position), status.EDGE, advice, z_step_um)
    fit = CurveFit(crossing) if side else METHODS[method](scores.z, scores.focus)
    advice = ""
    if not fit:
        advice = f"took the best slice itself, because {fit.reason}"
        fit = CurveFit(float(scores.z[peak_index(scores.focus)]))
    return _with_position(scores, method, fit, status.OK, advice, z_step_um)


FLAT_ADVICE = (
    "nothing to focus on: the slices do not differ in sharpness beyond noise; "
    "check that a cell is in view and the lamp is on, or take slices further apart"
)


def _with_position(
    scores: StackScores, method: str, fit: CurveFit, state: str, advice: str, z_step_um: float | None
) -> Pick:
    """Turn a position in the units of z into slices and micrometres."""
    position, slope = index_at(scores.z, fit.position)
    usable = np.flatnonzero(np.isfinite(scores.focus))
    best = int(usable[np.argmin(np.abs(usable - position))])
    return Pick(
        stack=scores.stack,
        n_slices=len(scores.files),
        best_index=best,
        best_file=scores.files[best],
        best_position=position,
        standard_error=fit.standard_error * slope,
        best_z_um=_z_um(scores, fit.position, position, z_step_um),
        status=state,
        advice="; ".join(filter(None, [advice, _left_out(scores)])),
        method=method,
        slices=_slices(scores),
    )


def _without_position(scores: StackScores, method: str, state: str, advice: str) -> Pick:
    if state != status.UNREADABLE:
        advice = "; ".join(filter(None, [advice, _left_out(scores)]))
    nan = math.nan
    return Pick(scores.stack, len(scores.files), None, "", nan, nan, nan, state, advice, method, _slices(scores))


def index_at(z: np.ndarray, position: float) -> tuple[float, float]:
    """Fractional index of a position on a monotonic z axis, and how many indices one unit of z is there."""
    if len(z) < 2:
        return 0.0, 1.0
    direction = 1.0 if z[-1] >= z[0] else -1.0
    z, position = direction * z, direction * position
    left = int(np.clip(np.searchsorted(z, position, side="right") - 1, 0, len(z) - 2))
    slope = 1 / (z[left + 1] - z[left])
    return float(left + (position - z[left]) * slope), float(slope)


def _z_um(scores: StackScores, z: float, position: float, z_step_um: float | None) -> float:
    """Position in micrometres from the first slice; a step that the user gives goes before the file's."""
    if z_step_um is not None:
        return (position if scores.z_in_um else z) * z_step_um
    return z if scores.z_in_um else math.nan


def _slices(scores: StackScores) -> tuple[SlicePick, ...]:
    rows = zip(scores.files, scores.score, scores.sharpness, strict=True)
    return tuple(
        SlicePick(index, file, float(score), float(sharpness)) for index, (file, score, sharpness) in enumerate(rows)
    )


def _edge_advice(scores: StackScores, side: int, z_step_um: float | None) -> str:
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


def _left_out(scores: StackScores) -> str:
    """Name the slices that were not used, with the reason of the first few."""
    left_out = [(file, problem) for file, problem in zip(scores.files, scores.problems, strict=True) if problem]
    named = [f"left out {file} ({problem})" for file, problem in left_out[:3]]
    more = [f"left out {len(left_out) - 3} more"] if len(left_out) > 3 else []
    return "; ".join(named + more)


def _first_problem(scores: StackScores) -> str:
    return next((problem for problem in scores.problems if problem), "the stack has no slices")


def _check_step(z_step_um: float | None) -> None:
    if z_step_um is not None and not (math.isfinite(z_step_um) and z_step_um > 0):
        raise InputError(f"The z step is {z_step_um} um: give the distance of two slices, greater than zero.")


def _plain(value: Any) -> Any:
    """Round to what is worth printing, and None for NaN."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
