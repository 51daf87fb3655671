"""From the images of a stack to numbers per slice: sharpness by a measure, signed scores by a model.

The two are told apart throughout. Sharpness needs no training, is largest in focus and carries no sign. A score is a
model's: zero in focus, positive where the lens is too far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from focus_picker import features
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import Slice, Stack, read_each, slice_numbers
from focus_picker.models.contract import Model
from focus_picker.models.focus_state import UNSURE
from focus_picker.stack_inference.consensus import PANEL
from focus_picker.stack_inference.windows import cell_weight, common_window, thumbnails, weighed_grey

DARK_SHARE = 0.25
"""A slice darker than this share of the stack's median brightness was not lit as the others were and is left out."""


@dataclass(frozen=True)
class StackScores:
    """What is known of each slice; every array has length n, the number of slices, and NaN for what is not known.

    Parameters
    ----------
    stack
        Name of the stack.
    files
        Names of the slices.
    z
        Positions in z order, counted in slice spacings from the first slice unless ``z_um`` holds.
    z_in_um
        Whether ``z`` is in micrometres.
    sharpness
        By the chosen measure, on the window that all slices share.
    grey_spread
        Standard deviation of grey by its mean.
    score
        Signed score; NaN without a model.
    problems
        Why a slice is left out, empty for good ones.
    signed
        Whether a model was asked.
    score_per_slice
        Of the model, NaN without one.
    unsure
        Share of the scored slices that the model itself calls ``unsure``.
    thumbnails
        Small pictures of the slices where they were asked for, else empty.
    panel
        Sharpness by every measure of ``consensus.PANEL``, ``(measures, n)``; None where only ``sharpness`` is known.
    """

    stack: str
    files: tuple[str, ...]
    z: np.ndarray
    z_in_um: bool
    sharpness: np.ndarray
    grey_spread: np.ndarray
    score: np.ndarray
    problems: tuple[str, ...]
    signed: bool
    score_per_slice: float = np.nan
    unsure: float = 0.0
    thumbnails: tuple[np.ndarray | None, ...] = ()
    panel: np.ndarray | None = None

    @property
    def curves(self) -> np.ndarray:
        """Sharpness curves that vote on the best plane, ``(measures, n)``: the panel's, or the chosen measure alone."""
        return self.sharpness[None] if self.panel is None else self.panel


def score_stack(
    stack: Stack, *, measure: str = "tenengrad", model: Model | None = None, thumbnail_px: int = 0
) -> StackScores:
    """Read a stack once and measure every slice.

    Slices that cannot be used stay in as gaps (NaN) with their reason: unreadable ones, ones much darker than the rest
    (the lamp was off), and constant ones beside others that are not. Their number may leave nothing to go by; that is
    for ``pick`` to say.

    Sharpness is measured on the central window that all slices share, at native scale: a tracked cell's crops may grow
    with z, and neither their size nor a resampling may pass for focus. The model gets whole images, as in training.

    Parameters
    ----------
    stack
        From ``dataset.stacks``.
    measure
        Sharpness measure, a name in ``features.MEASURES``.
    model
        Gives signed scores; None for sharpness alone.
    thumbnail_px
        Longer side of the small pictures that are kept of the slices; 0 for none.

    Raises
    ------
    InputError
        If there is no measure of this name.
    """
    check_measure(measure)
    images, problems = _read(stack.slices)
    pictures = thumbnails(images, thumbnail_px) if thumbnail_px else ()
    mean, spread = _brightness(images)
    _leave_out_odd(images, problems, mean, spread)
    sharpness, panel = _sharpness(images, problems, measure)
    score, unsure = _scored(images, model)
    z, z_in_um = positions(stack)
    return StackScores(
        stack=stack.name,
        files=tuple(part.file for part in stack.slices),
        z=z,
        z_in_um=z_in_um,
        sharpness=sharpness,
        grey_spread=spread,
        score=score,
        problems=tuple(problems),
        signed=model is not None,
        score_per_slice=model.side.score_per_slice if model else np.nan,
        unsure=unsure,
        thumbnails=pictures,
        panel=panel,
    )


