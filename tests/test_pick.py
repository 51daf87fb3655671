"""The pick of a stack: position, status and advice on stacks written as real image files."""

import csv
import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import find_stacks
from focus_picker.stack_inference import status
from focus_picker.stack_inference.batch import pick_many, write_picks
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.decide import METHODS, NEEDS_SCORES
from focus_picker.stack_inference.pick import choose_method, index_at, pick_focus, pick_from_scores
from focus_picker.stack_inference.scoring import StackScores, score_stack, spacings
from focus_picker.stack_inference.windows import centre
from tests.made_models import MadeModel

BY_SHARPNESS = [name for name in METHODS if name not in NEEDS_SCORES]
SMEAR_STACK = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "smear_stack" / "cell_stacks"
JSON_KEYS = [
    *("stack", "n_slices", "best_index", "best_file", "best_position", "standard_error"),
    *("best_z_um", "status", "advice", "method", "scores_used", "slices"),
]


def cell(blur, size=(72, 80), seed=0, noise=1.5):
    """A textured stained disc on a bright field, blurred by ``blur`` pixels."""
    rng = np.random.default_rng(11)
    height, width = size
    y, x = np.mgrid[:height, :width]
    disc = 1 / (1 + np.exp(np.hypot(y - height / 2, x - width / 2) - 20))
    texture = cv2.GaussianBlur(rng.normal(0, 60, (120, 120)), (0, 0), 1.0)[:height, :width]
    image = 200 - disc * (70 + texture)
    image = cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.05 else image
    image = image + np.random.default_rng(seed).normal(0, noise, size)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def focus_stack(best, n=11):
    """Slices of a cell whose best plane is at ``best``."""
    return [cell(float(np.hypot(0.7, 0.8 * (index - best))), seed=index) for index in range(n)]


def write_stack(folder, images, suffix=".png"):
    """Write images as 0.png, 1.png ... and return the stack; None makes a file that is no image."""
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        path = folder / f"{index}{suffix}"
        if image is None:
            path.write_text("not an image")
        else:
            cv2.imwrite(str(path), image)
    return find_stacks(folder)[0]


def blank(n=11, level=180, noise=2.0, size=(100, 110)):
    rng = np.random.default_rng(2)
    return [np.clip(np.round(rng.normal(level, noise, size)), 0, 255).astype(np.uint8) for _ in range(n)]


def scores_of(sharpness, score=None, z=None, z_in_um=False):
    """Slice numbers without any file."""
    sharpness = np.asarray(sharpness, dtype=float)
    n = len(sharpness)
    signed = score is not None
    score = np.asarray(score, dtype=float) if signed else np.full(n, np.nan)
    spread = np.where(np.isfinite(sharpness), 0.1, np.nan)
    files = tuple(f"{index}.png" for index in range(n))
    z = np.arange(float(n)) if z is None else np.asarray(z, dtype=float)
    return StackScores("made", files, z, z_in_um, sharpness, spread, score, ("",) * n, signed, 0.2)


def linear_model(scores):
    """Gives the known score of each image by its brightness, as a stand-in for a trained model."""
    scores = list(scores)
    return MadeModel(lambda images: np.array([scores[round((float(image.mean()) - 100) / 5)] for image in images]))


@pytest.mark.parametrize("method", BY_SHARPNESS)
@pytest.mark.parametrize("best", [3.0, 5.3, 7.6])
def test_best_plane_is_found_between_slices(tmp_path, method, best):
    pick = pick_focus(write_stack(tmp_path / "cell", focus_stack(best)), method=method)
    assert (pick.status, pick.method) == ("ok", method)
    assert pick.best_position == pytest.approx(best, abs=0.5 if method == "argmax" else 0.25)
    assert pick.best_index == round(best)
    assert pick.best_file == f"{round(best)}.png"
    assert pick.standard_error > 0
    assert pick.advice == ""


@pytest.mark.parametrize("method", BY_SHARPNESS)
def test_mirrored_stack_gives_the_mirrored_position(tmp_path, method):
    images = focus_stack(4.3)
    there = pick_focus(write_stack(tmp_path / "there", images), method=method)
    back = pick_focus(write_stack(tmp_path / "back", images[::-1]), method=method)
    assert back.best_position == pytest.approx(10 - there.best_position)
    assert back.standard_error == pytest.approx(there.standard_error)


