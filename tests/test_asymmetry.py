"""Signed cues against physics: a stained cell is imaged by a few lines of wave optics written for this test alone.

The simulator in ``dataset/simulation`` is not used, so that a mistake in its sign could not hide here.
"""

from functools import lru_cache

import cv2
import numpy as np
import pytest

from focus_picker.features import CUES, measure

SIDE, PIXEL_UM = 128, 0.1
APERTURE, CONDENSER = 0.8, 0.5
WAVELENGTHS_UM = (0.62, 0.54, 0.46)
STAIN = np.array([0.75, 1.0, 0.35])  # purple: green is absorbed most, blue least
UNDER_CORRECTED_UM = (-0.2, 0.0, 0.35)  # blue's defocus exceeds green's


@lru_cache
def cell(seed: int) -> np.ndarray:
    """Stain of a cell of 9 um with a grainy nucleus of 5 um, ``(SIDE, SIDE)``."""
    rng = np.random.default_rng(seed)
    y, x = (np.indices((SIDE, SIDE)) - SIDE / 2 + 0.5) * PIXEL_UM
    radius = np.hypot(y * (1 + 0.1 * rng.uniform()), x)
    inside = [1 / (1 + np.exp((radius - edge) / 0.06)) for edge in (4.5, 2.5 + 0.2 * rng.uniform())]
    grain = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)), (0, 0), 2.5)
    return 0.3 * inside[0] + inside[1] * np.clip(0.8 + 0.2 * grain / grain.std(), 0.1, None)


def photograph(stain: np.ndarray, z_um: float, path_um: float, axial_colour_um=(0, 0, 0)) -> np.ndarray:
    """Image ``(SIDE, SIDE, 3)``, 0 to 255, of the plane ``z_um`` on the objective's side of a stained cell.

    Light goes as exp(+ikz): the plane at +z multiplies the spectrum by exp(+i kz z); a cell of higher index delays by
    ``path_um`` for one unit of stain, exp(+i phase).
    """
    frequency = np.fft.fftfreq(SIDE, PIXEL_UM)
    image = np.empty((SIDE, SIDE, 3))
    for channel, wavelength in enumerate(WAVELENGTHS_UM):
        field = np.exp(-0.5 * STAIN[channel] * stain + 2j * np.pi / wavelength * path_um * stain)
        z = z_um + axial_colour_um[channel]
        image[..., channel] = intensity(np.fft.fft2(field), frequency, wavelength, z)
    return np.clip(215 * image, 0, 255)


def intensity(spectrum: np.ndarray, frequency: np.ndarray, wavelength: float, z_um: float) -> np.ndarray:
    """Sum over a condenser of seven points; a tilt moves the pupil over the object's spectrum by whole bins."""
    cutoff = APERTURE / wavelength
    squared = frequency[:, None] ** 2 + frequency[None, :] ** 2
    axial = np.sqrt(np.maximum(wavelength**-2 - squared, 0))
    pupil = (squared < cutoff**2) * np.exp(2j * np.pi * z_um * axial)
    angles = np.arange(6) * np.pi / 3
    tilts = [(0, 0), *np.rint(0.75 * CONDENSER * cutoff * SIDE * PIXEL_UM * np.c_[np.sin(angles), np.cos(angles)])]
    fields = [np.fft.ifft2(pupil * np.roll(spectrum, (int(ty), int(tx)), (0, 1))) for ty, tx in tilts]
    return np.mean([np.abs(field) ** 2 for field in fields], axis=0)


# In what optics, and how far from focus, each cue moves as its sign says.
PHASE, WEAK_PHASE = {"path_um": 0.06}, {"path_um": 0.02}
COLOUR = {"path_um": 0.0, "axial_colour_um": UNDER_CORRECTED_UM}
PHASE_AND_COLOUR = {"path_um": 0.06, "axial_colour_um": UNDER_CORRECTED_UM}
WEAK_PHASE_AND_COLOUR = {"path_um": 0.02, "axial_colour_um": UNDER_CORRECTED_UM}

