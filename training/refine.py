"""Label refinement: from "nearest slice" to fractions of a slice, by the stack's own sharpness.

A label says which slice is nearest to focus, so that all labels of a stack share one error of up to half a slice. Where
the stack looks sharpest between its slices is known better than that from the stack alone.
"""

import numpy as np
import pandas as pd

from focus_picker.dataset.stacks import Stack
from focus_picker.stack_inference import status
from focus_picker.stack_inference.batch import pick_many
from focus_picker.stack_inference.pick import Pick

MOST_ERROR = 0.3
"""Standard error of a sharpest plane, in slices, above which it is no better than a label to the nearest slice."""
AGREEMENT = 0.5
"""Slices, and ``SURE`` standard errors beyond, within which labels' zero and sharpest plane mean the same; labels that
differ by more may know what sharpness does not (which of two cells is meant), and stay as they are."""
SURE = 2.0


def refine_labels(stacks: list[Stack], labels: pd.DataFrame, jobs: int = 1) -> np.ndarray:
    """Refined labels ``(N,)`` in the order of ``labels``.

    Parameters
    ----------
    stacks
        Of the same data set; those without labels are passed over.
    labels
        Columns ``image_path``, ``stack`` and ``focus_score`` of the images to refine.
    jobs
        Processes.
    """
    score = labels.set_index("image_path")["focus_score"].astype(float).copy()
    names = set(labels["stack"])
    wanted = [stack for stack in stacks if stack.name in names]
    folders = labels.groupby("stack")["image_path"].first().str.rpartition("/")[0]
    for stack, pick in zip(wanted, pick_many(wanted, jobs=jobs), strict=True):
        rows = [f"{folders[stack.name]}/{part.file}" for part in stack.slices]
        score.update(pd.Series(refined_stack(score.reindex(rows).to_numpy(), pick), index=rows))
    return score.reindex(labels["image_path"]).to_numpy()


def refined_stack(score: np.ndarray, pick: Pick) -> np.ndarray:
    """Labels ``(n_slices,)`` of one stack, NaN where unlabelled, moved so that their zero lies at the sharpest plane.

    They stay as they are where the stack does not tell its sharpest plane, where their zero is not among them, and
    where it lies too far from that plane.
    """
    known = np.flatnonzero(np.isfinite(score))
    if pick.status != status.OK or not pick.standard_error <= MOST_ERROR or len(known) < 2:
        return score
    slope, start = np.polyfit(known, score[known], 1)
    if not score[known].min() <= 0 <= score[known].max() or not slope:
        return score
    away = -start / slope - pick.best_position
    if abs(away) > AGREEMENT + SURE * pick.standard_error:
        return score
    return score + slope * away
