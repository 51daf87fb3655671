"""Shape fits: exact on their own shape, robust, and steady on real curves that they were not learned from."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_picker.dataset.errors import InputError
from focus_picker.stack_inference import curves
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.shapes import SHAPES, TEMPLATE_FILE, chosen_shape, gaussian, load_template, template
from focus_picker.stack_inference.template_learning import is_for_learning, learn_template, load_curves, main

REAL_CURVES = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "focus_curves" / "wbc.npz"
Z = np.arange(11.0)


def peak(centre, width=1.4, height=3.0, background=0.7, z=Z):
    return background + height * load_template()((z - centre) / width)


@given(centre=st.floats(2, 8), width=st.floats(0.8, 3), background=st.floats(0, 5), height=st.floats(1e-3, 1e4))
@settings(max_examples=60, deadline=None)
def test_template_finds_its_own_shape(centre, width, background, height):
    fit = template(Z, peak(centre, width, height, background * height))
    assert fit.position == pytest.approx(centre, abs=0.08)
    assert 0 < fit.standard_error < 0.3


@given(centre=st.floats(-3, 3), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_irregular_and_missing_slices_do_not_move_it(centre, seed):
    z = np.arange(-8, 8.1, 0.8) + np.random.default_rng(seed).uniform(-0.3, 0.3, 21)
    focus = peak(centre, 2.0, z=z)
    focus[::7] = np.nan
    fit = template(z, focus)
    assert not fit or fit.position == pytest.approx(centre, abs=0.25)


@pytest.mark.parametrize(("outlier", "value"), [(2, 20.0), (9, 20.0), (2, 0.0), (9, 0.0)])
def test_one_outlier_slice_is_left_out(outlier, value):
    focus = peak(5.3)
    focus[outlier] = value
    assert template(Z, focus).position == pytest.approx(5.3, abs=0.05)


def test_a_gap_torn_into_the_flank_costs_less_than_half_a_slice():
    focus = peak(5.3)
    focus[4] = 0
    assert template(Z, focus).position == pytest.approx(5.3, abs=0.2)


@pytest.mark.parametrize("name", SHAPES)
def test_error_grows_with_noise(name):
    rng = np.random.default_rng(3)
    errors = [
        np.nanmedian([CURVES[name](Z, peak(5.3) + rng.normal(0, noise, 11)).standard_error for _ in range(20)])
        for noise in (0.05, 0.8)
    ]
    assert errors[1] > 1.3 * errors[0]


@pytest.mark.parametrize("name", [*SHAPES, "chosen_shape"])
@pytest.mark.parametrize(
    ("z", "focus", "reason"),
    [
        ([0, 1], [1, 2], curves.TOO_FEW),
        ([0, 1, 2, 3], [1, 2, 3, 4], curves.AT_END),
        ([0, 0, 0, 0], [1, 3, 2, 1], curves.REPEATED_Z),
        ([0, 1, 2, 3], [2, 2, 2, 2], curves.NOT_A_PEAK),
    ],
)
def test_shape_fits_say_why_they_fail(name, z, focus, reason):
    fit = CURVES[name](z, focus)
    assert not fit
    assert fit.reason == reason
    assert np.isnan(fit.position)


@pytest.mark.parametrize("name", [*SHAPES, "chosen_shape"])
def test_repeated_slices_count_twice_and_do_no_harm(name):
    focus = peak(5.3)
    twice = CURVES[name](np.repeat(Z, 2), np.repeat(focus, 2))
    assert twice.position == pytest.approx(CURVES[name](Z, focus).position, abs=0.05)


def test_fitted_curve_follows_the_slices():
    focus = peak(5.3)
    assert template(Z, focus).curve(Z) == pytest.approx(focus, abs=0.15)


def test_the_skewed_shape_is_chosen_for_a_skewed_curve_only():
    z = np.arange(21.0)
    even = peak(10.2, 2.5, z=z) + np.random.default_rng(2).normal(0, 0.05, 21)
    skewed = 0.3 + gaussian((z - 10.2) / np.where(z < 10.2, 2.0, 4.5))
    assert chosen_shape(z, even).position == pytest.approx(template(z, even).position, abs=0.02)
    assert chosen_shape(z, skewed) == CURVES["asymmetric_gaussian"](z, skewed)
    assert abs(chosen_shape(z, skewed).position - 10.2) < abs(template(z, skewed).position - 10.2)


def test_a_long_stack_takes_no_longer_than_its_peak():
    z = np.arange(2000.0)
    assert template(z, peak(1234.3, 2.0, z=z)).position == pytest.approx(1234.3, abs=0.05)


def test_learning_returns_the_shape_that_the_curves_were_made_of(tmp_path):
    rng = np.random.default_rng(1)
    stacks = np.array([gaussian((np.arange(12.0) - rng.uniform(4, 7)) / rng.uniform(1.8, 2.4)) for _ in range(200)])
    values, count = learn_template(stacks)
    assert count == 200
    assert values == pytest.approx(gaussian(np.linspace(0, 2, 21)), abs=0.02)
    path = tmp_path / "curves.npz"
    np.savez(path, curves=stacks[:, :, None], measures=np.array(["sharp"]), stack_index=np.arange(200))
    main([str(path), "--measure", "sharp", "--output", str(tmp_path / "made.json")])
    assert load_template(tmp_path / "made.json")(np.array([-1.0, 0.0])) == pytest.approx([0.5, 1.0], abs=0.02)


def test_curve_files_that_are_none_are_refused(tmp_path):
    path = tmp_path / "curves.npz"
    np.savez(path, curves=np.ones((2, 5, 1)), measures=np.array(["sharp"]))
    with pytest.raises(InputError, match="take one of sharp"):
        load_curves(path, "tenengrad")
    with pytest.raises(InputError, match="no curve has its peak"):
        learn_template(load_curves(path, "sharp")[0])
    path.write_text("text")
    with pytest.raises(InputError, match="no file of focus curves"):
        load_curves(path, "sharp")


def test_the_shipped_template_is_small_and_falls_from_one():
    content = json.loads(TEMPLATE_FILE.read_text())
    assert os.path.getsize(TEMPLATE_FILE) < 50_000
    assert content["values"][0] == 1
    assert np.all(np.diff(content["values"]) <= 0)
    bad = TEMPLATE_FILE.with_name("none.json")
    with pytest.raises(FileNotFoundError):
        load_template(bad)


@pytest.mark.skipif(not REAL_CURVES.exists(), reason="the real focus curves are not on this machine")
def test_even_and_odd_planes_of_real_curves_that_the_template_has_not_seen():
    """On all 6,444 of them 0.117 and 0.25 plane (parabola 0.21 and 0.37)."""
    stacks, number = load_curves(REAL_CURVES, "tenengrad")
    stacks = stacks[~is_for_learning(number)][::16]
    even = [template(np.arange(0, 10, 2), focus[::2]).position for focus in stacks]
    odd = [template(np.arange(1, 10, 2), focus[1::2]).position for focus in stacks]
    difference = np.abs(np.subtract(even, odd))
    assert np.nanmean(difference) < 0.13
    assert np.nanpercentile(difference, 90) < 0.28
