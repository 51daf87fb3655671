"""The best plane of a stack as one declared row: where, how sure, and whether to believe it.

``Pick`` is the definition that JSON, ``picks.csv`` and the picture are made from. ``pick_focus`` reads and measures,
``pick_from_scores`` decides without touching a file.
"""

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import Stack
from focus_picker.models.contract import Model
from focus_picker.models.intervals import SIGMA_OF_90
from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference import status
from focus_picker.stack_inference.decide import DEFAULT_METHOD, METHODS, NEEDS_SCORES, Finding, uses_scores
from focus_picker.stack_inference.scoring import StackScores, score_stack
from focus_picker.stack_inference.windows import HALF_WEIGHT

SHOWN, SAMPLES = 1.3, 60  # slices of the fitted curve beyond best plane and peak, about what the fit has seen; points


@dataclass(frozen=True)
class SlicePick:
    """One slice of a pick: index in z order from 0, file, signed score and sharpness (NaN where not known)."""

    index: int
    file: str
    score: float
    sharpness: float


@dataclass(frozen=True)
class Pick:
    """The best plane of one stack; its fields but for the last three are the keys of ``pick-focus --json``, in order.

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
        Of ``best_position``, in slices; 1.645 of them to each side are the 90 % interval. What it covers depends on the
        method (docs/stack_inference.md); NaN where it gives none.
    best_z_um
        ``best_position`` in micrometres from the first slice, NaN where no z step is known.
    status
        One of ``status.STATUSES``.
    advice
        What to do, and which slices were left out and why; empty when there is nothing to say.
    method
        Name in ``METHODS``.
    scores_used
        Whether a model's scores passed the stack's test and have a say; where they exist and do not, the advice says
        why.
    slices
        One entry a slice.
    fitted
        Fitted sharpness curve about the best plane for pictures: places in slices from 0, and its values there. None
        where the pick is not ``ok`` or was not made by a fit of sharpness.
    thumbnails
        Small uint8 RGB pictures of the slices, None for one that cannot be read; empty unless they were asked for.
    weighed
        What counted for sharpness: half axis, by the side of the slices' common window, of the ellipse in its middle on
        which a pixel has half the weight of the middle one.
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
    scores_used: bool
    slices: tuple[SlicePick, ...]
    fitted: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)
    thumbnails: tuple[np.ndarray | None, ...] = field(default=(), compare=False, repr=False)
    weighed: float = field(default=HALF_WEIGHT, compare=False, repr=False)

    @property
    def interval(self) -> tuple[float, float]:
        """90 % interval of ``best_position`` in slices, NaN where no error is known."""
        half = SIGMA_OF_90 * self.standard_error
        return self.best_position - half, self.best_position + half

    def as_row(self) -> dict[str, Any]:
        """Return the row of ``picks.csv``, None for what is not known."""
        return {name: _plain(getattr(self, name)) for name in COLUMNS}

    def as_json(self) -> str:
        """Return one line of strict JSON; what is not known is null."""
        slices = [{key: _plain(value) for key, value in vars(part).items()} for part in self.slices]
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


COLUMNS = tuple(part.name for part in fields(Pick) if part.name not in ("slices", "fitted", "thumbnails", "weighed"))
"""Of ``picks.csv``."""


def pick_focus(
    stack: Stack,
    *,
    measure: str = "tenengrad",
    method: str | None = None,
    model: Model | None = None,
    z_step_um: float | None = None,
    thumbnail_px: int = 0,
) -> Pick:
    """Find the best plane of a stack.

    Parameters
    ----------
    stack
        From ``dataset.stacks.find_stacks``.
    measure
        Sharpness measure, a name in ``features.MEASURES``. The largest value is taken as the sharpest.
    method
        A name in ``METHODS``; None takes ``DEFAULT_METHOD``.
    model
        Gives signed scores. They have a say only where the model is calibrated on this microscope, see ``decide``.
    z_step_um
        Distance of two slices, overriding what the file declares.
    thumbnail_px
        Longer side of the small pictures of the slices that the pick keeps; 0 for none.

    Raises
    ------
    InputError
        If there is no such measure or method, the method cannot take signed scores, or the z step is not positive.
    """
    method = choose_method(method, signed=model is not None)
    _check_step(z_step_um)
    scores = score_stack(stack, measure=measure, model=model, thumbnail_px=thumbnail_px)
    return pick_from_scores(scores, method=method, calibration=calibration_of(model), z_step_um=z_step_um)


def calibration_of(model: Model | None) -> StackCalibration | None:
    """How the model's scores behave in stacks of this microscope; None where that was not measured on it."""
    return model.side.stack_calibration if model and model.side.calibrated else None


