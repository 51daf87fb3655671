"""Physics of the simulator: what any correct image formation must show."""

import cv2
import numpy as np
import pytest

from focus_picker.dataset.images import LUMA
from focus_picker.dataset.simulation.cells import CELL_KINDS, draw_specimen
from focus_picker.dataset.simulation.instrument import Instrument, known_instruments, load_instrument
from focus_picker.dataset.simulation.optics import pupil, source_points, through_focus
from focus_picker.dataset.simulation.specimen import Specimen
from focus_picker.dataset.simulation.zero import (
    MEASURES,
    _peak_um,
    absorbing_texture,
    optical_zero_um,
    scan_planes_um,
    sharpest_um,
    tenengrad,
)

IDEAL = Instrument(
    name="ideal", numerical_aperture=0.8, immersion_index=1.0, pixel_um=0.1, condenser_sigma=0.5, z_step_um=0.5
)
SHAPE = (96, 120)  # not square, on purpose


def disc(density: float = 0.0, path_um: float = 0.0, radius_um: float = 2.0, shape=SHAPE) -> Specimen:
    """A soft-edged disc in the middle that absorbs, delays, or both."""
    y, x = (0.1 * (np.arange(size) - size / 2) for size in shape)
    mask = 1 / (1 + np.exp((np.hypot(y[:, None], x[None, :]) - radius_um) / 0.1))
    return Specimen(density=np.repeat(density * mask[..., None], 3, axis=2), path_um=path_um * mask)


