"""What a training starts from: images decoded once, fields that decide and fields that calibrate, the stacks' scale."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from focus_picker.dataset import images
from focus_picker.dataset.errors import InputError
from focus_picker.deep.window import native_window
from focus_picker.training.baseline_run import calibrated_on, train
from focus_picker.training.experiment import FEWEST_FIELDS, load_data
from focus_picker.training.scale import pixel_um, z_step_um


@pytest.fixture
def decoded(monkeypatch) -> Counter:
    """How often each file is decoded."""
    counts: Counter = Counter()

    def counting(read):
        def count(path, max_pixels):
            counts[str(path)] += 1
            return read(path, max_pixels)

        return count

    for kind, read in images.READERS.items():
        monkeypatch.setitem(images.READERS, kind, counting(read))
    return counts


def grey_of_field(number):
    return 30 + 2 * number


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Eighty fields of one stack of two small slices; the grey level tells the field."""
    folder = tmp_path_factory.mktemp("many_fields")
    rng = np.random.default_rng(0)
    lines = ["image_path,focus_score"]
    for number in range(80):
        stack = folder / "cell_stacks" / f"stack_{number:03}_cell_0"
        stack.mkdir(parents=True)
        for z in range(2):
            noise = cv2.GaussianBlur(rng.normal(0, 30, (24, 20, 3)), (0, 0), 1.5)
            image = np.clip(grey_of_field(number) + noise - noise.mean(), 0, 255).round().astype(np.uint8)
            cv2.imwrite(str(stack / f"{z}.png"), image)
            lines.append(f"cell_stacks/{stack.name}/{z}.png,{0.2 * z}")
    (folder / "focus_labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_one_decoding_serves_features_leak_scan_and_windows(dataset, tmp_path, decoded):
    data, windows = load_data(dataset, tmp_path, seed=0, jobs=1, window_px=32)
    assert len(decoded) == len(data.labels) == 160
    assert set(decoded.values()) == {1}
    assert data.n_leaks == 0
    for row in (0, 77, 159):
        image = images.read_image(dataset / data.labels["image_path"][row])
        np.testing.assert_array_equal(windows[row], native_window(image, 32))


def test_known_features_are_not_computed_again_and_nothing_is_decoded_for_them_alone(
    dataset, tmp_path, decoded, monkeypatch
):
    first, _ = load_data(dataset, tmp_path, seed=0, jobs=1)
    decoded.clear()
    monkeypatch.setattr("focus_picker.features.table.measure", lambda image: pytest.fail("measured again"))
    again, windows = load_data(dataset, tmp_path, seed=0, jobs=1, leak_scan=False)
    assert not decoded
    assert windows.shape == (160, 0, 0, 3)
    pd.testing.assert_frame_equal(again.features, first.features)
    load_data(dataset, tmp_path, seed=0, jobs=1, window_px=32)
    assert set(decoded.values()) == {1}


def test_processes_change_nothing(dataset, tmp_path, monkeypatch):
    alone, windows = load_data(dataset, tmp_path / "1", seed=0, jobs=1, window_px=32)
    monkeypatch.setattr("focus_picker.features.table.PROCESSES_FROM", 1)
    together, windows_of_two = load_data(dataset, tmp_path / "2", seed=0, jobs=2, window_px=32)
    np.testing.assert_array_equal(windows_of_two, windows)
    pd.testing.assert_frame_equal(together.features, alone.features)


# Which validation fields do what


def test_what_decides_the_end_of_training_does_not_calibrate(dataset, tmp_path):
    data, _ = load_data(dataset, tmp_path, seed=0, jobs=1, leak_scan=False)
    validation = set(data.labels.loc[data.rows("validation"), "field"])
    assert data.halves["choice"] | data.halves["calibration"] == validation
    assert not data.halves["choice"] & data.halves["calibration"]
    assert min(map(len, data.halves.values())) >= FEWEST_FIELDS
    assert (data.rows("choice") ^ data.rows("calibration") == data.rows("validation")).all()
    assert data.calibration == "calibration"
    assert "had no part in deciding when training ended" in data.describe(data.calibration)


def test_too_few_validation_fields_serve_for_both_and_it_is_said(dataset, tmp_path):
    few = shutil.copytree(dataset, tmp_path / "few")
    lines = (few / "focus_labels.csv").read_text().splitlines()
    (few / "focus_labels.csv").write_text("\n".join(lines[:61]) + "\n")
    data, _ = load_data(few, tmp_path / "cache", seed=0, jobs=1, leak_scan=False)
    assert data.halves["choice"] == data.halves["calibration"]
    assert data.calibration == "validation"
    fields = data.labels.loc[data.rows("validation"), "field"].nunique()
    expected = f"all {fields} validation fields, which also decided when training ended"
    assert data.describe(data.calibration) == calibrated_on_without_training_fields(data) == expected


def calibrated_on_without_training_fields(data):
    """What a baseline says where its own training fields are too few to be left out in turn."""
    fields = data.labels.loc[data.rows("train"), "field"].unique()[3:]
    hidden = data.labels["focus_score"].mask(data.labels["field"].isin(fields))
    return calibrated_on(replace(data, labels=data.labels.assign(focus_score=hidden)))


def test_a_baseline_ends_by_one_half(dataset, tmp_path):
    """Other labels of the calibration half leave it as it is; other labels of the choosing half do not."""
    data, _ = load_data(dataset, tmp_path, seed=0, jobs=1, leak_scan=False)
    assert calibrated_on(data).endswith("training fields, each left out in turn")

    def trees(part):
        score = data.labels["focus_score"] + np.where(data.rows(part), 3.0, 0.0)
        changed = replace(data, labels=data.labels.assign(focus_score=score)) if part else data
        return train(changed, list(data.features.columns), 0).booster_.model_to_string()

    assert trees("calibration") == trees("")
    assert trees("choice") != trees("")


# Scale


def labels_of(folder, suffix="png", slices=3):
    """Two stacks of a data set without images."""
    rows = [(f"cell_stacks/{name}/{z}.{suffix}", name, z) for name in "ab" for z in range(slices)]
    return pd.DataFrame(rows, columns=["image_path", "stack", "slice"])


def truth_of(labels, steps):
    best = labels["stack"].map({"a": 0.7, "b": 1.2})
    defocus = (labels["slice"] - best) * labels["stack"].map(dict(zip("ab", steps, strict=True)))
    return labels[["image_path"]].assign(defocus_um=defocus.round(5)).sample(frac=1, random_state=0)


@pytest.mark.parametrize(("steps", "expected"), [((0.5, 0.5), 0.5), ((-0.4, -0.4), 0.4), ((0.5, 0.6), None)])
def test_the_z_step_is_the_truths_where_all_stacks_share_it(tmp_path, steps, expected):
    labels = labels_of(tmp_path)
    assert z_step_um(tmp_path, labels, truth_of(labels, steps)) == pytest.approx(expected, abs=1e-4)


def test_the_z_step_survives_missing_slices(tmp_path):
    labels = labels_of(tmp_path, slices=6).drop([1, 2, 9])
    assert z_step_um(tmp_path, labels, truth_of(labels, (0.5, 0.5))) == pytest.approx(0.5)


def test_tiff_slices_declare_the_z_step(tmp_path):
    labels = labels_of(tmp_path, "tif")
    for path in labels["image_path"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        metadata = {"spacing": 0.75, "unit": "um"}
        tifffile.imwrite(tmp_path / path, np.zeros((8, 8), np.uint8), imagej=True, metadata=metadata)
    assert z_step_um(tmp_path, labels, None) == 0.75
    tifffile.imwrite(tmp_path / labels["image_path"][0], np.zeros((8, 8), np.uint8))
    assert z_step_um(tmp_path, labels, None) is None
    assert z_step_um(tmp_path, labels_of(tmp_path), None) is None


@pytest.mark.parametrize(
    ("pixels", "vary", "expected"),
    [((0.1,), 0, 0.1), ((0.1, 0.1), 0, 0.1), ((0.1, 0.064), 0, None), ((0.1,), 0.2, None)],
)
def test_the_pixel_size_is_the_simulated_instruments_where_they_share_it(tmp_path, pixels, vary, expected):
    assert pixel_um(tmp_path) is None
    note = {"instruments": [{"name": "dry50", "pixel_um": size} for size in pixels], "vary": vary, "seed": 1}
    (tmp_path / "simulation.json").write_text(json.dumps(note))
    assert pixel_um(tmp_path) == expected
    (tmp_path / "simulation.json").write_text("[]")
    with pytest.raises(InputError, match="no note of a simulation"):
        pixel_um(tmp_path)
