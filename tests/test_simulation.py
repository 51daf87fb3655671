"""Instruments, fields and the data set that the simulator writes."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.camera import Exposure, photograph, vignette
from focus_picker.dataset.simulation.crops import background_level, fit_to_shape, read_crop, specimen_from_image
from focus_picker.dataset.simulation.generate import plan_fields, simulate_dataset
from focus_picker.dataset.simulation.instrument import Camera, known_instruments, load_instrument, vary
from focus_picker.dataset.simulation.zero import tenengrad

SMALL = load_instrument("dry50").model_copy(update={"crop_um": (7.0, 9.0)})


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "data"
    simulate_dataset(folder, [SMALL], stacks=6, seed=4, jobs=1)
    return folder


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def picture(seed: int, size=(120, 130)) -> np.ndarray:
    """A made in-focus crop: dark blobs and grain on bright ground."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.standard_normal(size).astype(np.float32), (0, 0), 2)
    y, x = np.mgrid[: size[0], : size[1]]
    cell = np.hypot(y - size[0] / 2, x - size[1] / 2) < 35
    grey = 225 - cell * (110 + 200 * grain)
    return np.clip(np.stack([grey, 0.8 * grey, grey], axis=2), 0, 255).astype(np.uint8)


@pytest.fixture
def crops(tmp_path) -> Path:
    folder = tmp_path / "crops"
    folder.mkdir()
    for seed in range(4):
        cv2.imwrite(str(folder / f"{seed}.png"), picture(seed))
    return folder


# Data sets


def test_writes_the_owners_format_with_truth(simulated):
    labels = pd.read_csv(simulated / "focus_labels.csv")
    truth = pd.read_csv(simulated / "truth.csv")
    assert list(labels.columns) == ["image_path", "focus_score"]
    assert list(truth.columns) == ["image_path", "defocus_um", "best_z_slice", "optical_z_slice"]
    assert len(labels) == 6 * SMALL.n_slices
    assert all((simulated / path).is_file() for path in labels.image_path)
    assert labels.image_path.equals(truth.image_path)
    assert json.loads((simulated / "simulation.json").read_text())["instruments"][0]["name"] == "dry50"


def test_labels_are_the_truth_quantised_to_the_nearest_slice(simulated):
    table = pd.read_csv(simulated / "focus_labels.csv").merge(pd.read_csv(simulated / "truth.csv"))
    true_score = SMALL.score_per_slice * table.defocus_um / SMALL.z_step_um
    assert (table.focus_score - true_score).abs().max() <= SMALL.score_per_slice / 2 + 1e-4
    steps = table.focus_score / SMALL.score_per_slice
    np.testing.assert_allclose(steps, steps.round(), atol=1e-6)
    stacks = table.image_path.str.split("/").str[1]
    assert (table.focus_score == 0).groupby(stacks).sum().eq(1).all()


def test_sizes_vary_and_cells_share_fields(simulated):
    names = [path.name for path in (simulated / "cell_stacks").iterdir()]
    fields = Counter(name.split("_cell_")[0] for name in names)
    assert max(fields.values()) > 1
    sizes = {cv2.imread(str(simulated / "cell_stacks" / name / "0.jpg")).shape for name in names}
    assert len(sizes) > 1
    assert any(height != width for height, width, _ in sizes)


def test_the_labelled_best_slice_is_among_the_sharpest(simulated):
    labels = pd.read_csv(simulated / "focus_labels.csv")
    labels["stack"] = labels.image_path.str.split("/").str[1]
    labels["sharpness"] = [
        tenengrad(cv2.imread(str(simulated / path), cv2.IMREAD_GRAYSCALE).astype(np.float32))
        for path in labels.image_path
    ]
    for _, stack in labels.groupby("stack"):
        sharpest = stack.loc[stack.sharpness.idxmax(), "focus_score"]
        assert abs(sharpest) <= SMALL.score_per_slice


