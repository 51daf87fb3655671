"""The interface for Python: every form of input gives what the commands give, and docs/python.md runs."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

import focus_picker
from focus_picker import InputError
from focus_picker.dataset.images import read_image

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "serve" / "page" / "example"
FILES = [EXAMPLE / f"{index}.jpg" for index in range(11)]


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    return np.stack([read_image(file) for file in FILES])


@pytest.fixture(scope="module")
def model() -> focus_picker.Model:
    return focus_picker.load_model()


def test_import_is_instant_and_gives_what_is_promised():
    code = (
        "import sys, focus_picker; heavy = {'numpy', 'cv2', 'pydantic', 'typer'} & set(sys.modules); "
        "assert not heavy, heavy; [getattr(focus_picker, name) for name in focus_picker.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = focus_picker.nothing


@pytest.mark.parametrize("number", range(1, 6))
def test_examples_of_the_docs_run(number, planes, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 5
    (tmp_path / "cell_stacks").mkdir()
    (tmp_path / "cell_stacks" / "stack_001_cell_0").symlink_to(EXAMPLE)
    monkeypatch.chdir(tmp_path)
    names = {"image": planes[3], "planes": planes}
    exec(blocks[number - 1], names)
    assert number == 4 or "nan" not in capsys.readouterr().out != ""
    assert number != 4 or names["sharpest"] is not None


def test_files_folder_and_arrays_score_alike(planes, model):
    scores = {row.focus_score for row in focus_picker.score(FILES[3], model)}
    assert scores == {focus_picker.score(planes[3])[0].focus_score}
    by_folder = {Path(row.image_path).name: row for row in focus_picker.score(str(EXAMPLE), model)}
    by_array = focus_picker.score(planes, model)
    assert [by_folder[file.name].focus_score for file in FILES] == [row.focus_score for row in by_array]
    assert [row.image_path for row in by_array] == [str(index) for index in range(11)]
    mixed = focus_picker.score([FILES[0], planes[1]], model)
    assert [row.focus_score for row in mixed] == [row.focus_score for row in by_array[:2]]


def test_the_shipped_model_names_no_side_on_a_microscope_that_it_was_not_calibrated_on(planes, model):
    row = focus_picker.score(planes[0], model)[0]
    assert (row.status, row.lower, row.upper) == ("uncalibrated", None, None)
    assert "record stacks and run adapt" in row.advice


def test_grey_alpha_and_sixteen_bits_are_taken_as_files_of_them_are(planes, model, tmp_path):
    grey = cv2.cvtColor(planes[4], cv2.COLOR_RGB2GRAY)
    with_alpha = np.dstack([planes[4], np.zeros_like(grey)])
    for name, array in (("grey", grey), ("alpha", with_alpha), ("deep", planes[4].astype(np.uint16) * 257)):
        swapped = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]
        cv2.imwrite(str(tmp_path / f"{name}.png"), swapped)
        (by_file, by_array) = focus_picker.score([tmp_path / f"{name}.png", array], model)
        assert by_file.focus_score == by_array.focus_score


def test_a_stack_picks_alike_in_every_form(planes, model, tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", planes, photometric="rgb")
    picks = [focus_picker.pick_focus(form, model) for form in (EXAMPLE, tmp_path / "stack.tif", planes, list(planes))]
    assert [pick.best_position for pick in picks] == pytest.approx([picks[0].best_position] * 4, abs=1e-5)
    assert {pick.status for pick in picks} == {"ok"}
    assert [part.score for part in picks[2].slices] == [row.focus_score for row in focus_picker.score(planes, model)]
    grey = [cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY) for plane in planes]
    assert focus_picker.pick_focus(np.stack(grey)).as_sentence() == focus_picker.pick_focus(grey).as_sentence()
    in_um = focus_picker.pick_focus(planes, method="parabola", z_step_um=0.5)
    assert in_um.best_z_um == pytest.approx(0.5 * in_um.best_position)


def test_the_model_may_be_named_by_its_path(planes):
    path = ROOT / "models" / "focus_model.tflite"
    assert focus_picker.score(planes[:1], path) == focus_picker.score(planes[:1])
    assert focus_picker.pick_focus(planes, str(path)).as_sentence() == focus_picker.pick_focus(planes).as_sentence()


def test_features_of_a_file_are_those_of_its_pixels(planes):
    from focus_picker.features import CUES, MEASURES

    by_file = focus_picker.image_features(FILES[2])
    assert by_file == pytest.approx(
        focus_picker.image_features(planes[2]), rel=1e-6
    )  # sums depend on where memory lies
    assert set(by_file) == {*MEASURES, *CUES}


def test_one_bad_image_never_stops_the_rest(planes, model, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(FILES[0].read_bytes()[:400])
    rows = focus_picker.score([planes[0], tmp_path / "broken.jpg", planes[1] / 255, planes[2]], model)
    assert [row.status == "unreadable" for row in rows] == [False, True, True, False]
    assert "broken.jpg" in rows[1].problem
    assert "float64" in rows[2].problem


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda planes: focus_picker.score("nowhere.jpg"), "nowhere.jpg does not exist"),
        (lambda planes: focus_picker.load_model("nowhere"), "nowhere does not exist"),
        (lambda planes: focus_picker.pick_focus(planes[0]), r"stack has shape \(.*\): give \(planes, height, width\)"),
        (lambda planes: focus_picker.pick_focus([]), "stack has no slices"),
        (lambda planes: focus_picker.pick_focus(planes / 255), "slice 0 of stack has type float64"),
        (lambda planes: focus_picker.pick_focus(planes, method="guess"), "no method 'guess'"),
        (lambda planes: focus_picker.pick_focus(ROOT / "tests"), "holds no images"),
        (lambda planes: focus_picker.image_features(np.zeros((9, 9, 5), np.uint8)), r"shape \(9, 9, 5\)"),
    ],
)
def test_bad_input_is_one_sentence(call, message, planes):
    with pytest.raises(InputError, match=message):
        call(planes)


def test_a_folder_of_several_stacks_is_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(EXAMPLE)
    with pytest.raises(InputError, match=r"holds 2 stacks \(one \.\.\.\); give one of them"):
        focus_picker.pick_focus(tmp_path)
