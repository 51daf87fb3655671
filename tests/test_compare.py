import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focus_picker.dataset.errors import InputError
from focus_picker.evaluation import compare as module
from focus_picker.evaluation import plots
from focus_picker.evaluation.compare import BEGIN, END, EXTRAS, compare_runs, filled_report
from focus_picker.evaluation.metrics import METRICS, evaluate
from focus_picker.evaluation.runs import write_run

STEP = 0.2
CONTROL = "|score| from Tenengrad alone"


def predictions(noise, seed=0, n_fields=40, bias=0.0):
    """Stacks of 11 slices, a quarter of the fields for testing; error spread ``noise`` plus a constant ``bias``."""
    rng = np.random.default_rng(seed)
    field = np.repeat(np.arange(n_fields), 11)
    label = np.tile(np.linspace(-1, 1, 11), n_fields)
    true = label + np.repeat(np.random.default_rng(99).uniform(-0.1, 0.1, n_fields), 11)
    predicted = true + rng.normal(0, noise, true.size) + bias
    names = [f"stack_{i:03}" for i in field]
    return pd.DataFrame(
        {
            "image_path": [f"cell_stacks/{name}_cell_0/{i % 11}.jpg" for i, name in enumerate(names)],
            "field": names,
            "stack": [f"{name}_cell_0" for name in names],
            "split": np.where(field % 4 == 0, "test", "train"),
            "focus_score": label,
            "true_score": true,
            "predicted": predicted,
            "lower": predicted - 1.7 * noise,
            "upper": predicted + 1.7 * noise,
        }
    )


def make_run(folder, table, fingerprint="a", step=STEP, **metrics):
    test = table[table["split"] == "test"]
    values = {"score_per_slice": step, "test": evaluate(test, STEP)} | metrics
    write_run(folder, table, values, {"dataset": "made", "dataset_fingerprint": fingerprint})
    return folder


@pytest.fixture
def two_runs(tmp_path):
    worse, better = predictions(0.1), predictions(0.03, seed=1)
    control = {CONTROL: evaluate(worse[worse["split"] == "test"].assign(predicted=0.5, lower=np.nan), STEP)}
    return [
        make_run(tmp_path / "baseline", worse, controls=control, training_seconds=12.3, model_bytes=2_500_000),
        make_run(tmp_path / "cnn", better, latency_ms=0.21),
    ]


def test_the_table_holds_what_each_runs_metrics_say(two_runs, tmp_path):
    comparison = compare_runs(two_runs, tmp_path / "results")
    written = pd.read_csv(tmp_path / "results" / "compare.csv")
    assert list(written["name"]) == ["baseline", "cnn", CONTROL]
    assert list(written["is_run"]) == [True, True, False]
    expected = evaluate(predictions(0.03, seed=1).query("split == 'test'"), STEP)
    for name in METRICS:
        assert written[name].iloc[1] == pytest.approx(expected[name], rel=1e-4)
    assert set(EXTRAS) <= set(written)
    assert written["model_kb"].iloc[0] == pytest.approx(2500)
    assert set(comparison.by_score) == {"baseline", "cnn"}


def test_difference_is_against_the_first_run_and_its_interval_excludes_zero(two_runs, tmp_path):
    table = compare_runs(two_runs, tmp_path / "results").table
    assert table["difference"].iloc[0] is None or np.isnan(table["difference"].iloc[0])
    assert table["difference"].iloc[1] == pytest.approx(table["mae"].iloc[1] - table["mae"].iloc[0])
    assert table["difference_upper"].iloc[1] < 0
    reverse = compare_runs(two_runs[::-1], tmp_path / "results").table
    assert reverse["difference"].iloc[1] == pytest.approx(-table["difference"].iloc[1])


