"""Drawn microscopes: phase that does not follow the stain, depth, cameras with software."""

import cv2
import numpy as np
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.field import FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import Instrument, load_instrument
from focus_picker.dataset.simulation.kinds import KINDS, draw_instrument, find_instrument
from focus_picker.dataset.simulation.layers import Layer, layer_grid, spread_over_heights, through_layers
from focus_picker.dataset.simulation.optics import source_points, through_focus
from focus_picker.dataset.simulation.preparation import Preparation
from focus_picker.dataset.simulation.processing import (
    Processing,
    demosaic,
    develop,
    motion_blur,
    to_grey,
    tone,
    unsharp,
)
from focus_picker.dataset.simulation.slide import STAINS, path_of_cells, periodic, red_cell_profile, restain
from focus_picker.dataset.simulation.specimen import Specimen

SIZE, PIXEL_UM = 96, 0.14
IDEAL = Instrument(
    name="ideal", numerical_aperture=0.8, immersion_index=1.0, pixel_um=PIXEL_UM, condenser_sigma=0.5, z_step_um=0.5
)
EXTENT_UM = (SIZE * PIXEL_UM, SIZE * PIXEL_UM)


def away_um(size: int = SIZE) -> np.ndarray:
    """Distance of each grid point from the middle."""
    axis = PIXEL_UM * (np.arange(size) - size / 2)
    return np.hypot(axis[:, None], axis[None, :])


def phase_only(path_um: np.ndarray) -> Specimen:
    return Specimen(np.zeros((*path_um.shape, 3), np.float32), path_um)


def green(layers: list[Layer], z_um: list[float], instrument: Instrument = IDEAL, rings: int = 2) -> np.ndarray:
    shape = layers[0].specimen.path_um.shape
    return through_layers(layers, instrument, np.array(z_um), EXTENT_UM, shape, rings)[..., 1]


def red_cell(dimple: float = 0.7) -> Specimen:
    """A red cell of 3.6 um radius without any stain, two radians thick."""
    return phase_only(0.17 * red_cell_profile(np.clip(1 - away_um() / 3.6, 0, 1), dimple))


def half_turn(images: np.ndarray) -> np.ndarray:
    """Turn periodic images ``(..., H, W)`` about their middle point."""
    return np.roll(images[..., ::-1, ::-1], (1, 1), axis=(-2, -1))


# Layers


def test_layers_without_distance_are_one_thin_specimen():
    path = cv2.GaussianBlur(red_cell().path_um, (0, 0), 2)
    thin = Specimen(4 * np.repeat(path[..., None], 3, 2), path)
    halves = [Layer(Specimen(thin.density / 2, thin.path_um / 2), 0.0)] * 2
    z_um = np.array([-1.0, 0.0, 1.5])
    expected = through_focus(thin, IDEAL, z_um, source_rings=2)
    for layers in ([Layer(thin, 0.0)], halves):
        images = through_layers(layers, IDEAL, z_um, EXTENT_UM, (SIZE, SIZE), 2)
        np.testing.assert_allclose(images, expected, atol=2e-3)


def test_a_layer_is_in_focus_at_its_own_height():
    spot = phase_only(np.zeros((SIZE, SIZE)))
    spot = Specimen(spot.density + 0.8 * (away_um() < 1.5)[..., None], spot.path_um)
    low, high = (green([Layer(spot, height)], [-2.0, 0.0, 2.0]) for height in (-2.0, 2.0))
    assert np.argmax([image.std() for image in low]) == 0
    assert np.argmax([image.std() for image in high]) == 2
    empty = Layer(phase_only(np.zeros((SIZE, SIZE))), 2.0)
    np.testing.assert_allclose(green([Layer(spot, -2.0), empty], [-2.0]), low[:1], atol=2e-3)


def test_spread_layers_multiply_to_the_whole_specimen():
    specimen = red_cell()
    height = np.linspace(-1, 1, SIZE)[:, None] * np.ones(SIZE)
    layers = spread_over_heights(specimen, height, IDEAL.depth_of_field_um)
    assert len(layers) == 5
    np.testing.assert_allclose(sum(layer.specimen.path_um for layer in layers), specimen.path_um, atol=1e-6)
    mean = sum(layer.specimen.path_um * layer.height_um for layer in layers)
    np.testing.assert_allclose(mean, specimen.path_um * height, atol=1e-6)
    assert len(spread_over_heights(specimen, 0 * height, IDEAL.depth_of_field_um)) == 1


