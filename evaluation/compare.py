"""Runs side by side on the images that all of them were tested on.

Which model made a run does not matter: everything comes from ``predictions.csv``, and from ``metrics.json`` what only
the training knows (time, size, controls).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path, write_text
from focus_picker.evaluation import plots
from focus_picker.evaluation.metrics import METRICS, by_score, evaluate, paired_bootstrap, rounded_to_labels
from focus_picker.evaluation.run_metrics import RunMetrics
from focus_picker.evaluation.runs import Run, read_run

BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"
DIFFERENCES = {"difference": "difference", "difference_rounded": "difference, rounded"}
"""Difference of an error from the first run's, as a column of the table -> its heading."""

LABEL_TOLERANCE = 1e-5  # of two tables that wrote the same label with six digits


@dataclass(frozen=True)
class Extra:
    """A column that is read from ``metrics.json`` and not computed: how to read it, its heading, how it is printed."""

    read: Callable[[RunMetrics], float | None]
    title: str
    form: str


EXTRAS: dict[str, Extra] = {
    "training_seconds": Extra(lambda metrics: metrics.training_seconds, "training (s)", ".1f"),
    "latency_ms": Extra(lambda metrics: metrics.latency_ms, "one image (ms)", ".2f"),
    "model_kb": Extra(lambda metrics: metrics.model_bytes and metrics.model_bytes / 1000, "model (KB)", ".0f"),
}
COLUMNS = [
    "name",
    "is_run",
    *METRICS,
    *(name + end for name in DIFFERENCES for end in ("", "_lower", "_upper")),
    *EXTRAS,
]


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a run, then one row a control, with ``COLUMNS``: figures of ``METRICS``, differences of the MAE from the
        first run's with the ends of their intervals, and ``EXTRAS``. NaN where unknown.
    by_score : dict
        Name of a run -> its figures in bins of ``|label|``.
    notes : tuple of str
        What a reader must know: how many images, which floor, what was left out.
    score_per_slice : float
        Score between neighbouring slices, the same for all runs.
    """

    table: pd.DataFrame
    by_score: dict[str, list[dict[str, float]]]
    notes: tuple[str, ...]
    score_per_slice: float


def compare_runs(runs: Sequence[str | Path], output: str | Path, report: str | Path | None = None) -> Comparison:
    """Compare runs and write ``compare.md``, ``compare.csv`` and ``compare.png`` into ``output``.

    Parameters
    ----------
    runs
        Run folders; the first is the reference of the differences.
    output
        Folder to write.
    report
        A Markdown file whose text between the lines ``BEGIN`` and ``END`` becomes the tables; None leaves reports
        alone.

    Raises
    ------
    InputError
        If a run cannot be read, two were not tested on the same data, or the report has no pair of markers.
    """
    if not runs:
        raise InputError("Nothing to compare: give at least one run folder.")
    comparison = compare([read_run(path) for path in dict.fromkeys(Path(path).resolve() for path in runs)])
    output = Path(output)
    markdown = to_markdown(comparison)
    new_report = None if report is None else filled_report(Path(report), markdown)
    with atomic_path(output / "compare.csv") as temporary:
        comparison.table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    picture = plots.plot_comparison(comparison.table, comparison.by_score, comparison.score_per_slice)
    plots.save_figure(picture, output / "compare.png")
    write_text(output / "compare.md", "# Comparison of runs\n\n" + markdown + "\n![Comparison](compare.png)\n")
    if report is not None and new_report is not None:
        write_text(report, new_report)
    return comparison


def compare(runs: Sequence[Run]) -> Comparison:
    """Judge every run on the labelled test images that all runs share, and the controls that were judged on them."""
    step = _common_step(runs)
    tests = shared_tests(runs)
    names = _distinct_names(runs)
    rows = [
        {"name": name, "is_run": True}
        | evaluate(test, step)
        | (_differences(test, tests[0], step) if test is not tests[0] else {})
        | {column: extra.read(run.metrics) for column, extra in EXTRAS.items()}
        for run, name, test in zip(runs, names, tests, strict=True)
    ]
    controls, left_out = _controls(runs, len(tests[0]))
    table = pd.DataFrame(rows + controls, columns=COLUMNS)
    figures = {name: by_score(test, step) for name, test in zip(names, tests, strict=True)}
    return Comparison(table, figures, _notes(tests, names, step, left_out), step)


def shared_tests(runs: Sequence[Run]) -> list[pd.DataFrame]:
    """Return each run's predictions of the labelled test images that all runs predicted, in one order.

    Raises
    ------
    InputError
        If two runs come from different data sets, share no test image, or give one image different labels.
    """
    first = runs[0]
    for run in runs[1:]:
        if len({run.config.get("dataset_fingerprint"), first.config.get("dataset_fingerprint")} - {None}) > 1:
            raise InputError(
                f"{first.path} and {run.path} were tested on different data sets ({first.config.get('dataset')}, "
                f"{run.config.get('dataset')}): compare runs of one data set."
            )
    tables = [run.test.set_index("image_path") for run in runs]
    tables = [table[table["focus_score"].notna() & table["predicted"].notna()] for table in tables]
    shared = sorted(set.intersection(*(set(table.index) for table in tables)))
    if not shared:
        raise InputError(
            f"{', '.join(str(run.path) for run in runs)} share no labelled test image: "
            "train them on the same data set with the same --seed."
        )
    tables = [table.loc[shared].reset_index() for table in tables]
    for run, table in zip(runs[1:], tables[1:], strict=True):
        differs = (table["focus_score"] - tables[0]["focus_score"]).abs() > LABEL_TOLERANCE
        if differs.any():
            raise InputError(
                f"{first.path} and {run.path} give {table['image_path'][differs.idxmax()]} different labels: "
                "compare runs of one data set."
            )
    return tables


def to_markdown(comparison: Comparison) -> str:
    """Return the tables and notes as Markdown."""
    by_bin = _bins_table(comparison)
    parts = [markdown_table(_printed(comparison.table)), *comparison.notes]
    parts += ["MAE and sign accuracy by distance of the label from focus:", markdown_table(by_bin)]
    return "\n\n".join(parts) + "\n"


def filled_report(report: Path, markdown: str) -> str:
    """Return the text of ``report`` with the tables between its markers; InputError when it has no pair of them."""
    try:
        text = report.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the report {report} as UTF-8 text ({error}).") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{report} needs the lines {BEGIN} and {END} around the place of the tables.")
    return f"{before}{BEGIN}\n{markdown}{END}{after}"


def _differences(test: pd.DataFrame, reference: pd.DataFrame, step: float) -> dict[str, float]:
    """Differences of the error from the reference's, as predicted and rounded to the labels' grid."""
    rounded = [rounded_to_labels(table, step) for table in (test, reference)]
    found = {"difference": paired_bootstrap(test, reference), "difference_rounded": paired_bootstrap(*rounded)}
    ends = {"": "difference", "_lower": "lower", "_upper": "upper"}
    return {name + end: values[key] for name, values in found.items() for end, key in ends.items()}


def _controls(runs: Sequence[Run], n_shared: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows of the runs' controls, and the names of those that were judged on other images than the shared ones.

    A control that several runs have is taken from the first of them.
    """
    rows: dict[str, dict[str, Any]] = {}
    left_out = []
    for run in runs:
        for name, figures in run.metrics.controls.items():
            if figures.n_images != n_shared:
                left_out.append(f"{name} ({run.name})")
            else:
                rows.setdefault(name, {"name": name, "is_run": False} | figures.model_dump())
    return list(rows.values()), left_out


