"""Focus measures: known answers by hand, and what must hold for every member of the dict."""

import math
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from focus_picker.dataset.errors import InputError
from focus_picker.features import CUES, MEASURES, Intermediates, measure
from focus_picker.features import gradient as gradient_measures
from focus_picker.features import laplacian as laplacian_measures
from focus_picker.features import spectral as spectral_measures
from focus_picker.features import statistics as statistics_measures
from focus_picker.features.fourier import cross_powers
from focus_picker.features.intermediates import BAND_EDGES
from focus_picker.features.kernels import percentiles

ALL = [*MEASURES, *CUES]

# Powers of exposure that a measure follows; all others are free of it.
FOLLOWS_EXPOSURE = {"variance": 2, "normalised_variance": 1}
# Levels are counted in whole grey levels: halving the exposure halves the number of levels.
COUNTS_LEVELS = {"entropy", "transition_share", "interquartile_share", "histogram_range", "edge_width"}


def textured(seed: int = 0, shape: tuple[int, int] = (120, 140)) -> np.ndarray:
    """Colour image of dark blobs of all sizes on a bright ground, ``uint8``."""
    rng = np.random.default_rng(seed)
    noise = sum(
        cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), size) * size for size in (0.7, 1.5, 3.0, 6.0, 12.0)
    )
    stain = np.clip(noise / noise.std(), 0, None)
    return np.clip(220 * np.exp(-stain[..., None] * np.array([0.5, 0.8, 0.3])), 0, 255).round().astype(np.uint8)


def grey(rows) -> Intermediates:
    return Intermediates(np.array(rows, np.float32))


def padded(function, array: np.ndarray) -> float:
    return function(Intermediates(array.astype(np.float32)))


# Every member


def test_there_are_measures_of_every_family_and_cues():
    assert len(MEASURES) >= 45
    assert len(CUES) >= 20
    assert {"tenengrad", "brenner", "laplacian_variance", "normalised_variance"} <= set(MEASURES)
    assert not set(MEASURES) & set(CUES)


@pytest.mark.parametrize("name", ALL)
def test_every_member_declares_what_it_is(name):
    feature = {**MEASURES, **CUES}[name]
    assert feature.name == name
    assert feature.sign in ((-1, 0, 1) if name in MEASURES else (-1, 1))
    for text in (feature.family, feature.label, feature.unit, feature.source):
        assert text == text.strip() != ""
    assert len(feature.label) <= 62
    assert feature.label[0].isupper()
    assert "``" not in feature.label
    assert len(getattr(feature.compute, "func", feature.compute).__doc__) > 40


def test_no_two_members_share_a_label_or_a_name():
    features = [*MEASURES.values(), *CUES.values()]
    assert len({feature.label for feature in features}) == len({feature.name for feature in features}) == len(features)
    assert {feature.unit for feature in features if feature.name.startswith("spectral_e")} == {"bits"}


def test_values_repeat_bit_by_bit_wherever_the_image_lies_in_memory():
    rng = np.random.default_rng(0)
    for seed in range(10):
        image, keep = textured(seed), []
        first = measure(image)
        for _ in range(4):
            keep.append(np.ones(rng.integers(9999)))  # moves what is allocated next
            assert measure(image) == first