@pytest.mark.skipif(not SMEAR_STACK.exists(), reason="the real smear stack is not on this machine")
@pytest.mark.parametrize("method", BY_SHARPNESS)
def test_real_smear_stack(method):
    (stack,) = find_stacks(SMEAR_STACK)
    pick = pick_focus(stack, method=method)
    assert pick.status == "ok"
    assert pick.best_position == pytest.approx(9, abs=1)


def test_json_is_one_strict_line_with_the_declared_keys(tmp_path):
    images = focus_stack(5.3)
    images[0] = None
    pick = pick_focus(write_stack(tmp_path / "cell", images))
    line = pick.as_json()
    assert "\n" not in line
    record = json.loads(line, parse_constant=pytest.fail)
    assert list(record) == JSON_KEYS
    assert record["best_z_um"] is None
    assert record["slices"][0] == {"index": 0, "file": "0.png", "score": None, "sharpness": None}
    assert record["slices"][5]["sharpness"] > record["slices"][1]["sharpness"] > 0
    assert list(pick.as_row()) == JSON_KEYS[:-1]


def test_sentence_says_where_how_sure_and_what_to_do(tmp_path):
    pick = pick_focus(write_stack(tmp_path / "cell", focus_stack(5.3)), z_step_um=0.5)
    assert re.fullmatch(r"cell: best plane 5\.\d\d \+- 0\.\d\d \(5\.png, 2\.\d+ um\)", pick.as_sentence())
    assert pick_focus(write_stack(tmp_path / "no", [None])).as_sentence().startswith("no: no best plane, unreadable; ")


def test_z_step_gives_micrometres_from_the_first_slice(tmp_path):
    stack = write_stack(tmp_path / "cell", focus_stack(5.3))
    pick = pick_focus(stack, z_step_um=0.4)
    assert pick.best_z_um == pytest.approx(0.4 * pick.best_position)
    declared = replace(stack, z_um=tuple(0.25 * index for index in range(11)))
    assert pick_focus(declared).best_z_um == pytest.approx(0.25 * pick.best_position)
    assert pick_focus(declared).standard_error == pytest.approx(pick.standard_error)
    assert pick_focus(declared, z_step_um=0.4).best_z_um == pytest.approx(0.4 * pick.best_position)
    with pytest.raises(InputError, match="z step is -1"):
        pick_focus(stack, z_step_um=-1)


@pytest.mark.parametrize(("best", "file", "towards"), [(12, "10.png", "larger"), (-2, "0.png", "smaller")])
def test_peak_at_an_end_is_an_edge_with_the_way_to_go(tmp_path, best, file, towards):
    pick = pick_focus(write_stack(tmp_path / "cell", focus_stack(best)), z_step_um=0.5)
    assert pick.status == "edge"
    assert pick.best_file == file
    assert pick.best_position == pick.best_index
    assert np.isnan(pick.standard_error)
    assert file in pick.advice
    assert f"towards {towards} slice numbers" in pick.advice
    assert "um)" in pick.advice


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("beyond", "count"), [(0.5, 2), (1.6, 3), (3.2, 5)])
def test_edge_says_how_far_the_parabola_points(side, beyond, count):
    index = np.arange(11.0)
    peak = 10 + beyond if side > 0 else -beyond
    assert status.slices_to_add(index, -((index - peak) ** 2), side) == count
    assert status.slices_to_add(-0.4 * index, -((index - peak) ** 2), side) == count


def test_edge_without_a_bend_asks_for_half_the_stack():
    assert status.slices_to_add(np.arange(11.0), np.exp(np.arange(11.0)), 1) == 6