def _notes(tests: Sequence[pd.DataFrame], names: Sequence[str], step: float, left_out: list[str]) -> tuple[str, ...]:
    reference, found = tests[0], evaluate(tests[0], step)
    grid = found["label_grid"]
    floor = "the known truth" if found["label_floor_source"] == "truth" else "a quarter of a slice: no truth is known"
    rounded = (
        "The labels are not rounded. "
        if grid is None
        else f"MAE rounded: the same after each prediction is rounded to multiples of {grid:.6g}, as the labels are, "
        "so that no model gains by having learned the rounding; a model without error has 0. "
    )
    notes = [
        f"{len(reference)} labelled test images of {reference['field'].nunique()} fields, all that the runs share. "
        f"MAE: mean absolute error of the predictions as they are. {rounded}"
        f"Label floor (from {floor}): the MAE that a model without error has against labels rounded to slices. "
        "Sign: share of right signs where the label is strictly more than one slice from focus. Rows in brackets are "
        "controls, not runs."
    ]
    if len(tests) > 1:
        notes.append(f"Difference: MAE minus that of {names[0]}, 95 % interval of a paired bootstrap over fields.")
    if left_out:
        notes.append(f"Left out, judged on other images than the shared: {', '.join(left_out)}.")
    return tuple(notes)


def _printed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as text, one heading a column; columns without any value are dropped."""
    names = zip(table["name"], table["is_run"], strict=True)
    printed = pd.DataFrame({"run": [name if is_run else f"({name})" for name, is_run in names]})
    for name, column in METRICS.items():
        printed[column.title] = [_text(value, column.form) for value in table[name]]
    for name, title in DIFFERENCES.items():
        interval = table[[name, f"{name}_lower", f"{name}_upper"]].itertuples(index=False)
        printed[title] = [
            "" if pd.isna(mid) else f"{mid:+.3f} [{low:+.3f}, {high:+.3f}]" for mid, low, high in interval
        ]
    for name, extra in EXTRAS.items():
        printed[extra.title] = [_text(value, extra.form) for value in table[name]]
    return printed.loc[:, (printed != "").any()]


def _bins_table(comparison: Comparison) -> pd.DataFrame:
    columns: dict[str, dict[str, str]] = {}
    for name, entries in comparison.by_score.items():
        for entry in entries:
            title = plots.bin_title(entry["from_slices"], entry["to_slices"])
            sign = _text(entry["sign_accuracy"], ".1%") or "no sign"
            columns.setdefault(title, {})[name] = f"{entry['mae']:.3f}, {sign}"
    bins = pd.DataFrame(columns).reindex(list(comparison.by_score)).fillna("")
    return bins.rename_axis("slices from focus").reset_index()


def markdown_table(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown, all columns but the first to the right."""
    rows = [list(table.columns), ["---"] + ["---:"] * (table.shape[1] - 1), *table.to_numpy().tolist()]
    # A bar inside a cell would end the cell.
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def _text(value: float | None, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)


def _distinct_names(runs: Sequence[Run]) -> list[str]:
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{run.path.parent.name}/{run.name}" if names.count(run.name) > 1 else run.name for run in runs]


def _common_step(runs: Sequence[Run]) -> float:
    steps = {run.name: run.metrics.score_per_slice for run in runs}
    if len(set(steps.values())) > 1:
        raise InputError(
            f"The runs were trained with different scores per slice ({steps}): compare runs of one data set."
        )
    return runs[0].metrics.score_per_slice