def test_a_run_that_only_rounds_better_is_no_better_once_both_are_rounded(tmp_path):
    between = predictions(0.03)
    rounds = between.assign(predicted=STEP * (between["predicted"] / STEP).round())
    runs = [make_run(tmp_path / "between", between), make_run(tmp_path / "rounds", rounds)]
    comparison = compare_runs(runs, tmp_path / "results")
    row = comparison.table.iloc[1]
    assert row["difference_upper"] < 0
    assert (row["difference_rounded_lower"], row["difference_rounded"], row["difference_rounded_upper"]) == (0, 0, 0)
    text = (tmp_path / "results" / "compare.md").read_text()
    assert "| MAE | MAE rounded |" in text
    assert "| difference | difference, rounded |" in text
    assert "rounded to multiples of 0.2" in text


def test_labels_that_are_not_rounded_have_one_error_only(tmp_path):
    table = predictions(0.03)
    table["focus_score"] += np.random.default_rng(0).uniform(-0.05, 0.05, len(table))
    compare_runs([make_run(tmp_path / "run", table)], tmp_path / "results")
    text = (tmp_path / "results" / "compare.md").read_text()
    assert "| MAE rounded |" not in text
    assert "labels are not rounded" in text


def test_controls_of_runs_from_before_the_rounded_error_are_kept(tmp_path):
    values = evaluate(predictions(0.1).query("split == 'test'"), STEP)
    old = {name: value for name, value in values.items() if name not in ("mae_rounded", "label_grid")}
    comparison = compare_runs(
        [make_run(tmp_path / "run", predictions(0.1), controls={"old": old})], tmp_path / "results"
    )
    assert np.isnan(comparison.table["mae_rounded"].iloc[1])
    assert comparison.table["mae"].iloc[1] == pytest.approx(values["mae"])


def test_interval_holds_the_true_difference(tmp_path):
    # Far outside the noise, a bias of 0.5 adds exactly 0.2 to the error of a bias of 0.3.
    runs = [make_run(tmp_path / str(bias), predictions(0.02, seed=i, bias=bias)) for i, bias in enumerate((0.3, 0.5))]
    row = compare_runs(runs, tmp_path / "results").table.iloc[1]
    assert row["difference_lower"] < 0.2 < row["difference_upper"]
    assert row["difference_upper"] - row["difference_lower"] < 0.02


def test_markdown_is_one_well_formed_table_each_and_names_the_floor(two_runs, tmp_path):
    compare_runs(two_runs, tmp_path / "results")
    text = (tmp_path / "results" / "compare.md").read_text()
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 2
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "(\\|score\\| from Tenengrad alone)" in text
    assert "110 labelled test images of 10 fields" in text
    assert "known truth" in text


def test_the_picture_is_small_and_whole(two_runs, tmp_path):
    compare_runs(two_runs, tmp_path / "results")
    path = tmp_path / "results" / "compare.png"
    assert path.stat().st_size < 300_000
    with Image.open(path) as picture:
        picture.load()
        assert picture.width > 1000


def test_only_shared_labelled_images_count_and_other_controls_are_named_as_left_out(two_runs, tmp_path):
    fewer = predictions(0.03, seed=1)
    fewer.loc[fewer["field"] == "stack_000", "split"] = "train"
    fewer.loc[fewer["field"] == "stack_004", "predicted"] = np.nan
    third = make_run(tmp_path / "other_split", fewer)
    comparison = compare_runs([*two_runs, third], tmp_path / "results")
    assert list(comparison.table["name"]) == ["baseline", "cnn", "other_split"]
    assert list(comparison.table["n_images"]) == [88, 88, 88]
    assert any("Left out" in note and CONTROL in note for note in comparison.notes)


def test_one_run_alone_gives_its_table(two_runs, tmp_path):
    comparison = compare_runs(two_runs[:1], tmp_path / "results")
    assert list(comparison.table["name"]) == ["baseline", CONTROL]
    assert "Difference" not in (tmp_path / "results" / "compare.md").read_text()


def test_runs_of_one_name_are_told_apart_and_repeated_ones_counted_once(tmp_path):
    runs = [make_run(tmp_path / parent / "run", predictions(0.1, seed=i)) for i, parent in enumerate("ab")]
    comparison = compare_runs([*runs, runs[0]], tmp_path / "results")
    assert list(comparison.table["name"]) == ["a/run", "b/run"]


