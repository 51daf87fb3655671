import json
import socket

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from focus_picker.dataset.errors import InputError
from focus_picker.evaluation import runs
from focus_picker.evaluation.metrics import METRICS as FIGURES
from focus_picker.evaluation.run_metrics import Figures, RunMetrics
from focus_picker.evaluation.runs import (
    COLUMNS,
    dataset_fingerprint,
    find_runs,
    read_predictions,
    read_run,
    write_run,
)
from focus_picker.evaluation.summary import summarise


def predictions():
    return pd.DataFrame(
        {
            "image_path": [f"cell_stacks/stack_00{i}_cell_0/{j}.jpg" for i in range(3) for j in range(2)],
            "field": [f"stack_00{i}" for i in range(3) for _ in range(2)],
            "stack": [f"stack_00{i}_cell_0" for i in range(3) for _ in range(2)],
            "split": ["train", "train", "validation", "validation", "test", "test"],
            "focus_score": [0.0, 0.2, np.nan, -0.2, 0.4, 0.0],
            "true_score": [0.01, np.nan, np.nan, -0.17, 0.41, 0.02],
            "predicted": [0.012345678, 0.2, 0.3, -0.1, 0.5, np.nan],
            "lower": [-0.1, 0.1, 0.2, -0.2, 0.4, np.nan],
            "upper": [0.1, 0.3, 0.4, 0.0, 0.6, np.nan],
        }
    )


METRICS = {
    "test": {"n_images": 2, "mae": 0.1, "coverage": float("nan"), "novel": 7},
    "score_per_slice": np.float64(0.2),
    "list": np.arange(2),
}


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "first"
    write_run(folder, predictions(), METRICS, {"dataset": "data", "seed": 3})
    return folder


def test_a_run_is_read_back_as_written(run_folder):
    run = read_run(run_folder)
    pd.testing.assert_frame_equal(run.predictions, predictions(), rtol=1e-5)
    assert run.name == "first"
    assert (run.metrics.score_per_slice, run.metrics.test.mae, run.metrics.test.coverage) == (0.2, 0.1, None)
    assert run.metrics.model_extra == {"list": [0, 1]}
    assert run.metrics.test.model_extra == {"novel": 7}
    assert list(json.loads((run_folder / "metrics.json").read_text())) == [
        *METRICS,
        "predictions_sha256",
        "files_sha256",
    ]
    assert run.config == {"dataset": "data", "seed": 3}
    assert run.environment["packages"]["numpy"] == np.__version__
    assert list(run.test["split"]) == ["test", "test"]


def test_extra_columns_and_another_order_are_brought_into_form(tmp_path):
    write_run(tmp_path, predictions()[list(COLUMNS[::-1])].assign(note="x"), METRICS, {})
    assert tuple(read_run(tmp_path).predictions.columns) == COLUMNS


def test_names_that_look_like_missing_values_stay_names(tmp_path):
    write_run(tmp_path, predictions().assign(field="NA", stack="1"), METRICS, {})
    assert set(read_run(tmp_path).predictions["field"]) == {"NA"}
    assert set(read_run(tmp_path).predictions["stack"]) == {"1"}


def test_environment_names_no_host_and_no_folder(run_folder):
    text = (run_folder / "environment.json").read_text()
    assert socket.gethostname() not in text
    assert "/" not in text


@pytest.mark.parametrize("name", ["predictions.csv", "metrics.json"])
def test_a_missing_file_is_named(run_folder, name):
    (run_folder / name).unlink()
    with pytest.raises(InputError, match=name):
        read_run(run_folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"No run folder at .*nowhere"):
        read_run(tmp_path / "nowhere")