def test_unreadable_slices_beyond_the_peak_make_an_edge_that_names_them(tmp_path):
    images = focus_stack(9)
    images[10] = None
    pick = pick_focus(write_stack(tmp_path / "cell", images))
    assert pick.status == "edge"
    assert "last usable slice (9.png)" in pick.advice
    assert "left out 10.png" in pick.advice


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("noise", [0.0, 0.7, 2.0, 6.0])
def test_blank_stacks_are_flat(tmp_path, suffix, noise):
    pick = pick_focus(write_stack(tmp_path / "blank", blank(noise=noise), suffix))
    assert (pick.status, pick.best_index, pick.best_file) == ("flat", None, "")
    assert np.isnan(pick.best_position)
    assert "nothing to focus on" in pick.advice
    assert json.loads(pick.as_json())["best_index"] is None


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("n", [1, 2, 11])
def test_constant_stacks_are_flat(tmp_path, level, n):
    assert pick_focus(write_stack(tmp_path / "blank", blank(n, level, 0))).status == "flat"


def test_equal_slices_are_flat(tmp_path):
    assert pick_focus(write_stack(tmp_path / "same", [cell(0.7)] * 7)).status == "flat"


@pytest.mark.parametrize(("n", "contrast"), [(5, 0.06), (5, 0.12), *product((7, 9, 15), (0.06, 0.12, 0.3))])
def test_noise_curves_are_flat_and_humps_of_the_same_contrast_are_not(n, contrast):
    rng = np.random.default_rng(4)
    spread = np.full(n, 0.1)
    noise = rng.normal(size=(300, n))
    noise = 1 - contrast * (noise.max(1, keepdims=True) - noise) / np.ptp(noise, axis=1, keepdims=True)
    assert np.mean([status.is_flat(curve, spread) for curve in noise]) > 0.97
    if n >= status.FEWEST_TO_TEST:
        index = np.arange(n)
        for at in 0.3 * n, 0.5 * n - 0.3, n - 1:
            for width in 0.8, 1.5, 3.0, 6.0:
                hump = np.exp(-(((index - at) / width) ** 2) / 2)
                hump = (hump - hump.min()) / np.ptp(hump) + rng.normal(0, 0.03, n)
                assert not status.is_flat(1 + contrast / (1 - contrast) * hump, spread)


@pytest.mark.parametrize("n", [7, 10, 15, 20, 40, 60])
def test_limit_of_noise_is_passed_by_one_percent_of_noise(n):
    rng = np.random.default_rng(8)
    passed = [status.peak_misfit(rng.normal(size=n)) < status.misfit_of_noise(n) for _ in range(4000)]
    assert np.mean(passed) == pytest.approx(0.01, abs=0.008)


def test_no_readable_slice_is_unreadable(tmp_path):
    pick = pick_focus(write_stack(tmp_path / "broken", [None] * 4))
    assert (pick.status, pick.best_index, len(pick.slices)) == ("unreadable", None, 4)
    assert "0.png" in pick.advice


def test_one_slice_asks_for_more_on_both_sides(tmp_path):
    pick = pick_focus(write_stack(tmp_path / "one", [cell(0.7)]))
    assert (pick.status, pick.best_index, pick.best_position) == ("edge", 0, 0.0)
    assert "both sides" in pick.advice


def test_two_slices_name_the_sharper_one_and_the_way_on(tmp_path):
    pick = pick_focus(write_stack(tmp_path / "two", [cell(3.0), cell(1.0)]))
    assert (pick.status, pick.best_index) == ("edge", 1)
    assert "larger" in pick.advice


@pytest.mark.parametrize("frame", ["black", "noisy black", "saturated", "unreadable"])
@pytest.mark.parametrize("where", [0, 3, 6, 10])
def test_one_odd_slice_is_left_out_and_changes_little(tmp_path, frame, where):
    shape = (72, 80)
    odd = {
        "black": np.zeros(shape, np.uint8),
        "noisy black": np.random.default_rng(0).integers(0, 6, shape).astype(np.uint8),
        "saturated": np.full(shape, 255, np.uint8),
        "unreadable": None,
    }[frame]
    images = focus_stack(4.7)
    images[where] = odd
    pick = pick_focus(write_stack(tmp_path / "cell", images))
    assert pick.status == "ok"
    assert pick.best_position == pytest.approx(4.7, abs=0.3)
    assert f"left out {where}.png" in pick.advice
    assert np.isnan(pick.slices[where].sharpness)