def _other_labels(table):
    return table.assign(focus_score=table["focus_score"] + 0.2)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda t: t, {"fingerprint": "b"}, "different data sets"),
        (lambda t: t.assign(split="train"), {}, "share no labelled test image"),
        (_other_labels, {}, r"stack_000_cell_0/0\.jpg different labels"),
        (lambda t: t, {"step": 0.1}, "different scores per slice"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(two_runs, tmp_path, change, arguments, message):
    other = make_run(tmp_path / "other", change(predictions(0.1)), **arguments)
    with pytest.raises(InputError, match=message):
        compare_runs([*two_runs, other], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_nothing_to_compare_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one run"):
        compare_runs([], tmp_path)


def test_report_is_filled_between_its_markers_and_again(two_runs, tmp_path):
    report = tmp_path / "report.md"
    report.write_text(f"# Report\n\nBefore.\n\n{BEGIN}\nold table\n{END}\n\nAfter.\n")
    compare_runs(two_runs, tmp_path / "results", report)
    once = report.read_text()
    compare_runs(two_runs, tmp_path / "results", report)
    assert report.read_text() == once
    assert "old table" not in once
    assert "| cnn |" in once
    assert once.startswith(f"# Report\n\nBefore.\n\n{BEGIN}\n|")
    assert once.endswith(f"{END}\n\nAfter.\n")


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} and {BEGIN}"])
def test_report_without_markers_is_refused_and_nothing_written(two_runs, tmp_path, text):
    report = tmp_path / "report.md"
    report.write_text(text)
    with pytest.raises(InputError, match="needs the lines"):
        compare_runs(two_runs, tmp_path / "results", report)
    assert report.read_text() == text
    assert not (tmp_path / "results").exists()
    with pytest.raises(InputError, match="Cannot read the report"):
        filled_report(tmp_path / "missing.md", "")


def test_a_failing_picture_leaves_no_half_file(two_runs, tmp_path, monkeypatch):
    def fail(figure, path):
        with module.atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    monkeypatch.setattr(plots, "save_figure", fail)
    with pytest.raises(KeyboardInterrupt):
        compare_runs(two_runs, tmp_path / "results")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["compare.csv"]


BINS = [
    {"from_slices": 0.0, "to_slices": 0.5, "mae": 0.05, "sign_accuracy": np.nan, "coverage": 0.9, "n_images": 5},
    {"from_slices": 3.5, "to_slices": 5.5, "mae": 0.1, "sign_accuracy": 1.0, "coverage": 0.9, "n_images": 5},
    {"from_slices": 5.5, "to_slices": np.inf, "mae": 0.2, "sign_accuracy": 0.9, "coverage": 0.9, "n_images": 5},
]
FIGURES = {
    "importance": lambda: plots.plot_importance(
        pd.Series(np.linspace(1, 0, 60) / 30, index=[f"measure_{i}" for i in range(60)]), {"measure_0"}
    ),
    "predicted": lambda: plots.plot_predicted(predictions(0.1, n_fields=500), STEP),
    "predicted, no truth": lambda: plots.plot_predicted(predictions(0.1).assign(true_score=np.nan), STEP),
    "predicted, nothing": lambda: plots.plot_predicted(predictions(0.1).head(0), STEP),
    "error": lambda: plots.plot_error_by_score({"a": BINS, "b": BINS[1:]}, 0.05, STEP),
    "sign": lambda: plots.plot_sign_by_score({"a": BINS, "b": BINS[1:]}, STEP),
}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_picture_is_small_and_labels_its_axes(name, tmp_path):
    figure = FIGURES[name]()
    plots.save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 300_000
    assert all(axes.get_xlabel() for axes in figure.axes)
    assert all(axes.get_title() for axes in figure.axes)


def test_bins_are_named_by_the_slices_in_them():
    assert [plots.bin_title(*ends) for ends in ((0.0, 0.5), (0.5, 1.5), (3.5, 5.5), (5.5, np.inf))] == [
        "0",
        "1",
        "4 to 5",
        "6 or more",
    ]