def test_same_seed_same_bytes_whatever_the_number_of_processes(simulated, tmp_path):
    simulate_dataset(tmp_path / "again", [SMALL], stacks=6, seed=4, jobs=2)
    assert digest(tmp_path / "again") == digest(simulated)
    simulate_dataset(tmp_path / "other", [SMALL], stacks=6, seed=5, jobs=1)
    assert digest(tmp_path / "other") != digest(simulated)


def test_from_images_makes_stacks_of_those_cells(crops, tmp_path):
    simulate_dataset(tmp_path / "data", [SMALL], stacks=4, seed=0, from_images=crops, jobs=1)
    labels = pd.read_csv(tmp_path / "data" / "focus_labels.csv")
    focused = labels[labels.focus_score == 0].image_path
    assert len(focused) == 4
    for path in focused:
        image = cv2.imread(str(tmp_path / "data" / path))
        assert image.std() > 15  # the blob is there


def test_varied_optics_differ_between_fields_but_not_between_runs(tmp_path):
    for name in ("a", "b"):
        simulate_dataset(tmp_path / name, [SMALL], stacks=5, seed=2, vary_by=0.3, jobs=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    truth = pd.read_csv(tmp_path / "a" / "truth.csv")
    field = truth.image_path.str.split("/").str[1].str.split("_cell_").str[0]
    steps = truth.defocus_um.diff()[truth.image_path.str.endswith("/1.jpg")].groupby(field).mean()
    assert steps.nunique() == len(steps) > 1


@pytest.mark.parametrize("stacks", [1, 5, 40])
@pytest.mark.parametrize("pictures", [3, 8, 100])
def test_a_picture_never_serves_two_fields(stacks, pictures):
    names = [Path(f"{number}.png") for number in range(pictures)]
    plans = plan_fields(stacks, 7, names)
    assert sum(len(plan.cells) for plan in plans) == stacks
    owners: dict[Path, set[str]] = {}
    for plan in plans:
        for cell in plan.cells:
            owners.setdefault(cell, set()).add(plan.name)
    assert all(len(fields) == 1 for fields in owners.values())
    if pictures >= stacks:
        assert len(owners) == stacks  # each picture once while they last


def test_an_interrupted_simulation_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("focus_picker.dataset.simulation.generate._write_tables", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate_dataset(tmp_path / "data", [SMALL], stacks=1, jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_overwrite_replaces_only_what_simulate_made(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        simulate_dataset(own, [SMALL], stacks=1, jobs=1)
    with pytest.raises(InputError, match="was not made by simulate"):
        simulate_dataset(own, [SMALL], stacks=1, jobs=1, overwrite=True)
    assert (own / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stacks": 0}, "--stacks 0"),
        ({"vary_by": 0.9}, "--vary 0.9 is out of range"),
        ({"source_pixel_um": 0}, "--source-pixel-um 0"),
        ({"from_images": Path("no/such/folder")}, "is not a folder"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        simulate_dataset(tmp_path / "data", [SMALL], jobs=1, **arguments)


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        simulate_dataset(tmp_path / "data", [SMALL], from_images=tmp_path / "empty", jobs=1)


def test_a_crop_too_small_for_a_cell_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(InputError, match=r"small.png is 20x20 pixels"):
        read_crop(tmp_path / "small.png", 1.0, (50, 50), 0)


# Specimens from pictures


def test_density_gives_the_picture_back():
    image = picture(0)
    specimen = specimen_from_image(image, 0.06)
    rebuilt = background_level(image) * np.exp(-specimen.density)
    dimmer = image <= background_level(image)
    np.testing.assert_allclose(rebuilt[dimmer], image[dimmer], atol=0.5)


def test_denser_parts_delay_the_light_more():
    specimen = specimen_from_image(picture(0), 0.06)
    centre, corner = specimen.path_um[50:70, 55:75].mean(), specimen.path_um[:10, :10].mean()
    assert centre > corner + 0.02
    np.testing.assert_allclose(specimen_from_image(picture(0), 0.12).path_um, 2 * specimen.path_um, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 50), (61, 33), (9, 80)])
def test_fit_to_shape_cuts_or_reflects_about_the_centre(shape):
    image = np.arange(41 * 41).reshape(41, 41)
    fitted = fit_to_shape(image, shape)
    assert fitted.shape == shape
    assert fitted[shape[0] // 2, shape[1] // 2] in image[18:23, 18:23]


# Camera


def test_photon_noise_has_the_variance_of_counted_electrons():
    camera = Camera(full_well_e=5000, read_noise_e=10, lamp_flicker=0)
    exposure = Exposure(np.full(3, 0.8), 0.0)
    images = photograph(np.ones((1, 200, 200, 3)), np.ones((200, 200)), exposure, camera, np.random.default_rng(0))
    electrons = images.astype(float) * 5000 / 255
    assert electrons.mean() == pytest.approx(4000, rel=0.002)
    rounding = (5000 / 255) ** 2 / 12
    assert electrons.var() == pytest.approx(4000 + 100 + rounding, rel=0.02)


def test_vignette_falls_from_the_centre():
    light = vignette((11, 11), (-0.5, -0.5), 0.1, 0.2)
    assert light[5, 5] == pytest.approx(1.0)
    assert light[0, 0] == pytest.approx(1 - 0.2 * 0.5)


# Instruments


@pytest.mark.parametrize("name", known_instruments())
def test_shipped_instruments_are_valid_and_step_finely_enough(name):
    instrument = load_instrument(name)
    assert instrument.name == name
    assert 0.3 < instrument.z_step_um / instrument.depth_of_field_um < 0.9


def test_at_least_the_three_promised_instruments():
    assert {"oil100", "dry50", "dry40"} <= set(known_instruments())


BASE = {"numerical_aperture": 0.8, "immersion_index": 1.0, "pixel_um": 0.1, "condenser_sigma": 0.5, "z_step_um": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numerical_aperture": 1.2}, "numerical_aperture 1.2 is not below immersion_index 1"),
        ({"pixel_um": -1}, "pixel_um: Input should be greater than or equal to 0.01"),
        ({"condenser_sigma": "wide"}, "condenser_sigma: .*number"),
        ({"magnification": 50}, "unknown key 'magnification'; known keys: name, numerical_aperture"),
        ({"z_step_um": None}, "z_step_um: "),
        ({"crop_um": [19, 14]}, "crop_um runs from 19 down to 14"),
        ({"camera": {"jpeg_quality": 200}}, "camera.jpeg_quality: "),
    ],
)
def test_an_impossible_instrument_is_refused_in_one_sentence(tmp_path, change, message):
    import yaml

    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**BASE, **change}))
    with pytest.raises(InputError, match=message) as caught:
        load_instrument(str(path))
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds no 'key: value' pairs"), ("a: [1", "not readable YAML"), ("pixel_um: 0.1", "is missing")],
)
def test_a_broken_instrument_file_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_instrument(str(path))


def test_unknown_instrument_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown instrument 'dry99'; known ones: dry40, dry50, oil100"):
        load_instrument("dry99")
    with pytest.raises(InputError, match="does not exist"):
        load_instrument("nowhere.yaml")


def test_vary_keeps_green_as_reference_and_moves_the_rest():
    base = load_instrument("oil100")
    varied = [vary(base, 0.3, np.random.default_rng(seed)) for seed in range(50)]
    assert vary(base, 0, np.random.default_rng(0)) == base
    assert len({instrument.numerical_aperture for instrument in varied}) == 50
    assert all(instrument.axial_colour_um[1] == 0 for instrument in varied)
    assert all(instrument.numerical_aperture < instrument.immersion_index for instrument in varied)
    ratio = base.z_step_um / base.depth_of_field_um
    np.testing.assert_allclose([i.z_step_um / i.depth_of_field_um for i in varied], ratio)
