"""Every benchmark runs on a small size and writes its table; what it measured is for people to judge."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import default_doubt, default_parts, default_views
from benchmarks.closed_loop_peers import PEERS
from benchmarks.default_model import risk
from benchmarks.report import Report, markdown, run, seconds
from focus_picker.autofocus.search import Search
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.generate import simulate_dataset
from focus_picker.dataset.simulation.instrument import Camera, load_instrument
from focus_picker.dataset.simulation.preparation import Preparation
from focus_picker.deep.student import build_student, load_trained, start_from
from focus_picker.models import DEFAULT_WEIGHTS
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.training import default_data, make_default, whole_images
from focus_picker.training.default_data import SCORE_PER_SLICE
from focus_picker.training.make_default import HELD_KINDS
from tests.made_microscope import DEPTH_UM, microscope, settings

ROOT = Path(__file__).parents[1]
BENCHMARKS = (
    "attribution", "closed_loop", "default_doubt", "default_model", "default_parts", "default_views", "features",
    "latency", "own_microscope", "realism", "serve", "simulation", "stacks",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of what the benchmarks read: a simulated data set, focus curves, a stack."""
    folder = tmp_path_factory.mktemp("data")
    simulate_dataset(folder / "simulated", [load_instrument("dry50")], stacks=2, seed=1, jobs=1)
    stack = next((folder / "simulated" / "cell_stacks").iterdir())
    shutil.copytree(stack, folder / "smear_stack" / "cell_stacks" / stack.name)
    (folder / "focus_curves").mkdir()
    curves = np.array([np.exp(-((np.arange(12.0) - at) ** 2) / 9) for at in np.linspace(4, 7, 5)])
    np.savez(folder / "focus_curves" / "made.npz", curves=curves[:, :, None], measures=np.array(["tenengrad"]))
    return folder


def ran(name, output, *words):
    """Tables of a benchmark's Markdown file: the lists of cells of each, heading first."""
    assert importlib.import_module(f"benchmarks.{name}").main([*map(str, words), "--output", str(output)]) == 0
    text = output.read_text()
    assert text.startswith("# ")
    assert f"`python -m benchmarks.{name} " in text
    assert str(output.parent) not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[line.strip("| ").split(" | ") for line in table if "---" not in line] for table in tables]


def test_features(tmp_path):
    sides, slowest = ran("features", tmp_path / "table.md", "--rounds", 2)
    assert [row[1] for row in sides[1:]] == ["99", "42"]
    assert len(slowest) > 10


def test_simulation(tmp_path):
    (table,) = ran("simulation", tmp_path / "table.md", "--repeats", 1)
    assert {row[0] for row in table[1:]} >= {"dry40", "dry50", "oil100"}


def test_own_microscope_keeps_the_rows_of_earlier_calls(data, tmp_path):
    folder = tmp_path / "data" / "other_optics" / "made"
    folder.mkdir(parents=True)
    truth = (data / "simulated" / "truth.csv").read_text()
    for number, stack in enumerate(sorted((data / "simulated" / "cell_stacks").iterdir())):
        (folder / "cell_stacks").mkdir(exist_ok=True)
        (folder / "cell_stacks" / f"stack_{number}_cell_0").symlink_to(stack)
        truth = truth.replace(stack.name, f"stack_{number}_cell_0")
    (folder / "truth.csv").write_text(truth)
    words = ["--data", tmp_path / "data", "--steps", 1]
    for counts, rows in (("0", [["made", "0"]]), ("1", [["made", "0"], ["made", "1"]])):
        (table,) = ran("own_microscope", tmp_path / "table.md", *words, "--counts", counts)
        assert [row[:2] for row in table[1:]] == rows
    assert (tmp_path / "table.png").stat().st_size < 300_000


def test_latency(tmp_path):
    (table,) = ran("latency", tmp_path / "table.md", "--rounds", 1)
    assert [len(row) for row in table] == [4, 4, 4]


def test_service(tmp_path):
    (table,) = ran("serve", tmp_path / "table.md", "--requests", 40)
    assert len(table) == 8
    assert {row[2] for row in table[1:]} == {"0"}  # errors


def test_attribution(tmp_path, data):
    words = data / "simulated", "--images", 1, "--reference", "blurred by 5 px"
    (table,) = ran("attribution", tmp_path / "table.md", *words)
    assert [row[0] for row in table] == ["reference", "blurred by 5 px"]


def test_default_model(tmp_path, data):
    microscope = tmp_path / "other_optics" / "microscope_a"
    shutil.copytree(data / "simulated", microscope)
    figures, risk = ran("default_model", tmp_path / "table.md", "--data", tmp_path)
    assert [row[0] for row in figures] == [row[0] for row in risk] == ["microscope", "microscope_a"]
    by_name = dict(zip(figures[0], figures[1], strict=True))
    assert by_name["images"] == "22"
    assert float(by_name["spearman"]) > 0.3  # its own simulation