def blurred(sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(textured().astype(np.float32), (0, 0), sigma)


BLURRED = [textured().astype(np.float32), *(blurred(sigma) for sigma in (0.7, 1.0, 1.5, 2.2))]


@pytest.mark.parametrize("name", [name for name in MEASURES if MEASURES[name].sign])
def test_blur_moves_a_measure_against_its_sign(name):
    values = [MEASURES[name].sign * measure(image, [name])[name] for image in BLURRED]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_most_measures_have_a_direction():
    assert [feature.sign for feature in MEASURES.values()].count(0) <= 10


TURNS = {
    "flipped left and right": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "quarter turn": lambda image: np.rot90(image),
}


# Half scale takes every other pixel: turned, those of an even size lie between the straight image's.
AT_COARSER_SCALE = {
    *("half_scale_gradient", "fine_to_half_gradient"),
    *("steepest_scale_ratio", "half_scale_laplacian", "quarter_scale_laplacian", "fine_to_half_laplacian"),
    *("half_to_quarter_laplacian", "half_laplacian_to_gradient", "quarter_laplacian_skewness", "variance_by_scale"),
    *("transition_share", "high_frequency_energy", "high_to_low_frequency", "spectral_slope", "spectral_bend"),
    *("spectral_centroid", "spectral_entropy", *(f"band_step_{band}" for band in range(1, 7)), "middle_cosine"),
    *("middle_cosine_ratio", *set(CUES) - {"laplacian_skewness"}),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("shape", [(128, 144), (121, 141)], ids=["even", "odd"])
def test_turning_the_image_changes_little(turn, shape):
    """Not at all at full scale; at coarser scales a quarter of what a blur of 1.5 pixels changes, or 0.1."""
    image = textured(shape=shape)
    straight, turned = measure(image), measure(np.ascontiguousarray(TURNS[turn](image)))
    soft = measure(cv2.GaussianBlur(image, (0, 0), 1.5))
    for name in ALL:
        coarse = 0.25 * abs(straight[name] - soft[name]) + 0.1 if name in AT_COARSER_SCALE else 0
        assert turned[name] == pytest.approx(straight[name], rel=1e-4, abs=coarse + 1e-6), name


@pytest.mark.parametrize("name", ALL)
def test_exposure_cancels(name):
    image = textured().astype(np.float64)
    bright, dim = measure(image, [name])[name], measure(0.7 * image, [name])[name]
    expected = bright * 0.7 ** FOLLOWS_EXPOSURE.get(name, 0)
    loose = name in COUNTS_LEVELS
    assert dim == pytest.approx(expected, rel=0.15 if loose else 0.02, abs=0.05 if loose else 0.01)


@pytest.mark.parametrize("name", ALL)
def test_sharing_intermediates_changes_no_value(name):
    image = textured()
    assert measure(image, [name])[name] == measure(image)[name]


def test_names_choose_and_order():
    names = ["brenner", "tenengrad", "half_transport"]
    assert list(measure(textured(), names)) == names
    assert list(measure(textured())) == ALL


def test_unknown_name_lists_the_known():
    with pytest.raises(InputError, match=r"unknown measure 'sharpnes'; known ones: tenengrad, .*red_green_sharpness_4"):
        measure(textured(), ["tenengrad", "sharpnes"])


# Awkward images


@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50), (8, 8, 3)], ids=str)
def test_constant_image_gives_nothing(level, shape):
    values = measure(np.full(shape, level, np.uint8))
    assert all(math.isfinite(value) for value in values.values())
    energies = [
        "tenengrad",
        "brenner",
        "laplacian_variance",
        "variance",
        "normalised_variance",
        "entropy",
        "vollath_f4",
    ]
    assert [values[name] for name in energies] == pytest.approx([0] * len(energies), abs=1e-6)
    assert [values[name] for name in CUES] == pytest.approx([0] * len(CUES), abs=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8), (9, 11, 3), (8, 200, 3), (301, 8)], ids=str)
def test_tiny_and_thin_images_give_finite_values(shape):
    values = measure(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize("shape", [(7, 8), (200, 5, 3), (0, 0, 3)], ids=str)
def test_below_eight_pixels_is_refused(shape):
    with pytest.raises(InputError, match="too small to measure"):
        measure(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_pixels_that_are_no_numbers_are_refused(fault, kind):
    image = textured().astype(kind)
    image[3, 4, 1] = fault
    with pytest.raises(InputError, match="NaN or infinite"):
        measure(image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((20, 20, 4), np.uint8), r"shape \(20, 20, 4\)"),
        (np.zeros((5, 20, 20, 3), np.uint8), r"shape \(5, 20, 20, 3\)"),
        ([[1, 2], [3, 4]], "shape list"),
        (np.zeros((20, 20), np.int32), "type int32"),
        (np.zeros((20, 20), bool), "type bool"),
        (np.full((20, 20), 60000.0), "0 to 255 scale"),
    ],
    ids=["alpha", "stack", "list", "int32", "bool", "sixteen bits as float"],
)
def test_other_input_is_refused(image, reason):
    with pytest.raises(InputError, match=reason):
        measure(image)