def choose_method(method: str | None, *, signed: bool) -> str:
    """Return the name in ``METHODS`` to use, or raise InputError."""
    if method is None:
        return DEFAULT_METHOD
    if method not in METHODS:
        raise InputError(f"There is no method '{method}': take one of {', '.join(METHODS)}.")
    if signed and not uses_scores(method):
        others = ", ".join(filter(uses_scores, METHODS))
        raise InputError(f"The method '{method}' is for sharpness and cannot take a model's scores: use {others}.")
    if not signed and method in NEEDS_SCORES:
        others = ", ".join(name for name in METHODS if name not in NEEDS_SCORES)
        raise InputError(f"The method '{method}' needs a model's scores: give a model, or use {others}.")
    return method


def pick_from_scores(
    scores: StackScores,
    *,
    method: str = DEFAULT_METHOD,
    calibration: StackCalibration | None = None,
    z_step_um: float | None = None,
) -> Pick:
    """Decide the best plane and the status from the numbers of the slices.

    In this order: ``unreadable`` when every slice is a gap for want of an image; ``flat`` by ``status.is_flat``; then
    what the method finds (see ``decide``).
    """
    if np.isnan(scores.grey_spread).all():
        return _without_position(scores, method, status.UNREADABLE, f"no slice can be read: {_first_problem(scores)}")
    known = scores.score if method in NEEDS_SCORES else scores.sharpness
    if status.is_flat(scores.everywhere, scores.grey_spread) or np.isnan(known).all():
        return _without_position(scores, method, status.FLAT, FLAT_ADVICE)
    found = METHODS[method](scores, calibration, z_step_um)
    return _with_position(scores, method, found, z_step_um)


FLAT_ADVICE = (
    "nothing to focus on: the slices do not differ in sharpness beyond noise; "
    "check that a cell is in view and the lamp is on, or take slices further apart"
)


def _with_position(scores: StackScores, method: str, found: Finding, z_step_um: float | None) -> Pick:
    """Turn a position in the units of z into slices and micrometres."""
    fit = found.fit
    position, slope = index_at(scores.z, fit.position)
    usable = np.flatnonzero(np.isfinite(scores.sharpness) | np.isfinite(scores.score))
    best = int(usable[np.argmin(np.abs(usable - position))])
    return Pick(
        stack=scores.stack,
        n_slices=len(scores.files),
        best_index=best,
        best_file=scores.files[best],
        best_position=position,
        standard_error=fit.standard_error * slope,
        best_z_um=_z_um(scores, fit.position, position, z_step_um),
        status=found.state,
        advice="; ".join(filter(None, [found.advice, _left_out(scores)])),
        method=method,
        scores_used=found.scores_used,
        slices=_slices(scores),
        fitted=_fitted(scores, found, position),
        thumbnails=scores.thumbnails,
    )


def _fitted(scores: StackScores, found: Finding, position: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Sample the fitted sharpness from a little before best plane and peak to a little behind: they may lie apart."""
    if found.state != status.OK or found.sharpness is None or found.sharpness.curve is None:
        return None
    ends = sorted((position, index_at(scores.z, found.sharpness.position)[0]))
    first, last = max(0.0, ends[0] - SHOWN), min(len(scores.z) - 1.0, ends[1] + SHOWN)
    place = np.linspace(first, last, SAMPLES)
    return place, found.sharpness.curve(np.interp(place, np.arange(len(scores.z)), scores.z))


def _without_position(scores: StackScores, method: str, state: str, advice: str) -> Pick:
    if state != status.UNREADABLE:
        advice = "; ".join(filter(None, [advice, _left_out(scores)]))
    nan = math.nan
    return Pick(
        *(scores.stack, len(scores.files), None, "", nan, nan, nan, state, advice, method, False, _slices(scores)),
        thumbnails=scores.thumbnails,
    )


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
