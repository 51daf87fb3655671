"""Adaptation to one microscope: its parts by known answers, and a short run whose folder works like any other."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.special import softmax

from focus_picker.adaptation.examples import FEATURES, deal, read_examples
from focus_picker.adaptation.expectation import Expectation, gain_of_doubling
from focus_picker.adaptation.feature_model import fit_kernel
from focus_picker.adaptation.labelling import label_stacks
from focus_picker.cli import main
from focus_picker.dataset.images import read_image
from focus_picker.dataset.stacks import find_stacks
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX
from focus_picker.evaluation.runs import read_run
from focus_picker.models import DEFAULT_WEIGHTS
from focus_picker.models.bins import DEFAULT_BINS, ScoreBins
from focus_picker.models.feature_head import pooled
from focus_picker.models.side_file import write_model

keras = pytest.importorskip("keras", reason="adapting needs the extra train")

from focus_picker.adaptation.adapt import adapt  # noqa: E402
from focus_picker.adaptation.cross_validation import LeftOut, best_share  # noqa: E402
from focus_picker.adaptation.network import Tuning, carry_head, fine_tune, stretch  # noqa: E402
from focus_picker.deep.runtime import Student, load_student  # noqa: E402
from focus_picker.deep.student import LOGITS, backbone_layers, build_student, copy_backbone, load_trained  # noqa: E402
from focus_picker.deep.training import deterministic  # noqa: E402

PROMISED = {
    "best_model.h5", "config.json", "environment.json", "focus_model.json", "focus_model.tflite", "history.csv",
    "labelling.csv", "labelling.png", "loss_curve.png", "metrics.json", "predicted.png", "predictions.csv",
}  # fmt: skip


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt") / "data"
    assert main(["simulate", str(folder), "--stacks", "5", "--seed", "5", "--jobs", "1"]) == 0
    return find_stacks(folder / "cell_stacks")


@pytest.fixture(scope="module")
def stages():
    return []


@pytest.fixture(scope="module")
def run(stacks, stages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    adapt(
        [stack.path for stack in stacks], folder, tuning=Tuning(head_steps=2, steps=3), jobs=1,
        report=lambda stage, done, total: stages.append((stage, done, total)),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def examples(stacks):
    return read_examples(label_stacks(stacks), 0.2)


def test_the_run_folder_is_whole_and_reads_back(run, stages):
    assert {path.name for path in run.iterdir()} == PROMISED
    read = read_run(run)
    assert set(read.predictions["split"]) == {"test"}
    assert "stacks labelled" in json.loads((run / "metrics.json").read_text())["words"]
    for stage in {stage for stage, _, _ in stages}:
        done, total = [row[1:] for row in stages if row[0] == stage][-1]
        assert done <= total
    assert {"labelling stacks", "measuring images", "cross-validation", "fine-tuning", "writing"} == {
        stage for stage, _, _ in stages
    }


def test_the_model_is_calibrated_and_works_where_models_do(run, stacks, capsys):
    side = load_student(run / "focus_model.tflite").side
    assert side.calibrated
    assert side.turns
    folder = stacks[0].path
    assert main(["score", str(folder), "--model", str(run)]) == 0
    assert "uncalibrated" not in capsys.readouterr().out
    assert main(["pick-focus", str(folder), "--model", str(run), "--jobs", "1"]) == 0
    assert "best plane" in capsys.readouterr().out


def test_an_answer_is_the_same_whichever_way_the_camera_is_turned(run, stacks):
    shipped = load_student(run / "focus_model.tflite")
    student = Student(shipped.weights, shipped.side.model_copy(update={"features": None}))
    window = read_image(stacks[0].slices[2].path)[:96, :96]
    scores = student.judge([np.ascontiguousarray(np.rot90(window, quarter)) for quarter in range(4)]).score
    assert np.ptp(scores) < 1e-4


def test_features_of_the_side_file_have_their_share(run, examples, tmp_path):
    student = load_student(run / "focus_model.tflite")
    head = fit_kernel(examples.features, examples.score).as_head(error=0.02, share=0.95)
    side = student.side.model_copy(update={"features": head})
    write_model(tmp_path / "focus_model.tflite", student.weights, side)
    with_features = load_student(tmp_path / "focus_model.tflite")
    alone = Student(student.weights, side.model_copy(update={"features": None}))
    # On the images that they learned from the features are nearly right, whatever three steps taught the network.
    errors = [np.abs(one.judge_windows(examples.seen).score - examples.score).mean() for one in (with_features, alone)]
    assert errors[0] < 0.6 * errors[1]


def test_stacks_that_cannot_be_labelled_are_refused_with_their_reasons(stacks, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index in range(3):
        (flat / f"{index}.jpg").symlink_to(stacks[0].slices[0].path)
    assert main(["adapt", str(flat), "--output", str(tmp_path / "run")]) == 2
    assert "none of 1 stacks could be labelled" in capsys.readouterr().err


def test_kernel_regression_follows_a_smooth_function_and_forgets_far_away():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((150, len(FEATURES)))
    score = np.tanh(features[:, 0])
    model = fit_kernel(features, score)
    assert np.abs(model.predict(features[:50] + 0.01) - score[:50]).mean() < 0.1
    assert model.predict(np.full((1, len(FEATURES)), 1e6))[0] == pytest.approx(model.mean, abs=0.5)
    head = model.as_head(error=0.1, share=0.5)
    assert head.predict(features) == pytest.approx(model.predict(features))
    assert np.isfinite(head.predict(np.full((1, len(FEATURES)), np.nan))).all()


def test_pooling_lies_between_agreeing_judges_and_follows_the_sure_one():
    def judge(score, sigma):
        return DEFAULT_BINS.soft_labels(np.array([score]), sigma)

    def median(distribution):
        return float(DEFAULT_BINS.quantile(distribution, 0.5)[0])

    assert median(pooled(judge(0.2, 0.1), judge(0.4, 0.1), 0.5)) == pytest.approx(0.3, abs=0.02)
    assert median(pooled(judge(0.2, 0.05), judge(-0.5, 2.0), 0.5)) == pytest.approx(0.2, abs=0.1)
    assert median(pooled(judge(0.2, 0.1), judge(-0.5, 0.1), 0.0)) == pytest.approx(0.2, abs=0.02)


def test_features_are_left_out_unless_they_help():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, 200)
    network = DEFAULT_BINS.soft_labels(truth + rng.normal(0, 0.05, 200), 0.05)
    poor = LeftOut(network, truth + rng.normal(0, 0.6, 200), 0.6, 0.0)
    assert best_share(poor, truth, DEFAULT_BINS) == 0
    good = replace(poor, features=truth + rng.normal(0, 0.02, 200), error=0.03)
    assert best_share(good, truth, DEFAULT_BINS) > 0


def test_groups_are_dealt_whole():
    group = np.repeat(np.arange(7), [3, 9, 4, 1, 6, 2, 5])
    fold = deal(group, 3, seed=0)
    assert set(fold) == {0, 1, 2}
    assert all(len(set(fold[group == one])) == 1 for one in range(7))
    assert np.bincount(fold).min() >= 8


def test_words_say_two_frames_where_one_shows_no_sign(examples):
    known = Expectation(12, 3, True, 0.4, 0.05, 0.7, 0.6, 0.0, 0.7, 0.2)
    assert "use two frames" in known.in_words()
    assert "24 stacks instead of 12 would bring the error to about 0.280" in known.in_words()
    assert "use two frames" not in replace(known, sign=0.99).in_words()
    assert 0.5 <= gain_of_doubling(examples, seed=0) <= 1


def test_one_stack_tells_nothing_about_more_stacks(stacks):
    alone = read_examples(label_stacks(stacks[:1]), 0.2)
    assert np.isnan(gain_of_doubling(alone, seed=0))


@pytest.mark.parametrize(("bins", "by"), [(DEFAULT_BINS, 1.0), (ScoreBins(-4.1, 4.1, 82), 1.6), (DEFAULT_BINS, 0.7)])
def test_a_head_that_is_carried_says_the_same_scores_stretched(bins, by):
    start, student = load_trained(DEFAULT_WEIGHTS), build_student(bins)
    copy_backbone(start, student)
    carry_head(start, student, bins, by)
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 255, (12, WINDOW_PX, WINDOW_PX, 3), dtype=np.uint8)
    windows[:6] = cv2.GaussianBlur(windows[:6].reshape(-1, WINDOW_PX, 3), (0, 0), 4).reshape(windows[:6].shape)
    said = start.predict(windows, verbose=0)["score"][:, 0]
    carried = bins.quantile(softmax(student.predict(windows, verbose=0)["logits"], axis=1), 0.5)
    np.testing.assert_allclose(carried, by * said, atol=0.1)


def test_a_stretch_is_found_though_some_labels_are_wrong():
    rng = np.random.default_rng(0)
    said = rng.uniform(-1, 1, 200)
    label = 1.6 * said + 0.05 * rng.standard_normal(200)
    label[:20] *= -1
    assert stretch(DEFAULT_BINS.soft_labels(said, 0.1), label) == pytest.approx(1.6, rel=0.05)


def test_the_head_learns_first_and_a_share_of_what_it_started_from_is_kept():
    start = load_trained(DEFAULT_WEIGHTS)
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 255, (32, WINDOW_PX + SHIFT_PX, WINDOW_PX + SHIFT_PX, 3), dtype=np.uint8)
    score = rng.uniform(-1, 1, 32)

    def tuned(start_worth: float) -> keras.Model:
        deterministic(0)
        tuning = Tuning(head_steps=2, head_rate=1e-2, steps=2, learning_rate=1e-2, start_worth=start_worth)
        return fine_tune(start, windows, score, DEFAULT_BINS, tuning, seed=0, grey=False)

    def head(student: keras.Model) -> np.ndarray:
        return student.get_layer(LOGITS).get_weights()[0]

    before, mean, after = tuned(1e9), tuned(32 * 0.3 / 0.7), tuned(0.0)
    for ours, theirs in zip(backbone_layers(before), backbone_layers(start), strict=True):
        for weights, given in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(weights, given, atol=1e-6)
    assert np.abs(head(before) - head(start)).max() > 1e-3
    assert np.abs(head(after) - head(before)).max() > 1e-3
    np.testing.assert_allclose(head(mean), 0.3 * head(before) + 0.7 * head(after), atol=1e-4)
