"""Runs with --track, read back from a real MLflow store; and that nothing of MLflow is there without it."""

import ast
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.training.tracking.store import SETTINGS, import_mlflow, reason
from focus_picker.training.tracking.tracker import Tracker, finished_epochs, tracked
from tests.made_cells import make_dataset

# Looked for and not imported: MLFLOW_DISABLE_TELEMETRY must be set before MLflow is imported for the first time.
pytestmark = pytest.mark.skipif(find_spec("mlflow") is None, reason="tracking needs the extra track")

ROOT = Path(__file__).parents[1]
OURS = {
    *("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_DISABLE_TELEMETRY"),
    *SETTINGS,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder that the commands of these tests run in; its store is made once, which takes seconds."""
    folder = tmp_path_factory.mktemp("tracking")
    with pytest.MonkeyPatch.context() as patch:
        for name in OURS:
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        yield folder
        for name in OURS:  # the commands set them for their process, which is that of the other tests here
            os.environ.pop(name, None)


@pytest.fixture(scope="module")
def baseline_output(place):
    """What a tracked baseline prints on stdout and stderr; its run folder is ``run``."""
    make_dataset(Path("data"), fields=16, cells=1)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(["baseline", "data", "--output", "run", "--jobs", "1", "--track"]) == 0
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def client(place, baseline_output):
    from mlflow import MlflowClient

    return MlflowClient("sqlite:///mlflow.db")


def last_run(client, status="FINISHED"):
    experiment = client.get_experiment_by_name("focus-picker").experiment_id
    run = client.search_runs([experiment], order_by=["attributes.start_time DESC"])[0]
    assert run.info.status == status
    return run


@pytest.fixture(scope="module")
def mlflow_run():
    """The module that logs; importable once MLflow is made ready."""
    import_mlflow()
    from focus_picker.training.tracking import mlflow_run

    return mlflow_run


@pytest.fixture(scope="module")
def baseline_run(client):
    return last_run(client)


def files_of(client, run, folder):
    return {Path(file.path).name for file in client.list_artifacts(run.info.run_id, folder)}


def history(client, run, name):
    return [(entry.step, entry.value) for entry in client.get_metric_history(run.info.run_id, name)]


def test_settings_are_parameters(baseline_run):
    params = baseline_run.data.params
    config = json.loads(Path("run/config.json").read_text())
    assert params["seed"] == params["option/seed"] == "0"
    assert params["option/dataset"] == "data"
    assert params["model/learning_rate"] == str(config["model"]["learning_rate"])
    assert baseline_run.info.run_name == "baseline run"


def test_figures_are_metrics_with_readable_names(baseline_run):
    metrics = json.loads(Path("run/metrics.json").read_text())
    logged = baseline_run.data.metrics
    assert logged["test/mae"] == metrics["test"]["mae"]
    assert logged["trees"] == metrics["trees"]
    named = "controls/score from Tenengrad alone/mae"
    assert logged[named] == metrics["controls"]["|score| from Tenengrad alone"]["mae"]


def test_figures_by_distance_from_focus_are_one_curve(client, baseline_run):
    bins = json.loads(Path("run/metrics.json").read_text())["test"]["by_score"]
    expected = [(int(np.ceil(entry["from_slices"])), entry["mae"]) for entry in bins]
    assert history(client, baseline_run, "test/by_score/mae") == expected


def test_data_environment_and_words_are_told(baseline_run):
    tags = baseline_run.data.tags
    config = json.loads(Path("run/config.json").read_text())
    assert tags["dataset_fingerprint"] == config["dataset_fingerprint"]
    assert tags["command"] == "baseline"
    assert baseline_run.inputs.dataset_inputs[0].dataset.name == "data"
    assert baseline_run.data.params["environment/packages/numpy"] == np.__version__
    assert tags["model"] == "LightGBM on handcrafted features"
    assert not {"mlflow.user", "mlflow.source.git.commit"} & set(tags)
    assert "MAE" in tags["mlflow.note.content"]


def test_pictures_tables_and_model_are_artifacts(client, baseline_run, mlflow_run):
    assert files_of(client, baseline_run, "model") >= {"baseline.txt", "baseline.json"}
    for folder in ("pictures", "tables"):
        assert files_of(client, baseline_run, folder) == set(mlflow_run.ARTIFACTS["baseline"][folder])
    kept = list(Path("mlruns").glob("*/*/artifacts/model/baseline.txt"))
    assert [path.read_bytes() for path in kept] == [Path("run/baseline.txt").read_bytes()]


def test_the_terminal_shows_one_line_more_and_no_logs(baseline_output):
    out, err = baseline_output
    assert err == ""
    lines = out.splitlines()
    assert lines[-2] == "run folder: run"
    pages = "http://127.0.0.1:5000/#/experiments/1/runs/"
    assert lines[-1].startswith(f"tracked run: mlflow ui --backend-store-uri sqlite:///mlflow.db, then {pages}")


def test_mlflow_reports_to_nobody(baseline_output, monkeypatch):
    from mlflow.telemetry import utils

    monkeypatch.setattr(utils, "_IS_IN_CI_ENV_OR_TESTING", False)  # under pytest it is silent of itself
    assert utils.is_telemetry_disabled()
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    assert not utils.is_telemetry_disabled()


def test_a_comparison_is_tracked(client, baseline_run, capsys):
    assert main(["compare", "run", "--output", "compared", "--track"]) == 0
    run = last_run(client)
    table = pd.read_csv("compared/compare.csv").set_index("name")
    assert run.data.metrics["mae/run"] == pytest.approx(table.mae["run"], rel=1e-5)
    assert run.data.metrics["mae/always the median"] == pytest.approx(table.mae["always the median"], rel=1e-5)
    assert "coverage/always the median" not in run.data.metrics
    assert run.data.params["option/runs"] == "run"
    assert run.data.tags["dataset_fingerprint"] == baseline_run.data.tags["dataset_fingerprint"]
    assert run.data.tags["mlflow.note.content"] in capsys.readouterr().out
    assert files_of(client, run, "tables") == {"compare.md", "compare.csv", "environment.json"}
    assert files_of(client, run, "pictures") == {"compare.png"}


def row(epoch, error):
    return {"epoch": epoch, "loss": 2 * error, "validation_mae": error, "learning_rate": 1e-3, "seconds": 1.0}


def test_epochs_are_seen_while_the_training_goes_on(client, tmp_path):
    with tracked("train-cnn", tmp_path, True, preset="quick") as tracker:
        for epoch, error in enumerate((0.5, 0.4)):
            tracker.log_epochs([("teacher", row(epoch, error) | {"epochs": 2})])
        run = last_run(client, "RUNNING")
        assert history(client, run, "teacher/validation_mae") == [(1, 0.5), (2, 0.4)]
        # Two phases, each of which counts its own epochs, are one curve.
        tracker.log_epochs(("student", row(epoch, 0.3)) for epoch in (0, 1, 0))
        assert [step for step, _ in history(client, run, "student/loss")] == [1, 2, 3]
    names = {name for name in last_run(client).data.metrics if name.startswith("student/")}
    assert names == {"student/loss", "student/validation_mae", "student/learning_rate", "student/seconds"}


def test_epochs_before_an_interruption_are_logged_when_it_resumes(client, tmp_path):
    for network, phase, epochs in (("teacher", "head", 1), ("teacher", "all", 2), ("student", "head", 1)):
        folder = tmp_path / "checkpoints" / network / phase
        folder.mkdir(parents=True)
        rows = json.dumps([row(epoch, 0.1) for epoch in range(epochs)])
        np.savez(folder / "checkpoint.npz", history=rows, model_0=np.zeros(3))
    with tracked("train-cnn", tmp_path, True) as tracker:
        tracker.log_epochs(finished_epochs(tmp_path))
        tracker.log_epochs([("student", row(0, 0.2))])
    run = last_run(client)
    assert [step for step, _ in history(client, run, "teacher/loss")] == [1, 2, 3]
    assert history(client, run, "student/validation_mae") == [(1, 0.1), (2, 0.2)]
    assert list(finished_epochs(tmp_path / "elsewhere")) == []


@pytest.mark.parametrize(
    ("end", "status", "note"),
    [(ArithmeticError("loss is nan"), "FAILED", "ArithmeticError: loss is nan"), (KeyboardInterrupt(), "KILLED", None)],
    ids=["failed", "Ctrl-C"],
)
def test_a_run_that_does_not_end_well_says_so(client, end, status, note):
    with pytest.raises(type(end)), tracked("train-cnn", Path("run"), True, seed=3):
        raise end
    run = last_run(client, status)
    assert run.data.tags.get("error") == note
    assert run.data.params["option/seed"] == "3"


def test_a_command_with_bad_input_is_a_failed_run(client, capsys):
    assert main(["baseline", "nowhere", "--output", "x", "--track"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert "nowhere" in last_run(client, "FAILED").data.tags["error"]


def gone(*_, **__):
    raise ConnectionError("the server is gone")


def test_trouble_while_training_is_one_warning_and_loses_nothing_that_comes_back(client, monkeypatch, capsys):
    with tracked("baseline", Path("run"), True) as tracker:
        with monkeypatch.context() as patch:
            patch.setattr(type(client), "log_batch", gone)
            for epoch in range(3):
                tracker.log_epochs([("student", row(epoch, 0.1))])
        tracker.log_epochs([("student", row(3, 0.1))])  # while it rests: waits with the others
        assert not history(client, last_run(client, "RUNNING"), "student/loss")
    assert len(history(client, last_run(client), "student/loss")) == 4
    output = capsys.readouterr()
    assert output.err == "warning: tracking has trouble (the server is gone); the command goes on\n"
    assert output.out.startswith("tracked run: ")


def test_a_store_that_is_lost_for_good_never_costs_the_run(client, monkeypatch, capsys):
    with tracked("baseline", Path("run"), True) as tracker:
        for name in ("log_batch", "log_artifact", "set_terminated"):
            monkeypatch.setattr(type(client), name, gone)
        tracker.log_epochs([("student", row(0, 0.1))])
        tracker.log_run(Path("run"))
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert output.out.startswith("tracked run (with gaps): ")


def unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    return f"sqlite:///{tmp_path}/file/mlflow.db"


def no_database(tmp_path):
    (tmp_path / "other.db").write_text("a text, and long enough to be seen as no database" * 100)
    return f"sqlite:///{tmp_path}/other.db"


def a_folder(tmp_path):
    return f"sqlite:///{tmp_path}"


STORES = {
    "a folder": (a_folder, "unable to open database file"),
    "closed port": (lambda _: "http://me:secret@127.0.0.1:9", "Connection refused"),
    "unwritable": (unwritable, "file"),
    "no database": (no_database, "file is not a database"),
    "unknown scheme": (lambda _: "carrier-pigeon://loft", "carrier-pigeon"),
}


@pytest.mark.parametrize("case", STORES)
def test_an_unusable_store_ends_with_2_before_the_work(case, place, tmp_path, monkeypatch, capsys):
    make, message = STORES[case]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", make(tmp_path))
    monkeypatch.setattr(
        "focus_picker.training.baseline_run.run_baseline", lambda *_, **__: pytest.fail("it worked first")
    )
    started = time.monotonic()
    assert main(["baseline", "data", "--output", str(tmp_path / "run"), "--track"]) == 2
    assert time.monotonic() - started < 60  # MLflow itself tries for 100 s to open a database
    error = capsys.readouterr().err
    assert error.startswith("error: cannot track in ")
    assert message in error
    assert "leave --track out" in error
    assert error.count("\n") == 1
    assert "secret" not in error


def test_a_server_that_accepts_and_keeps_silent_is_given_up(place, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with pytest.raises(InputError, match="timed out"), tracked("baseline", Path("run"), True):
            pass


def test_mlflow_not_installed_is_one_sentence(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert main(["compare", "run", "--output", "compared", "--track"]) == 2
    assert capsys.readouterr().err.endswith("pip install 'focus-picker[track]'\n")
    with tracked("baseline", Path("run"), False) as tracker:
        assert type(tracker) is Tracker


def test_without_the_flag_nothing_of_mlflow_is_imported(baseline_output, tmp_path):
    commands = [["baseline", "data", "--output", "again", "--jobs", "1"], ["compare", "run", "--output", str(tmp_path)]]
    code = f"import sys; from focus_picker.cli import main; print([main(c) for c in {commands}], *sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("[0, 0]")
    assert not {"mlflow", "sqlalchemy", "alembic"} & set(last.split())


def imports(nodes):
    """Top-level packages that the import statements among ``nodes`` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).split(".")[0]


