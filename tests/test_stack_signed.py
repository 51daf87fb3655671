"""Signed scores: their zero, the test that a stack puts a model to, and what trusted scores settle."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import find_stacks
from focus_picker.deep.views import LOOKS_AT_ONE
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.focus_state import NOT_CALIBRATED
from focus_picker.stack_inference import calibration as calibrating
from focus_picker.stack_inference import signed
from focus_picker.stack_inference.calibration import calibrate
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import pick_focus, pick_from_scores
from focus_picker.stack_inference.scoring import StackScores, score_stack
from focus_picker.stack_inference.signed import end_trend, zero_crossing
from focus_picker.stack_inference.trial import MOST_UNSURE, line_of
from tests.made_models import MadeModel

Z = np.arange(11.0)
STEP = 0.2  # score per slice


def hill(away):
    return np.exp(-((away / 2) ** 2))


def made_scores(truth, rng, *, noise=0.1, common=0.1, rate=1.0, bias=0.0, sharpest=0.0, reverse=False, z=Z):
    """Slices: sharpest at truth + sharpest, scores zero at truth + bias, noise of their own and in common."""
    sharpness = 0.3 + hill(z - truth - sharpest) + rng.normal(0, 0.004, len(z))
    score = STEP * (rate * (z - truth - bias) + rng.normal(0, noise, len(z)) + rng.normal(0, common))
    score = np.clip(score, -1.6, 1.6)
    if reverse:
        sharpness, score = sharpness[::-1], score[::-1]
    files = tuple(f"{index}.png" for index in range(len(z)))
    spread = np.full(len(z), 0.1)
    return StackScores("made", files, z, False, sharpness, spread, score, ("",) * len(z), True, STEP)


def made_stacks(count, seed, **faults):
    rng = np.random.default_rng(seed)
    truths = rng.uniform(3, 7, count)
    return [made_scores(truth, rng, **faults) for truth in truths], truths


def by_sharpness(scores):
    return pick_from_scores(replace(scores, signed=False))


@pytest.fixture(scope="module")
def learned():
    return calibrate(*made_stacks(60, seed=1))


# zero crossing


@given(zero=st.floats(0.5, 9.5), slope=st.sampled_from([0.2, -0.2, 3.0]), seed=st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_zero_of_a_line_is_exact_in_any_order_with_gaps(zero, slope, seed):
    rng = np.random.default_rng(seed)
    z = rng.permutation(np.append(Z, 4.5))
    score = (z - zero) * slope
    score[rng.integers(0, 12)] = np.nan
    fit = zero_crossing(z, score)
    if np.nanmin(np.where(np.isfinite(score), z, np.nan)) <= zero <= np.nanmax(np.where(np.isfinite(score), z, np.nan)):
        assert fit.position == pytest.approx(zero, abs=1e-9)


@pytest.mark.parametrize("spoilt", [[0, 5], [1, 8], [5, 10]])
def test_two_wild_scores_of_eleven_hardly_move_the_zero(spoilt):
    score = STEP * (Z - 5.3)
    score[spoilt] = 1.9, -1.9
    assert zero_crossing(Z, score).position == pytest.approx(5.3, abs=0.35)


@pytest.mark.parametrize(
    ("z", "score", "reason"),
    [
        ([], [], "no slice has"),
        ([0, 1], [-1, 1], "fewer than three"),
        (Z, [1, -1] * 5 + [1], signed.NO_TREND),
        (Z, np.zeros(11), signed.NO_TREND),
        (Z, Z + 3, signed.ONE_SIGN),
        (np.zeros(11), Z, signed.NO_TREND),
    ],
)
def test_scores_without_a_zero_say_why(z, score, reason):
    fit = zero_crossing(z, score)
    assert not fit
    assert reason in fit.reason


def test_error_of_the_zero_is_its_scatter():
    rng = np.random.default_rng(3)
    fits = [zero_crossing(Z, Z - 5.2 + rng.normal(0, 0.3, 11)) for _ in range(300)]
    scatter = np.std([fit.position for fit in fits])
    assert np.mean([fit.standard_error for fit in fits]) == pytest.approx(scatter, rel=0.35)


@pytest.mark.parametrize("slope", [0.2, -0.2])
@pytest.mark.parametrize("beyond", [14.0, -4.0])
def test_scores_of_one_sign_lead_to_their_zero_beyond_the_end(slope, beyond):
    score = np.clip(slope * (Z - beyond), -1.5, 1.5)  # saturated at the far end
    assert end_trend(Z, score) == pytest.approx(slope)


@pytest.mark.parametrize("score", [np.ones(11), 1 + 0.3 * np.cos(2 * Z), np.full(11, np.nan)])
def test_scores_that_do_not_approach_zero_lead_nowhere(score):
    assert np.isnan(end_trend(Z, score))


# calibration


def test_calibration_learns_what_the_stacks_were_made_with(learned):
    assert learned.stacks == 60
    assert learned.offset == pytest.approx(0, abs=0.08)
    assert learned.error == pytest.approx(0.12, abs=0.06)
    assert learned.rate[0] < 1 < learned.rate[1]
    shifted = calibrate(*made_stacks(60, seed=1, bias=0.4))
    assert shifted.offset == pytest.approx(0.4, abs=0.08)
    backwards, truths = made_stacks(60, seed=1, bias=0.4, reverse=True)
    assert calibrate(backwards, 10 - truths).offset == pytest.approx(0.4, abs=0.08)


def test_too_few_stacks_are_refused():
    stacks, truths = made_stacks(calibrating.FEWEST_STACKS - 1, seed=1)
    with pytest.raises(InputError, match="calibrate on more stacks"):
        calibrate(stacks, truths)


# the stack tests the model


@pytest.mark.parametrize("faults", [{}, {"bias": 0.6}, {"bias": 3.0}, {"noise": 4.0}, {"rate": 0.3}, {"bias": 20.0}])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_clear_peak_is_where_it_is_with_any_model(learned, faults, reverse):
    stacks, _ = made_stacks(20, seed=2, reverse=reverse, **faults)
    for scores in stacks:
        pick, alone = pick_from_scores(scores, calibration=learned), by_sharpness(scores)
        assert (pick.best_position, pick.standard_error) == (alone.best_position, alone.standard_error)


def test_good_scores_are_used_and_leave_nothing_to_say(learned):
    stacks, _ = made_stacks(60, seed=2)
    picks = [pick_from_scores(scores, calibration=learned) for scores in stacks]
    assert np.mean([pick.scores_used and pick.status == "ok" and not pick.advice for pick in picks]) >= 0.95
    assert not any(by_sharpness(scores).scores_used for scores in stacks)


@pytest.mark.parametrize("truth", [5.3, 9.9, 13.0])
def test_a_model_that_is_not_calibrated_settles_nothing(truth):
    scores = made_scores(truth, np.random.default_rng(0), bias=-1.0)
    pick, alone = pick_from_scores(scores), by_sharpness(scores)
    assert (pick.status, pick.best_position) == (alone.status, alone.best_position)
    assert not pick.scores_used
    assert NOT_CALIBRATED in pick.advice


@pytest.mark.parametrize("bias", [3.0, -3.0])
def test_scores_that_contradict_a_clear_peak_are_named(learned, bias):
    stacks, _ = made_stacks(60, seed=3, bias=bias)
    picks = [pick_from_scores(scores, calibration=learned) for scores in stacks]
    assert np.mean([pick.status == "disagree" for pick in picks]) >= 0.95
    assert not any(pick.scores_used for pick in picks)
    assert "the stack is sharpest at slice" in next(p for p in picks if p.status == "disagree").advice


FAULTS = {
    "half the rate": {"rate": 0.3},
    "no relation to z": {"rate": 0.0, "noise": 3.0},
    "constant": {"rate": 0.0, "noise": 0.0, "bias": 2.0},
    "wild": {"noise": 4.0},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_scores_that_fail_the_test_have_no_say(learned, fault):
    stacks, _ = made_stacks(40, seed=4, **FAULTS[fault])
    picks = [pick_from_scores(scores, calibration=learned) for scores in stacks]
    assert np.mean([not pick.scores_used and pick.advice != "" for pick in picks]) >= 0.9  # some look right by chance


@pytest.mark.parametrize(("unsure", "trusted"), [(0.0, True), (MOST_UNSURE, True), (MOST_UNSURE + 0.01, False)])
def test_a_model_unsure_of_most_slices_has_no_say(learned, unsure, trusted):
    scores = replace(made_scores(5.2, np.random.default_rng(9), bias=3.0), unsure=unsure)  # contradicting confidently
    pick = pick_from_scores(scores, calibration=learned)
    assert pick.status == ("disagree" if trusted else "ok")
    assert ("the model is unsure" in pick.advice) is not trusted


@pytest.mark.parametrize(("slices", "share"), [(0, 0), (6, 0.6), (10, 1)])
def test_share_of_unsure_slices_is_among_those_that_were_scored(tmp_path, slices, share):
    texture = np.random.default_rng(0).normal(0, 30, (60, 60))
    for index in range(11):
        image = cv2.GaussianBlur(texture, (0, 0), 0.6 + abs(index - 5)) + 128
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "3.png").write_text("not an image")
    place = np.arange(10)
    model = MadeModel(lambda images: STEP * (place - 4.0), status=np.where(place < slices, "unsure", "in_focus"))
    assert score_stack(find_stacks(tmp_path)[0], model=model).unsure == pytest.approx(share)


# what trusted scores settle


def test_a_focus_just_inside_when_the_sharpest_slice_is_the_last(learned):
    scores = made_scores(9.2, np.random.default_rng(5), sharpest=1.2)
    assert by_sharpness(scores).status == "edge"
    pick = pick_from_scores(scores, calibration=learned)
    assert (pick.status, pick.scores_used) == ("ok", True)
    assert pick.best_position == pytest.approx(9.2, abs=0.3)


@pytest.mark.parametrize("reverse", [False, True])
def test_how_far_beyond_the_end_the_focus_is(learned, reverse):
    scores = made_scores(12.3, np.random.default_rng(5), noise=0.02, common=0.0, reverse=reverse)
    pick = pick_from_scores(scores, calibration=learned)
    assert (pick.status, pick.scores_used, pick.best_index) == ("edge", True, 0 if reverse else 10)
    assert "at least 4 slices" in pick.advice
    assert "still too close" in pick.advice


def test_an_edge_that_the_scores_do_not_see_is_sharpness_alone(learned):
    scores = made_scores(4.0, np.random.default_rng(5), sharpest=7.0)
    pick = pick_from_scores(scores, calibration=learned)
    assert (pick.status, pick.scores_used, pick.best_index) == ("edge", False, 10)
    assert "not at this end" in pick.advice


def test_scores_choose_between_rival_peaks(learned):
    scores = made_scores(3.0, np.random.default_rng(6))
    two = replace(scores, sharpness=scores.sharpness + hill(1.6 * (Z - 8)) * 0.9)
    assert by_sharpness(two).status == "ambiguous"
    pick = pick_from_scores(two, calibration=learned)
    assert (pick.status, pick.scores_used) == ("ambiguous", True)
    assert pick.best_position == pytest.approx(3.0, abs=0.3)
    assert "the scores mean slice" in pick.advice
    pick = pick_from_scores(replace(two, score=two.score + 3), calibration=learned)
    assert pick.status == "ambiguous"
    assert not pick.scores_used
    assert "slices 3 (3.png) and 8 (8.png)" in pick.advice


def test_missing_scores_do_not_stop_sharpness(learned):
    scores = made_scores(5.0, np.random.default_rng(7))
    pick = pick_from_scores(replace(scores, score=np.full(11, np.nan)), calibration=learned)
    assert pick.status == "ok"
    assert "scores not used" in pick.advice


def test_scores_alone(learned):
    stacks, truths = made_stacks(30, seed=8)
    picks = [pick_from_scores(scores, method="zero_crossing", calibration=learned) for scores in stacks]
    assert all(pick.status == "ok" and pick.standard_error > 0 for pick in picks)
    assert np.mean(np.abs([pick.best_position for pick in picks] - truths)) < 0.15
    beyond = pick_from_scores(made_scores(13.0, np.random.default_rng(0), sharpest=-6), method="zero_crossing")
    assert beyond.status == "edge"
    assert "still too close" in beyond.advice


def test_scores_of_one_sign_that_come_nearest_to_zero_inside_still_name_an_end():
    scores = made_scores(5.0, np.random.default_rng(0))
    bent = replace(scores, score=0.3 + 0.02 * (Z - 6) ** 2)
    pick = pick_from_scores(bent, method="zero_crossing")
    assert (pick.status, pick.best_index) == ("edge", 10)
    assert "towards larger slice numbers" in pick.advice


def test_rate_and_scatter_are_those_of_the_line():
    line = line_of(made_scores(5.0, np.random.default_rng(0), rate=0.7, noise=0.0, common=0.0))
    assert line.rate == pytest.approx(0.7)
    assert line.scatter == pytest.approx(0, abs=1e-9)


def test_a_picks_model_needs_a_calibration_on_its_microscope(tmp_path, learned):
    """The same perfect scores: used from a calibrated model, shown only from another."""
    texture = np.random.default_rng(0).normal(0, 30, (60, 60))
    for index in range(9):
        image = cv2.GaussianBlur(texture, (0, 0), 0.6 + abs(index - 4.2)) + 128
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    stack = find_stacks(tmp_path)[0]
    for calibrated in (True, False):
        model = MadeModel(lambda images: STEP * (np.arange(len(images)) - 4.2), stack_calibration=learned)
        model.side = model.side.model_copy(update={"calibrated": calibrated})
        pick = pick_focus(stack, model=model)
        assert pick.scores_used is calibrated
        assert (NOT_CALIBRATED in pick.advice) is not calibrated
        assert pick.slices[0].score == pytest.approx(-0.84)


def test_a_student_runs_once_for_all_that_it_judges():
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    student = load_model(DEFAULT_MODEL)
    images = [np.random.default_rng(k).integers(0, 255, (90, 100, 3), dtype=np.uint8) for k in range(3)]
    runs, network = [], student._signature()
    student._runner = lambda image: runs.append(len(image)) or network(image=image)
    judged = student.judge(images)
    assert runs == [3 * LOOKS_AT_ONE]
    assert judged.distribution.probability.sum(axis=1) == pytest.approx(1)
    assert len(student.judge([])) == 0
    assert runs == [3 * LOOKS_AT_ONE]