def test_sixteen_bits_measure_as_eight():
    image = textured()
    deep = measure(image.astype(np.uint16) * 257)
    assert deep == pytest.approx(measure(image), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_measure_as_bytes(kind):
    image = textured()
    assert measure(image.astype(kind)) == pytest.approx(measure(image), rel=1e-6, abs=1e-9)


def test_grey_image_measures_as_three_equal_channels():
    image = textured()[..., 0]
    assert measure(image) == pytest.approx(measure(np.repeat(image[..., None], 3, axis=2)), rel=1e-3, abs=1e-3)


def test_views_measure_as_copies():
    image = textured()
    view = np.asfortranarray(image)[::-1, :, ::-1]
    assert measure(view) == pytest.approx(measure(np.ascontiguousarray(view)), rel=1e-6, abs=1e-9)


def test_input_is_left_alone():
    image = textured().astype(np.float32)
    before = image.copy()
    measure(image)
    assert np.array_equal(image, before)


def test_huge_image_takes_time_in_proportion():
    small, large = textured(shape=(400, 400)), np.tile(textured(shape=(400, 400)), (5, 5, 1))
    times = []
    for image in (small, large):
        measure(image)
        begin = time.process_time()
        values = measure(image)
        times.append(time.process_time() - begin)
    assert all(math.isfinite(value) for value in values.values())
    assert times[1] < 25 * 6 * times[0]  # 25 times the pixels; caches make them up to some times dearer


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(8, 40), st.integers(8, 40), st.just(3))))
def test_any_bytes_give_finite_values(image):
    assert all(math.isfinite(value) and isinstance(value, float) for value in measure(image).values())


# Known answers


def test_tenengrad_of_a_ramp():
    """A ramp of 2 levels a pixel: Sobel answers 16, Scharr 64."""
    ramp = np.tile(2.0 * np.arange(10), (8, 1))
    assert padded(gradient_measures.tenengrad, ramp) == pytest.approx(16**2 / 9.0**2)
    assert padded(gradient_measures.scharr, ramp) == pytest.approx(64**2 / 9.0**2)


def test_tenengrad_variance_is_zero_where_all_edges_are_alike():
    ramp = Intermediates(np.tile(2.0 * np.arange(12), (9, 1)).astype(np.float32))
    inner = ramp.gradient[1:-1, 1:-1]
    assert inner.std() == pytest.approx(0, abs=1e-5)


def step(height=8, width=10, low=40.0, high=60.0) -> np.ndarray:
    return np.where(np.arange(width) < width // 2, low, high)[None].repeat(height, 0)


def test_brenner_of_a_step():
    """Of 8 differences two apart in a row, two cross the step of 20; none along y. The mean level is 50."""
    assert padded(gradient_measures.brenner, step()) == pytest.approx(2 * 20**2 / 8 / 50**2)


def test_first_differences_of_a_step():
    assert padded(gradient_measures.squared_gradient, step()) == pytest.approx(20**2 / 9 / 50**2)
    assert padded(gradient_measures.roberts, step()) == pytest.approx(2 * 20**2 / 9 / 50**2)
    assert padded(gradient_measures.maximum_gradient, step()) == pytest.approx(10 / 50)


def delta(value: float = 81.0) -> np.ndarray:
    image = np.zeros((9, 9))
    image[4, 4] = value
    return image


def test_laplacian_of_a_delta():
    """A point of 81 on 9 x 9 pixels has a mean of 1; its Laplacian is -4, 1, 1, 1, 1 times 81 and sums to nothing."""
    assert padded(laplacian_measures.laplacian_variance, delta()) == pytest.approx(20 * 81**2 / 81)
    assert padded(laplacian_measures.maximum_laplacian, delta()) == pytest.approx(4 * 81)
    assert padded(laplacian_measures.laplacian_kurtosis, delta()) == pytest.approx((256 + 4) / 20**2 * 81)
    assert padded(laplacian_measures.laplacian_energy, delta()) == pytest.approx((20**2 + 4 * 16 + 4) * 81**2 / 49)


def test_modified_laplacian_of_a_delta():
    """Second differences are 1, -2, 1 times 81 along every line through the point."""
    straight = 2 * 4 * 81 / 63
    assert padded(laplacian_measures.modified_laplacian, delta()) == pytest.approx(straight)
    diagonal = 2 * 4 * 81 / 49 / math.sqrt(2)
    assert padded(laplacian_measures.diagonal_modified_laplacian, delta()) == pytest.approx(straight + diagonal)


def test_vollath_of_a_known_image():
    """Stripes 1, 1, 3, 3 ... are 1 off their mean of 2: neighbours along x agree in 4 of 7 pairs, all do along y."""
    stripes = np.tile([1.0, 1.0, 3.0, 3.0], (8, 2))
    near, far = (4 - 3) / 7 + 1, -1 + 1
    assert padded(statistics_measures.vollath_f5, stripes) == pytest.approx(near / 2**2)
    assert padded(statistics_measures.vollath_f4, stripes) == pytest.approx((near - far) / 2**2)
    assert padded(statistics_measures.neighbour_correlation, stripes) == pytest.approx(near / 2)


def test_grey_level_statistics_of_two_levels():
    image = step(low=50, high=150)
    assert padded(statistics_measures.variance, image) == pytest.approx(50**2)
    assert padded(statistics_measures.normalised_variance, image) == pytest.approx(50**2 / 100)
    assert padded(statistics_measures.contrast, image) == pytest.approx(0.5)
    assert padded(statistics_measures.entropy, image) == pytest.approx(1)
    assert padded(statistics_measures.kurtosis, image) == pytest.approx(1)


def test_percentiles_lie_between_levels():
    histogram = np.zeros(256)
    histogram[[10, 20]] = 0.5
    assert percentiles(histogram, histogram.cumsum(), (0.25, 0.5, 0.75)) == pytest.approx([10, 10.5, 20], abs=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (60, 70), (100, 130)], ids=str)
