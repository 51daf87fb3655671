"""Drift: known answers of the figures, false alarms on correlated images, and the command as users meet it."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from scipy import stats

from focus_picker.cli import main
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.generate import simulate_dataset
from focus_picker.dataset.simulation.instrument import load_instrument
from focus_picker.drift import statistics
from focus_picker.drift.comparison import Comparison, read_reference, run_drift
from focus_picker.drift.plot import plot_drift
from focus_picker.drift.profile import FEWEST_IMAGES, POINTS, Distribution, make_profile, read_profile, rolling_drift
from focus_picker.drift.samples import GROUPINGS, Sample, find_planes, measure_sample
from focus_picker.drift.statistics import DriftFigure, effective_size, ks_statistic, population_stability, rounded
from focus_picker.drift.verdict import (
    FAMILY_OF,
    as_text,
    compare,
    conclusion,
    ks_p_value,
    level_of,
    share_p_value,
    verdict,
)
from focus_picker.models import DEFAULT_MODEL
from tests.made_cells import made_cell, photographed, save_image

ROOT = Path(__file__).parents[1]
MANY = (1e9, 1e9)  # effective numbers at which half an image more in a bin does not show
LEVELS = np.linspace(0, 1, POINTS)


def reference_of(quantiles, effective):
    return Distribution(n=100, effective=effective, quantiles=tuple(quantiles))


# Figures


def test_population_stability_by_hand_symmetrical_and_zero_for_equal_shares():
    even, skewed = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    by_hand = 0.4 * np.log(0.9 / 0.5) - 0.4 * np.log(0.1 / 0.5)
    assert population_stability(even, skewed, MANY)[0] == pytest.approx(by_hand)
    assert population_stability(skewed, even, MANY)[0] == pytest.approx(by_hand)
    assert population_stability(skewed, skewed, (30, 500))[0] == pytest.approx(0, abs=2e-2)
    with_empty = population_stability(np.array([0.5, 0.5, 0]), np.array([0.9, 0.1, 0]), MANY)
    assert with_empty == pytest.approx(population_stability(even, skewed, MANY))


def test_an_empty_bin_counts_the_more_the_more_images_there_are():
    values = [population_stability(np.full(10, 0.1), np.r_[np.full(9, 1 / 9), 0], (n, n))[0] for n in (20, 200, 2000)]
    assert values == sorted(values)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("bins", [2, 5, 10])
def test_chance_of_the_index_is_yurdakuls(bins):
    chance = statistics.psi_by_chance(bins, (2000, 3000))
    assert chance == pytest.approx(stats.chi2.ppf(0.95, bins - 1) * (1 / 2000 + 1 / 3000), rel=0.04)


@pytest.mark.parametrize(("n", "m"), [(400, 250), (40, 30), (18, 60)])
def test_index_of_unchanged_independent_images_stays_below_chance(n, m):
    rng = np.random.default_rng(0)
    below = []
    for _ in range(300):
        first, second = rng.normal(size=n), rng.normal(size=m)
        figure = reference_of(np.quantile(first, LEVELS), n).figure(second, m)
        below.append(figure.psi < figure.psi_chance)
    assert 0.9 < np.mean(below) < 0.99


@pytest.mark.parametrize("groups", [8, 12, 20, 40])
def test_complete_separation_is_found_however_few_groups_there_are(groups):
    size = groups * (groups - 3) / (groups - 1)  # the effective number of groups alike within
    figure = reference_of(np.linspace(0, 1, POINTS), size).figure(np.full(groups, 2.0), size)
    assert figure.psi > figure.psi_chance


@pytest.mark.parametrize("digits", [6, 1, 0], ids=["continuous", "tied", "few values"])
def test_ks_statistic_is_scipys(digits):
    rng = np.random.default_rng(1)
    for shift in (0, 0.3, 5):
        first, second = rng.normal(size=800).round(digits), (rng.normal(size=300) + shift).round(digits)
        expected = stats.ks_2samp(first, second).statistic
        assert ks_statistic(np.quantile(first, LEVELS), second) == pytest.approx(expected, abs=1 / 80)


def test_p_value_is_scipys_for_independent_images():
    rng = np.random.default_rng(2)
    result = stats.ks_2samp(rng.normal(size=300), rng.normal(size=300) + 0.1, method="asymp")
    assert ks_p_value(result.statistic, (300, 300)) == pytest.approx(result.pvalue)


def test_p_value_of_few_images_is_never_below_that_of_their_complete_separation():
    exact = stats.ks_2samp(np.arange(6), np.arange(6) + 10, method="exact").pvalue
    assert ks_p_value(1.0, (6, 6)) == pytest.approx(exact)
    assert ks_p_value(1.0, (3000, 3000)) < 1e-300
    assert ks_p_value(0.0, (1, 1)) == 1


def test_share_test_is_fishers_on_effective_counts():
    assert share_p_value(0.1, 0.3, (100, 100)) == pytest.approx(stats.fisher_exact([[10, 30], [90, 70]]).pvalue)
    assert share_p_value(0.1, 0.3, (10, 10)) > 0.4


def test_bins_of_the_reference_hold_a_tenth_each_and_an_atom_is_a_bin_of_its_own():
    values = np.random.default_rng(3).normal(size=1000)
    for sample, sizes, bins in (
        (values, MANY, 10),
        (values, (14, 14), 2),
        (np.r_[np.zeros(500), np.abs(values[:500]) + 1], MANY, 6),
    ):
        expected, found = statistics.binned_shares(np.quantile(sample, LEVELS), sample, sizes)
        assert (expected > 0).sum() == bins
        np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(("sizes", "bins"), [((30, 900), 10), (MANY, 10), ((29, 900), 5), ((900, 14), 2)])
def test_few_images_get_few_bins(sizes, bins):
    assert len(statistics.binned_shares(LEVELS, LEVELS, sizes)[1]) == bins


def test_rounding_is_the_same_before_and_after_a_profile():
    values = np.array([0.0, 1234567.0, -0.000123456789, 1e-320, 65535.0])
    np.testing.assert_allclose(rounded(values), [0, 1234600, -0.00012346, 0, 65535], rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(rounded(rounded(values)), rounded(values))


# Effective number of images


def test_effective_number_lies_between_groups_and_images():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 10)
    independent, shared = rng.normal(size=400), np.repeat(rng.normal(size=40), 10)
    assert effective_size(independent, groups) > 250
    assert 30 < effective_size(shared, groups) < 42
    assert 45 < effective_size(independent + shared, groups) < 150
    within = np.tile(np.linspace(-1, 1, 10), 40)  # every stack covers the range
    assert effective_size(within, groups) == 400


def test_effective_number_where_little_can_be_known():
    assert effective_size(np.full(100, 3.0), np.repeat(np.arange(20), 5)) == 20
    assert effective_size(np.arange(100.0), np.repeat(np.arange(3), 34)[:100]) == 1


# No false alarm on halves of one data set


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Score and measure 40 simulated stacks of five slices."""
    root = tmp_path_factory.mktemp("simulated")
    dry50 = yaml.safe_load((ROOT / "conf/instruments/dry50.yaml").read_text())
    (root / "small.yaml").write_text(yaml.safe_dump({**dry50, "crop_um": [8.0, 9.0], "n_slices": 5}))
    simulate_dataset(root / "data", [load_instrument(root / "small.yaml")], stacks=40, seed=5, jobs=1)
    return measure_sample(root / "data", model=DEFAULT_MODEL, jobs=1)


