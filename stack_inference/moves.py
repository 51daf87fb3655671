"""Steps of the stage from one image or two, for autofocus without a stack.

Positions follow the score's sign: a positive defocus means that the lens is too far, and the move that cures it is
towards the sample, negative.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.stack_inference.scoring import Scorer, judge, score_per_slice

SIGMA_OF_90 = 1.645


@dataclass(frozen=True)
class Move:
    """What to do with the lens.

    Parameters
    ----------
    slices
        Step to take in slices of the model's training stacks: negative towards the sample, NaN when not known.
    standard_error
        In slices.
    um, standard_error_um
        The same in micrometres; NaN where the step of a slice is not known.
    status
        ``ok``, ``in_focus`` (stay), or ``unsure`` (the side is not settled: take a second image, see
        ``defocus_from_two``, or a stack).
    advice
        For people.
    """

    slices: float
    standard_error: float
    um: float
    standard_error_um: float
    status: str
    advice: str


def move_from_one(image: np.ndarray, scorer: Scorer, z_step_um: float | None = None) -> Move:
    """Step to take from one image.

    Parameters
    ----------
    image
        As ``dataset.images.read_image`` gives it.
    scorer
        A trained model that says its score per slice.
    z_step_um
        Distance of two slices in the model's training stacks.

    Raises
    ------
    InputError
        If the model does not say its score per slice, or the step is not positive.
    """
    return move_from_judged(judge(scorer, [image]), scorer, z_step_um)


def move_from_judged(judged: Mapping[str, np.ndarray], scorer: Scorer, z_step_um: float | None = None) -> Move:
    """Step to take from what ``scorer`` found of one image by ``scoring.judge``; see ``move_from_one``."""
    step = _step(scorer)
    score, lower, upper = (float(judged[name][0]) for name in ("score", "lower", "upper"))
    defocus, error = score / step, (upper - lower) / (2 * SIGMA_OF_90 * step)
    state = str(judged["status"][0]) if "status" in judged else ""
    if not np.isfinite(defocus) or state == "unsure":
        return _move(-defocus, error, "unsure", "the side is not settled: take a second image at another z", z_step_um)
    if abs(defocus) <= 0.5:
        return _move(-defocus, error, "in_focus", "within half a slice of focus: stay", z_step_um)
    way = "towards the sample" if defocus > 0 else "away from the sample"
    return _move(-defocus, error, "ok", f"move the lens {way}", z_step_um)


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


def defocus_from_two(images: Sequence[np.ndarray], distance_slices: float, scorer: Scorer) -> Defocus:
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
    scorer
        A trained model that says its score per slice.

    Returns
    -------
    Defocus
        Mean of the two estimates, weighted by their intervals. They agree when they differ by less than three of their
        standard errors or half a slice.

    Raises
    ------
    InputError
        If there are not two images, the distance is zero or not finite, or the model does not say its score per slice.
    """
    if len(images) != 2:
        raise InputError(f"{len(images)} images given: give two, taken a known distance apart.")
    if not np.isfinite(distance_slices) or distance_slices == 0:
        raise InputError(f"The distance of the images is {distance_slices} slices: give one that is not zero.")
    step = _step(scorer)
    judged = judge(scorer, list(images))
    score = np.asarray(judged["score"], dtype=float) / step
    error = np.asarray(judged["upper"] - judged["lower"], dtype=float) / (2 * SIGMA_OF_90 * step)
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


def _step(scorer: Scorer) -> float:
    step = score_per_slice(scorer)
    if not (np.isfinite(step) and step > 0):
        raise InputError("The model does not say its score per slice: train it again with this version.")
    return step


def _move(slices: float, error: float, state: str, advice: str, z_step_um: float | None) -> Move:
    if z_step_um is not None and not (np.isfinite(z_step_um) and z_step_um > 0):
        raise InputError(f"The z step is {z_step_um} um: give the distance of two slices, greater than zero.")
    um = z_step_um if z_step_um is not None else np.nan
    return Move(slices, error, slices * um, error * um, state, advice)