@pytest.fixture
def small_shards(tmp_path, data, monkeypatch):
    """In-focus crops, and shards of nine small stacks at most; every other one is held back."""
    for name, value in {"STACKS_PER_SHARD": 9, "STACKS_PER_MICROSCOPE": 1, "PLANES": 4, "WIDEST_PX": 40}.items():
        monkeypatch.setattr(default_data, name, value)
    monkeypatch.setattr(make_default, "is_validation", lambda stack: stack % 2 == 1)
    (tmp_path / "wbc_crops").mkdir()
    for stack in (data / "simulated" / "cell_stacks").iterdir():
        for picture in stack.glob("[3-7].jpg"):
            shutil.copy(picture, tmp_path / "wbc_crops" / f"{stack.name}_{picture.name}")
    return tmp_path


def shipped_network(stage, windows, *_):
    """The shipped network in place of a trained one, which other tests have."""
    student = build_student(DEFAULT_BINS, n_auxiliary=windows.features.shape[1], size=stage.window_px)
    start_from(student, load_trained(DEFAULT_WEIGHTS))
    return student


def let_see(network, stage, windows, *_):
    """Let a network's BatchNorm learn the scale of activations, which random weights make vanish."""
    image = windows.image[:16, : stage.window_px, : stage.window_px]
    for _ in range(40):
        network(
            {"image": image, "features": windows.features[:16]} if len(network.inputs) > 1 else image, training=True
        )
    return network


def test_default_parts(small_shards, data, monkeypatch):
    given = {}

    def train_stage(stage, windows, folder, *_):
        given[folder.name] = windows
        return shipped_network(stage, windows)

    monkeypatch.setattr(default_parts, "train_stage", train_stage)
    monkeypatch.setattr(default_parts, "learn", let_see)
    shutil.copytree(data / "simulated", small_shards / "other_optics" / "microscope_a")
    words = ["--data", small_shards, "--work", small_shards / "work", "--stacks", 9, "--jobs", 1]
    parts, networks, kinds = ran("default_parts", small_shards / "table.md", *words, "--kinds", "grey")
    assert [row[0] for row in parts[1:]] == [
        "everything", "without its specimen", "without its optics", "without its camera"
    ]  # fmt: skip
    assert [row[0] for row in networks[1:]] == [
        "the student", "twice its channels", "image and features", "student, pixel and aperture known"
    ]  # fmt: skip
    assert networks[1][1:] == parts[1][1:] != networks[3][1:]
    assert float(parts[1][3]) > 0.7  # the shipped network on the shipped dry50
    assert [row[0] for row in kinds[1:]] == ["grey"]
    grey = default_data.ALL_KINDS.index("grey")
    assert (given["everything"].kind == grey).any()
    assert not (given["no_grey"].kind == grey).any()
    pairs = zip(given["everything"].image, given["known_scale"].image, strict=True)
    assert np.mean([not np.array_equal(*pair) for pair in pairs]) > 0.9


def test_default_doubt(small_shards, monkeypatch):
    monkeypatch.setattr(default_doubt, "train_stage", shipped_network)
    work = small_shards / "work"
    default_data.make_shards(small_shards / "wbc_crops", work / "windows", 9, jobs=1)
    (work / default_doubt.STAGES[0].name).mkdir()
    (table,) = ran("default_doubt", small_shards / "table.md", "--work", work)
    assert [row[0] for row in table[1::7]] == list(HELD_KINDS)
    assert all(0 <= float(cell) <= 1 for row in table[1:] for cell in row[2:])


def test_default_views(small_shards, monkeypatch):
    monkeypatch.setattr(whole_images, "WIDEST_PX", 150)
    monkeypatch.setattr(default_views, "KINDS", {"lens-cells": default_views.KINDS["lens-cells"]})
    monkeypatch.setattr(default_views, "crop_is_for_training", lambda path: False)
    (table,) = ran("default_views", small_shards / "table.md", "--data", small_shards, "--stacks", 2, "--jobs", 1)
    assert [row[0] for row in table[1:]] == list(default_views.VIEWS)
    rank = {row[0]: float(row[1]) for row in table[1:]}
    assert rank["one window"] > 0.3
    assert len(set(rank.values())) > 1


def test_the_least_doubtful_are_answered_first():
    truth, doubt = np.array([1.0, 1.0, -1.0, -1.0, 0.1]), np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    score = np.array([1.0, 1.0, -1.0, 1.0, -1.0])
    made = risk(pd.DataFrame({"score": score, "slices": truth / SCORE_PER_SLICE, "doubt": doubt}))
    assert made["100%"] == 0.25  # the fifth lies within a slice of focus
    assert made["80%"] == made["20%"] == 0


