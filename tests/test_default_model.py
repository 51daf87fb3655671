"""How the default model comes about: shards that come again, and limits that kinds left out set."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focus_picker.dataset.simulation.kinds import KINDS
from focus_picker.deep.runtime import load_student
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX
from focus_picker.evaluation.sides import confidently_wrong, side_figures
from focus_picker.models import DEFAULT_WEIGHTS
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.training import default_data, make_default
from focus_picker.training.default_data import REACH, crop_is_for_training, load_shards, make_shards
from focus_picker.training.default_limits import is_sure, kinds_table, learn_limits

STEP = 0.2


@pytest.fixture
def crops(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(6):
        noise = cv2.GaussianBlur(rng.standard_normal((200, 200, 3)), (0, 0), 3)
        image = 220 - 120 * (np.hypot(*(np.mgrid[:200, :200] - 100)) < 60)[..., None] + 200 * noise
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.clip(image, 0, 255).astype(np.uint8))
    assert any(crop_is_for_training(path) for path in tmp_path.glob("*.jpg"))
    return tmp_path


def test_shards_come_again_and_are_added_to(crops, monkeypatch):
    monkeypatch.setattr(default_data, "STACKS_PER_SHARD", 2)
    monkeypatch.setattr(default_data, "WIDEST_PX", 40)
    for name, steps in (("once", (4,)), ("bit_by_bit", (2, 4))):
        for stacks in steps:
            make_shards(crops, crops / name, stacks, jobs=1)
    once, again = (load_shards(crops / name) for name in ("once", "bit_by_bit"))
    np.testing.assert_array_equal(once.image, again.image)
    np.testing.assert_array_equal(once.score, again.score)
    assert once.image.shape[1:] == (WINDOW_PX + SHIFT_PX, WINDOW_PX + SHIFT_PX, 3)
    assert np.abs(once.score).max() <= REACH
    assert len(np.unique(once.stack)) == 4
    assert len(np.unique(once.kind)) == 2
    assert (once.select(once.stack == 1).stack == 1).all()


def strangers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distributions, true scores and kinds: the second kind is often taken for the other side, with some doubt."""
    rng = np.random.default_rng(1)
    score = rng.uniform(-1.6, 1.6, 2000)
    kind = np.repeat(["good", "mirrored"], 1000)
    fooled = (kind == "mirrored") & (rng.random(2000) < 0.3)
    said = np.where(fooled, -score, score) + 0.05 * rng.standard_normal(2000)
    doubt = np.where(fooled, rng.uniform(0.01, 0.04, 2000), rng.uniform(0.0, 0.02, 2000))[:, None]  # within 90 %
    return (
        (1 - doubt) * DEFAULT_BINS.soft_labels(said, 0.06) + doubt * DEFAULT_BINS.soft_labels(-said, 0.06),
        score,
        kind,
    )


def test_limits_leave_at_most_one_image_in_a_hundred_of_any_kind_confidently_wrong():
    distribution, score, kind = strangers()
    limits = learn_limits(distribution, score, kind, STEP)
    assert 0 < limits.other_side < 0.04
    sure, said = is_sure(distribution, limits, STEP), DEFAULT_BINS.quantile(distribution, 0.5)
    table = kinds_table(said, sure, score, kind, STEP).set_index("kind")
    assert table["confidently_wrong"].max() <= 0.01
    assert table.loc["good", "sign_where_sure"] == 1
    assert table.loc["mirrored", "unsure"] > table.loc["good", "unsure"]
    lower, upper = limits.intervals.interval(DEFAULT_BINS, distribution)
    assert ((lower <= score) & (score <= upper)).mean() == pytest.approx(0.9, abs=0.01)


def test_confidently_wrong_is_sure_far_and_on_the_other_side():
    said, truth = np.array([0.8, 0.8, 0.3, 0.8]), np.array([-0.8, -0.3, -0.9, 0.8])
    sure = np.array([True, True, False, True])
    assert confidently_wrong(said, truth, sure, STEP).tolist() == [True, False, False, False]
    figures = side_figures(said, truth, sure, STEP)
    assert (figures["sign"], figures["unsure"], figures["confidently_wrong"]) == (0.25, 0.25, 0.25)
    assert figures["sign_where_sure"] == pytest.approx(1 / 3)


def test_limits_are_loose_where_nothing_is_wrong():
    distribution = DEFAULT_BINS.soft_labels([0.8, 0.8, 0.3, -0.8], 0.05)
    limits = learn_limits(distribution.repeat(5, axis=0), np.repeat([0.8, 0.8, 0.3, -0.8], 5), np.repeat("a", 20), STEP)
    assert limits.other_side == 0.5  # nothing is wrong, nothing needs a limit
    assert is_sure(distribution, limits, STEP).all()


def test_the_command_makes_a_model_and_states_where_it_holds(crops, tmp_path, monkeypatch):
    models, stage = tmp_path / "models", make_default.Stage
    models.mkdir()
    for name, value in {"STACKS_PER_SHARD": 9, "STACKS_PER_MICROSCOPE": 1, "PLANES": 4, "WIDEST_PX": 40}.items():
        monkeypatch.setattr(default_data, name, value)
    for name, value in {
        "MODELS": models,
        "METRICS": models / "metrics.csv",
        "KINDS_TABLE": models / "kinds.csv",
        "TEST_STACKS": 1,
        "BATCH": 8,
        "STAGES": (stage("some_kinds", 16, 1e-3, 80, strangers=True), stage("all_kinds", 16, 1e-3, 128)),
        "known_instruments": lambda: ["dry40"],
        "is_validation": lambda stack: stack % 2 == 1,
    }.items():
        monkeypatch.setattr(make_default, name, value)
    monkeypatch.setattr("focus_picker.deep.training.compiled", lambda step: step)
    make_default.main(crops, tmp_path / "work", stacks=9, effort=1.0, start=DEFAULT_WEIGHTS, jobs=1)
    kinds = pd.read_csv(models / "kinds.csv")
    assert set(kinds["kind"][kinds["spearman_left_out"].notna()]) <= set(make_default.HELD_KINDS) <= set(KINDS)
    assert (models / "metrics.csv").read_text().count("focus_model,dry40") == 1
    student = load_student(models / "focus_model.tflite")
    assert not student.side.calibrated  # measured in simulation, which is no user's microscope
    assert student.judge_windows(np.full((2, WINDOW_PX, WINDOW_PX, 3), 127, np.uint8)).score.shape == (2,)
    assert (models / "best_model.h5").is_file()
