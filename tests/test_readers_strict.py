"""What a reader would get silently wrong: it is refused, or read for what it is."""

import io
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from focus_picker.cli import main
from focus_picker.dataset.declared import read_yaml
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.dataset.jpeg import is_damaged
from focus_picker.dataset.labels import check_labels, read_labels
from focus_picker.dataset.simulation.crops import list_crops
from focus_picker.dataset.stacks import images_below
from focus_picker.features.measures import measure
from tests.made_cells import made_cell, make_dataset, photographed, save_image

ROOT = Path(__file__).parents[1]


def jpeg(image: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def zeroed(data: bytes, seed: int) -> bytes:
    """The file after a disk has lost one of its 512-byte sectors."""
    start = -(-data.rfind(b"\xff\xda") // 512)
    at = 512 * random.Random(seed).randint(start, max(start, len(data) // 512 - 1))
    return data[:at] + bytes(min(512, len(data) - 2 - at)) + data[at + 512 : -2] + data[-2:]


def test_a_jpeg_with_a_zeroed_sector_is_refused(tmp_path):
    whole = [jpeg(photographed(made_cell(seed), seed % 4, seed), quality=80 + seed) for seed in range(15)]
    assert not any(map(is_damaged, whole))
    assert all(is_damaged(zeroed(data, seed)) for seed, data in enumerate(whole))
    (tmp_path / "damaged.jpg").write_bytes(zeroed(whole[0], 0))
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "damaged.jpg")


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"subsampling": 0}])
def test_a_blank_slide_with_a_cell_is_whole(options):
    image = np.full((900, 1200, 3), 255, np.uint8)
    image[200:350, 300:470] = made_cell(1)
    assert not is_damaged(jpeg(image, **options))
    cell = jpeg(made_cell(2), **options)
    assert not is_damaged(cell)
    assert np.mean([is_damaged(zeroed(cell, seed)) for seed in range(10)]) > 0.6


def test_uncompressed_ycbcr_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", made_cell(1), photometric="ycbcr")
    with pytest.raises(InputError, match="YCbCr"):
        read_image(tmp_path / "a.tif")


def test_premultiplied_alpha_is_refused_where_it_changes_colours(tmp_path):
    cell = made_cell(1)
    for name, alpha in (("half", 128), ("full", 255)):
        layer = np.full((*cell.shape[:2], 1), alpha, np.uint8)
        tifffile.imwrite(
            tmp_path / f"{name}.tif", np.dstack([cell, layer]), photometric="rgb", extrasamples=["assocalpha"]
        )
    with pytest.raises(InputError, match="transparency"):
        read_image(tmp_path / "half.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "full.tif"), cell)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_undeclared_twelve_bits_are_read_as_twelve(tmp_path, suffix):
    values = ((made_cell(1)[:, :, 0].astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    tifffile.imwrite(path, values) if suffix == "tif" else Image.fromarray(values).save(path)
    assert np.abs(read_image(path)[:, :, 0] / 257.0 - made_cell(1)[:, :, 0]).max() < 0.1


def test_a_pipe_is_refused_and_not_waited_for(tmp_path, capsys):
    for name in ("a.png", "focus_labels.csv", "preset.yaml"):
        os.mkfifo(tmp_path / name)
    assert main(["score", str(tmp_path / "a.png")]) == 2
    assert "pipe" in capsys.readouterr().err
    with pytest.raises(InputError, match="pipe"):
        read_labels(tmp_path)
    with pytest.raises(InputError, match="pipe"):
        read_yaml(tmp_path / "preset.yaml", dict, what="preset", fix="write one")


@pytest.mark.parametrize("text", ["[" * 3000, "a: 2020-13-45"], ids=["deep", "date"])
def test_odd_yaml_is_refused(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=r"a\.yaml"):
        read_yaml(tmp_path / "a.yaml", dict, what="preset", fix="write one")


def test_hidden_files_and_data_sets_are_no_crops(tmp_path):
    save_image(tmp_path / "a.png", made_cell(1))
    save_image(tmp_path / "._a.png", made_cell(1))
    save_image(tmp_path / ".trash" / "b.png", made_cell(2))
    make_dataset(tmp_path / "earlier", fields=1, cells=1, slices=2)
    assert list_crops(tmp_path) == [tmp_path / "a.png"]
    assert len(images_below(tmp_path)) == 3


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, capsys):
    save_image(tmp_path / "a.png", made_cell(1))
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert main(["score", str(tmp_path)]) == 2
    assert "locked" in capsys.readouterr().err


def write_table(folder, rows: list[str]) -> None:
    for number in range(3):
        save_image(folder / f"cell_stacks/s/{number}.png", made_cell(1)[:40, :40])
    (folder / "focus_labels.csv").write_text("image_path,focus_score\n" + "\n".join(rows) + "\n")


def test_a_decimal_comma_is_refused_and_empty_cells_are_not(tmp_path):
    write_table(tmp_path, ["cell_stacks/s/0.png,-0,4"])
    with pytest.raises(InputError, match="row 2 has 3 cells under 2 headings"):
        read_labels(tmp_path)
    write_table(tmp_path, ["cell_stacks/s/0.png,-0.4,,"])
    assert read_labels(tmp_path)["focus_score"].tolist() == [-0.4]


@pytest.mark.parametrize("number", ["1e300", "1e9", "inf", "-1e6"])
def test_scores_that_are_slips_are_refused(tmp_path, number):
    write_table(tmp_path, [f"cell_stacks/s/0.png,{number}"])
    _, faults = check_labels(tmp_path)
    assert number in faults[0].text


@pytest.mark.parametrize("shape", [(3, 3), (16, 16), (31, 31), (1, 200)])
@pytest.mark.parametrize("model", ["focus_model.tflite", "baseline.txt"])
def test_an_image_too_small_for_a_cell_gets_no_side(tmp_path, shape, model, capsys):
    save_image(tmp_path / "a.png", made_cell(1)[60:][: shape[0], -shape[1] :])
    main(["score", str(tmp_path / "a.png"), "--model", str(ROOT / "models" / model), "--json"])
    assert json.loads(capsys.readouterr().out)["status"] in ("unsure", "unreadable")


def test_a_large_image_is_measured_about_its_centre():
    rng = np.random.default_rng(0)
    large = rng.integers(0, 255, (2100, 2200), np.uint8)
    assert measure(large, ["tenengrad"]) == measure(large[26:2074, 76:2124], ["tenengrad"])


def test_nothing_readable_is_no_success(tmp_path, capsys):
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(b"no picture")
    assert main(["score", str(tmp_path)]) == 2
    assert main(["pick-focus", str(tmp_path)]) == 2
    assert main(["pick-focus", str(tmp_path), "--z-step-um", "inf"]) == 2