def test_a_band_of_wavelengths_moves_nothing_and_keeps_the_light():
    wide = IDEAL.model_copy(update={"bandwidth_um": (0.08, 0.08, 0.08)})
    line, band = (green([Layer(red_cell(), 0.0)], [-3.0, 3.0], instrument) for instrument in (IDEAL, wide))
    np.testing.assert_allclose(band.mean(axis=(1, 2)), 1, atol=1e-3)
    assert 0.001 < np.abs(line - band).max() < 0.2
    np.testing.assert_allclose(band, half_turn(band), atol=1e-4)


# Signs


def test_a_red_cells_rim_is_bright_inside_when_too_far_and_its_dimple_the_opposite():
    """What real blood shows: the ring is a converging lens, the dimple a diverging one."""
    near, far = green([Layer(red_cell(), 0.0)], [-1.5, 1.5])
    rim, outside, middle = (
        (away_um() > 2.4) & (away_um() < 3.3),
        (away_um() > 3.6) & (away_um() < 4.2),
        away_um() < 0.8,
    )
    assert far[rim].mean() > 1.02 > 0.98 > near[rim].mean()
    assert far[outside].mean() < near[outside].mean()
    assert far[middle].mean() < 1 < near[middle].mean()


@pytest.mark.parametrize(
    "change",
    [
        {"bandwidth_um": (0.08, 0.08, 0.08)},
        {"coma_waves": (0.05, 0.05)},
        {"astigmatism_waves": (0.05, 0.0)},
        {"condenser_sigma": 0.9},
        {"numerical_aperture": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_phase_disc_brightens_inside_when_the_lens_is_too_far_whatever_the_optics(change):
    disc = phase_only(0.06 / (1 + np.exp((away_um() - 2.0) / 0.1)))
    instrument = IDEAL.model_copy(update=change)
    depth_um = 1.5 * instrument.depth_of_field_um
    near, far = green([Layer(disc, 0.0)], [-depth_um, depth_um], instrument)
    inside, outside = away_um() < 1.8, (away_um() > 2.2) & (away_um() < 3.0)
    assert far[inside].mean() > 1.003 > 0.997 > near[inside].mean()
    assert far[outside].mean() < near[outside].mean()


def test_astigmatism_parts_the_foci_of_both_directions():
    lines = {"y": np.arange(SIZE)[:, None], "x": np.arange(SIZE)[None, :]}
    z_um = np.linspace(-2, 2, 17)
    tilted = IDEAL.model_copy(update={"astigmatism_waves": (0.3, 0.0)})
    best = {}
    for axis, position in lines.items():
        wave = 0.3 * (1 + np.cos(2 * np.pi * 16 * position / SIZE)) + np.zeros((SIZE, SIZE))
        grating = Layer(Specimen(np.repeat(wave[..., None], 3, 2), np.zeros((SIZE, SIZE))), 0.0)
        best[axis] = z_um[np.argmax(green([grating], z_um, tilted).std(axis=(1, 2)))]
    assert abs(best["y"] - best["x"]) > 0.5


def test_coma_is_not_symmetric_across_its_axis():
    spot = Layer(Specimen(np.repeat(2.0 * (away_um() < 0.3)[..., None], 3, 2), np.zeros((SIZE, SIZE))), 0.0)
    image = green([spot], [0.0], IDEAL.model_copy(update={"coma_waves": (0.25, 0.0)}))[0]
    assert np.abs(image - half_turn(image)).max() > 0.05
    np.testing.assert_allclose(image, np.roll(image[:, ::-1], 1, axis=1), atol=0.02)


# Slides


def test_what_took_no_stain_may_delay_light():
    density = np.zeros((80, 80, 3), np.float32)
    disc = np.hypot(*(np.mgrid[:80, :80] - 40)) < 24
    density[disc] = (0.05, 0.3, 0.3)  # a red cell
    bare, strong = (path_of_cells(density, 0.15, Preparation(red_cell_path_um=path)) for path in (0.0, 0.3))
    assert bare.max() == 0
    assert 0.15 < strong.max() <= 0.3
    assert strong[40, 40] < strong[40, 40 - 14]  # the dimple
    assert strong[~disc].max() < 0.1
    nucleus = np.where(disc[..., None], np.array((1.1, 1.7, 0.5), np.float32), 0)
    assert path_of_cells(nucleus, 0.15, Preparation(red_cell_path_um=0.3)).max() == 0


@pytest.mark.parametrize("stain", STAINS)
def test_every_stain_leaves_clear_ground_clear_and_nuclei_dark(stain):
    density = np.array([[[0, 0, 0], [1.1, 1.7, 0.55], [0.12, 0.5, 0.42]]], np.float32)
    clear, nucleus, red = restain(density, stain)[0]
    assert clear.max() == 0
    assert nucleus.sum() > red.sum() > 0


def test_a_periodic_image_has_no_seam():
    image = periodic(np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None, None], (1, 50, 3)), 8)
    assert abs(image[0] - image[-1]).max() < 1e-6
    assert abs(np.diff(image, axis=0)).max() < 0.1


# Camera


def test_neutral_processing_only_rounds():
    image = np.random.default_rng(0).random((21, 30, 3), np.float32)
    np.testing.assert_allclose(develop(image, Processing(bits=16)), np.rint(image * 255), atol=1)


def test_a_grey_camera_has_three_equal_channels_of_one_noise():
    instrument = draw_instrument("grey", np.random.default_rng(0))
    instrument = instrument.model_copy(update={"crop_um": (4.0, 5.0), "n_slices": 3})
    images = simulate_field(FieldPlan("stack_001", (None,), (0, 0)), instrument, 0.1)[0].images
    assert images.std() > 1
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    weights = (0.2, 0.5, 0.3)
    assert to_grey(np.array([1.0, 2.0, 3.0], np.float32), weights) == pytest.approx(2.1)


def test_demosaicing_keeps_even_colours_and_smooths_fine_detail():
    even = np.full((20, 20, 3), (0.2, 0.5, 0.8), np.float32)
    np.testing.assert_allclose(demosaic(even)[2:-2, 2:-2], even[2:-2, 2:-2], atol=1e-3)
    stripes = np.zeros((20, 20, 3), np.float32)
    stripes[:, ::2] = 1
    assert demosaic(stripes)[4:-4, 4:-4, 1].std() < stripes[..., 1].std()


def test_tone_keeps_black_and_white_and_sharpening_overshoots_an_edge():
    ends = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_allclose(tone(ends, 0.5, 0.5), ends)
    edge = np.zeros((9, 20, 3), np.float32)
    edge[:, 10:] = 0.5
    assert unsharp(edge, 1.0, 1.0).max() > 0.55
    assert unsharp(edge, 0.0, 1.0) is edge


def test_motion_smears_along_its_way_and_keeps_the_light():
    spot = np.zeros((1, 21, 21, 3), np.float32)
    spot[0, 10, 10] = 1
    smeared = motion_blur(spot, (0.0, 3.0))
    assert smeared.sum() == pytest.approx(3, rel=1e-4)
    rows, columns = smeared[0, ..., 0].sum(axis=1), smeared[0, ..., 0].sum(axis=0)
    assert (rows > 0.01).sum() == 1
    assert (columns > 0.01).sum() >= 3
    assert motion_blur(spot, (0.0, 0.0)) is spot


# Kinds


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_possible_microscopes_that_come_again_by_seed(kind):
    drawn = [draw_instrument(kind, np.random.default_rng(seed)) for seed in range(20)]
    assert len({instrument.numerical_aperture for instrument in drawn}) == 20
    assert draw_instrument(kind, np.random.default_rng(3)) == drawn[3]
    assert all(Instrument.model_validate(instrument.model_dump()) == instrument for instrument in drawn)
    assert all(0.3 < i.z_step_um / i.depth_of_field_um < 0.9 for i in drawn)
    assert all(layer_grid(i, (10, 10))[0] >= 4 * i.numerical_aperture * 10 / i.shortest_um for i in drawn)


def test_a_drawn_field_has_its_truth_and_comes_again():
    instrument = draw_instrument("consumer", np.random.default_rng(1))
    instrument = instrument.model_copy(update={"crop_um": (5.0, 6.0), "n_slices": 5})
    once, again = (simulate_field(FieldPlan("stack_001", (None,), (4, 0)), instrument, 0.1)[0] for _ in range(2))
    np.testing.assert_array_equal(once.images, again.images)
    np.testing.assert_allclose(np.diff(once.defocus_um), instrument.z_step_um)
    assert once.score[round(once.best_slice)] == 0


def test_names_of_drawn_microscopes():
    assert find_instrument("drawn:grey", 3) == find_instrument("drawn:grey", 3) != find_instrument("drawn:grey", 4)
    assert find_instrument("drawn", 1).name in KINDS
    assert find_instrument("dry50", 1) == load_instrument("dry50")
    with pytest.raises(InputError, match="unknown kind of microscope 'tin'; known ones: routine, oil"):
        find_instrument("drawn:tin", 0)


def test_opposite_condenser_points_share_a_wavelength():
    from focus_picker.dataset.simulation.layers import _lines_of_points

    points, lines = source_points(2), _lines_of_points(2, 3)
    for point, line in zip(points, lines, strict=True):
        opposite = np.argmin(np.hypot(*(points + point).T))
        assert lines[opposite] == line
    assert set(lines) == {0, 1, 2}
