"""Steps of the stage from one image or two, for autofocus without a stack.

Positions follow the score's sign: a positive defocus means that the lens is too far, and the move that cures it is
towards the sample, negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.dataset.errors import InputError
from focus_picker.models.contract import Judgement, Model
from focus_picker.models.focus_state import NOT_CALIBRATED, UNCALIBRATED, UNSURE
from focus_picker.models.intervals import SIGMA_OF_90
from focus_picker.models.side_file import SideFile


@dataclass(frozen=True)
class Move:
    """What to do with the lens.

    Parameters
    ----------
    slices
        Step to take in slices: negative towards the sample, NaN when not known. See ``move_from_one`` for whose slices.
    standard_error
        In slices.
    um, standard_error_um
        The same in micrometres; NaN where the step of a slice is not known.
    status
        ``ok``, ``in_focus`` (stay), ``unsure`` (the side is not settled: take a second image, see
        ``defocus_from_two``, or a stack) or ``uncalibrated`` (the error is not known on this microscope).
    advice
        For people.
    """

    slices: float
    standard_error: float
    um: float
    standard_error_um: float
    status: str
    advice: str


def move_from_one(image: np.ndarray, model: Model, z_step_um: float | None = None) -> Move:
    """Step to take from one image.

    Parameters
    ----------
    image
        As ``dataset.images.read_image`` gives it.
    model
        A trained model.
    z_step_um
        Distance of two slices on the microscope at hand, in micrometres. A model that knows the step of its own
        training stacks answers in micrometres without it, and in slices of this distance with it; for a model that
        does not, this is taken for the step of its training stacks.

    Raises
    ------
    InputError
        If the step is not positive.
    """
    return move_from_judged(model.judge([image]), model.side, z_step_um)


def move_from_judged(judged: Judgement, side: SideFile, z_step_um: float | None = None) -> Move:
    """Step to take from what a model with this side file judged of one image; see ``move_from_one``."""
    if z_step_um is not None and not (np.isfinite(z_step_um) and z_step_um > 0):
        raise InputError(f"The z step is {z_step_um} um: give the distance of two slices, greater than zero.")
    score, lower, upper = (float(values[0]) for values in (judged.score, judged.lower, judged.upper))
    slices, error = -score / side.score_per_slice, float(_error(lower, upper)) / side.score_per_slice
    status, advice = _status(-slices, str(judged.status[0]))
    error = np.nan if status == UNCALIBRATED else error
    step = side.z_step_um or z_step_um or np.nan
    um, error_um = slices * step, error * step
    if side.z_step_um and z_step_um:
        slices, error = um / z_step_um, error_um / z_step_um
    return Move(slices, error, um, error_um, status, advice)


def _status(defocus: float, state: str) -> tuple[str, str]:
    """Status and advice for a defocus in slices of the model's training stacks."""
    if not np.isfinite(defocus) or state == UNSURE:
        return UNSURE, "the side is not settled: take a second image at another z"
    if state == UNCALIBRATED:
        return UNCALIBRATED, NOT_CALIBRATED
    if abs(defocus) <= 0.5:
        return "in_focus", "within half a slice of focus: stay"
    return "ok", f"move the lens {'towards the sample' if defocus > 0 else 'away from the sample'}"


def _error(lower: ArrayLike, upper: ArrayLike) -> np.ndarray:
    """Standard error that 90 % intervals stand for."""
    return (np.asarray(upper, dtype=float) - np.asarray(lower, dtype=float)) / (2 * SIGMA_OF_90)


@dataclass(frozen=True)
class Defocus:
    """Defocus of the first of two images, in slices, with its error; ``agree`` tells whether the two bear it out.

    A failed one (no agreement) is falsy.
    """

    slices: float
    standard_error: float
    agree: bool

    def __bool__(self) -> bool:
        """Tell whether the two images bear each other out."""
        return self.agree


def defocus_from_two(images: Sequence[np.ndarray], distance_slices: float, model: Model) -> Defocus:
    """Defocus of the first of two images taken a known distance apart.

    One image may leave the side open: a blurred cell looks alike on both. The second settles it, for its score must
    differ by the known distance. Every sign of both scores is tried, as a score that has the size right and the side
    wrong is a model's commonest large error; what fits the distance best is taken, the scores as given first.

    Parameters
    ----------
    images
        Two, as ``dataset.images.read_image`` gives them.
    distance_slices
        Position of the second minus that of the first, in slices, positive away from the sample; not zero.
    model
        A trained model.

    Returns
    -------
    Defocus
        Mean of the two estimates, weighted by their intervals. They agree when they differ by less than three of their
        standard errors or half a slice.

    Raises
    ------
    InputError
        If there are not two images, or the distance is zero or not finite.
    """
    if len(images) != 2:
        raise InputError(f"{len(images)} images given: give two, taken a known distance apart.")
    if not np.isfinite(distance_slices) or distance_slices == 0:
        raise InputError(f"The distance of the images is {distance_slices} slices: give one that is not zero.")
    judged, step = model.judge(images), model.side.score_per_slice
    score, error = judged.score / step, _error(judged.lower, judged.upper) / step
    if not np.isfinite([*score, *error]).all():
        return Defocus(np.nan, np.nan, False)
    error = np.maximum(error, 1e-3)
    difference, first = min(
        (abs(b * score[1] - distance_slices - a * score[0]) + 1e-6 * (a < 0) + 1e-6 * (b < 0), a)
        for a in (1, -1)
        for b in (1, -1)
    )
    second = min((1, -1), key=lambda b: abs(b * score[1] - distance_slices - first * score[0]))
    weight = 1 / error**2
    slices = float((weight[0] * first * score[0] + weight[1] * (second * score[1] - distance_slices)) / weight.sum())
    combined = float(np.sqrt(1 / weight.sum()))
    spread = max(float(np.hypot(*error)), 1e-9)
    return Defocus(slices, max(combined, difference / 2), bool(difference <= max(3 * spread, 0.5)))