def check_measure(name: str) -> None:
    """Raise InputError, listing the known ones, unless ``name`` is a measure."""
    if name not in features.MEASURES:
        raise InputError(f"There is no measure '{name}': take one of {', '.join(features.MEASURES)}.")


def _read(slices: Sequence[Slice]) -> tuple[list[np.ndarray | None], list[str]]:
    read = list(read_each(slices))
    images = [None if isinstance(image, InputError) else image for image in read]
    return images, [str(image) if isinstance(image, InputError) else "" for image in read]


def _brightness(images: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each image, as a share of full scale, and its spread relative to the mean, ``(n,)`` each."""
    mean, spread = np.full(len(images), np.nan), np.full(len(images), np.nan)
    for index, image in enumerate(images):
        if image is None:
            continue
        means, deviations = cv2.meanStdDev(np.ascontiguousarray(image))
        mean[index] = means.mean() / np.iinfo(image.dtype).max
        spread[index] = deviations.mean() / max(means.mean(), np.finfo(float).tiny)
    return mean, spread


def _leave_out_odd(images: list[np.ndarray | None], problems: list[str], mean: np.ndarray, spread: np.ndarray) -> None:
    """Turn slices that were not taken like the others into gaps, in place.

    Divided by its mean squared, the noise of a dark slice is larger than any focus; a constant slice is a black or
    saturated frame and would dent the curve. Where all slices are alike there is no telling, and all stay.
    """
    readable = np.isfinite(mean)
    if not readable.any():
        return
    dark = mean < DARK_SHARE * np.median(mean[readable])
    constant = readable & (spread == 0) & bool((spread[readable] > 0).any())
    for index in np.flatnonzero(dark | constant):
        images[index] = None
        problems[index] = "much darker than the rest of the stack" if dark[index] else "the same grey level everywhere"
        spread[index] = np.nan


def _sharpness(images: Sequence[np.ndarray | None], problems: list[str], measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Measure each image on the common window: the chosen measure ``(n,)`` and the panel ``(measures, n)``.

    A refused image becomes a gap, its reason noted in place.
    """
    names = (measure, *PANEL)
    values = np.full((len(names), len(images)), np.nan)
    windows = common_window(images)
    weight = next((cell_weight(window.shape[:2]) for window in windows if window is not None), None)
    for index, window in enumerate(windows):
        if window is None or weight is None:
            continue
        try:
            measured = features.measure(weighed_grey(window, weight), names=names)
        except InputError as error:
            problems[index] = str(error)
        else:
            values[:, index] = [measured[name] for name in names]
    return values[0], values[1:]


def _scored(images: Sequence[np.ndarray | None], model: Model | None) -> tuple[np.ndarray, float]:
    """Score of every slice, NaN for gaps and without a model, and the share of which the model says ``unsure``."""
    score = np.full(len(images), np.nan)
    used = [index for index, image in enumerate(images) if image is not None]
    if model is None or not used:
        return score, 0.0
    judged = model.judge([image for image in images if image is not None])
    score[used] = judged.score
    return score, float(np.mean(judged.status == UNSURE))


def positions(stack: Stack) -> tuple[np.ndarray, bool]:
    """Position of each slice, ``(n,)`` in z order, and whether it is in micrometres (else in slice spacings)."""
    if stack.z_um is not None:
        return np.asarray(stack.z_um, dtype=float), True
    if any(part.page is not None for part in stack.slices):
        return np.arange(len(stack.slices), dtype=float), False
    return spacings([part.file for part in stack.slices]), False


def spacings(names: Sequence[str]) -> np.ndarray:
    """Positions of slices in units of their spacing, from the numbers in their names.

    A jump of a whole number of spacings is a missing slice: 0, 1, 3 are at 0, 1, 3 and 10, 20, 40 as well. Numbers that
    do not follow such a pattern (times, for instance) say nothing about z, and the slices count as equally spaced.
    """
    numbers = slice_numbers(names)
    gaps = [after - before for before, after in pairwise(numbers)]
    step = min(gaps, default=1)
    if not numbers or step < 1 or any(gap % step for gap in gaps):
        return np.arange(len(names), dtype=float)
    return (np.asarray(numbers, dtype=float) - numbers[0]) / step