SHOWN = {
    "laplacian_skewness": (WEAK_PHASE, 0.3),
    "half_intensity_skewness": (PHASE, 0.3),
    "half_laplacian_skewness": (PHASE, 0.3),
    "half_transport": (PHASE, 0.5),
    "half_detail_side": (PHASE, 0.3),
    "quarter_detail_side": (PHASE, 0.3),
    "nucleus_inner_rim": (WEAK_PHASE, 0.3),
    "nucleus_outer_edge": (PHASE, 0.3),
    "nucleus_halo": (PHASE, 0.3),
    "nucleus_inner_rim_red": (WEAK_PHASE_AND_COLOUR, 0.3),
    "nucleus_outer_edge_red": (PHASE, 0.3),
    "nucleus_inner_rim_blue": (WEAK_PHASE_AND_COLOUR, 0.3),
    "nucleus_inner_edge_blue": (PHASE, 0.3),
    "nucleus_edge_blue": (PHASE, 0.3),
    "nucleus_outer_edge_blue": (PHASE, 0.3),
    "nucleus_outer_rim_blue": (PHASE, 0.3),
    "red_blue_shift": (PHASE_AND_COLOUR, 0.3),
    "cell_inner_rim": (PHASE, 0.3),
    "cell_outer_edge": (PHASE, 0.2),
    "cell_outer_rim": (PHASE, 0.3),
    "blue_green_coherence_1": (PHASE_AND_COLOUR, 0.3),
    "blue_green_coherence_2": (PHASE_AND_COLOUR, 0.3),
    "blue_green_coherence_3": (WEAK_PHASE_AND_COLOUR, 0.3),
    "blue_red_coherence_1": (PHASE_AND_COLOUR, 0.3),
    "blue_red_coherence_2": (PHASE_AND_COLOUR, 0.3),
    "blue_red_coherence_3": (WEAK_PHASE_AND_COLOUR, 0.3),
    "blue_green_transfer_0": (PHASE, 0.3),
    "blue_green_transfer_1": (PHASE, 0.3),
    "blue_green_transfer_2": (PHASE, 0.3),
    "blue_green_transfer_3": (PHASE, 0.3),
    "blue_red_transfer_1": (PHASE, 0.3),
    "blue_red_transfer_2": (PHASE, 0.3),
    "red_green_transfer_1": (PHASE, 0.3),
    "red_green_transfer_2": (PHASE, 0.3),
    "red_green_transfer_3": (PHASE, 0.3),
    "red_blue_sharpness_2": (COLOUR, 0.3),
    "red_blue_sharpness_4": (COLOUR, 0.3),
    "red_green_sharpness_2": (COLOUR, 0.3),
    "red_green_sharpness_4": (COLOUR, 0.3),
}
OF_CHANNELS = [name for name in CUES if "coherence" in name or "transfer" in name or "sharp" in name or "shift" in name]
SEEDS = (0, 1)


@lru_cache
def cues(seed: int, z_um: float, path_um: float, axial_colour_um=(0, 0, 0)) -> dict[str, float]:
    return measure(photograph(cell(seed), z_um, path_um, axial_colour_um), CUES)


def test_every_cue_is_shown():
    assert list(SHOWN) == list(CUES)


@pytest.mark.parametrize("name", CUES)
@pytest.mark.parametrize("seed", SEEDS)
def test_cue_moves_apart_on_the_two_sides_of_focus(name, seed):
    direction, (optics, z_um) = CUES[name].sign, SHOWN[name]
    before, at, beyond = (cues(seed, z, **optics)[name] for z in (-z_um, 0.0, z_um))
    assert direction * (beyond - at) > 0
    assert direction * (before - at) < 0


@pytest.mark.parametrize("name", [name for name in CUES if SHOWN[name][0] in (WEAK_PHASE, PHASE)])
def test_cue_turns_round_with_the_phase(name):
    """A cell of lower index is a diverging lens: before focus it looks as the other does beyond."""
    optics, z_um = SHOWN[name]
    hollow = {"path_um": -optics["path_um"]}
    assert cues(0, -z_um, **hollow)[name] == pytest.approx(cues(0, z_um, **optics)[name], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", CUES)
def test_without_phase_and_colour_the_sides_look_alike(name):
    before, beyond = (cues(0, z, path_um=0.0)[name] for z in (-0.4, 0.4))
    assert beyond == pytest.approx(before, abs=1e-4)


@pytest.mark.parametrize("name", [name for name in CUES if SHOWN[name][0] is COLOUR])
def test_colour_cue_turns_round_with_the_axial_colour(name):
    over_corrected = tuple(-shift for shift in UNDER_CORRECTED_UM)
    beyond, before = (cues(0, z, path_um=0.0, axial_colour_um=over_corrected)[name] for z in (0.3, -0.3))
    assert CUES[name].sign * (beyond - before) < 0


@pytest.mark.parametrize("name", OF_CHANNELS)
def test_cues_between_channels_are_zero_for_grey(name):
    grey = photograph(cell(0), 0.3, 0.06)[..., 1]
    assert measure(grey, [name])[name] == 0
    assert measure(np.repeat(grey[..., None], 3, axis=2), [name])[name] == pytest.approx(0, abs=1e-4)


def test_inside_brightens_beyond_focus():
    """The sign itself, without any cue: the middle of a pure phase disc is brighter beyond focus than before."""
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2 + 0.5
    disc = 1 / (1 + np.exp((np.hypot(y, x) - 8) / 1.5))
    frequency = np.fft.fftfreq(SIDE, PIXEL_UM)
    spectrum = np.fft.fft2(np.exp(1j * disc))
    before, beyond = (intensity(spectrum, frequency, 0.54, z)[SIDE // 2, SIDE // 2] for z in (-1.0, 1.0))
    assert before < 1 < beyond
