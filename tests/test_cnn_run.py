"""A whole train-cnn run on a small data set: files, metrics, package."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focus_picker.cli import main
from focus_picker.dataset import images
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import sha256_of

keras = pytest.importorskip("keras", reason="training needs the extra train")

from focus_picker.deep.runtime import load_student  # noqa: E402
from focus_picker.training.cnn_run import Plan, prepare_checkpoints  # noqa: E402
from focus_picker.training.package import check_package, package_run  # noqa: E402

PROMISED = {
    "best_model.h5", "focus_model.tflite", "focus_model.json", "focus_model_static.tflite", "teacher.keras",
    "history.csv", "loss_curve.png", "metrics.json", "predictions.csv", "config.json", "environment.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text("teacher_epochs: 1\nstudent_epochs: 1\nhead_epochs: 1\nbatch: 32\n")
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cnn") / "data"
    assert main(["simulate", str(folder), "--stacks", "16", "--seed", "3", "--jobs", "2"]) == 0
    # Some images are unlabelled: kept for inference, masked in training.
    labels = pd.read_csv(folder / "focus_labels.csv")
    labels.loc[::17, "focus_score"] = np.nan
    labels.to_csv(folder / "focus_labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def decoded() -> Counter:
    """How often the run decoded each file."""
    return Counter()


@pytest.fixture(scope="module")
def run(dataset, preset, decoded, tmp_path_factory) -> Path:
    """Started from the shipped weights, with controls: every branch of the run."""
    folder = tmp_path_factory.mktemp("runs") / "cnn"
    options = ["--preset", str(preset), "--controls", "--jobs", "1"]
    arguments = ["train-cnn", str(dataset), "--output", str(folder), *options]
    read_jpeg = images.READERS["JPEG"]

    def counting(path, max_pixels):
        decoded[path.relative_to(dataset).as_posix()] += 1
        return read_jpeg(path, max_pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(images.READERS, "JPEG", counting)  # one job is this process
        patch.setattr("focus_picker.deep.training.compiled", lambda step: step)
        assert main(arguments) == 0
    return folder


def test_leaves_what_the_design_promises_and_no_checkpoint(run):
    names = {path.name for path in run.iterdir()}
    assert names >= PROMISED
    assert "checkpoints" not in names


def test_metrics_tell_error_floor_sign_coverage_parity_and_latency(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"mae", "mae_truth", "label_floor", "sign_accuracy", "coverage", "by_score"} <= set(metrics["test"])
    assert metrics["test"]["mae"] < 0.25  # the shipped weights know this instrument
    assert metrics["parity"]["agree"]
    assert metrics["parity"]["litert_largest_difference"] < 0.02
    assert metrics["parity"]["tf_lite_largest_difference"] == pytest.approx(
        metrics["parity"]["litert_largest_difference"], abs=1e-3
    )
    assert set(metrics["variants"]) == {"fp32", "fp16", "weights8", "int8"}
    assert metrics["variants"][metrics["variant"]]["passed"]
    assert metrics["latency_ms"] > 0
    assert metrics["refinement"]["used"]
    assert {
        "teacher (image and features)", "student without teacher", "teacher without features",
        "student from random weights", "features alone (baseline)",
    } <= set(metrics["controls"])  # fmt: skip


def test_images_are_decoded_once_to_learn_and_once_as_stacks(run, decoded):
    """Stacks of training refine their labels, those of validation calibrate, and test images are read for parity."""
    split = pd.read_csv(run / "predictions.csv").set_index("image_path")["split"]
    times = pd.Series(decoded).groupby(split)
    assert times.size().to_dict() == split.value_counts().to_dict()
    assert times.max().to_dict() == {"train": 2, "validation": 2, "test": 2}


def test_metrics_and_side_file_say_what_the_model_was_calibrated_on(run):
    metrics = json.loads((run / "metrics.json").read_text())
    fields = pd.read_csv(run / "predictions.csv").query("split == 'validation'")["field"].nunique()
    assert metrics["calibrated_on"] == f"all {fields} validation fields, which also decided when training ended"
    side = load_student(run / "focus_model.tflite").side
    assert (side.pixel_um, side.z_step_um, side.score_per_slice) == (0.1, 0.5, 0.2)


def test_predictions_hold_every_image_unlabelled_ones_too(run, dataset):
    predictions = pd.read_csv(run / "predictions.csv")
    labels = pd.read_csv(dataset / "focus_labels.csv")
    assert set(predictions.image_path) == set(labels.image_path)
    assert predictions.predicted.notna().all()
    assert predictions.focus_score.isna().sum() == labels.focus_score.isna().sum()
    assert (predictions.lower <= predictions.upper).all()


def test_the_shipped_file_gives_the_tables_scores(run, dataset):
    predictions = pd.read_csv(run / "predictions.csv").iloc[::40]
    table = load_student(run / "focus_model.tflite").judge(
        [images.read_image(dataset / path) for path in predictions.image_path]
    )
    apart = np.abs(table.score - predictions.predicted)
    assert np.median(apart) < 0.005
    assert apart.max() < 0.1  # after one epoch a distribution may have two peaks, and half floats move its median


def test_score_and_compare_take_the_run(run, dataset, tmp_path, capsys):
    image = str(dataset / "cell_stacks" / "stack_001_cell_0" / "3.jpg")
    assert main(["score", image, "--model", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] != "unreadable"
    assert main(["compare", str(run), "--output", str(tmp_path / "results")]) == 0
    assert (tmp_path / "results" / "compare.png").stat().st_size > 1000


def test_the_package_scores_its_own_sample(run, tmp_path):
    names = package_run(run, "submission", tmp_path / "submission.zip")
    inside = {name.removeprefix("submission/") for name in names}
    deliverables = {"focus_model.tflite", "best_model.h5", "train.py", "report.md", "results/loss_curve.png", "cli.py"}
    assert inside >= deliverables
    assert not any(part in name for name in inside for part in ("__pycache__", ".venv", "tests/", "checkpoint"))
    row = check_package(tmp_path / "submission.zip", "submission")
    assert abs(row["focus_score"]) < 1


def test_the_files_of_a_run_name_each_other(run):
    weights = sha256_of(run / "best_model.h5")
    sides = {load_student(path).side.trained_sha256 for path in run.glob("focus_model*.tflite")}
    assert sides == {weights}
    assert json.loads((run / "metrics.json").read_text())["files_sha256"]["best_model.h5"] == weights


def test_resuming_another_plan_or_nothing_is_refused(tmp_path):
    """That a killed training ends at the same weights is held by test_deep; here, what may be resumed."""
    plan = Plan("fingerprint", {"batch": 32}, "", 0)
    folder = prepare_checkpoints(tmp_path / "run" / "checkpoints", plan, resume=False)
    (folder / "teacher").mkdir()
    assert prepare_checkpoints(folder, plan, resume=True) == folder
    assert (folder / "teacher").is_dir()
    with pytest.raises(InputError, match="had another preset, seed; give the same settings"):
        prepare_checkpoints(folder, Plan("fingerprint", {"batch": 16}, "", 1), resume=True)
    with pytest.raises(InputError, match="no interrupted run to resume"):
        prepare_checkpoints(tmp_path / "fresh" / "checkpoints", plan, resume=True)
    with pytest.raises(InputError, match="--overwrite"):
        prepare_checkpoints(folder, plan, resume=False)
    prepare_checkpoints(folder, plan, resume=False, overwrite=True)
    assert not (folder / "teacher").exists()


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"seed": 0', b"\xff\xfe", b"{}"])
def test_a_damaged_plan_is_refused(content, tmp_path):
    plan = Plan("fingerprint", {"batch": 32}, "", 0)
    folder = prepare_checkpoints(tmp_path / "run" / "checkpoints", plan, resume=False)
    (folder / "plan.json").write_bytes(content)
    with pytest.raises(InputError, match=r"start afresh|another"):
        prepare_checkpoints(folder, plan, resume=True)
