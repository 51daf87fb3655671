"""Labels refined by the sharpest plane: the rounding goes, and what people meant otherwise stays."""

import numpy as np
import pandas as pd
import pytest

from focus_picker.cli import main
from focus_picker.dataset.labels import read_labels, read_truth, true_scores
from focus_picker.dataset.stacks import find_stacks
from focus_picker.stack_inference.pick import Pick
from focus_picker.training.refine import refine_labels, refined_stack

LABELS = 0.2 * (np.arange(9.0) - 4)


def pick(position, error=0.05, status="ok"):
    return Pick(
        stack="one", n_slices=9, best_index=4, best_file="4.jpg", best_position=position, standard_error=error,
        best_z_um=np.nan, status=status, advice="", method="fused", scores_used=False, slices=(),
    )  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_the_zero_moves_to_the_sharpest_plane(sign):
    refined = refined_stack(sign * LABELS, pick(4.3))
    assert refined == pytest.approx(sign * 0.2 * (np.arange(9) - 4.3))


def test_gaps_stay_gaps():
    labels = np.where(np.arange(9) == 2, np.nan, LABELS)
    assert list(np.flatnonzero(np.isnan(refined_stack(labels, pick(4.3))))) == [2]


@pytest.mark.parametrize(
    "found", [pick(5.2), pick(4.3, error=0.4), pick(4.3, error=np.nan), pick(4.3, status="ambiguous")],
    ids=["another plane", "unsure", "no error", "ambiguous"],
)  # fmt: skip
def test_labels_stay_where_the_stack_cannot_refine_them(found):
    assert refined_stack(LABELS, found) == pytest.approx(LABELS)


def test_refined_labels_are_nearer_to_the_truth(tmp_path):
    assert main(["simulate", str(tmp_path / "data"), "--stacks", "6", "--seed", "8", "--jobs", "1"]) == 0
    labels = read_labels(tmp_path / "data")
    truth = true_scores(labels, read_truth(tmp_path / "data"))
    refined = refine_labels(find_stacks(tmp_path / "data"), labels)
    before, after = (np.abs(score - truth).mean() for score in (labels["focus_score"], pd.Series(refined)))
    assert after < 0.8 * before
