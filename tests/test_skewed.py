"""The skewed fit and the consensus of measures: known peaks, symmetries, outvoting, errors, how they are learned."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_picker.dataset.arrays import array_stack
from focus_picker.dataset.errors import InputError
from focus_picker.stack_inference import curve_fit
from focus_picker.stack_inference.consensus import PANEL, consensus, middle_mean
from focus_picker.stack_inference.peak_learning import (
    CURVE_MEASURES,
    Equations,
    Known,
    add_halves,
    is_for_learning,
    learn,
    left_out,
    load_curves,
    shares,
    usual_errors,
)
from focus_picker.stack_inference.pick import pick_focus
from focus_picker.stack_inference.scoring import score_stack
from focus_picker.stack_inference.skewed import COEFFICIENTS, TERMS, load_fitted, skewed
from focus_picker.stack_inference.vertex import parabola

REAL_CURVES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "focus_curves" / "wbc.npz"
Z = np.arange(11.0)


def lopsided(peak, skew=0.3, width=1.8, floor=0.2, z=Z):
    """A peak that falls faster on one side: half widths ``width * (1 -+ skew)``, smooth at its top."""
    away = z - peak
    return floor + np.exp(-((away / (width * (1 + skew * np.tanh(away / width)))) ** 2))


@pytest.mark.parametrize("skew", [-0.35, -0.2, 0.2, 0.35])
def test_a_skewed_curve_is_fitted_at_its_peak_and_better_than_by_a_parabola(skew):
    peaks = np.linspace(4, 6, 41)
    away = np.array([skewed(Z, lopsided(peak, skew)).position - peak for peak in peaks])
    vertex = np.array([parabola(Z, lopsided(peak, skew)).position - peak for peak in peaks])
    assert np.abs(away).mean() < np.abs(vertex).mean()
    assert np.abs(away).max() < np.abs(vertex).max()


@pytest.mark.parametrize("skew", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("peak", [0.2, 1.3, 4.4, 5.0])
def test_mirrored_moved_and_scaled_curves_give_mirrored_and_moved_peaks(skew, peak):
    focus = lopsided(peak, skew)
    plain = skewed(Z, focus)
    assert skewed(-Z, focus).position == pytest.approx(-plain.position)
    assert skewed(Z, focus[::-1]).position == pytest.approx(10 - plain.position)
    assert skewed(0.4 * Z + 100, 7e3 * focus + 5e3).position == pytest.approx(0.4 * plain.position + 100)


def test_two_equal_values_mean_the_middle():
    assert skewed(Z, 1 / (1 + (Z - 5.5) ** 2)).position == pytest.approx(5.5)


def test_a_peak_at_the_end_is_looked_for_beyond_it():
    assert -0.8 < skewed(Z, lopsided(-0.4, 0)).position < skewed(Z, lopsided(0.3, 0)).position < 0.7


@pytest.mark.parametrize("fine", [2, 3, 5])
def test_finely_sampled_curves_are_thinned_and_noise_averages_out(fine):
    z = np.arange(0, 10.01, 1 / fine)
    rng = np.random.default_rng(2)
    places = np.array([skewed(z, lopsided(5.2, 0, z=z) + rng.normal(0, 0.02, len(z))).position for _ in range(100)])
    assert places.mean() == pytest.approx(5.2, abs=0.05)
    assert places.std() < 0.15


def test_unequal_steps_are_left_to_the_parabola():
    z = np.delete(Z, 4)
    focus = lopsided(5.3, z=z)
    assert skewed(z, focus) == parabola(z, focus, logarithm=True)


@pytest.mark.parametrize(
    ("z", "focus", "reason"),
    [
        ([], [], curve_fit.NO_VALUES),
        ([0, 1], [1, 2], curve_fit.TOO_FEW),
        ([0, 1, 2, 3], [2, 2, 2, 2], curve_fit.NOT_A_PEAK),
        ([0, 0, 0, 0], [1, 3, 2, 1], curve_fit.REPEATED_Z),
    ],
)
def test_the_fit_says_why_it_fails(z, focus, reason):
    fit = skewed(z, focus)
    assert not fit
    assert fit.reason == reason


def test_error_grows_with_noise_and_the_drawn_curve_meets_the_slices():
    rng = np.random.default_rng(3)
    errors = [
        np.median([skewed(Z, lopsided(5.3) + rng.normal(0, noise, 11)).standard_error for _ in range(30)])
        for noise in (0.005, 0.2)
    ]
    assert errors[1] > 1.3 * errors[0]
    focus = lopsided(5.3)
    assert skewed(Z, focus).curve(Z[3:8]) == pytest.approx(focus[3:8])


def test_a_measure_that_is_off_is_outvoted_and_counted_in_the_error():
    agreeing = np.array([lopsided(5.2, skew) for skew in np.linspace(-0.1, 0.1, 7)])
    one_off = agreeing.copy()
    one_off[3] = lopsided(8.1)
    plain, outvoted = consensus(Z, agreeing), consensus(Z, one_off)
    assert outvoted.position == pytest.approx(plain.position, abs=0.05)
    two_minds = np.array([lopsided(peak) for peak in (4.2, 4.5, 4.9, 5.2, 5.5, 5.9, 6.2)])
    assert consensus(Z, two_minds).standard_error > plain.standard_error
    gap = agreeing.copy()
    gap[:, 2] = np.nan
    assert consensus(Z, gap).position == pytest.approx(plain.position, abs=1e-9)
    assert not consensus(Z, np.full((7, 11), np.nan))


def test_the_middle_of_seven_leaves_out_one_on_each_side():
    assert middle_mean(np.array([9.0, 1, 2, 3, 4, 5, -40])) == 3
    assert middle_mean(np.array([2.0, 4.0])) == 3


def neighbours(defocus, seed=0, size=120):
    """A textured cell sharpest at 0 in the middle, strong rings at the border that are sharpest three slices later."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    texture = cv2.GaussianBlur(rng.normal(0, 90, (size, size)), (0, 0), 1.0)
    cell = -(60 + texture) / (1 + np.exp(np.hypot(x, y) - 26))
    rims = sum(
        -70.0 * np.exp(-((np.hypot(x - a, y - b) - 16) ** 2) / 3) for a in (-58, 0, 58) for b in (-58, 0, 58) if a or b
    )
    blurred = [
        cv2.GaussianBlur(part, (0, 0), float(np.hypot(0.7, 0.8 * away)))
        for part, away in ((cell, defocus), (rims, defocus - 3))
    ]
    return np.clip(np.round(200 + sum(blurred) + rng.normal(0, 1.5, (size, size))), 0, 255).astype(np.uint8)