def test_repeated_slices_move_the_pick_by_less_than_one(tmp_path):
    images = focus_stack(5.0)
    pick = pick_focus(write_stack(tmp_path / "cell", [*images[:6], images[5], *images[6:]]))
    assert pick.status == "ok"
    assert pick.best_position == pytest.approx(5.5, abs=0.01)


def test_plateau_falls_back_to_its_middle_and_says_why():
    pick = pick_from_scores(scores_of([1, 2, 5, 5, 5, 2, 1]), method="parabola")
    assert (pick.status, pick.best_position) == ("ok", 3)
    assert np.isnan(pick.standard_error)
    assert "does not bend" in pick.advice


def test_slices_of_growing_size_share_one_window():
    images = [np.full((20 + n, 31 + 2 * n, 3), n, np.uint8) for n in range(4)]
    images[0][10, 15] = 99
    windows = [centre(image, 20, 31) for image in images]
    assert [window.shape for window in windows] == [(20, 31, 3)] * 4
    assert windows[0][10, 15, 0] == 99
    assert centre(images[0], 50, 50).shape == images[0].shape


def test_size_growing_with_z_does_not_move_the_pick(tmp_path):
    same = pick_focus(write_stack(tmp_path / "same", focus_stack(5.3)))
    grown = [np.pad(image, index, mode="edge") for index, image in enumerate(focus_stack(5.3))]
    pick = pick_focus(write_stack(tmp_path / "grown", grown))
    assert pick.best_position == pytest.approx(same.best_position)


def test_brightness_drift_does_not_move_the_pick(tmp_path):
    drifting = [np.round(image * (1 - 0.02 * index)).astype(np.uint8) for index, image in enumerate(focus_stack(5.3))]
    pick = pick_focus(write_stack(tmp_path / "drift", drifting))
    assert pick.best_position == pytest.approx(5.3, abs=0.25)


def test_missing_files_count_as_missing_planes(tmp_path):
    stack = write_stack(tmp_path / "cell", focus_stack(5.3))
    whole = pick_focus(stack, z_step_um=1)
    (tmp_path / "cell" / "2.png").unlink()
    (tmp_path / "cell" / "7.png").unlink()
    pick = pick_focus(find_stacks(tmp_path / "cell")[0], z_step_um=1)
    assert pick.best_file == whole.best_file
    assert pick.best_position == pytest.approx(whole.best_position - 1, abs=0.1)
    assert pick.best_z_um == pytest.approx(whole.best_z_um, abs=0.1)


def test_slice_numbers_give_positions_only_where_they_make_sense():
    assert list(spacings(["0.png", "1.png", "3.png"])) == [0, 1, 3]
    assert list(spacings(["z10.png", "z20.png", "z40.png"])) == [0, 1, 3]
    assert list(spacings(["103015.png", "103018.png", "103022.png"])) == [0, 1, 2]
    assert list(spacings(["7.png"])) == [0]


@pytest.mark.parametrize("z", [[0, 1, 2.5, 3], [3, 2.5, 1, 0], [-5, 0, 20, 21]])
def test_position_and_index_agree_on_irregular_axes(z):
    z = np.array(z, dtype=float)
    assert [index_at(z, value)[0] for value in z] == pytest.approx(range(4))
    middle = (z[1] + z[2]) / 2
    assert index_at(z, middle) == (pytest.approx(1.5), pytest.approx(1 / abs(z[2] - z[1])))


@pytest.mark.parametrize("zero", [1.3, 5.0, 8.8, 0.4, 9.7])
@pytest.mark.parametrize("slope", [0.2, -0.15])
def test_linear_scores_give_their_zero_exactly_even_beside_an_end(zero, slope):
    index = np.arange(11.0)
    pick = pick_from_scores(scores_of(2 - abs(index - zero) / 10, (index - zero) * slope), method="zero_crossing")
    assert pick.status == "ok"
    assert pick.best_position == pytest.approx(zero)
    assert np.isnan(pick.standard_error)  # nothing was calibrated on this microscope