def test_a_part_that_is_left_out_is_the_shipped_instruments():
    drawn = {part: draw("oil", np.random.default_rng(0)) for part, draw in default_parts.PARTS.items()}
    assert drawn["specimen"].preparation == Preparation()
    assert drawn["specimen"].camera == drawn["optics"].camera != drawn["camera"].camera == Camera()
    assert drawn["optics"].numerical_aperture != drawn["camera"].numerical_aperture


@pytest.mark.parametrize("pixel_um", [0.08, 0.25])
def test_a_known_scale_gives_every_microscope_the_same_pixel(pixel_um):
    """A bar of 3 um is as many pixels wide whatever the camera's pixel was."""
    image = np.zeros((200, 200, 3), np.uint8)
    half = round(1.5 / pixel_um)
    image[:, 100 - half : 100 + half] = 200
    width = (default_parts.resampled(image, pixel_um, 0.8)[100, :, 0] > 100).sum()
    assert width == pytest.approx(3 / (0.54 / 4 / 0.8) * default_parts.SAMPLING, abs=3)


def test_realism(tmp_path, data):
    blood = tmp_path / "real_blood"
    shutil.copytree(data / "simulated" / "cell_stacks", blood / "cell_stacks")
    truth = pd.read_csv(data / "simulated" / "truth.csv")
    truth = truth.rename(columns={"best_z_slice": "sharpest_z_slice"})[["image_path", "sharpest_z_slice"]]
    truth.to_csv(blood / "sharpest.csv", index=False)
    inside, features, change = ran("realism", tmp_path / "table.md", "--data", tmp_path, "--stacks", 1, "--jobs", 1)
    assert inside[1][0] == "real_blood"
    assert 0 <= float(inside[1][-1]) <= 1
    assert len(features) > 1
    assert all(float(row[3]) > 0 for row in change[1:])


def test_stacks(tmp_path, data):
    sizes = "--stacks", 3, "--train-stacks", 12, "--crafted", 1, "--own", "dry50"
    output = tmp_path / "table.md"
    tables = ran("stacks", output, *sizes, "--data", data, "--work", tmp_path / "work")
    assert len(tables) == 8
    found = {line.split(",")[0] for line in output.with_suffix(".csv").read_text().splitlines()[1:]}
    assert len(found) == 7  # all but the targets, which are text
    by_method = {row[1]: row for row in tables[2] if row[0] == "dry50"}
    assert {"scikit-image blur_effect, parabola", "skewed (sharpness)", "fused (own model)"} < set(by_method)


def test_a_benchmark_of_stacks_may_read_curve_files_alone(tmp_path, data):
    (table,) = ran("stacks", tmp_path / "table.md", "--curves", data / "focus_curves" / "made.npz")
    assert {row[0] for row in table[1:]} == {"made.npz"}


@pytest.mark.parametrize("name", PEERS)
def test_each_search_that_the_closed_loop_is_compared_with_finds_focus(name):
    """A whole run calibrates five microscopes and takes an hour; this is its other half."""
    without = settings(max_frames=1000, depth_um=DEPTH_UM)
    search = Search(microscope(start_um=3.0), without, None, None, lambda: False, lambda step: None)
    assert abs(PEERS[name](search, -7.0, 13.0)) < 0.6


def test_a_table_has_every_column_and_nothing_for_what_is_not_known():
    table = markdown([{"a|b": 1, "c": 0.12345}, {"a|b": 2, "d": np.nan}])
    assert table.splitlines() == ["| a\\|b | c | d |", "| --- | ---: | ---: |", "| 1 | 0.123 |  |", "| 2 |  |  |"]


def test_numbers_go_into_one_long_csv():
    report = Report("t", {"part": [{"kind": "black", "scorer": "none", "n": 2, "right": 0.5, "expected": "ok"}]}, None)
    assert report.as_csv() == "part,on,method,figure,value\npart,none,black,n,2\npart,none,black,right,0.5\n"


def test_bad_input_ends_with_2_and_one_line(capsys):
    def refusing() -> Report:
        raise InputError("no such thing; give another")

    assert run(refusing, []) == 2
    assert run(refusing, ["--unknown"]) == 2
    said, unknown = capsys.readouterr().err.splitlines()
    assert said == "error: no such thing; give another"
    assert "--unknown" in unknown


def test_warm_up_is_not_counted():
    calls = []
    assert seconds(lambda: calls.append(1), 3, warm_up=2).shape == (3, 2)
    assert len(calls) == 5


def test_a_benchmark_is_a_module_of_the_checkout():
    words = [sys.executable, "-m", "benchmarks.features", "--help"]
    assert "--output" in subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_commands_that_are_quoted_exist():
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "results").glob("*.md"), ROOT / "Makefile"]
    files.append(ROOT / "benchmarks" / "README.md")
    text = "\n".join(file.read_text() for file in files)
    assert set(re.findall(r"-m benchmarks\.(\w+)", text)) == set(BENCHMARKS)
    assert not re.findall(r"python benchmarks/\w+\.py", text)
