"""Labels for stacks that have none: how far each slice lies from where its stack looks sharpest.

The sharpest plane is found from the stack alone (``stack_inference.pick`` without a model), so that a label is as good
as sharpness is on the microscope at hand and owes nothing to a model. Stacks that do not tell are left out.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text
from focus_picker.dataset.stacks import Stack
from focus_picker.stack_inference import status
from focus_picker.stack_inference.batch import pick_many
from focus_picker.stack_inference.pick import Pick
from focus_picker.stack_inference.plot import THUMBNAIL_PX
from focus_picker.stack_inference.scoring import positions

SCORE_PER_SLICE = 0.2
MOST_ERROR = 0.35
"""Standard error of the sharpest plane, in slices, above which a stack is no teacher: labels that people give to the
nearest slice are as good."""

Report = Callable[[str, int, int], None]  # stage, done, total


def silent(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class LabelledStack:
    """A stack with its labels, or with the reason why it has none.

    Attributes
    ----------
    stack, pick
        The stack and its sharpest plane.
    score
        ``(n_slices,)``, NaN for slices that cannot be read and for a stack that is left out.
    left_out
        ``flat``, ``edge``, ``ambiguous``, ``unreadable``, ``uncertain`` or whatever the pick's status is; empty for a
        labelled stack.
    """

    stack: Stack
    pick: Pick
    score: np.ndarray
    left_out: str

    @property
    def shown(self) -> Pick:
        """The pick as a picture of what was labelled shows it: with the reason of a stack that is left out."""
        return replace(self.pick, status=self.left_out) if self.left_out else self.pick


def label_stacks(
    stacks: Sequence[Stack],
    *,
    score_per_slice: float = SCORE_PER_SLICE,
    reverse: bool = False,
    jobs: int = 1,
    report: Report = silent,
) -> list[LabelledStack]:
    """Label every stack that tells where it is sharpest.

    Parameters
    ----------
    stacks
        From ``dataset.stacks.find_stacks``.
    score_per_slice
        Score between neighbouring slices.
    reverse
        Whether slice 0 is the far end: the lens comes nearer to the sample as slice numbers rise.
    jobs
        Processes.
    report
        Called after each stack.

    Raises
    ------
    InputError
        The name of a stack or a slice is not text.
    """
    _check_names(stacks)
    step = -score_per_slice if reverse else score_per_slice
    labelled: list[LabelledStack] = []
    for pick in pick_many(stacks, thumbnail_px=THUMBNAIL_PX, jobs=jobs, progress=False):
        labelled.append(labelled_by(stacks[len(labelled)], pick, step))
        report("labelling stacks", len(labelled), len(stacks))
    return labelled


def _check_names(stacks: Sequence[Stack]) -> None:
    for stack in stacks:
        for name in (stack.name, *(part.file for part in stack.slices)):
            if as_text(name) != name:
                raise InputError(f"the name {name} in {stack.path} is not text, which tables of labels are; rename it")


def labelled_by(stack: Stack, pick: Pick, step: float) -> LabelledStack:
    """Labels of one stack from its sharpest plane; ``step`` is the score from a slice to the next, of either sign."""
    reason = why_left_out(pick)
    if reason:
        return LabelledStack(stack, pick, np.full(len(stack.slices), np.nan), reason)
    place = slice_places(stack)
    best = float(np.interp(pick.best_position, np.arange(len(place)), place))
    usable = np.isfinite([part.sharpness for part in pick.slices])
    return LabelledStack(stack, pick, np.where(usable, step * (place - best), np.nan), "")


def why_left_out(pick: Pick) -> str:
    """Why a stack cannot teach, in a word; empty where it can."""
    if pick.status != status.OK:
        return pick.status
    return "" if pick.standard_error <= MOST_ERROR else "uncertain"  # NaN is uncertain


def slice_places(stack: Stack) -> np.ndarray:
    """Position of each slice ``(n,)`` in spacings of neighbouring slices, from 0; gaps in their numbers count."""
    z, _ = positions(stack)
    steps = np.diff(z)
    return (z - z[0]) / (float(np.median(steps)) if len(steps) else 1.0)


def count_left_out(labelled: Iterable[LabelledStack]) -> dict[str, int]:
    """Number of stacks left out by reason."""
    counts: dict[str, int] = {}
    for one in labelled:
        if one.left_out:
            counts[one.left_out] = counts.get(one.left_out, 0) + 1
    return counts


def in_words(labelled: Sequence[LabelledStack], place: Path | None = None) -> str:
    """One or two sentences for people: how many are labelled and how well, and what was left out."""
    kept = [one for one in labelled if not one.left_out]
    words = f"{place}: " if place else ""
    words += f"{len(kept)} of {len(labelled)} stacks labelled"
    if kept:
        words += f", typically to {np.median([one.pick.standard_error for one in kept]):.2f} slice"
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(count_left_out(labelled).items()))
    return words + (f"; left out: {left_out}" if left_out else "")
