"""Numbers, side files and run folders are held against what they declare, before anything is computed from them."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.instrument import load_instrument
from focus_picker.deep.runtime import load_student
from focus_picker.drift.profile import read_profile
from focus_picker.evaluation.compare import filled_report
from focus_picker.evaluation.run_claim import LOCK, claimed_run, clear_run
from focus_picker.evaluation.runs import read_predictions
from focus_picker.hybrid.preset import load_preset
from focus_picker.models import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("numerical_aperture", 1e-6),
        ("numerical_aperture", float("nan")),
        ("pixel_um", 1000),
        ("pixel_um", 1e-9),
        ("wavelengths_um", [1000, 0.5, 0.5]),
        ("wavelengths_um", [1e-4, 1e-4, 1e-4]),
        ("z_step_um", float("inf")),
        ("coma_waves", [float("inf"), 0]),
        ("axial_colour_um", [float("nan"), 0, 0]),
        ("score_per_slice", float("inf")),
        ("crop_um", [14, 1e9]),
    ],
)
def test_an_instrument_that_nobody_has_is_refused(tmp_path, key, value):
    values = yaml.safe_load((ROOT / "conf/instruments/dry50.yaml").read_text())
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump({**values, key: value}))
    with pytest.raises(InputError, match=key):
        load_instrument(str(tmp_path / "odd.yaml"))


@pytest.mark.parametrize("key", ["label_sigma", "auxiliary"])
def test_a_preset_without_end_is_refused(tmp_path, key):
    values = yaml.safe_load((ROOT / "conf/training/quick.yaml").read_text())
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump({**values, key: float("inf")}))
    with pytest.raises(InputError, match=key):
        load_preset(str(tmp_path / "odd.yaml"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "x", "--stacks", "99999999999999999999"],
        ["simulate", "x", "--stacks", "200000"],
        ["simulate", "x", "--seed", "-1"],
        ["simulate", "x", "--seed", str(2**40)],
        ["simulate", "x", "--jobs", "100000"],
        ["simulate", "x", "--vary", "nan"],
        ["score", "n" * 300],
        ["pick-focus", "n" * 300],
        ["drift", "n" * 300, "n" * 300],
        ["compare", "n" * 300, "--output", "x"],
    ],
)
def test_counts_seeds_and_names_have_limits(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def model(tmp_path) -> Path:
    for name in ("focus_model.tflite", "focus_model.json"):
        shutil.copy(DEFAULT_MODEL.with_name(name), tmp_path)
    return tmp_path / "focus_model.tflite"


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("bins", "count"), 21),
        (("bins", "low"), -8.0),
        (("window_px",), 64),
        (("intervals", "widening"), "NaN"),
        (("intervals", "widening"), 1e6),
        (("competence", "contrast"), [60.0, 2.0]),
        (("score_per_slice",), 99.0),
    ],
)
def test_a_side_file_that_its_network_contradicts_is_refused(model, keys, value):
    side = json.loads(model.with_suffix(".json").read_text())
    place = side
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    model.with_suffix(".json").write_text(json.dumps(side))
    with pytest.raises(InputError, match=r"focus_model\.(json|tflite)"):
        load_student(model)


def test_the_shipped_network_fits_its_side_file_elsewhere_too(model):
    assert load_student(model).fault() == ""


@pytest.mark.parametrize("weights", [b"", b"garbage" * 100, DEFAULT_MODEL.read_bytes()[:5000]])
def test_broken_weights_with_a_matching_checksum_are_refused(model, weights):
    side = json.loads(model.with_suffix(".json").read_text())
    model.write_bytes(weights)
    model.with_suffix(".json").write_text(json.dumps(side | {"sha256": hashlib.sha256(weights).hexdigest()}))
    with pytest.raises(InputError, match=r"focus_model\.tflite"):
        load_student(model)


def test_a_profile_without_quantities_is_refused(tmp_path):
    share = {"n": 30, "effective": 30, "share": 0.1}
    content = {"model_sha256": "", "feature_version": "", "n_images": 30, "n_groups": 30, "distributions": {}}
    (tmp_path / "p.json").write_text(json.dumps(content | {"unsure": share}))
    with pytest.raises(InputError, match="distributions"):
        read_profile(tmp_path / "p.json")


def test_infinite_predictions_are_refused_by_their_row(tmp_path):
    columns = "image_path,field,stack,split,focus_score,true_score,predicted,lower,upper"
    (tmp_path / "p.csv").write_text(f"{columns}\na,f,s,test,0,,0,0,0\nb,f,s,test,0,,inf,0,0\n")
    with pytest.raises(InputError, match="row 3"):
        read_predictions(tmp_path / "p.csv")


def test_a_report_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "report.md").write_bytes(b"<!-- \xff -->")
    with pytest.raises(InputError, match="UTF-8"):
        filled_report(tmp_path / "report.md", "")


def test_a_run_folder_is_one_command_s_at_a_time(tmp_path):
    code = (
        "import sys; from pathlib import Path; from focus_picker.evaluation.run_claim import claimed_run\n"
        "with claimed_run(Path(sys.argv[1]), 'baseline'): pass"
    )
    again = [sys.executable, "-c", code, str(tmp_path / "run")]
    with claimed_run(tmp_path / "run", "baseline"):
        done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "in use" in done.stderr
        assert done.returncode != 0
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    assert list(tmp_path.iterdir()) == []


def test_another_kind_s_run_is_not_written_into(tmp_path):
    (tmp_path / "config.json").write_text('{"command": "train-cnn"}')
    with pytest.raises(InputError, match="train-cnn"), claimed_run(tmp_path, "baseline"):
        pass


def test_clearing_takes_a_run_s_own_files_and_no_others(tmp_path):
    for name in ("metrics.json", "focus_model_int8.json", "notes.txt", "mine.png"):
        (tmp_path / name).touch()
    clear_run(tmp_path, "train-cnn")
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "mine.png"}
