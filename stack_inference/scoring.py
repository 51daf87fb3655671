"""From the images of a stack to numbers per slice: sharpness by a measure, signed scores by a model.

The two are told apart throughout. Sharpness needs no training, is largest in focus and carries no sign. A score is a
model's: zero in focus, positive where the lens is too far.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import cv2
import numpy as np

from focus_picker import features
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import Slice, Stack, declared_shapes, read_each, slice_numbers
from focus_picker.models.contract import Model
from focus_picker.models.focus_state import UNSURE
from focus_picker.stack_inference.consensus import PANEL
from focus_picker.stack_inference.windows import cell_weight, centre, reduced, weighed_grey

BATCH_BYTES, MOST_IN_BATCH = 64_000_000, 64
"""Of slices in memory at a time."""

SMALL_SHARE = 0.5
"""A slice below this share of the stack's median height or width is left out."""

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
        By the chosen measure, of the weighed cell on the window that all slices share.
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
    whole
        By the chosen measure without the weight; None likewise.
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
    whole: np.ndarray | None = None

    @property
    def everywhere(self) -> np.ndarray:
        """Sharpness of the whole window, where it was measured: whether there is anything, and one cell or two."""
        return self.sharpness if self.whole is None else self.whole

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
    n = len(stack.slices)
    shape, problems = _shared_shape(stack.slices)
    weight, names = cell_weight(shape), (measure, *PANEL)
    mean, spread, score = (np.full(n, np.nan) for _ in range(3))
    curves, status = np.full((1 + len(names), n), np.nan), np.full(n, "", dtype="U16")
    pictures: list[np.ndarray | None] = [None] * n
    for batch in _batches(read_each(stack.slices), shape):
        used: dict[int, np.ndarray] = {}
        for index, image in batch:
            if isinstance(image, InputError):
                problems[index] = str(image)
                continue
            window = centre(image, *shape)
            if thumbnail_px:
                pictures[index] = reduced(window, thumbnail_px)
            if not problems[index]:
                used[index] = image
                mean[index], spread[index] = _brightness(image)
                curves[:, index], problems[index] = _sharpness(window, weight, names)
        if model is not None and used:
            judged = model.judge(list(used.values()))
            score[list(used)], status[list(used)] = judged.score, judged.status
    for index, reason in _odd(mean, spread).items():
        problems[index], status[index] = reason, ""
        curves[:, index] = spread[index] = score[index] = np.nan
    z, z_in_um = positions(stack)
    return StackScores(
        stack=stack.name,
        files=tuple(part.file for part in stack.slices),
        z=z,
        z_in_um=z_in_um,
        sharpness=curves[1],
        grey_spread=spread,
        score=score,
        problems=tuple(problems),
        signed=model is not None,
        score_per_slice=model.side.score_per_slice if model else np.nan,
        unsure=float(np.mean(status[status != ""] == UNSURE)) if (status != "").any() else 0.0,
        thumbnails=tuple(pictures) if thumbnail_px else (),
        panel=curves[2:],
        whole=curves[0],
    )


def check_measure(name: str) -> None:
    """Raise InputError, listing the known ones, unless ``name`` is a measure."""
    if name not in features.MEASURES:
        raise InputError(f"There is no measure '{name}': take one of {', '.join(features.MEASURES)}.")


def _shared_shape(slices: Sequence[Slice]) -> tuple[tuple[int, int], list[str]]:
    """Height and width of the window that all slices share, and for each slice why it is left out, else empty.

    A slice that is much smaller than the rest (a preview, a slip of the crop) would leave no window to the others.
    """
    shapes = declared_shapes(slices)
    known = np.array([shape or (0, 0) for shape in shapes]).reshape(-1, 2)
    sound = known.min(axis=1) > 0
    if not sound.any():
        return (1, 1), [""] * len(slices)
    small = sound & (known < SMALL_SHARE * np.median(known[sound], axis=0)).any(axis=1)
    height, width = known[sound & ~small].min(axis=0).tolist()
    return (height, width), ["much smaller than the rest of the stack" if odd else "" for odd in small]


def _batches(
    read: Iterator[np.ndarray | InputError], shape: tuple[int, int]
) -> Iterator[list[tuple[int, np.ndarray | InputError]]]:
    """Numbered slices, as many at a time as take ``BATCH_BYTES``: the longest stack stays within that memory."""
    numbered = enumerate(read)
    size = min(MOST_IN_BATCH, max(1, BATCH_BYTES // (3 * shape[0] * shape[1])))
    while batch := list(islice(numbered, size)):
        yield batch


def _brightness(image: np.ndarray) -> tuple[float, float]:
    """Mean of an image, as a share of full scale, and its spread relative to the mean."""
    means, deviations = cv2.meanStdDev(np.ascontiguousarray(image))
    spread = deviations.mean() / max(means.mean(), np.finfo(float).tiny)
    return float(means.mean() / np.iinfo(image.dtype).max), float(spread)


def _odd(mean: np.ndarray, spread: np.ndarray) -> dict[int, str]:
    """Slices that were not taken like the others, and why, by the mean and the spread of each ``(n,)``.

    Divided by its mean squared, the noise of a dark slice is larger than any focus; a constant slice is a black or
    saturated frame and would dent the curve. Where all slices are alike there is no telling, and all stay.
    """
    readable = np.isfinite(mean)
    if not readable.any():
        return {}
    dark = mean < DARK_SHARE * np.median(mean[readable])
    constant = readable & (spread == 0) & bool((spread[readable] > 0).any())
    reasons = {True: "much darker than the rest of the stack", False: "the same grey level everywhere"}
    return {int(index): reasons[bool(dark[index])] for index in np.flatnonzero(dark | constant)}


def _sharpness(window: np.ndarray, weight: np.ndarray, names: Sequence[str]) -> tuple[list[float], str]:
    """First of the measures on the whole shared window, then all of the weighed cell; NaN and why it is refused."""
    try:
        whole = features.measure(window, names=names[:1])
        measured = features.measure(weighed_grey(window, weight), names=names)
        return [whole[names[0]], *(measured[name] for name in names)], ""
    except InputError as error:
        return [np.nan] * (1 + len(names)), str(error)


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