def test_a_mixture_of_two_runs_is_refused(run_folder):
    path = run_folder / "predictions.csv"
    path.write_text(path.read_text().replace("0.012345", "0.912345"))
    with pytest.raises(InputError, match=r"not the table that metrics\.json"):
        read_run(run_folder)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("not json", "JSON"),
        ("[1, 2]", "key"),
        ("", "JSON"),
        ('{"score_per_slice": 0.2}', "test"),
        ('{"score_per_slice": 0.2, "test": {"n_images": 3, "mae": "small"}}', r"test\.mae"),
        ('{"score_per_slice": 0.2, "test": {"n_images": 3, "mae": 0.1, "rmse": []}}', r"test\.rmse"),
        ('{"score_per_slice": 0.2, "test": {"n_images": 3, "mae": 1e308}}', r"test\.mae"),
    ],
)
def test_broken_metrics_are_refused(run_folder, text, fault):
    (run_folder / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=rf"metrics\.json.*{fault}"):
        read_run(run_folder)


def test_every_figure_that_is_printed_is_declared():
    assert set(FIGURES) <= set(Figures.model_fields)


def test_metrics_that_could_not_be_compared_are_not_written(tmp_path):
    with pytest.raises(ValidationError, match="score_per_slice"):
        write_run(tmp_path / "run", predictions(), {"test": METRICS["test"]}, {})
    assert not (tmp_path / "run").exists()


def test_a_result_in_words_gives_both_errors_and_says_what_is_unknown():
    figures = {"n_images": 3, "n_fields": 2, "mae": 0.0412, "mae_rounded": 0.0187, "label_grid": 0.2}
    metrics = RunMetrics(score_per_slice=0.2, test=figures, controls={"old": {"n_images": 3, "mae": 0.5}})
    words = summarise(metrics)
    assert "MAE 0.0412, rounded as the labels are 0.0187 (median unknown" in words
    assert "against truth" not in words
    assert words.endswith("old: MAE 0.5000, sign unknown")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="lower"), "lacks column lower"),
        (lambda t: t.assign(predicted="much"), "column predicted must hold numbers"),
        (lambda t: t.assign(split="tests"), r"row 2 .*split must be one of train, validation, test"),
        (lambda t: t.assign(image_path=["a", "b", "c", "d", "e", "b"]), r"row 7 \(b\): image_path occurs twice"),
    ],
)
def test_wrong_predictions_are_refused_on_reading_and_on_writing(tmp_path, change, message):
    wrong = change(predictions())
    wrong.to_csv(tmp_path / "predictions.csv", index=False)
    with pytest.raises(InputError, match=message):
        read_predictions(tmp_path / "predictions.csv")
    with pytest.raises(InputError, match=message):
        write_run(tmp_path / "run", wrong, METRICS, {})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00binary", b'a,b\n"1'])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    (tmp_path / "predictions.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"predictions\.csv"):
        read_predictions(tmp_path / "predictions.csv")


def test_nothing_is_half_written_when_a_writer_fails(run_folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}

    def fail_midway(self, path, **_):
        path.write_text("image_path,fie")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail_midway)
    with pytest.raises(KeyboardInterrupt):
        write_run(run_folder, predictions(), METRICS, {})
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


def test_metrics_are_written_last(tmp_path, monkeypatch):
    def fail():
        raise OSError("no space left")

    monkeypatch.setattr(runs, "environment", fail)
    with pytest.raises(OSError, match="no space"):
        write_run(tmp_path, predictions(), METRICS, {})
    assert not (tmp_path / "metrics.json").exists()


def test_complete_runs_are_found_by_name(tmp_path):
    for name in ("b", "a"):
        write_run(tmp_path / name, predictions(), METRICS, {})
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "predictions.csv").write_text("")
    assert [path.name for path in find_runs(tmp_path)] == ["a", "b"]
    assert find_runs(tmp_path / "nowhere") == []


def test_fingerprint_tells_data_sets_apart(tmp_path):
    labels = pd.DataFrame({"image_path": ["0.jpg", "1.jpg"], "focus_score": [0.2, np.nan]})
    for name in labels["image_path"]:
        (tmp_path / name).write_bytes(b"some bytes")
    first = dataset_fingerprint(tmp_path, labels)
    assert dataset_fingerprint(tmp_path, labels[::-1]) == first
    assert dataset_fingerprint(tmp_path, labels.assign(focus_score=[0.4, np.nan])) != first
    (tmp_path / "1.jpg").write_bytes(b"other bytes")
    assert dataset_fingerprint(tmp_path, labels) != first
