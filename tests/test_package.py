"""The submission zip of a run: what is in it, and that its own code is what is checked."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.evaluation.runs import write_run
from focus_picker.training.package import RUN_FILES, check_package, package_run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run's folder with the shipped model in the place of a trained one."""
    folder = tmp_path_factory.mktemp("run")
    for name in RUN_FILES:
        shipped = ROOT / "models" / name
        if shipped.is_file():
            shutil.copy(shipped, folder)
        elif name != "metrics.json":
            (folder / name).write_text("made")
    finish(folder)
    return folder


def finish(folder: Path) -> None:
    """Write the tables of a run whose models lie in the folder."""
    row = {"image_path": "a.png", "field": "a", "stack": "a", "split": "test", "focus_score": 0.0, "predicted": 0.0}
    table = pd.DataFrame([row | {"true_score": None, "lower": None, "upper": None}])
    write_run(folder, table, {"score_per_slice": 0.2, "test": {"n_images": 1, "mae": 0.0}}, {"command": "train-cnn"})


@pytest.fixture(scope="module")
def submission(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "submission.zip"
    package_run(run, "ours", path)
    return path


def test_it_holds_the_package_and_nothing_that_lies_about(submission):
    inside = {name.removeprefix("ours/") for name in zipfile.ZipFile(submission).namelist()}
    assert {"train.py", "cli.py", "__init__.py", "focus_model.tflite", "best_model.h5", "report.md"} <= inside
    assert {"conf/training/quick.yaml", "models/focus_model.tflite", "serve/page/index.html"} <= inside
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert {name.split("/")[0] for name in inside if "/" in name} == rooms | {"conf", "results"}
    assert not [name for name in inside if "__pycache__" in name or name.startswith((".", "tests"))]


def test_a_score_by_code_from_elsewhere_does_not_count(submission, tmp_path):
    """Without its own reader of images the unpacked folder takes the installed one's, which is no proof."""
    with zipfile.ZipFile(submission) as whole, zipfile.ZipFile(tmp_path / "less.zip", "w") as less:
        for name in whole.namelist():
            if not name.startswith("ours/stack_inference/"):
                less.writestr(name, whole.read(name))
    with pytest.raises(InputError, match=r"ran in place of its own code"):
        check_package(tmp_path / "less.zip", "ours")


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"score_per_slice": 0.2, "test": {"n_images": 1, "mae": 0}}'])
@pytest.mark.parametrize("file", RUN_FILES)
def test_a_file_that_is_not_the_runs_own_is_refused(run, file, content, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    shutil.copytree(run, mixed)
    (mixed / file).write_bytes(content)
    assert main(["package", str(mixed), "--name", "ours", "--output", str(tmp_path / "submission.zip")]) == 2
    assert file in capsys.readouterr().err
    assert not (tmp_path / "submission.zip").exists()


def test_a_model_that_scores_nothing_is_refused(run, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    (broken / "focus_model.tflite").write_bytes(b"no model")
    finish(broken)
    with pytest.raises(InputError, match=r"does not score sample\.jpg"):
        package_run(broken, "ours", tmp_path / "submission.zip")
    assert not (tmp_path / "submission.zip").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/a", "a\\b", ".hidden", "a b", "a\n", "n" * 200])
def test_a_name_that_is_no_plain_word_is_refused(run, name, tmp_path):
    with pytest.raises(InputError, match="no folder name"):
        package_run(run, name, tmp_path / "submission.zip")


def test_train_py_of_the_unpacked_folder_starts(submission, tmp_path):
    with zipfile.ZipFile(submission) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "train.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path / "ours", capture_output=True, text=True, check=True)
    assert "train-cnn" in done.stdout
