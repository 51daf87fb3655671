"""The baseline on made feature tables, and once from a made data set to its run folder."""

import hashlib
import json
import shutil
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from focus_picker.dataset import images
from focus_picker.dataset.errors import InputError
from focus_picker.evaluation.metrics import METRICS
from focus_picker.evaluation.runs import read_run
from focus_picker.evaluation.trivial import SHARPNESS, TRIVIAL
from focus_picker.features import CUES, MEASURES, measure
from focus_picker.features.baseline import Baseline, load_baseline
from focus_picker.training.baseline_run import FEATURE_CACHE, WITHOUT_CUES, run_baseline

STEP = 0.2
NAMES = [*list(MEASURES)[:4], next(iter(CUES))]  # any that this version knows


def made_table(n_stacks, seed, noise=0.03):
    """Features that are known functions of the score: even ones, and one odd one that alone carries the sign."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.linspace(-1, 1, 11), n_stacks)
    true = label + np.repeat(rng.uniform(-0.1, 0.1, n_stacks), 11)
    columns = [
        np.exp(-(true**2)),
        1 / (0.2 + np.abs(true)),
        np.abs(true),
        rng.normal(size=true.size),
        np.tanh(2 * true),
    ]
    table = pd.DataFrame(dict(zip(NAMES, columns, strict=True))) + rng.normal(0, noise, (true.size, len(NAMES)))
    return table.astype(np.float32), label


def fitted(**parameters):
    train, label = made_table(100, 0)
    defaults = {"max_trees": 300, "learning_rate": 0.1}
    baseline = Baseline(**(defaults | parameters))
    return baseline.fit(train, label, validation=made_table(30, 1), score_per_slice=STEP)


@pytest.fixture(scope="module")
def baseline():
    return fitted()


def test_it_learns_a_known_function(baseline):
    new, label = made_table(60, 2)
    assert np.abs(baseline.predict(new) - label).mean() < 0.07
    assert (np.sign(baseline.predict(new)) == np.sign(label))[np.abs(label) > 0.3].all()


def test_the_odd_feature_carries_the_sign(baseline):
    without = Baseline(max_trees=300, learning_rate=0.1)
    train, label = made_table(100, 0)
    held_out, held_out_label = made_table(30, 1)
    without.fit(train[NAMES[:4]], label, validation=(held_out[NAMES[:4]], held_out_label), score_per_slice=STEP)
    new, new_label = made_table(60, 2)
    right = [np.mean(np.sign(model.predict(new)) == np.sign(new_label)) for model in (baseline, without)]
    assert right[0] > 0.9 > 0.7 > right[1]
    assert baseline.importance().loc[NAMES[4]] > 0.3


def test_intervals_cover_what_they_promise(baseline):
    new, label = made_table(400, 3)
    judged = baseline.judge_features(new)
    inside = (judged.lower <= label) & (label <= judged.upper)
    assert 0.87 <= inside.mean() <= 0.93
    assert (judged.score == baseline.predict(new)).all()
    assert set(judged.status) <= {"in_focus", "pre_focal", "post_focal", "unsure"}


def test_calibration_leaves_whole_training_fields_out():
    # Each field has one score and one feature value of no meaning: a model that has seen the field knows it by heart.
    rng = np.random.default_rng(0)
    fields = np.repeat(np.arange(40), 11)
    score, feature = rng.uniform(-1, 1, 40)[fields], rng.normal(size=40)[fields]
    table = pd.DataFrame({NAMES[0]: feature}, dtype=np.float32)
    by_heart = (table, score)
    widths = []
    for given in (None, fields):
        model = Baseline(max_trees=300, learning_rate=0.1)
        model.fit(table, score, fields=given, validation=by_heart, score_per_slice=STEP)
        widths.append(np.mean(model.side.intervals.half_widths))
    assert widths[0] < 0.05 < 0.5 < widths[1]


def test_calibration_on_left_out_fields_keeps_the_promise():
    train, label = made_table(100, 0)
    model = Baseline(max_trees=300, learning_rate=0.1)
    fields = np.repeat(np.arange(100), 11)
    model.fit(train, label, fields=fields, validation=made_table(10, 1), score_per_slice=STEP)
    new, new_label = made_table(400, 3)
    judged = model.judge_features(new)
    # Trees grown on four fifths of the fields err a little more, so the intervals are a little wide.
    assert 0.87 <= ((judged.lower <= new_label) & (new_label <= judged.upper)).mean() <= 0.95


def test_same_data_and_seed_give_the_same_model_and_nothing_happens_before_fit(baseline):
    assert fitted().booster_.model_to_string() == baseline.booster_.model_to_string()
    assert fitted(seed=1).booster_.model_to_string() != baseline.booster_.model_to_string()
    fresh = clone(baseline)
    assert [name for name in vars(fresh) if name.endswith("_")] == []
    assert fresh.get_params() == baseline.get_params()
    for use in (fresh.predict, fresh.judge_features):
        with pytest.raises(NotFittedError):
            use(made_table(1, 0)[0])


def test_unlabelled_images_change_nothing(baseline):
    train, label = made_table(100, 0)
    extra, _ = made_table(20, 9)
    more, held_out = pd.concat([train, extra * 100]), made_table(30, 1)
    gaps = np.r_[label, np.full(len(extra), np.nan)]
    held_out = (pd.concat([held_out[0], extra * 100]), np.r_[held_out[1], np.full(len(extra), np.nan)])
    again = Baseline(max_trees=300, learning_rate=0.1).fit(more, gaps, validation=held_out, score_per_slice=STEP)
    assert again.booster_.model_to_string() == baseline.booster_.model_to_string()
    assert again.side == baseline.side


def test_training_stops_by_the_validation_fields():
    train, label = made_table(40, 0, noise=0.3)
    held_out = made_table(30, 1, noise=0.3)
    model = Baseline(learning_rate=0.1, patience=20).fit(train, label, validation=held_out, score_per_slice=STEP)
    best = model.booster_.best_iteration
    assert best < model.max_trees

    def error(trees):
        return np.abs(model.booster_.predict(held_out[0].to_numpy(), num_iteration=trees) - held_out[1]).mean()

    assert error(best) == pytest.approx(min(error(n) for n in range(1, best + 20)), abs=1e-9)


def test_bare_absolute_error_is_an_option():
    new, label = made_table(60, 2)
    model = fitted(smoothing=0)
    assert "objective=regression_l1" in model.booster_.model_to_string()
    assert np.abs(model.predict(new) - label).mean() < 0.1


def test_columns_are_found_by_name_and_a_missing_one_is_named(baseline):
    new, _ = made_table(5, 2)
    shuffled = new[NAMES[::-1]].assign(another=1.0)
    assert (baseline.predict(shuffled) == baseline.predict(new)).all()
    with pytest.raises(InputError, match=f"lacks {NAMES[1]}"):
        baseline.predict(new.drop(columns=NAMES[1]))


@pytest.mark.parametrize("part", ["training", "validation"])
def test_no_labels_is_an_input_error(part):
    train, label = made_table(10, 0)
    unlabelled = np.full(label.size, np.nan)
    scores = {"training": (unlabelled, label), "validation": (label, unlabelled)}[part]
    with pytest.raises(InputError, match=f"The {part} fields hold no labelled image"):
        Baseline().fit(train, scores[0], validation=(train, scores[1]), score_per_slice=STEP)


def test_too_few_validation_images_are_an_input_error():
    train, label = made_table(10, 0)
    with pytest.raises(InputError, match="need at least 9"):
        Baseline(max_trees=5).fit(train, label, validation=(train[:8], label[:8]), score_per_slice=STEP)


# Files


@pytest.fixture
def saved(baseline, tmp_path):
    baseline.save(tmp_path / "run" / "baseline.txt")
    return tmp_path / "run" / "baseline.txt"


def test_saved_and_loaded_predictions_are_equal(baseline, saved):
    new, _ = made_table(60, 2)
    for path in (saved, saved.parent):
        there, here = load_baseline(path).judge_features(new), baseline.judge_features(new)
        pd.testing.assert_frame_equal(there.as_table(), here.as_table())


def edit_side(path, **changes):
    side = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(side | changes))


def tamper(path):
    path.write_text(path.read_text().replace("leaf_value=", "leaf_value=1", 1))


def edit_feature(path, name, **changes):
    features = json.loads(path.with_suffix(".json").read_text())["features"]
    edit_side(path, features=features | {name: features.get(name, features[NAMES[0]]) | changes})


WRONG_FILES = {
    "model missing": (lambda path: path.unlink(), r"baseline\.txt cannot be read"),
    "side file missing": (lambda path: path.with_suffix(".json").unlink(), r"baseline\.json is missing"),
    "tampered": (tamper, "SHA-256 differs"),
    "side file not JSON": (lambda path: path.with_suffix(".json").write_text("{"), "is no side file"),
    "side file of another kind": (lambda path: path.with_suffix(".json").write_text("[]"), "is no side file"),
    "side file incomplete": (lambda path: path.with_suffix(".json").write_text('{"format": 1}'), "format"),
    "unknown feature": (lambda path: edit_feature(path, "aura"), "uses aura, unknown to this"),
    "a feature's range missing": (lambda path: edit_side(path, features={NAMES[0]: {}}), "features.*low"),
    "feature redefined": (
        lambda path: edit_feature(path, NAMES[0], fingerprint=1e6),
        f"when {NAMES[0]} had another definition",
    ),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files_are_refused(saved, case):
    harm, message = WRONG_FILES[case]
    harm(saved)
    with pytest.raises(InputError, match=message):
        load_baseline(saved)


def test_a_truncated_model_with_a_fitting_checksum_is_refused(saved):
    saved.write_text("tree\nversion=v4\n")
    edit_side(saved, sha256=hashlib.sha256(saved.read_bytes()).hexdigest())
    with pytest.raises(InputError, match="is not a LightGBM model"):
        load_baseline(saved)


def test_a_folder_without_a_baseline_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"baseline\.txt cannot be read"):
        load_baseline(tmp_path)


# From images


def cell_picture(score, seed, size=72):
    """A stained disc in noise, blurred by ``|score|``, with a rim that is bright or dark by its sign."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2 + rng.uniform(-3, 3, (2, 1, 1))
    disc = np.hypot(x, y) < rng.uniform(15, 20)
    texture = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 1) * 60
    picture = 210 - np.where(disc, 90 + texture, 0)
    sharp = picture + 40 * score * (cv2.GaussianBlur(disc.astype(float), (0, 0), 2) - disc)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 0.6 + 3 * abs(score))[..., None] * np.array([1.0, 0.95, 1.05])
    return np.clip(blurred + rng.normal(0, 1, (size, size, 3)), 0, 255).astype(np.uint8)