def test_only_functions_of_the_tracking_modules_import_mlflow():
    files = [ROOT / "cli.py", *(ROOT / "training").rglob("*.py"), *(ROOT / "hybrid").glob("*.py")]
    trees = {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text()) for file in files}
    users = {name for name, tree in trees.items() if {"mlflow", "sqlalchemy"} & set(imports(ast.walk(tree)))}
    assert users == {"training/tracking/mlflow_run.py", "training/tracking/store.py"}
    assert not {"mlflow", "sqlalchemy"} & set(imports(trees["training/tracking/store.py"].body))
    importers = {name for name, tree in trees.items() if any("mlflow_run" in ast.unparse(node) for node in tree.body)}
    assert importers == {"training/tracking/tracker.py"}
    top = [node for node in trees["training/tracking/tracker.py"].body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("mlflow_run" in ast.unparse(node) for node in top)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("blend, 40% network", "blend 40 percent network"),
        ("teacher (image and features)", "teacher image and features"),
        ("cnn/run", "cnn-run"),
        ("..", "_"),
        ("", "_"),
        ("a: b", "a b"),
    ],
)
def test_names_are_what_mlflow_takes(mlflow_run, key, name):
    from mlflow.utils.validation import _validate_metric_name

    assert mlflow_run.clean(key) == name
    _validate_metric_name("/".join(("x", mlflow_run.clean(key), "y")))


def test_nested_values_are_flat_and_keep_their_place(mlflow_run):
    values = {"a": {"b": 1, "c": None}, "d": [1, 2], "e": [{"f": 3}, {"f": 4}], "g": []}
    assert list(mlflow_run.flattened(values)) == [
        ("a/b", 1, 0), ("a/c", None, 0), ("d", [1, 2], 0), ("e/f", 3, 0), ("e/f", 4, 1), ("g", [], 0),
    ]  # fmt: skip
    assert len(next(mlflow_run.flattened({"long" * 100: 1}))[0]) == 250


def test_the_reason_is_what_lies_at_the_bottom():
    inner = OSError("no route to http://me:secret@host\nsecond line")
    outer = RuntimeError("wrapped")
    outer.__cause__ = inner
    assert reason(outer) == "no route to http://***@host"
    assert reason(ValueError()) == "ValueError"