def test_bands_add_up_to_the_spectrum(shape):
    """The packed spectrum's sums against NumPy's full spectrum of noise, whose power is even over all frequencies."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((*shape, 3)).astype(np.float32)
    image[..., 1] += 0.5 * image[..., 0]
    powers = cross_powers(image, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    area = np.pi * np.diff(np.square((0.0, 0.1, 0.2, 0.3, 0.4, 0.5)))
    assert powers[0] / area == pytest.approx(np.ones(5), rel=0.35)
    assert powers[3].sum() / powers[0].sum() == pytest.approx(0.5, abs=0.1)  # channels 0 and 1
    assert abs(powers[5].sum() / powers[0].sum()) < 0.1  # channels 0 and 2


def test_a_wave_lies_in_its_band():
    frequency = 0.11  # cycles per pixel, in the band from 0.1 to 0.135
    wave = 100 + 40 * np.sin(2 * np.pi * frequency * np.arange(160))
    bands = np.array(grey(np.tile(wave, (128, 1))).bands)
    inside = np.searchsorted(BAND_EDGES, frequency) - 1
    assert bands[inside] > 0.95 * bands.sum()


def test_spectral_slope_of_pink_noise():
    """Amplitudes that fall as 1 / f have a spectral density that falls as the square."""
    rng = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((256, 256))) / np.maximum(frequency, 1 / 256))
    image = np.clip(128 + 20 * noise / noise.std(), 0, 255)
    # Half scale weakens the upper bands by its own smoothing.
    assert padded(spectral_measures.spectral_slope, image) == pytest.approx(-2.4, abs=0.3)


@pytest.mark.parametrize("sigma", [1.5, 2.0, 3.0])
def test_laplacian_to_gradient_tells_the_width_of_an_edge(sigma):
    edge = np.tile(np.where(np.arange(64) < 32, 60.0, 180.0), (48, 1))
    image = cv2.GaussianBlur(edge, (0, 0), sigma)
    # Sobel's kernel smooths along the edge only; the five-point Laplacian of a straight edge is a second difference.
    assert math.exp(padded(laplacian_measures.laplacian_to_gradient, image)) == pytest.approx(
        1 / (2 * sigma**2), rel=0.2
    )


def test_haar_diagonal_of_a_checkerboard():
    checkers = 100 + 10 * (np.indices((10, 12)).sum(axis=0) % 2 * 2 - 1)
    assert padded(spectral_measures.haar_diagonal, checkers) == pytest.approx((40 / 2) ** 2 / 100**2)