def inside(image: np.ndarray) -> float:
    """Mean green of a central patch well inside the disc."""
    height, width = image.shape[:2]
    return float(image[height // 2 - 8 : height // 2 + 8, width // 2 - 8 : width // 2 + 8, 1].mean())


def test_empty_specimen_is_evenly_bright_in_every_plane():
    images = through_focus(disc(), IDEAL, np.array([-3.0, 0.0, 3.0]))
    assert images.shape == (3, *SHAPE, 3)
    np.testing.assert_allclose(images, 1.0, atol=1e-4)


def test_pure_phase_object_in_focus_conserves_energy_and_is_nearly_invisible():
    smooth = disc(path_um=0.03)
    smooth = Specimen(smooth.density, cv2.GaussianBlur(smooth.path_um, (0, 0), 4))
    focused, defocused = through_focus(smooth, IDEAL, np.array([0.0, 2.0]))
    assert focused.mean() == pytest.approx(1.0, abs=2e-3)
    assert defocused.mean() == pytest.approx(1.0, abs=2e-3)
    assert focused.std() < 0.1 * defocused.std()


def test_light_through_an_absorber_is_conserved_through_focus():
    """Defocus moves light about; it neither adds nor removes any."""
    images = through_focus(disc(density=0.8), IDEAL, np.linspace(-3, 3, 5))
    totals = images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(totals, totals[2], rtol=1e-4)


def test_symmetric_in_z_without_phase_aberration_and_colour_shift():
    below, above = through_focus(disc(density=0.8), IDEAL, np.array([-1.5, 1.5]))
    np.testing.assert_allclose(below, above, atol=2e-4)


@pytest.mark.parametrize(
    "change", [{"spherical_waves": 0.1}, {"axial_colour_um": (-0.2, 0.0, 0.3)}], ids=["spherical", "axial colour"]
)
def test_aberration_and_axial_colour_each_break_the_symmetry(change):
    instrument = IDEAL.model_copy(update=change)
    below, above = through_focus(disc(density=0.8), instrument, np.array([-1.5, 1.5]))
    assert np.abs(below - above).max() > 0.01


def test_a_cell_of_higher_index_brightens_inside_when_the_lens_is_too_far():
    """The Becke line: design convention of the sign of the score."""
    below, focus, above = (inside(image) for image in through_focus(disc(path_um=0.05), IDEAL, [-3.0, 0.0, 3.0]))
    assert below < focus - 0.01
    assert above > focus + 0.01


def test_the_sign_of_the_contrast_flips_with_the_phase():
    """A weak object's phase contrast is odd in the phase and odd in z."""
    z = np.array([-2.0, 2.0])
    dense = through_focus(disc(path_um=0.01), IDEAL, z) - 1
    thin = through_focus(disc(path_um=-0.01), IDEAL, z) - 1
    np.testing.assert_allclose(dense, -thin, atol=0.1 * np.abs(dense).max())
    np.testing.assert_allclose(dense[0], -dense[1], atol=0.1 * np.abs(dense).max())


def test_an_under_corrected_objective_has_blue_above_green():
    """Blue focuses nearer to the objective: at its own best plane green is defocused less than blue's offset says."""
    instrument = IDEAL.model_copy(update={"axial_colour_um": (0.0, 0.0, 0.6)})
    z = np.linspace(-1.5, 1.5, 31)
    images = through_focus(absorbing_texture(SHAPE, 0.1, np.random.default_rng(3)), instrument, z)
    sharpest = [z[np.argmax([np.var(cv2.Laplacian(i[..., c], cv2.CV_32F)) for i in images])] for c in (1, 2)]
    assert sharpest[0] == pytest.approx(0.0, abs=0.11)
    assert sharpest[1] == pytest.approx(-0.6, abs=0.11)  # blue defocus = z + 0.6, which is zero at z = -0.6


def test_blur_grows_with_distance_on_both_sides():
    z = np.array([0.0, 0.75, 1.5, 2.25, 3.0])
    texture = absorbing_texture(SHAPE, 0.1, np.random.default_rng(3))
    for side in (-1, 1):
        sharpness = [tenengrad(grey(image)) for image in through_focus(texture, IDEAL, side * z)]
        assert np.all(np.diff(sharpness) < 0)


@pytest.mark.parametrize("name", known_instruments())
def test_an_absorbing_texture_is_sharpest_within_half_a_slice_of_the_optical_zero(name):
    instrument = load_instrument(name)
    texture = absorbing_texture((160, 144), instrument.pixel_um, np.random.default_rng(11))
    z = instrument.z_step_um * np.linspace(-2, 2, 33)
    sharpness = [tenengrad(grey(i)) for i in through_focus(texture, instrument, optical_zero_um(instrument) + z)]
    assert abs(z[int(np.argmax(sharpness))]) <= instrument.z_step_um / 2


def test_spherical_aberration_moves_zero_and_its_sign_decides_where():
    zeros = [optical_zero_um(IDEAL.model_copy(update={"spherical_waves": waves})) for waves in (-0.1, 0.0, 0.1)]
    assert zeros[1] == pytest.approx(0.0, abs=0.02)
    assert zeros[0] == pytest.approx(-zeros[2], abs=0.02)
    assert abs(zeros[0]) > 0.05


def grey(image):
    return np.ascontiguousarray(image @ LUMA, dtype=np.float32)


@pytest.mark.parametrize("name", known_instruments())
def test_measures_agree_where_a_cell_looks_sharpest(name):
    """No measure's own peak lies more than 0.1 slice from the consensus on the mean over cells, or a third on one."""
    instrument, planes = load_instrument(name), scan_planes_um(load_instrument(name))
    away = []
    for seed, kind in enumerate(CELL_KINDS):
        specimen = draw_specimen(kind, (150, 150), instrument.pixel_um, 0.06, np.random.default_rng(seed))
        images = through_focus(specimen, instrument, planes)
        zero = sharpest_um(images, planes)
        alone = [_peak_um([measure(grey(image)) for image in images], planes) for measure in MEASURES]
        away.append((np.array(alone) - zero) / instrument.z_step_um)
    assert np.abs(np.mean(away, axis=0)).max() <= 0.1
    assert np.abs(away).max() <= 0.33


def test_phase_moves_where_a_cell_looks_sharpest_and_its_sign_decides_where():
    """An absorbing disc is sharpest at the optical zero; phase moves it, and the opposite phase the other way."""
    planes = scan_planes_um(IDEAL)
    zeros = [
        sharpest_um(through_focus(disc(density=0.5, path_um=path), IDEAL, planes), planes)
        for path in (-0.05, 0.0, 0.05)
    ]
    assert zeros[1] == pytest.approx(0.0, abs=0.03)
    assert zeros[0] == pytest.approx(-zeros[2], abs=0.05)
    assert abs(zeros[2]) > 0.1


def test_condenser_points_are_symmetric_fill_the_disc_and_suffice():
    points = source_points()
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    assert np.hypot(*points.T).max() < 1
    assert np.mean(np.sum(points**2, axis=1)) == pytest.approx(0.5, abs=0.02)  # of a uniformly filled unit disc
    specimen = draw_specimen("neutrophil", (150, 150), 0.1, 0.06, np.random.default_rng(0))
    few, many = (through_focus(specimen, IDEAL, np.array([-2.5, 0.0]), source_rings=rings) for rings in (3, 7))
    photon_noise = 255 * np.sqrt(0.85 / IDEAL.camera.full_well_e)
    assert 255 * 0.85 * np.sqrt(np.mean((few - many) ** 2)) < photon_noise


def test_coherent_light_gives_what_one_plane_wave_gives():
    """With a closed condenser the Abbe sum is the squared modulus of one filtered field, computed here directly."""
    coherent = IDEAL.model_copy(update={"condenser_sigma": 0.0})
    specimen, z_um = disc(density=0.4, path_um=0.04), 1.2
    image = through_focus(specimen, coherent, np.array([z_um]))[0, :, :, 1]
    frequency = [np.fft.fftfreq(size, 0.1) for size in SHAPE]
    filtered = np.fft.fft2(specimen.transmission(1, 0.54)) * pupil(*frequency, coherent, 1, np.array([z_um]))[0]
    spectrum = np.fft.fft2(np.abs(np.fft.ifft2(filtered)) ** 2)
    spectrum *= np.sinc(frequency[0] * 0.1)[:, None] * np.sinc(frequency[1] * 0.1)[None, :]
    np.testing.assert_allclose(image, np.fft.ifft2(spectrum).real, atol=1e-3)


def test_detail_beyond_the_aperture_is_not_seen():
    """A grating finer than lambda / (2 NA) has no contrast in the image."""
    x = np.arange(SHAPE[1])
    grating = np.tile(0.3 * (1 + np.cos(2 * np.pi * x * 48 / SHAPE[1])), (SHAPE[0], 1))  # 4 cycles a micrometre
    image = through_focus(Specimen(np.repeat(grating[..., None], 3, 2), np.zeros(SHAPE)), IDEAL, np.array([0.0]))[0]
    assert image[..., 1].std() < 1e-3


def test_a_coarse_pixel_is_computed_on_a_finer_grid():
    coarse = IDEAL.model_copy(update={"pixel_um": 0.4})
    assert coarse.oversampling == 3
    assert IDEAL.oversampling == 1


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_every_kind_of_cell_is_drawn_dark_on_clear_ground_with_a_longer_path(kind):
    specimen = draw_specimen(kind, (200, 220), 0.1, 0.06, np.random.default_rng(5))
    assert specimen.density.shape == (200, 220, 3)
    assert specimen.density.min() >= 0
    assert specimen.path_um.max() > 0.03
    centre = specimen.density[70:130, 80:140].mean()
    assert centre > 2 * np.quantile(specimen.density.mean(axis=2), 0.05)
    again = draw_specimen(kind, (200, 220), 0.1, 0.06, np.random.default_rng(5))
    np.testing.assert_array_equal(again.density, specimen.density)
