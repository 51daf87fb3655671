"""Pictures with whatever names files have, and the formats that they come in."""

import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.pictures import save_figure
from tests.made_cells import made_cell, photographed, save_image


@pytest.fixture
def folder(tmp_path):
    """Stack whose own name would be a formula, and one of whose slices has a name that is no text."""
    place = tmp_path / "$\\frac$"
    for index in range(5):
        save_image(place / f"{index}.png", photographed(made_cell(1), 1.5 * abs(index - 2), index))
    os.rename(place / "4.png", os.fsencode(place) + b"/\xff4.png")
    return place


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def drawn(title: str) -> Figure:
    figure = Figure(figsize=(3, 2))
    panel = figure.add_subplot(yscale="log", title=title)
    panel.plot([1, 2], [1, 1000])
    return figure


def test_names_are_drawn_as_they_are_and_formulas_of_axes_as_formulas(tmp_path):
    drawn("plain").savefig(tmp_path / "expected.png", dpi=80)
    save_figure(drawn("plain"), tmp_path / "plain.png", 80)
    np.testing.assert_array_equal(pixels(tmp_path / "plain.png"), pixels(tmp_path / "expected.png"))
    save_figure(drawn("$\\frac$ \udcff"), tmp_path / "odd.png", 80)
    assert (pixels(tmp_path / "odd.png") != pixels(tmp_path / "plain.png")).any()


@pytest.mark.parametrize("suffix", ["", ".x", ".csv", ".png2"])
def test_a_suffix_that_is_no_picture_is_refused(suffix, tmp_path):
    with pytest.raises(InputError, match="picture format"):
        save_figure(drawn("plain"), tmp_path / f"a{suffix}", 80)


def test_commands_take_such_names(folder, tmp_path, capsys):
    for suffix in ("png", "jpg"):
        assert main(["pick-focus", str(folder), "--plot", str(tmp_path / f"pick.{suffix}")]) == 0
        assert pixels(tmp_path / f"pick.{suffix}").std() > 0
    assert main(["pick-focus", str(folder), "--output", str(tmp_path / "picks.csv")]) == 0
    assert main(["score", str(folder), "--output", str(tmp_path / "scores.csv")]) == 0
    assert "\\udcff4.png" in (tmp_path / "scores.csv").read_text()
    assert main(["label", str(folder), "--output", str(tmp_path / "labelled")]) == 2
    assert "is not text" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("reference", ["seen", "black"])
def test_drift_of_black_images_is_told_and_drawn(reference, tmp_path, capsys):
    for index in range(30):
        save_image(tmp_path / "seen" / f"{index}.png", photographed(made_cell(index), 1.0, index))
        save_image(tmp_path / "black" / f"{index}.png", np.zeros((60, 60, 3), np.uint8))
    new = {"seen": "black", "black": "seen"}[reference]
    words = ["drift", str(tmp_path / reference), str(tmp_path / new), "--plot", str(tmp_path / "drift.jpg")]
    assert main(words) == 0
    assert pixels(tmp_path / "drift.jpg").std() > 0
    assert "nan" not in capsys.readouterr().out