@pytest.mark.parametrize(("zero", "slope", "lens"), [(13.2, 0.2, "close"), (13.2, -0.2, "far"), (-2, 0.2, "far")])
def test_scores_of_one_sign_are_an_edge_and_tell_the_side_of_the_lens(zero, slope, lens):
    index = np.arange(11.0)
    pick = pick_from_scores(scores_of(2 - abs(index - zero) / 15, (index - zero) * slope), method="zero_crossing")
    assert pick.status == "edge"
    assert f"the lens is still too {lens}" in pick.advice
    assert f"at least {5 if zero > 0 else 3} slices" in pick.advice
    assert pick.best_index == (10 if zero > 0 else 0)


def test_a_scorer_decides_and_gaps_stay_gaps(tmp_path):
    """Each slice's brightness is its number, from which the stand-in model knows its score."""
    truth = [0.2 * (index - 3.4) for index in range(9)]
    images = []
    for index, image in enumerate(focus_stack(4.5, 9)):
        shifted = image.astype(float) - image.mean() + 100 + 5 * index
        images.append(np.clip(np.round(shifted), 0, 255).astype(np.uint8))
    images[7] = None
    stack = write_stack(tmp_path / "cell", images)
    pick = pick_focus(stack, model=linear_model(truth), method="zero_crossing")
    assert pick.best_position == pytest.approx(3.4, abs=1e-6)
    assert [part.score for part in pick.slices] == pytest.approx([*truth[:7], np.nan, truth[8]], nan_ok=True)
    assert np.isfinite(pick.slices[0].sharpness)


def test_unknown_names_list_the_known_ones(tmp_path):
    stack = write_stack(tmp_path / "cell", focus_stack(5))
    with pytest.raises(InputError, match="tenengrad"):
        score_stack(stack, measure="sharpest")
    with pytest.raises(InputError, match="fused, argmax, parabola"):
        pick_focus(stack, method="best")
    with pytest.raises(InputError, match="fused, argmax, parabola"):
        pick_many([stack], method="best")
    for method in NEEDS_SCORES:
        with pytest.raises(InputError, match="give a model"):
            choose_method(method, signed=False)
    for method in CURVES:
        with pytest.raises(InputError, match="cannot take a model's scores"):
            choose_method(method, signed=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_stacks_keep_their_order_and_survive_a_bad_one(tmp_path, jobs):
    for name, images in (("a1", focus_stack(3)), ("a2", [None] * 3), ("a10", focus_stack(7)), ("a11", blank(4))):
        write_stack(tmp_path / "stacks" / name, images)
    picks = list(pick_many(find_stacks(tmp_path / "stacks"), jobs=jobs))
    assert [pick.stack for pick in picks] == ["a1", "a2", "a10", "a11"]
    assert [pick.status for pick in picks] == ["ok", "unreadable", "ok", "flat"]
    assert [pick.best_index for pick in picks] == [3, None, 7, None]


def test_a_vanished_file_does_not_stop_the_rest(tmp_path):
    stacks = [write_stack(tmp_path / name, focus_stack(4)) for name in ("a", "b")]
    for file in (tmp_path / "a").iterdir():
        file.unlink()
    assert [pick.status for pick in pick_many(stacks, progress=False)] == ["unreadable", "ok"]


def test_many_of_none_is_none():
    assert list(pick_many([], jobs=-1)) == []


def test_stacks_are_read_only_as_they_are_asked_for(tmp_path):
    stack = write_stack(tmp_path / "cell", focus_stack(4))
    picks = pick_many([stack, stack, stack])
    next(picks)
    for file in (tmp_path / "cell").iterdir():
        file.unlink()
    assert next(picks).status == "unreadable"


def test_picks_are_written_as_a_table_or_not_at_all(tmp_path):
    stack = write_stack(tmp_path / "cell, one", focus_stack(4.2))
    output = tmp_path / "out" / "picks.csv"
    write_picks(pick_many([stack, replace(stack, slices=())]), output)
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == JSON_KEYS[:-1]
    assert [(row["stack"], row["status"], row["best_index"]) for row in rows] == [
        ("cell, one", "ok", "4"),
        ("cell, one", "unreadable", ""),
    ]
    before = output.read_text(encoding="utf-8")

    def interrupted():
        yield from pick_many([stack])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_picks(interrupted(), output)
    assert output.read_text(encoding="utf-8") == before
    assert [path.name for path in output.parent.iterdir()] == ["picks.csv"]