def test_neighbours_at_another_height_are_outvoted():
    images = [neighbours(index - 4.3, seed=9) for index in range(11)]
    energy = [float((cv2.Sobel(g, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(g, cv2.CV_32F, 0, 1) ** 2).mean()) for g in images]
    assert parabola(np.arange(11), energy).position > 5  # the rims win over the whole picture
    assert pick_focus(array_stack(images, "cell")).best_position == pytest.approx(4.3, abs=0.35)


def test_a_stack_is_measured_by_the_whole_panel():
    scores = score_stack(array_stack([neighbours(index - 2) for index in range(5)], "cell"))
    assert scores.curves.shape == (len(PANEL), 5)
    assert scores.curves[0] == pytest.approx(scores.sharpness)


def simulated(count, seed, noise=0.004):
    """Stacks of skewed curves, one microscope each: the measures share its skew, and some of its noise."""
    rng = np.random.default_rng(seed)
    stacks = []
    for number in range(count):
        peak, skew, width = rng.uniform(3, 7), rng.uniform(-0.35, 0.35), rng.uniform(1.5, 2.2)
        shared = rng.normal(0, noise, 11)
        curves = np.array([lopsided(peak + rng.normal(0, 0.02), skew, width) for _ in PANEL])
        stacks.append(Known(Z, curves + shared + rng.normal(0, noise, curves.shape), peak, number))
    return stacks


def test_intervals_hold_on_stacks_of_microscopes_that_had_no_part_in_learning():
    real = Equations()
    learned, unseen = simulated(60, 1), simulated(60, 2)
    judged = left_out(learned, learned, real)
    usual = usual_errors([*judged, *_end_windows(judged)])
    own, of_spread = shares(judged, usual)
    assert own > 0
    again = left_out(learned, unseen, real)
    error = np.array([abs(one.error) for one in again])
    wide = np.array([np.hypot(own * one.step * usual[one.key], of_spread * one.spread) for one in again])
    assert 0.8 <= np.mean(error <= 1.645 * wide) <= 0.97


def _end_windows(judged):
    """Windows at the ends, which these curves do not have, as the first stack would have them."""
    return [type(judged[0])([(key, 0.3)], 0.3, key, 1.0, 0.1) for key in TERMS]


def test_learning_finds_peaks_and_takes_halves_that_agree():
    real = Equations()
    planes = np.arange(10.0)
    rng = np.random.default_rng(5)
    curves = np.array([lopsided(rng.uniform(3, 6), 0.3, 2.6, z=planes) for _ in range(80)])
    add_halves(real, curves)
    coefficients = learn(simulated(60, 3), real)
    assert coefficients.shape == (sum(TERMS[key](np.zeros((1, 5))).shape[1] for key in TERMS),)
    assert np.isfinite(coefficients).all()
    half = is_for_learning(np.arange(10_000))
    assert half.mean() == pytest.approx(0.5, abs=0.02)


def test_curve_files_that_are_none_are_refused(tmp_path):
    path = tmp_path / "curves.npz"
    np.savez(path, curves=np.ones((2, 5, 1)), measures=np.array(["sharp"]))
    assert load_curves(path, "sharp")[0].shape == (2, 5)
    with pytest.raises(InputError, match="take one of sharp"):
        load_curves(path, "tenengrad")
    path.write_text("text")
    with pytest.raises(InputError, match="no file of focus curves"):
        load_curves(path, "sharp")


def test_the_learned_file_says_what_it_is_from_and_decides():
    content = json.loads(COEFFICIENTS.read_text())
    assert {"learned_from", "date", "command", "decides"} <= set(content)
    assert {key: len(value) for key, value in content["coefficients"].items()} == {"2 2": 19, "1 2": 9, "0 2": 4}
    with pytest.raises(FileNotFoundError):
        load_fitted(COEFFICIENTS.with_name("none.json"))


@pytest.mark.skipif(not REAL_CURVES.exists(), reason="the real focus curves are not on this machine")
def test_even_and_odd_planes_of_real_curves_that_nothing_was_learned_from():
    """All stacks, also those whose peak is at an end of a half."""
    stacks, number = load_curves(REAL_CURVES, CURVE_MEASURES[0])
    stacks = stacks[~is_for_learning(number)][::16]
    planes = np.arange(10.0)
    places = [[skewed(planes[part::2], focus[part::2]).position for part in (0, 1)] for focus in stacks]
    difference = np.abs(np.diff(places, axis=1))
    assert np.isfinite(difference).all()
    assert difference.mean() < 0.14
    assert np.percentile(difference, 90) < 0.28
