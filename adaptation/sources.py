"""Where the labels of an adaptation come from: the stacks themselves, or a data set's own labels made finer by them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from focus_picker.adaptation.labelling import SCORE_PER_SLICE, LabelledStack, Report, label_stacks, silent
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.labels import LABELS_FILE, read_labels, score_per_slice
from focus_picker.dataset.stacks import find_stacks
from focus_picker.training.refine import refined_stack

Source = str | Path | Sequence[str | Path]


def label_source(
    source: Source, *, reverse: bool = False, jobs: int = 1, report: Report = silent
) -> tuple[list[LabelledStack], float]:
    """Find the stacks of a source and label them.

    Parameters
    ----------
    source
        A data set with ``focus_labels.csv``, or stacks without labels: a folder of them, or several paths.
    reverse
        Whether slice 0 of unlabelled stacks is the far end; a data set with labels says so itself.
    jobs, report
        Processes; called as the work goes on.

    Returns
    -------
    tuple
        The stacks with labels or why they have none, and the score between neighbouring slices, positive.

    Raises
    ------
    InputError
        No stacks, or faulty labels.
    """
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(path) for path in source]
    labels, step = _own_labels(paths)
    stacks = [stack for path in paths for stack in find_stacks(path)]
    if labels is not None and reverse:
        raise InputError(f"{paths[0]} has labels, which say themselves which way scores rise; leave --reversed out")
    turned = reverse or (step is not None and step < 0)
    size = abs(step) if step else SCORE_PER_SLICE
    labelled = label_stacks(stacks, score_per_slice=size, reverse=turned, jobs=jobs, report=report)
    return (labelled if labels is None else list(_by_own_labels(labelled, labels))), size


def _own_labels(paths: Sequence[Path]) -> tuple[pd.DataFrame | None, float | None]:
    """Labels of the one data set given and their step; None for stacks without."""
    with_labels = [path for path in paths if (path / LABELS_FILE).is_file()]
    if not with_labels:
        return None, None
    if len(paths) > 1:
        raise InputError(f"{with_labels[0]} has labels of its own; give it alone, or stacks without labels")
    labels = read_labels(paths[0])
    return labels, score_per_slice(labels)


def _by_own_labels(labelled: Iterable[LabelledStack], labels: pd.DataFrame) -> Iterable[LabelledStack]:
    """Take people's labels where they gave some, refined by the stack's own sharpness; the rest stays as it is."""
    given = {str(name): part for name, part in labels.dropna(subset=["focus_score"]).groupby("stack")}
    for one in labelled:
        yield _with_labels(one, given[one.stack.name]) if one.stack.name in given else one


def _with_labels(one: LabelledStack, part: pd.DataFrame) -> LabelledStack:
    by_file = part.set_index(part["image_path"].map(lambda path: Path(path).name))["focus_score"]
    score = by_file.reindex([plane.file for plane in one.stack.slices]).to_numpy(dtype=float)
    if not np.isfinite(score).any():
        return one
    return LabelledStack(one.stack, one.pick, refined_stack(score, one.pick), "")