def half_of(groups, rng):
    """Mask of the images of a random half of the groups."""
    names = rng.permutation(np.unique(groups))
    return np.isin(groups, names[: len(names) // 2])


def test_halves_by_field_do_not_drift_although_their_images_seem_to(simulated):
    rng = np.random.default_rng(6)
    names = [*list(FAMILY_OF)[:7], *list(FAMILY_OF)[7::4]]
    columns = {name: simulated.quantities[name] for name in names}
    alarms, naive_alarms = 0, 0
    for _ in range(100):
        first = half_of(simulated.groups, rng)
        reference, new = ({name: column[part] for name, column in columns.items()} for part in (first, ~first))
        rows = compare(profile_of(reference, simulated.groups[first]), new, simulated.groups[~first])
        alarms += verdict(rows) != "no drift"
        p_values = [stats.ks_2samp(reference[name], new[name], method="asymp").pvalue for name in names]
        naive_alarms += (stats.false_discovery_control(p_values) < 0.05).any()
    assert alarms <= 5
    assert naive_alarms > 60


def profile_of(values, groups):
    return make_profile(values, groups, model_sha256="00", feature_version="00")


# Verdict and words


@pytest.mark.parametrize(
    ("psi", "psi_chance", "p_adjusted", "level"),
    [
        (0.09, 0.02, 0.001, "no drift"),  # beyond doubt, and of no consequence
        (0.12, 0.02, 0.001, "some drift"),
        (0.30, 0.02, 0.001, "drift"),
        (0.30, 0.02, 0.02, "no drift"),
        (0.30, 0.40, 0.001, "no drift"),  # so few images give as much by chance
        (0.45, 0.40, 0.001, "drift"),
    ],
)
def test_level_takes_size_and_evidence(psi, psi_chance, p_adjusted, level):
    assert level_of(psi, psi_chance, p_adjusted) == level


def made_values(n_groups=40, per_group=8, seed=0, **changes):
    """Make quantities: brightness is the group's, score the image's. ``changes`` are functions of a column."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), per_group)
    n = len(groups)
    light = np.repeat(rng.normal(1, 0.05, n_groups), per_group)
    values = {
        "score": rng.uniform(-1, 1, n),
        "interval_width": rng.gamma(9, 0.03, n),
        "unsure": rng.random(n) < 0.03,
        "brightness": 180 * light,
        "contrast": 40 * light * rng.normal(1, 0.03, n),
        "chroma": 50 * light * rng.normal(1, 0.03, n),
        "saturated": np.zeros(n),
        "tenengrad": rng.lognormal(0, 0.5, n),
        "nucleus_halo": rng.normal(0, 1, n),
    }
    return {name: changes.get(name, lambda column: column)(column) for name, column in values.items()}, groups


def rows_of(**changes):
    return compare(profile_of(*made_values()), *made_values(seed=1, **changes))


def dimmed(column):
    return 0.8 * column


def test_other_images_of_the_same_kind_do_not_drift_and_the_words_say_what_would_show():
    rows = rows_of()
    assert verdict(rows) == "no drift"
    assert as_text(rows).startswith("no drift: 0 of 9 quantities moved")
    assert "brightness" in conclusion(rows)


def test_a_weaker_lamp_is_named_and_contrast_and_colour_follow_it():
    rows = rows_of(brightness=dimmed, contrast=dimmed, chroma=dimmed)
    assert verdict(rows) == "drift"
    assert {row.quantity for row in rows if row.level != "no drift"} == {"brightness", "contrast", "chroma"}
    assert "brightness: lamp" in as_text(rows)
    assert as_text(rows).count("in proportion to brightness (factor 0.8") == 2
    assert "images themselves changed" in conclusion(rows)


def test_another_stain_is_not_taken_for_the_lamp():
    rows = rows_of(chroma=lambda column: 1.4 * column)
    assert "chroma: stain" in as_text(rows)
    assert "in proportion" not in as_text(rows)


def test_another_scan_range_is_no_fault_of_the_model():
    rows = rows_of(score=lambda column: column / 2 + 0.4, tenengrad=dimmed)
    assert verdict(rows) == "drift"
    assert "no fault of the model" in conclusion(rows)


def test_sharpness_alone_points_at_the_optics_and_certainty_at_the_images():
    assert "optics" in conclusion(rows_of(tenengrad=lambda column: column / 2))
    unsure = rows_of(unsure=lambda column: column | (np.arange(len(column)) % 3 == 0))
    assert "widest intervals" in conclusion(unsure)
    assert unsure[0].quantity == "unsure"


def test_constant_quantities_and_nan():
    rows = {row.quantity: row for row in rows_of(score=lambda column: np.where(column > 0.9, np.nan, column))}
    assert rows["saturated"].level == "no drift"
    assert (rows["saturated"].psi, rows["saturated"].ks) == (0, 0)
    assert rows["score"].n_new < rows["brightness"].n_new
    rows = {row.quantity: row for row in rows_of(saturated=lambda column: column + 0.01)}
    assert rows["saturated"].level == "drift"
    assert rows["saturated"].ks == 1
    assert "score" not in {row.quantity for row in rows_of(score=lambda column: np.full_like(column, np.nan))}


def test_one_moved_quantity_of_many_needs_more_evidence_than_alone():
    rows = rows_of(tenengrad=lambda column: 1.1 * column)
    assert all(row.p_adjusted >= row.p_value for row in rows)


def test_every_quantity_has_a_family_and_one_name():
    assert {"score", "interval_width", "unsure", "brightness", "contrast", "contrast_measure", "tenengrad"} <= set(
        FAMILY_OF
    )


# Profile and rolling figures


def test_profile_round_trip_is_small_and_gives_the_same_rows(tmp_path, simulated):
    profile = profile_of(simulated.quantities, simulated.groups)
    profile.write(tmp_path / "reference.json")
    assert (tmp_path / "reference.json").stat().st_size < 100_000
    again = read_profile(tmp_path / "reference.json")
    assert again == profile
    assert compare(again, simulated.quantities, simulated.groups) == compare(
        profile, simulated.quantities, simulated.groups
    )
    assert all(row.ks < 0.01 + 2 / row.n_new for row in compare(again, simulated.quantities, simulated.groups))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda content: "no JSON", "no drift profile"),
        (lambda content: content.replace("drift profile 1", "drift profile 9"), "format: Input should be"),
        (lambda content: content.replace('"n_groups":40', '"n_groups":0'), "n_groups"),
        (lambda content: content.replace('"score":{"n"', '"score":{"m"'), "distributions.score"),
        (lambda content: content.replace('"quantiles":[', '"quantiles":[1e9,', 1), "distributions"),
        (lambda content: json.dumps({**json.loads(content), "extra": 1}), "extra"),
    ],
)
def test_a_bad_profile_is_refused_in_one_sentence(tmp_path, change, fault):
    file = tmp_path / "reference.json"
    profile_of(*made_values()).write(file)
    file.write_text(change(file.read_text()))
    with pytest.raises(InputError, match=fault) as caught:
        read_profile(file)
    assert "save-profile" in str(caught.value)


def test_a_profile_with_falling_quantiles_is_refused(tmp_path):
    file = tmp_path / "reference.json"
    profile_of(*made_values()).write(file)
    content = json.loads(file.read_text())
    content["distributions"]["score"]["quantiles"][0] = 5.0
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="must not fall"):
        read_profile(file)


def test_rolling_figures_of_whatever_was_kept():
    profile = profile_of(*made_values())
    recent, _ = made_values(n_groups=125, seed=2)
    figures = rolling_drift(profile, {name: recent[name] for name in ("unsure", "brightness", "score")})
    assert list(figures) == ["unsure", "brightness", "score"]
    assert all(isinstance(figure, DriftFigure) and figure.psi < figure.psi_chance for figure in figures.values())
    # What a group shares counts by groups, also where the service does not know them.
    assert figures["brightness"].effective_new < 200 < figures["score"].effective_new
    moved = rolling_drift(profile, {"brightness": dimmed(recent["brightness"]), "score": [*recent["score"], np.nan]})
    assert moved["brightness"].psi > moved["brightness"].psi_chance
    assert moved["brightness"].ks > 0.9
    assert moved["score"].n_new == 1000


def test_a_value_of_many_digits_equals_its_copy_in_the_profile():
    values, groups = made_values(saturated=lambda column: column + 1 / 3)
    figure = rolling_drift(profile_of(values, groups), {"saturated": values["saturated"]})["saturated"]
    assert (figure.psi, figure.ks) == (0, 0)


def test_rolling_figures_leave_out_what_says_nothing():
    profile = profile_of(*made_values())
    assert rolling_drift(profile, {"score": np.zeros(5), "unknown": np.zeros(99), "chroma": np.full(99, np.nan)}) == {}


def test_the_figures_of_the_service_import_little():
    code = "import sys, focus_picker.drift.profile; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"pandas", "scipy", "matplotlib", "cv2", "lightgbm", "joblib", "tensorflow"}


# Which images there are, and which belong together


def touch_images(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return find_planes(root)


def test_cells_of_a_field_are_one_group_and_collected_crops_are_many(tmp_path):
    stacks = touch_images(
        tmp_path / "a", [f"cell_stacks/stack_00{f}_cell_{c}/{k}.jpg" for f in (1, 2) for c in (0, 1) for k in range(3)]
    )
    assert len(set(GROUPINGS["auto"](stacks))) == 2
    slides = touch_images(tmp_path / "b", [f"slide{s}/z{k:02d}.png" for s in range(3) for k in range(4)])
    assert len(set(GROUPINGS["auto"](slides))) == 3
    classes = touch_images(
        tmp_path / "c", [f"{kind}/{kind}_{n}.jpg" for kind in ("BA", "EO") for n in (101, 2205, 90717)]
    )
    assert len(set(GROUPINGS["auto"](classes))) == 6
    assert len(set(GROUPINGS["folder"](classes))) == 2
    flat = touch_images(tmp_path / "d", [f"img_{k:04d}.png" for k in range(9)])
    assert len(set(GROUPINGS["auto"](flat))) == 9
    assert len(set(GROUPINGS["image"](stacks))) == len(stacks) == 12


def test_pages_of_a_tiff_stack_are_images_of_one_group(tmp_path):
    for number in (1, 2):
        pages = np.stack([photographed(made_cell(number, 40, 40), blur) for blur in (0, 1, 2)])
        tifffile.imwrite(tmp_path / f"cell_{number}.tif", pages, photometric="rgb")
    (tmp_path / "broken.tif").write_bytes(b"II*\0 not a TIFF")
    planes = find_planes(tmp_path)
    assert [plane.page for plane in planes] == [None, 0, 1, 2, 0, 1, 2]
    assert len(set(GROUPINGS["auto"](planes))) == 3


# The command


def write_cells(root, brightness=1.0, groups=14, slices=3, seed=0):
    """Write a folder of small stacks of made cells."""
    for number in range(groups):
        cell = made_cell(seed + number, 64, 64)
        for k in range(slices):
            image = brightness * photographed(cell, 0.8 * k, seed=seed + 100 * number + k)
            save_image(root / f"stack_{number:03d}_cell_0" / f"{k}.png", image.astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("drift")
    write_cells(root / "reference")
    write_cells(root / "dark", 0.6, seed=50)
    (root / "dark" / "stack_003_cell_0" / "1.png").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def profile_file(folders):
    file = folders / "reference.json"
    assert main(["drift", str(folders / "reference"), "--save-profile", str(file), "--jobs", "1"]) == 0
    return file


def test_command_names_the_lamp_and_the_unreadable_image_and_ends_with_0(folders, tmp_path, capsys):
    outputs = {"--output": tmp_path / "drift.csv", "--plot": tmp_path / "drift.png"}
    options = [str(part) for pair in outputs.items() for part in pair]
    assert main(["drift", str(folders / "reference"), str(folders / "dark"), *options, "--jobs", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("drift: ")
    assert "brightness: lamp" in captured.out
    assert "41 images in 14 groups (1 unreadable)" in captured.out
    assert "1.png" in captured.err
    table = pd.read_csv(tmp_path / "drift.csv")
    assert set(table.quantity) == set(FAMILY_OF)
    assert table.set_index("quantity").level["brightness"] == "drift"
    picture = cv2.imread(str(tmp_path / "drift.png"))
    assert picture.shape[1] > 1000
    assert (tmp_path / "drift.png").stat().st_size < 300_000


def test_profile_stands_for_its_images(folders, profile_file, capsys):
    assert main(["drift", str(profile_file), str(folders / "dark"), "--json", "--jobs", "1"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    comparison = run_drift(folders / "reference", folders / "dark", model=DEFAULT_MODEL, jobs=1)
    assert from_file == json.loads(json.dumps(comparison.as_json()))
    assert from_file["verdict"] == "drift"
    assert from_file["new_unreadable"] == 1
    assert main(["drift", str(profile_file), str(folders / "reference"), "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith("no drift: 0 of ")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["{root}/reference"], "--save-profile"),
        (["{root}/reference", "{root}/nowhere"], "does not exist"),
        (["{root}/reference", "{root}/dark/stack_001_cell_0"], f"at least {FEWEST_IMAGES} readable images"),
        (["{root}/reference", "{root}/dark", "--group-by", "day"], "auto, folder, image"),
        (["{root}/other.json", "{root}/dark"], "another model"),
        (["{root}/reference/stack_001_cell_0/0.png", "{root}/dark"], "no drift profile"),
        (["{root}/reference", "{root}/dark", "--model", "{root}"], "holds no model"),
        (["{root}/reference", "{root}/dark", "--plot", "{root}/drift.txt"], "drift.txt"),
    ],
)
def test_what_cannot_be_compared_ends_with_2_and_one_line(folders, profile_file, arguments, fault, capsys):
    other = json.loads(profile_file.read_text()) | {"model_sha256": "00"}
    (folders / "other.json").write_text(json.dumps(other))
    assert main(["drift", *(argument.format(root=folders) for argument in arguments), "--jobs", "1"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert fault in errors[0]


def test_a_profile_of_other_feature_code_is_used_with_a_warning(folders, profile_file):
    old = json.loads(profile_file.read_text()) | {"feature_version": "old"}
    (folders / "old.json").write_text(json.dumps(old))
    _, problems = read_reference(folders / "old.json", model=DEFAULT_MODEL)
    assert "another version" in problems[0]


def test_few_groups_of_many_images_are_refused_with_a_way_out(tmp_path):
    write_cells(tmp_path / "few", groups=3, slices=10)
    with pytest.raises(InputError, match=r"30 images in 3 groups.*--group-by image"):
        measure_sample(tmp_path / "few", model=DEFAULT_MODEL)
    assert len(measure_sample(tmp_path / "few", model=DEFAULT_MODEL, group_by="image").groups) == 30


@pytest.mark.parametrize("changes", [{}, {"score": lambda column: column + 3}], ids=["no drift", "drift"])
def test_picture_of_few_quantities_with_constant_and_missing_values(tmp_path, changes):
    values, groups = made_values(seed=1, **changes)
    values["score"][:5] = np.nan
    profile = profile_of(*made_values())
    comparison = Comparison(profile, Sample(tmp_path, values, groups, ()), compare(profile, values, groups), ())
    plot_drift(comparison, tmp_path / "drift.png")
    assert 10_000 < (tmp_path / "drift.png").stat().st_size < 300_000