def write_dataset(folder, n_fields, n_slices=7):
    rows = ["image_path,focus_score"]
    for i in range(n_fields):
        stack = folder / "cell_stacks" / f"stack_{i:03}_cell_0"
        stack.mkdir(parents=True)
        for j in range(n_slices):
            score = STEP * (j - n_slices // 2)
            cv2.imwrite(str(stack / f"{j}.png"), cell_picture(score, 100 * i + j))
            unlabelled = j == 1 and i % 5 == 0
            rows.append(f"cell_stacks/{stack.name}/{j}.png,{'NA' if unlabelled else f'{score:.1f}'}")
    (folder / "focus_labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def decoded():
    """How often the run decoded each file."""
    return Counter()


@pytest.fixture(scope="module")
def run(decoded, tmp_path_factory):
    """One data set, one run on it."""
    root = tmp_path_factory.mktemp("baseline_run")
    dataset = write_dataset(root / "data", 30)
    read_png = images.READERS["PNG"]

    def counting(path, max_pixels):
        decoded[path.relative_to(dataset).as_posix()] += 1
        return read_png(path, max_pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(images.READERS, "PNG", counting)
        metrics = run_baseline(dataset, root / "run", seed=0, jobs=1, leak_scan=False)
    return dataset, root / "run", metrics


def test_training_images_are_decoded_once(run, decoded):
    """Others are read again only to time a scoring and to weigh stacks."""
    split = read_run(run[1]).predictions.set_index("image_path")["split"]
    times = pd.Series(decoded).groupby(split)
    assert times.size().to_dict() == split.value_counts().to_dict()
    assert times.max().to_dict() == {"train": 1, "validation": 2, "test": 2}


def test_metrics_and_side_file_say_what_the_model_was_calibrated_on(run):
    _, folder, metrics = run
    fields = read_run(folder).predictions.query("split == 'train'")["field"].nunique()
    assert metrics["calibrated_on"] == f"{fields} training fields, each left out in turn"
    side = load_baseline(folder).side
    assert (side.pixel_um, side.z_step_um, side.score_per_slice) == (None, None, STEP)


def test_a_simulated_scale_is_stated_beside_the_model(run, tmp_path):
    dataset, folder, _ = run
    copy = shutil.copytree(dataset, tmp_path / "data")
    (copy / "simulation.json").write_text(json.dumps({"instruments": [{"pixel_um": 0.08}], "vary": 0}))
    rows = (copy / "focus_labels.csv").read_text().splitlines()[1:]
    truth = [f"{row.partition(',')[0]},{0.4 * (place % 7 - 3):.1f},3" for place, row in enumerate(rows)]
    (copy / "truth.csv").write_text("\n".join(["image_path,defocus_um,best_z_slice", *truth]) + "\n")
    shutil.copytree(folder / FEATURE_CACHE, tmp_path / "run" / FEATURE_CACHE)
    run_baseline(copy, tmp_path / "run", seed=0, jobs=1, leak_scan=False)
    side = load_baseline(tmp_path / "run").side
    assert (side.pixel_um, side.z_step_um) == (0.08, 0.4)


def test_a_run_leaves_the_whole_folder(run):
    _, folder, metrics = run
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        *("baseline.txt", "baseline.json", "predictions.csv", "metrics.json", "config.json", "environment.json"),
        *("importance.png", "predicted.png", "error_by_score.png", "sign_by_score.png"),
    }
    assert set(metrics["controls"]) == {*TRIVIAL, WITHOUT_CUES}
    assert set(METRICS) <= set(metrics["test"])
    assert metrics["features"] == len(MEASURES) + len(CUES)
    assert metrics["latency_ms"] > 0
    assert metrics["test"]["mae"] < 0.6 * metrics["controls"]["always the median"]["mae"]
    assert all(path.stat().st_size < 300_000 for path in folder.glob("*.png"))


def test_every_image_is_predicted_and_no_field_straddles_the_split(run):
    _, folder, metrics = run
    table = read_run(folder).predictions
    assert len(table) == 30 * 7
    assert table["predicted"].notna().all()
    assert table["focus_score"].isna().sum() == 6
    assert not table[["field", "split"]].drop_duplicates()["field"].duplicated().any()
    assert set(table["split"]) == {"train", "validation", "test"}
    test = table[(table["split"] == "test") & table["focus_score"].notna()]
    assert metrics["test"]["n_images"] == len(test)
    assert metrics["test"]["mae"] == pytest.approx((test["predicted"] - test["focus_score"]).abs().mean(), rel=1e-4)


def test_no_path_of_this_machine_is_written(run):
    dataset, folder, _ = run
    for name in ("config.json", "environment.json", "metrics.json", "predictions.csv", "baseline.json"):
        assert str(dataset.parent) not in (folder / name).read_text()


def test_loaded_model_scores_images_as_the_run_did(run):
    dataset, folder, _ = run
    table = read_run(folder).predictions.head(5)
    images = [cv2.imread(str(dataset / path))[..., ::-1] for path in table["image_path"]]
    scored = load_baseline(folder).judge(images).as_table()
    np.testing.assert_allclose(scored["score"], table["predicted"], rtol=1e-4)
    np.testing.assert_allclose(scored["lower"], table["lower"], rtol=1e-4)
    assert list(scored.columns) == ["score", "lower", "upper", "status"]


def test_only_the_models_features_are_computed(baseline, monkeypatch):
    asked = []

    def spy(image, names):
        asked.append(names)
        return measure(image, names)

    monkeypatch.setattr("focus_picker.features.baseline.measure", spy)
    baseline.judge([cell_picture(0.2, 0)])
    assert asked == [NAMES]
    assert len(baseline.judge([])) == 0


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_image_is_unsure(run, grey):
    judged = load_baseline(run[1]).judge([np.full((72, 72, 3), grey, np.uint8)])
    assert judged.status.tolist() == ["unsure"]
    assert np.isfinite(judged.score).all()


def test_an_image_of_noise_is_unsure_and_ordinary_ones_are_not_all(run):
    rng = np.random.default_rng(0)
    model = load_baseline(run[1])
    assert model.judge([rng.integers(0, 256, (72, 72, 3), dtype=np.uint8)]).status.tolist() == ["unsure"]
    ordinary = model.judge([cell_picture(score, 7) for score in (-0.6, 0.6)])
    assert "unsure" not in set(ordinary.status)


def test_corrupt_test_labels_leave_the_model_as_it_is(run, tmp_path):
    dataset, folder, _ = run
    table = read_run(folder).predictions
    test = set(table.loc[table["split"] == "test", "image_path"])
    lines = (dataset / "focus_labels.csv").read_text().splitlines()
    other = [f"{line.split(',')[0]},5.0" if line.split(",")[0] in test else line for line in lines]
    copy = shutil.copytree(dataset, tmp_path / "copy")
    (copy / "focus_labels.csv").write_text("\n".join(other) + "\n")
    # With the features of the first run, so that only the labels differ.
    shutil.copytree(folder / FEATURE_CACHE, tmp_path / "run" / FEATURE_CACHE)
    metrics = run_baseline(copy, tmp_path / "run", seed=0, jobs=1)
    assert (tmp_path / "run" / "baseline.txt").read_bytes() == (folder / "baseline.txt").read_bytes()
    assert metrics["test"]["mae"] > 3


def test_equal_slices_labels_cannot_be_trained_on(tmp_path):
    dataset = write_dataset(tmp_path / "data", 3, n_slices=1)
    with pytest.raises(InputError, match="label whole stacks"):
        run_baseline(dataset, tmp_path / "run", jobs=1)
    assert not (tmp_path / "run").exists()


def test_sharpness_of_the_trivial_predictor_is_a_known_measure():
    assert SHARPNESS in MEASURES
