import numpy as np
import pandas as pd
import pytest

from focus_picker.evaluation.metrics import (
    BY_SCORE,
    METRICS,
    by_score,
    evaluate,
    label_grid,
    paired_bootstrap,
    sign_accuracy,
)
from focus_picker.evaluation.sides import side_figures
from focus_picker.evaluation.summary import summarise
from focus_picker.evaluation.trivial import SHARPNESS, TRIVIAL, trivial_predictions

STEP = 0.2
NAN = float("nan")


def table(**columns):
    """A predictions table; columns not given are unknown."""
    n = len(columns["focus_score"])
    rows = pd.DataFrame({"field": [f"stack_{i:03}" for i in range(n)]})
    for name in ("focus_score", "true_score", "predicted", "lower", "upper"):
        rows[name] = np.asarray(columns.get(name, [NAN] * n), dtype=float)
    return rows


# errors 0.1, 0.1, 0.3, 0.5; labels in slices 0, 1, -2, 3
BY_HAND = table(
    focus_score=[0.0, 0.2, -0.4, 0.6],
    predicted=[0.1, 0.1, -0.7, 0.1],
    true_score=[0.02, 0.25, -0.4, 0.53],
    lower=[-0.1, 0.0, -0.6, 0.0],
    upper=[0.3, 0.2, -0.5, 0.6],
)
EXPECTED = {
    "n_images": 4,
    "mae": (0.1 + 0.1 + 0.3 + 0.5) / 4,
    "median_error": 0.2,
    "p90_error": 0.3 + 0.7 * 0.2,  # rank 0.9 * 3 = 2.7
    "label_floor": (0.02 + 0.05 + 0.0 + 0.07) / 4,
    "mae_truth": (0.08 + 0.15 + 0.3 + 0.43) / 4,
    "mae_unsigned": (0.1 + 0.1 + 0.3 + 0.5) / 4,
    "rmse": np.sqrt((0.01 + 0.01 + 0.09 + 0.25) / 4),
    "sign_accuracy": 1.0,  # -0.4 and 0.6 are beyond a slice, 0.2 is not
    "coverage": 3 / 4,  # -0.4 lies above -0.5
    "interval_width": (0.4 + 0.2 + 0.1 + 0.6) / 4,
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_metric_by_hand(name):
    assert METRICS[name].compute(BY_HAND, STEP) == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize(
    ("labels", "grid"),
    [
        ([-0.6, 0.0, 0.2, 0.4], 0.2),
        ([0.4, -0.8, 1.2], 0.2),  # of a few images, none a slice from another
        ([0.1, -0.3, 0.5], 0.1),  # focus between two slices
        ([0.0, 0.2, 0.3], 0.1),  # stacks of two steps
        ([0.333333, -0.666667, 1.0], None),  # a third of a score is no part of a slice of 0.2
        ([0.0, 0.13, -0.42, 0.7], None),
        (np.linspace(-1, 1, 201), None),  # two digits are no grid
        ([], None),
    ],
)
def test_the_grid_of_the_labels(labels, grid):
    assert label_grid(pd.Series(labels, dtype=float), STEP) == (grid and pytest.approx(grid))


def test_the_grid_survives_six_digits_in_a_file():
    assert label_grid(pd.Series([0.333333, -0.666667, 3.33333, NAN]), 1 / 3) == pytest.approx(1 / 3, abs=1e-6)


def test_rounded_error_by_hand():
    rows = table(focus_score=[0.0, 0.2, -0.4, 0.6], predicted=[0.09, 0.11, -0.72, 0.05])  # 0.0, 0.2, -0.8, 0.0
    assert METRICS["mae_rounded"].compute(rows, STEP) == pytest.approx((0.0 + 0.0 + 0.4 + 0.6) / 4)


def test_learning_the_rounding_is_no_gain_once_both_are_rounded():
    label, true = _stack_labels()
    noise = np.random.default_rng(5).normal(0, 0.05, label.size)
    between = evaluate(table(focus_score=label, true_score=true, predicted=true + noise), STEP)
    rounds = evaluate(table(focus_score=label, true_score=true, predicted=STEP * np.round((true + noise) / STEP)), STEP)
    assert rounds["mae"] < between["mae"]
    assert rounds["mae_rounded"] == pytest.approx(between["mae_rounded"])
    assert evaluate(table(focus_score=label, predicted=true), STEP)["mae_rounded"] == pytest.approx(0, abs=1e-9)


def test_labels_without_a_grid_have_no_rounded_error():
    values = evaluate(BY_HAND.assign(focus_score=[0.01, 0.137, -0.42, 0.66]), STEP)
    assert np.isnan(values["mae_rounded"])
    assert values["label_grid"] is None


def test_spearman():
    compute = METRICS["spearman"].compute
    rising = table(focus_score=[-1, 0, 1, 2], predicted=[-5, 0.1, 0.2, 9])
    assert compute(rising, STEP) == pytest.approx(1.0)
    assert compute(rising.assign(predicted=-rising["predicted"]), STEP) == pytest.approx(-1.0)
    # ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15)
    assert compute(rising.assign(predicted=[2.0, 1.0, 4.0, 3.0]), STEP) == pytest.approx(0.6)
    assert np.isnan(compute(rising.assign(predicted=0.0), STEP))


def test_sign_accuracy_counts_strictly_beyond_one_slice():
    rows = table(focus_score=[0.2, -0.2, 0.0, 0.4, -0.4, 0.6, -0.6], predicted=[-1, 1, 1, 0.1, 0.1, 0.0, -0.1])
    assert sign_accuracy(rows, STEP) == pytest.approx(2 / 4)  # zero is no sign
    assert np.isnan(sign_accuracy(rows.head(3), STEP))


def test_signs_of_labels_on_one_side_say_nothing():
    rows = table(focus_score=[0.0, 0.2, 0.6, 0.8], predicted=[0.1, 0.2, 0.5, 0.9])
    values = evaluate(rows, STEP)
    assert np.isnan([values["sign_accuracy"], *(entry["sign_accuracy"] for entry in values["by_score"])]).all()
    assert "sign right beyond one slice not told" in summarise({"score_per_slice": STEP, "test": values})
    both = evaluate(pd.concat([rows, -rows.drop(columns="field").assign(field=0)]), STEP)
    assert both["sign_accuracy"] == 1
    figures = side_figures(rows["predicted"], rows["focus_score"], np.ones(4, bool), STEP)
    assert np.isnan([figures["sign"], figures["sign_where_sure"]]).all()


def test_sign_accuracy_forgives_rounding_of_the_label():
    rows = table(focus_score=[0.2 + 1e-12], predicted=[-1.0])
    assert np.isnan(sign_accuracy(rows, STEP))


def _stack_labels(n_stacks=400):
    rng = np.random.default_rng(0)
    true = np.linspace(-1, 1, 11)[None] + rng.uniform(-0.1, 0.1, (n_stacks, 1))
    label = np.broadcast_to(np.linspace(-1, 1, 11), true.shape)
    return label.ravel(), true.ravel()


def test_a_perfect_predictor_reaches_the_floor_and_no_error_against_truth():
    label, true = _stack_labels()
    values = evaluate(table(focus_score=label, true_score=true, predicted=true), STEP)
    assert values["mae"] == pytest.approx(values["label_floor"])
    assert values["label_floor_source"] == "truth"
    assert values["mae_truth"] == 0
    assert values["sign_accuracy"] == 1


def test_without_truth_the_floor_is_a_quarter_slice_close_to_the_real_one():
    label, true = _stack_labels()
    blind = evaluate(table(focus_score=label, predicted=true), STEP)
    assert blind["label_floor"] == pytest.approx(0.05)
    assert blind["label_floor_source"] == "quarter slice"
    assert blind["mae"] == pytest.approx(0.05, abs=0.003)
    assert np.isnan(blind["mae_truth"])


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_ignores_unlabelled_images(name):
    gaps = table(focus_score=[NAN, NAN], predicted=[5.0, NAN], lower=[4.0, NAN], upper=[6.0, NAN])
    more = pd.concat([BY_HAND, gaps], ignore_index=True)
    assert evaluate(more, STEP)[name] == pytest.approx(evaluate(BY_HAND, STEP)[name], nan_ok=True)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_defined_on_nothing(name):
    value = evaluate(table(focus_score=[]), STEP)[name]
    assert value == 0 if name == "n_images" else np.isnan(value)


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"n_images"}))
def test_metrics_do_not_depend_on_the_order_of_rows(name):
    values = evaluate(BY_HAND, STEP)[name]
    assert evaluate(BY_HAND[::-1].reset_index(drop=True), STEP)[name] == pytest.approx(values, nan_ok=True)


