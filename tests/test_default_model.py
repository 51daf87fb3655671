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
from focus_picker.training import default_data, make_default, whole_images
from focus_picker.training.default_data import REACH, crop_is_for_training, load_shards, make_shards
from focus_picker.training.default_limits import (
    COVERAGES,
    GREY,
    RIGHT_ASKED,
    UNSURE_ALLOWED,
    WRONG_ALLOWED,
    Asked,
    is_sure,
    learn_limits,
    limited_table,
    unsure,
)

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


def strangers(fooled_doubt: tuple[float, float], *, grey: bool = False) -> Asked:
    """Images of two kinds, one of which is often taken for the other side, with some doubt; it may have no colour."""
    rng = np.random.default_rng(1)
    score = rng.uniform(-1.6, 1.6, 2000)
    kind = np.repeat(["good", "mirrored"], 1000)
    fooled = (kind == "mirrored") & (rng.random(2000) < 0.15)
    said = np.where(fooled, -score, score) + 0.05 * rng.standard_normal(2000)
    doubt = np.where(fooled, rng.uniform(*fooled_doubt, 2000), rng.uniform(0.0, 0.08, 2000))[:, None]
    distribution = (1 - doubt) * DEFAULT_BINS.soft_labels(said, 0.06) + doubt * DEFAULT_BINS.soft_labels(-said, 0.06)
    chroma = np.where((kind == "mirrored") & grey, 0.3, 40.0)
    return Asked(distribution, score, kind, chroma)


NOTHING = strangers((0.1, 0.4)).select(np.zeros(2000, bool))


@pytest.mark.parametrize("fooled_doubt", [(0.1, 0.4), (0.02, 0.1)])
def test_limits_leave_few_images_of_any_kind_on_the_wrong_side(fooled_doubt):
    asked = strangers(fooled_doubt)
    limits = learn_limits(asked, NOTHING, STEP)
    table = limited_table(asked, limits, STEP)
    assert table["confidently_wrong"].max() <= WRONG_ALLOWED
    assert table["sign_where_sure"].min() >= RIGHT_ASKED
    assert limits.least_chroma == 0
    lower, upper = limits.intervals.interval(DEFAULT_BINS, asked.distribution)
    assert ((lower <= asked.score) & (asked.score <= upper)).mean() == pytest.approx(0.9, abs=0.01)


def test_what_is_doubted_is_unsure():
    asked = strangers((0.1, 0.4))
    sure = is_sure(asked, learn_limits(asked, NOTHING, STEP), STEP)
    assert sure[asked.kind == "good"].mean() > sure[asked.kind == "mirrored"].mean()


def test_a_model_that_doubts_what_it_gets_wrong_may_tell_more():
    doubting, sure_of_it = (learn_limits(strangers(doubt), NOTHING, STEP) for doubt in ((0.1, 0.4), (0.02, 0.1)))
    assert doubting.side_coverage < sure_of_it.side_coverage


def test_kinds_that_were_met_have_their_say_in_the_limits():
    alone, both = (learn_limits(strangers((0.1, 0.4)), met, STEP) for met in (NOTHING, strangers((0.02, 0.1))))
    assert both.side_coverage == learn_limits(strangers((0.02, 0.1)), NOTHING, STEP).side_coverage
    assert both.intervals == alone.intervals  # the widening is the strangers'


def test_images_without_colour_that_are_wrong_too_often_are_silenced_and_silence_no_others():
    asked = strangers((0.02, 0.1), grey=True)
    limits = learn_limits(asked, NOTHING, STEP)
    assert limits.least_chroma > 0
    table = limited_table(asked, limits, STEP).set_index("kind")
    assert table.loc[GREY, "unsure"] == 1
    assert table.loc["good", "unsure"] <= UNSURE_ALLOWED


def test_a_model_is_as_careful_as_the_share_of_doubt_allows():
    asked = strangers((0.1, 0.4))
    limits = learn_limits(asked, NOTHING, STEP)
    tighter = limits.model_copy(update={"side_coverage": limits.side_coverage + 0.01})
    assert unsure([asked], limits, STEP) <= UNSURE_ALLOWED < unsure([asked], tighter, STEP)


def test_confidently_wrong_is_sure_far_and_on_the_other_side():
    said, truth = np.array([0.8, 0.8, 0.3, 0.8]), np.array([-0.8, -0.3, -0.9, 0.8])
    sure = np.array([True, True, False, True])
    assert confidently_wrong(said, truth, sure, STEP).tolist() == [True, False, False, False]
    figures = side_figures(said, truth, sure, STEP)
    assert (figures["sign"], figures["unsure"], figures["confidently_wrong"]) == (0.25, 0.25, 0.25)
    assert figures["sign_where_sure"] == pytest.approx(1 / 3)


def test_limits_are_loose_where_nothing_is_wrong():
    score = np.repeat([0.8, 0.8, 0.3, -0.8], 5)
    asked = Asked(DEFAULT_BINS.soft_labels(score, 0.05), score, np.repeat("a", 20), np.zeros(20))
    limits = learn_limits(asked, NOTHING, STEP)
    assert (limits.side_coverage, limits.least_chroma) == (COVERAGES[0], 0)  # nothing is wrong, nothing needs a limit
    assert is_sure(asked, limits, STEP).all()


def test_the_command_makes_a_model_and_states_where_it_holds(crops, tmp_path, monkeypatch):
    models, stage = tmp_path / "models", make_default.Stage
    models.mkdir()
    for name, value in {"STACKS_PER_SHARD": 9, "STACKS_PER_MICROSCOPE": 1, "PLANES": 4, "WIDEST_PX": 40}.items():
        monkeypatch.setattr(default_data, name, value)
    monkeypatch.setattr(whole_images, "WIDEST_PX", 150)
    for name, value in {
        "MODELS": models,
        "METRICS": models / "metrics.csv",
        "KINDS_TABLE": models / "kinds.csv",
        "TEST_STACKS": 1,
        "BATCH": 8,
        "WHOLE_STACKS": 1,
        "STAGES": (
            stage("some_kinds", 16, 1e-3, 80, strangers=True),
            stage("asked", 16, 1e-3, 128, strangers=True, asked=True),
            stage("all_kinds", 16, 1e-3, 128),
        ),
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
