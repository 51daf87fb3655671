import numpy as np
import pytest

from focus_picker.models.focus_state import ADVICE, OUTSIDE, focus_state, stated
from focus_picker.stack_inference.single_image import ImageScore

ANSWERS = np.array(["in_focus", "pre_focal", "unsure", "post_focal"])
STATES = {"in_focus", "pre_focal", "post_focal", "unsure"}


@pytest.mark.parametrize(
    ("score", "lower", "upper", "status"),
    [
        (0.0, -0.1, 0.1, "in_focus"),
        (0.1, 0.0, 0.2, "in_focus"),  # exactly half a slice
        (-0.1, -0.2, 0.0, "in_focus"),
        (0.11, 0.0, 0.2, "post_focal"),
        (-0.11, -0.2, 0.0, "pre_focal"),
        (0.5, -0.19, 1.2, "post_focal"),  # the other sign is possible, but within a slice
        (0.5, -0.2, 1.2, "post_focal"),  # exactly one slice is not beyond it
        (0.5, -0.21, 1.2, "unsure"),
        (-0.5, -1.2, 0.21, "unsure"),
        (0.0, -0.3, 0.3, "unsure"),  # doubt goes before "in focus"
        (np.nan, -0.1, 0.1, "unsure"),
        (0.5, np.nan, 0.6, "unsure"),
        (0.5, 0.4, np.inf, "unsure"),
    ],
)
def test_decision_by_hand(score, lower, upper, status):
    assert focus_state(score, lower, upper, 0.2) == status
    assert status in STATES


def test_decision_is_elementwise_and_odd_in_the_score():
    rng = np.random.default_rng(0)
    score, width = rng.normal(0, 0.5, 200), rng.uniform(0, 0.8, 200)
    status = focus_state(score, score - width, score + width, 0.2)
    mirrored = focus_state(-score, -score - width, -score + width, 0.2)
    swap = {"pre_focal": "post_focal", "post_focal": "pre_focal", "in_focus": "in_focus", "unsure": "unsure"}
    assert status.shape == (200,)
    assert set(status) == STATES
    assert [swap[s] for s in status] == list(mirrored)


def test_decision_depends_on_slices_not_on_score_units():
    score = np.linspace(-1, 1, 41) + 0.003
    small = focus_state(score, score - 0.3, score + 0.3, 0.2)
    large = focus_state(10 * score, 10 * score - 3, 10 * score + 3, 2.0)
    assert (small == large).all()


@pytest.mark.parametrize("step", [0.0, -0.2, np.nan])
def test_decision_needs_a_positive_step(step):
    with pytest.raises(ValueError, match="positive"):
        focus_state(0.0, -0.1, 0.1, step)


def test_a_model_that_was_not_calibrated_names_no_focus_but_may_be_unsure():
    assert list(stated(ANSWERS, calibrated=True)) == list(ANSWERS)
    assert list(stated(ANSWERS, calibrated=False)) == ["uncalibrated", "uncalibrated", "unsure", "uncalibrated"]


def test_what_a_state_asks_for_is_said_in_words():
    assert ImageScore("a.jpg", 0.1, -0.6, 0.8, "unsure").advice == OUTSIDE
    assert ImageScore("a.jpg", 0.1, 0.0, 0.2, "in_focus").advice == ""
    assert set(ADVICE) == {"unsure", "uncalibrated"}
