"""Signed scores: zero crossing, posterior, calibration and fusion, on made scores whose truth and faults are known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.contract import ScoreDistribution, normal_distribution
from focus_picker.stack_inference import calibration as calibrating
from focus_picker.stack_inference import signed
from focus_picker.stack_inference.calibration import calibrate
from focus_picker.stack_inference.curves import CurveFit
from focus_picker.stack_inference.decide import MOST_UNSURE
from focus_picker.stack_inference.evidence import Evidence, fit_sharpness, gather
from focus_picker.stack_inference.fusion import combine
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import pick_focus, pick_from_scores
from focus_picker.stack_inference.scoring import StackScores, score_stack
from focus_picker.stack_inference.shapes import load_template
from focus_picker.stack_inference.signed import plane_posterior, zero_crossing
from tests.made_models import MadeModel

Z = np.arange(11.0)
STEP = 0.2  # score per slice
OFFSET = -0.65  # of the sharpest plane from the labels' zero, in slices


def made_scores(truth, rng, *, offset=OFFSET, noise=0.1, common=0.1, rate=1.0, bias=0.0, reverse=False, z=Z):
    """Slices of a stack: sharpest at truth + offset, scores zero at truth + bias, noise of their own and in common."""
    offset += rng.normal(0, 0.08)
    sharpness = 0.3 + load_template()((z - truth - offset) / 1.6) + rng.normal(0, 0.004, len(z))
    score = STEP * (rate * (z - truth - bias) + rng.normal(0, noise, len(z)) + rng.normal(0, common))
    score = np.clip(score, -1.6, 1.6)
    if reverse:
        sharpness, score = sharpness[::-1], score[::-1]
    half = np.full(len(z), 1.645 * STEP * max(noise, 0.05))
    files = tuple(f"{index}.png" for index in range(len(z)))
    return StackScores(
        *("made", files, z, False, sharpness, np.full(len(z), 0.1), score, score - half, score + half),
        *(("",) * len(z), True, normal_distribution(score, score - half, score + half), STEP),
    )


def made_stacks(count, seed, **faults):
    rng = np.random.default_rng(seed)
    truths = rng.uniform(3, 7, count)
    return [made_scores(truth, rng, **faults) for truth in truths], truths


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


# posterior


@pytest.mark.parametrize("truth", [1.2, 5.37, 8.9])
@pytest.mark.parametrize("rate", [1.0, 0.6, -1.0])
def test_posterior_finds_the_plane_at_any_rate_and_in_both_directions(truth, rate):
    score = STEP * rate * (Z - truth)
    found = plane_posterior(Z, normal_distribution(score, score - 0.1, score + 0.1), STEP)
    assert found.fit.position == pytest.approx(truth, abs=0.15)
    assert found.rate == pytest.approx(rate, abs=0.25)
    assert found.probability.sum() == pytest.approx(1)


def test_hotter_is_wider():
    score = STEP * (Z - 5.2)
    slices = normal_distribution(score, score - 0.2, score + 0.2)
    errors = [plane_posterior(Z, slices, STEP, temperature=t).fit.standard_error for t in (1, 4, 16)]
    assert errors == sorted(errors)
    assert errors[2] > 2 * errors[0]


def test_slices_that_leave_the_side_open_are_settled_by_the_others():
    """Each slice alone allows both signs; only one plane explains all of them."""
    centres = np.linspace(-2.05, 2.05, 41)
    away = STEP * (Z - 6.0)
    probability = sum(np.exp(-(((centres - side * away[:, None]) / 0.1) ** 2) / 2) for side in (1, -1))
    slices = ScoreDistribution(centres, probability / probability.sum(axis=1, keepdims=True))
    assert plane_posterior(Z, slices, STEP).fit.position == pytest.approx(6.0, abs=0.15)


def test_gaps_and_few_slices_in_the_posterior():
    score = np.where(np.arange(11) % 3 == 0, np.nan, STEP * (Z - 5.2))
    assert plane_posterior(Z, normal_distribution(score, score - 0.1, score + 0.1), STEP).fit.position == pytest.approx(
        5.2, abs=0.1
    )
    score = np.where(Z > 1, np.nan, Z)
    found = plane_posterior(Z, normal_distribution(score, score - 0.1, score + 0.1), STEP)
    assert "fewer than three" in found.reason
    assert not found.fit
    assert "no slice" in plane_posterior(Z, normal_distribution(*np.full((3, 11), np.nan)), STEP).reason


def test_a_plane_beyond_the_stack_is_no_plane():
    score = STEP * (Z - 14)
    assert plane_posterior(Z, normal_distribution(score, score - 0.1, score + 0.1), STEP).reason == signed.ONE_SIGN


def test_a_long_stack_costs_no_more_than_its_middle():
    z = np.arange(600.0)
    score = np.clip(STEP * (z - 333.3), -2, 2)
    found = plane_posterior(z, normal_distribution(score, score - 0.1, score + 0.1), STEP)
    assert found.fit.position == pytest.approx(333.3, abs=0.1)
    assert len(found.plane) < 1000


# calibration and fusion


def test_calibration_learns_what_the_stacks_were_made_with(learned):
    assert learned.stacks == 60
    assert learned.sharpness.offset == pytest.approx(OFFSET, abs=0.05)
    assert learned.signed.offset == pytest.approx(0, abs=0.08)
    assert learned.signed.error == pytest.approx(0.1, abs=0.06)
    assert learned.rate[0] < 1 < learned.rate[1]
    assert learned.temperature > 1


@pytest.mark.parametrize("reverse", [False, True])
def test_good_scores_do_not_move_a_clear_peak(learned, reverse):
    stacks, _ = made_stacks(60, seed=2, reverse=reverse)
    for scores in stacks:
        pick, alone = pick_from_scores(scores, calibration=learned), pick_from_scores(replace(scores, signed=False))
        assert pick.best_position == alone.best_position


def test_the_better_evidence_counts_for_more():
    good = calibrate(*made_stacks(60, seed=1, common=0.02, noise=0.05))
    poor = calibrate(*made_stacks(60, seed=1, common=0.6))
    scores = made_scores(5.0, np.random.default_rng(0), bias=0.5, noise=0.05, common=0.0)
    evidence = gather(scores, fit_sharpness(scores))
    assert combine(evidence, good, 1.0).position > combine(evidence, poor, 1.0).position + 0.1


@pytest.mark.parametrize("bias", [3.0, -3.0])
def test_scores_that_contradict_are_named_and_do_not_decide(learned, bias):
    stacks, _ = made_stacks(200, seed=3, bias=bias)
    picks = [pick_from_scores(scores, calibration=learned) for scores in stacks]
    alone = [pick_from_scores(replace(scores, signed=False)) for scores in stacks]
    assert np.mean([pick.status in ("disagree", "edge") for pick in picks]) >= 0.99
    assert [pick.best_position for pick in picks] == [pick.best_position for pick in alone]
    assert "the stack is sharpest at slice" in next(p for p in picks if p.status == "disagree").advice


FAULTS = {
    "half the rate": {"rate": 0.3},
    "no relation to z": {"rate": 0.0, "noise": 3.0},
    "constant": {"rate": 0.0, "noise": 0.0, "bias": 2.0},
    "wild": {"noise": 4.0},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_scores_outside_their_competence_leave_the_pick_to_sharpness(learned, fault):
    stacks, _ = made_stacks(40, seed=4, **FAULTS[fault])
    picks = [pick_from_scores(scores, calibration=learned) for scores in stacks]
    alone = [pick_from_scores(replace(scores, signed=False)) for scores in stacks]
    same = [pick.best_position == by_sharpness.best_position for pick, by_sharpness in zip(picks, alone, strict=True)]
    assert np.mean(same) >= 0.95  # random scores look like a line now and then
    assert np.mean([pick.advice != "" for pick in picks]) >= 0.95


@pytest.mark.parametrize(("unsure", "trusted"), [(0.0, True), (MOST_UNSURE, True), (MOST_UNSURE + 0.01, False)])
def test_a_model_unsure_of_most_slices_has_no_say(learned, unsure, trusted):
    rng = np.random.default_rng(9)
    scores = replace(made_scores(5.2, rng, bias=3.0), unsure=unsure)  # contradicting with confidence
    pick = pick_from_scores(scores, calibration=learned)
    assert pick.status == ("disagree" if trusted else "ok")
    assert ("the model is unsure" in pick.advice) is not trusted


def unsure_model(unsure):
    """A model whose scores look perfect, with a status of its own."""
    place = np.arange(10)
    return MadeModel(
        lambda images: STEP * (place[: len(images)] - 4.0), status=np.where(place < unsure, "unsure", "in_focus")
    )


@pytest.mark.parametrize(("slices", "share"), [(0, 0), (6, 0.6), (10, 1)])
def test_share_of_unsure_slices_is_among_those_that_were_scored(tmp_path, slices, share):
    texture = np.random.default_rng(0).normal(0, 30, (60, 60))
    for index in range(11):
        image = cv2.GaussianBlur(texture, (0, 0), 0.6 + abs(index - 5)) + 128
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "3.png").write_text("not an image")
    stack = find_stacks(tmp_path)[0]
    assert score_stack(stack, model=unsure_model(slices)).unsure == pytest.approx(share)
    assert ("model is unsure" in pick_focus(stack, model=unsure_model(slices)).advice) == (share > MOST_UNSURE)


def test_error_of_the_fusion_is_measured_on_stacks_that_did_not_weigh_it():
    """The mean over many small calibrations; the largest of 12 ratios holds 12 of 13 new ones."""
    rng = np.random.default_rng(10)

    def stack():
        sharp, scored = CurveFit(5 + OFFSET + rng.normal(0, 0.1), 0.1), CurveFit(5 + rng.normal(0, 0.12), 0.1)
        return Evidence(sharp, scored, scored, 1.0, 0.1), 5.0, 1.0

    ratio = []
    for _ in range(150):
        learned = calibrating._measured([stack() for _ in range(calibrating.FEWEST_STACKS)], 4.0)
        new = [combine(stack()[0], learned, 1.0) for _ in range(10)]
        ratio += [abs(part.position - 5) / part.standard_error for part in new]
    assert 0.91 <= np.mean(np.array(ratio) < 1.645) <= 0.96


def test_scores_place_a_focus_just_inside_when_the_sharpest_slice_is_the_last():
    rng = np.random.default_rng(5)
    learned = calibrate(*made_stacks(60, seed=1, offset=1.5))
    pick = pick_from_scores(made_scores(9.2, rng, offset=1.5), calibration=learned)
    assert pick.status == "ok"
    assert pick.best_position == pytest.approx(9.2, abs=0.3)
    pick = pick_from_scores(made_scores(12.0, rng, offset=0), calibration=learned)
    assert pick.status == "edge"


def test_scores_choose_between_rival_peaks(learned):
    scores = made_scores(3.0, np.random.default_rng(6), offset=0)
    two = replace(scores, sharpness=scores.sharpness + load_template()((Z - 8) / 1.3) * 0.9)
    assert pick_from_scores(replace(two, signed=False)).status == "ambiguous"
    pick = pick_from_scores(two, calibration=learned)
    assert pick.status == "ambiguous"
    assert pick.best_position == pytest.approx(3.0, abs=0.3)
    assert "the scores mean slice" in pick.advice
    beyond = replace(two, score=two.score + 3, distribution=normal_distribution(*[two.score + 3] * 3))
    pick = pick_from_scores(beyond, calibration=learned)
    assert pick.status == "ambiguous"
    assert "all scores have one sign" in pick.advice
    assert "slices 3 (3.png) and 8 (8.png)" in pick.advice


def test_missing_scores_do_not_stop_sharpness():
    scores = made_scores(5.0, np.random.default_rng(7))
    nothing = np.full(11, np.nan)
    none = replace(
        scores,
        score=nothing,
        lower=nothing,
        upper=nothing,
        distribution=normal_distribution(*np.full((3, 11), np.nan)),
    )
    pick = pick_from_scores(none)
    assert pick.status == "ok"
    assert "scores not used" in pick.advice


@pytest.mark.parametrize("method", ["zero_crossing", "posterior"])
def test_scores_alone(learned, method):
    stacks, truths = made_stacks(30, seed=8)
    picks = [pick_from_scores(scores, method=method, calibration=learned) for scores in stacks]
    assert all(pick.status == "ok" for pick in picks)
    assert np.mean(np.abs([pick.best_position for pick in picks] - truths)) < 0.15
    beyond = pick_from_scores(made_scores(13.0, np.random.default_rng(0), offset=-3), method=method)
    assert beyond.status == "edge"
    assert "still too close" in beyond.advice


def test_too_few_stacks_are_refused():
    stacks, truths = made_stacks(calibrating.FEWEST_STACKS - 1, seed=1)
    with pytest.raises(InputError, match="calibrate on more stacks"):
        calibrate(stacks, truths)


class WithDistribution(MadeModel):
    """A model with a distribution of its own."""

    def __init__(self):
        super().__init__(lambda images: STEP * (np.array([image.mean() for image in images]) / 20 - 5.3))

    def judge(self, images):
        judged, centres = super().judge(images), np.linspace(-2.05, 2.05, 41)
        weight = np.exp(-(((centres - judged.score[:, None]) / 0.08) ** 2) / 2)
        distribution = ScoreDistribution(centres, weight / weight.sum(axis=1, keepdims=True))
        return replace(judged, distribution=distribution)


def test_scoring_takes_a_models_own_distributions(tmp_path):
    folder = tmp_path / "cell"
    folder.mkdir()
    for index in range(11):
        image = np.full((40, 40), 20 * index, np.uint8)
        image[::2] += np.uint8(12)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    (folder / "4.png").write_text("not an image")
    scores = score_stack(find_stacks(folder)[0], model=WithDistribution())
    assert scores.score_per_slice == STEP
    assert scores.distribution.probability.shape == (11, 41)
    assert np.isnan(scores.distribution.probability[4]).all()
    known = np.delete(scores.distribution.probability, [0, 1, 4], axis=0)  # too dark, no image
    assert known.sum(axis=1) == pytest.approx(1)


def test_a_student_runs_once_for_all_that_it_judges():
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    student = load_model(DEFAULT_MODEL)
    images = [np.random.default_rng(k).integers(0, 255, (90, 100, 3), dtype=np.uint8) for k in range(3)]
    runs, network = [], student._signature()
    student._runner = lambda image: runs.append(len(image)) or network(image=image)
    judged = student.judge(images)
    assert runs == [3]
    assert judged.distribution.probability.sum(axis=1) == pytest.approx(1)
    assert len(student.judge([])) == 0
    assert runs == [3]
