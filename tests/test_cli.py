"""The commands as users and scripts meet them: outputs, exit codes, one line for bad input."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from focus_picker.cli import main
from tests.made_cells import made_cell

ROOT = Path(__file__).parents[1]
COMMANDS = ("simulate", "inspect", "baseline", "train-cnn", "score", "explain", "pick-focus", "compare", "package")
COMMANDS += ("drift", "serve")


@pytest.fixture(scope="module")
def small_instrument(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("instrument") / "small.yaml"
    dry50 = yaml.safe_load((ROOT / "conf/instruments/dry50.yaml").read_text())
    path.write_text(yaml.safe_dump({**dry50, "crop_um": [9.0, 11.0]}))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, small_instrument) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "data"
    assert main(["simulate", str(folder), "--stacks", "24", "--instrument", str(small_instrument), "--jobs", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    assert main(["baseline", str(dataset), "--output", str(folder), "--jobs", "1"]) == 0
    return folder


def test_every_command_has_help_with_an_example(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"cli.py {command}" in " ".join(capsys.readouterr().out.split())


def test_inspect_tells_counts_and_draws_a_sheet(dataset, tmp_path, capsys):
    assert main(["inspect", str(dataset), "--output", str(tmp_path / "sheet.png"), "--jobs", "1"]) == 0
    assert "24 stacks" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_inspect_of_an_unusable_data_set_ends_with_2(tmp_path, capsys):
    (tmp_path / "cell_stacks").mkdir()
    assert main(["inspect", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "focus_labels.csv" in captured.out
    assert "cannot be used for training" in captured.err


def test_baseline_leaves_the_run_folder_of_the_design(run):
    names = {path.name for path in run.iterdir()}
    promised = {"baseline.txt", "importance.png", "predictions.csv", "metrics.json", "config.json", "environment.json"}
    assert promised <= names
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["mae"] < metrics["controls"]["always the median"]["mae"]


def test_score_writes_a_row_for_every_file_and_survives_a_bad_one(dataset, run, tmp_path, capsys):
    stack = dataset / "cell_stacks" / "stack_001_cell_0"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((stack / "0.jpg").read_bytes()[:500])
    output = tmp_path / "predictions.csv"
    arguments = ["score", str(stack), str(broken), "--model", str(run), "--output", str(output)]
    assert main(arguments) == 0
    assert "broken.jpg" in capsys.readouterr().err
    table = pd.read_csv(output)
    assert list(table.columns) == ["image_path", "focus_score", "lower", "upper", "status"]
    assert table.image_path.iloc[2].endswith("2.jpg")  # 2 before 10
    assert table.status.iloc[-1] == "unreadable"
    assert table.focus_score[:-1].notna().all()
    assert (table.lower[:-1] <= table.upper[:-1]).all()


def test_score_prints_csv_or_json_lines(dataset, run, capsys):
    image = str(dataset / "cell_stacks" / "stack_001_cell_0" / "0.jpg")
    assert main(["score", image, "--model", str(run / "baseline.txt")]) == 0
    assert capsys.readouterr().out.startswith("image_path,focus_score,lower,upper,status\n")
    assert main(["score", image, "--model", str(run), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"image_path", "focus_score", "lower", "upper", "status"}


def test_pick_focus_prints_one_json_object_a_stack(dataset, tmp_path, capsys):
    arguments = ["pick-focus", str(dataset / "cell_stacks"), "--json", "--output", str(tmp_path / "picks.csv")]
    assert main([*arguments, "--jobs", "1", "--z-step-um", "0.5"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 24
    promised = (
        "stack n_slices best_index best_file best_position standard_error best_z_um "
        "status advice method scores_used slices"
    )
    assert list(lines[0]) == promised.split()
    assert lines[0]["best_z_um"] == pytest.approx(0.5 * lines[0]["best_position"], abs=1e-3)
    assert len(pd.read_csv(tmp_path / "picks.csv")) == 24


# With the shipped model; and by sharpness alone, whose plane is the sharpest looking one: phase moves it by a slice.
@pytest.mark.parametrize(("options", "largest"), [([], 0.35), (["--method", "parabola"], 1.0)])
def test_picked_planes_are_near_the_truth(dataset, capsys, options, largest):
    assert main(["pick-focus", str(dataset), "--json", "--jobs", "1", *options]) == 0
    picks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    truth = pd.read_csv(dataset / "truth.csv")
    best = truth.groupby(truth.image_path.str.split("/").str[1]).best_z_slice.first()
    errors = pd.Series({pick["stack"]: pick["best_position"] for pick in picks}) - best
    assert errors.abs().mean() < largest


def test_pick_focus_plots(dataset, tmp_path):
    stack = str(dataset / "cell_stacks" / "stack_002_cell_0")
    sheet, plot = tmp_path / "sheet.png", tmp_path / "pick.png"
    assert main(["pick-focus", stack, "--plot", str(plot), "--sheet", str(sheet)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_compare_writes_tables_and_leaves_other_reports_alone(run, tmp_path, capsys):
    report = tmp_path / "report.md"
    report.write_text("# Ours\n<!-- compare:begin -->\nold\n<!-- compare:end -->\nkept\n")
    assert main(["compare", str(run), "--output", str(tmp_path / "results")]) == 0
    assert {"compare.md", "compare.csv", "compare.png"} <= {path.name for path in (tmp_path / "results").iterdir()}
    text = report.read_text()
    assert "old" not in text
    assert "always the median" in text
    assert text.endswith("kept\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "x", "--instrument", "dry99"], "unknown instrument 'dry99'; known ones"),
        (["simulate", "x", "--stacks", "many"], "--stacks"),
        (["score", "nowhere.jpg", "--model", "{run}"], "nowhere.jpg does not exist"),
        (["score", "{image}", "--model", "nowhere"], "nowhere"),
        (["score", "{image}", "--model", "{image}"], "is no model"),
        (["pick-focus", "nowhere"], "nowhere"),
        (["pick-focus", "{stack}", "--method", "guess"], "guess"),
        (["pick-focus", "{stack}", "--measure", "beauty"], "beauty"),
        (["pick-focus", "{stack}", "--z-step-um", "0"], "--z-step-um"),
        (["baseline", "nowhere", "--output", "x"], "nowhere"),
        (["compare", "nowhere", "--output", "x"], "nowhere"),
        (["package", "nowhere", "--name", "n", "--output", "x.zip"], "nowhere"),
        (["dance"], "dance"),
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments, message, dataset, run, tmp_path, monkeypatch, capsys):
    stack = dataset / "cell_stacks" / "stack_001_cell_0"
    places = {"run": run, "image": stack / "0.jpg", "stack": stack}
    monkeypatch.chdir(tmp_path)
    assert main([word.format(**places) for word in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_one_unreadable_stack_never_stops_the_rest(tmp_path, capsys):
    from PIL import Image

    for name in ("good_1", "bad", "good_2"):
        folder = tmp_path / "stacks" / name
        folder.mkdir(parents=True)
        for index in range(5):
            if name == "bad":
                (folder / f"{index}.png").write_bytes(b"no picture")
            else:
                Image.fromarray(made_cell(index)).save(folder / f"{index}.png")
    assert main(["pick-focus", str(tmp_path / "stacks"), "--json", "--jobs", "1"]) == 0
    statuses = [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()]
    assert statuses[0] == "unreadable"
    assert len(statuses) == 3