def test_bins_partition_the_images_and_average_back_to_the_whole():
    label, true = _stack_labels(50)
    rows = table(focus_score=label, predicted=true + 0.1, lower=true - 0.1, upper=true + 0.1)
    bins = by_score(rows, STEP)
    images = [entry["n_images"] for entry in bins]
    assert [entry["from_slices"] for entry in bins] == [0.0, 0.5, 1.5, 2.5, 3.5]
    assert images == [50, 100, 100, 100, 200]
    assert all(set(BY_SCORE) <= set(entry) for entry in bins)
    for name in ("mae", "coverage"):
        mean = np.average([entry[name] for entry in bins], weights=images)
        assert mean == pytest.approx(METRICS[name].compute(rows, STEP))
    assert np.isnan(bins[0]["sign_accuracy"])


def _noisy_tables(n_fields=60, per_field=22, extra=0.05):
    """Two predictions of the same images; the second's error is larger by ``extra`` on average."""
    rng = np.random.default_rng(3)
    field = np.repeat([f"stack_{i:03}" for i in range(n_fields)], per_field)
    hard = np.repeat(rng.gamma(2, 0.1, n_fields), per_field)  # shared by both: cancels in the pair
    base = pd.DataFrame({"field": field, "focus_score": 0.0, "predicted": hard})
    gap = np.repeat(rng.normal(extra, 0.05, n_fields), per_field)
    return base, base.assign(predicted=hard + np.maximum(gap, -hard))


def test_bootstrap_interval_holds_the_true_difference_and_uses_the_pairing():
    first, second = _noisy_tables()
    result = paired_bootstrap(second, first)
    assert result["fields"] == 60
    assert result["lower"] < 0.05 < result["upper"]
    assert result["lower"] < result["difference"] < result["upper"]
    # unpaired, the spread of hard fields alone gives a standard error near 0.14 / sqrt(30)
    assert result["upper"] - result["lower"] < 0.04
    assert paired_bootstrap(second, first) == result


def test_bootstrap_resamples_fields_not_images():
    first, second = _noisy_tables()
    images_as_fields = [t.assign(field=[str(i) for i in range(len(t))]) for t in (second, first)]
    by_field, by_image = paired_bootstrap(second, first), paired_bootstrap(*images_as_fields)
    assert by_field["upper"] - by_field["lower"] > 3 * (by_image["upper"] - by_image["lower"])


def test_bootstrap_of_equal_runs_is_zero_and_of_other_images_refused():
    first, second = _noisy_tables()
    assert paired_bootstrap(first, first)["difference"] == 0
    with pytest.raises(ValueError, match="same images"):
        paired_bootstrap(first, second.head(100))


def _sharpness_data():
    label, _ = _stack_labels(100)
    rng = np.random.default_rng(1)
    sharpness = 1000 * np.exp(-3 * np.abs(label)) * rng.lognormal(0, 0.05, label.size)
    return pd.DataFrame({SHARPNESS: sharpness.astype(np.float32)}), label


def test_trivial_predictors_by_their_definition():
    features, label = _sharpness_data()
    label = np.where(label > 0.5, 0.6, label)
    predicted = trivial_predictions(features, label, features)
    assert set(predicted) == set(TRIVIAL)
    assert (predicted["always the median"] == np.median(label)).all()
    alone = predicted["|score| from Tenengrad alone"]
    assert len(set(np.sign(alone[alone != 0]))) == 1
    assert np.abs(np.abs(alone) - np.abs(label)).mean() < 0.08
    sharper = features.assign(**{SHARPNESS: features[SHARPNESS] * 2})
    assert (
        np.abs(trivial_predictions(features, label, sharper)["|score| from Tenengrad alone"]) <= np.abs(alone)
    ).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_sharpness_alone_takes_the_commoner_side(sign):
    features, label = _sharpness_data()
    chosen = label * sign > -0.5
    predicted = trivial_predictions(features[chosen], label[chosen], features)["|score| from Tenengrad alone"]
    assert (np.sign(predicted[np.abs(label) > 0.5]) == sign).all()


@pytest.mark.parametrize("name", sorted(TRIVIAL))
def test_trivial_predictors_leave_out_unlabelled_and_unmeasured_images(name):
    features, label = _sharpness_data()
    gaps = np.where(np.arange(label.size) % 7 == 0, NAN, label)
    predicted = trivial_predictions(features, gaps, pd.DataFrame({SHARPNESS: [NAN, 0.0, 1e9]}))[name]
    assert np.isfinite(predicted).all()
