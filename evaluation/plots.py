"""Pictures of a run and of a comparison.

Each function draws into a ``matplotlib.figure.Figure`` of its own (no pyplot, no global state) and returns it. Colours
are Okabe and Ito's, told apart with any colour vision; every series also differs in marker or is labelled directly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from focus_picker.dataset import pictures
from focus_picker.evaluation.metrics import scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY, PALE = "#666666", "#BBBBBB"
DPI = 110
MAX_POINTS = 4000  # a scatter of more hides its own density; a fixed random choice shows the same


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write ``figure`` in the size of this project's pictures; see :func:`dataset.pictures.save_figure`."""
    pictures.save_figure(figure, path, DPI)


def plot_importance(importance: pd.Series, cues: set[str], top: int = 25) -> "Figure":
    """Draw the ``top`` features by share of total gain; asymmetric ``cues`` in their own colour."""
    shown = importance.head(top)[::-1]
    figure, axes = _figure(7.2, 1.2 + 0.24 * len(shown))
    colours = [COLOURS[1] if name in cues else COLOURS[0] for name in shown.index]
    axes.barh(np.arange(len(shown)), 100 * shown.to_numpy(), color=colours, height=0.72)
    axes.set_yticks(np.arange(len(shown)), list(shown.index), fontsize=8)
    axes.set_xlabel("share of total gain (%)")
    of_cues = importance[[name in cues for name in importance.index]].sum()
    axes.set_title(f"What the baseline uses: the {len(shown)} first of {len(importance)} features", fontsize=10)
    axes.plot([], [], "s", color=COLOURS[0], label=f"focus measures ({1 - of_cues:.0%} of the gain in all)")
    axes.plot([], [], "s", color=COLOURS[1], label=f"asymmetric cues ({of_cues:.0%})")
    axes.legend(loc="lower right", fontsize=8)
    axes.margins(y=0.01)
    return figure


def plot_predicted(table: pd.DataFrame, score_per_slice: float) -> "Figure":
    """Draw predicted against true score (labels where no truth is known), with the band of half a slice."""
    rows = scored(table)
    rows = rows.sample(MAX_POINTS, random_state=0) if len(rows) > MAX_POINTS else rows
    known = len(rows) > 0 and rows["true_score"].notna().all()
    figure, axes = _figure(5.4, 5.2)
    true = rows["true_score"] if known else rows["focus_score"]
    limit = 1.05 * max(true.abs().max(), rows["predicted"].abs().max(), score_per_slice) if len(rows) else 1.0
    ends = np.array([-limit, limit])
    axes.fill_between(
        ends, ends - score_per_slice / 2, ends + score_per_slice / 2, color="#DDDDDD", label="half a slice"
    )
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    axes.plot(true, rows["predicted"], "o", color=COLOURS[0], markersize=2.5, alpha=0.45, markeredgewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.axvline(0, color=GREY, linewidth=0.5)
    axes.set(xlim=ends, ylim=ends, aspect="equal", ylabel="predicted focus score")
    axes.set_xlabel("true focus score" if known else "labelled focus score (steps of one slice)")
    axes.set_title(f"Test images: predicted against {'true' if known else 'labelled'}", fontsize=10)
    axes.legend(loc="upper left", fontsize=8)
    return figure


def plot_error_by_score(runs: dict[str, list[dict[str, float]]], floor: float, score_per_slice: float) -> "Figure":
    """Draw the MAE in bins of ``|label|``; ``runs`` maps a name to ``evaluation.metrics.by_score``."""
    figure, axes = _figure(6.4, 4.0)
    _draw_by_score(axes, runs, "mae", score_per_slice)
    axes.axhline(floor, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        "label floor", (1, floor), (-2, 2), ("axes fraction", "data"), "offset points", ha="right", fontsize=8
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("MAE (score units)")
    axes.set_title("Error by distance from focus", fontsize=10)
    return figure


def plot_sign_by_score(runs: dict[str, list[dict[str, float]]], score_per_slice: float) -> "Figure":
    """Draw the share of right signs in bins of ``|label|``; ``runs`` as in ``plot_error_by_score``."""
    figure, axes = _figure(6.4, 4.0)
    _draw_signs(axes, runs, score_per_slice)
    return figure


def plot_comparison(rows: pd.DataFrame, runs: dict[str, list[dict[str, float]]], score_per_slice: float) -> "Figure":
    """Draw MAE, error by score and sign accuracy by score of several runs side by side.

    Parameters
    ----------
    rows
        One row a bar, from the top: columns ``name``, ``mae``, ``mae_rounded`` (a mark in the bar), ``label_floor`` and
        ``is_run`` (controls are paler).
    runs
        By name: the runs' ``by_score`` lists.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, max(3.8, 1.6 + 0.34 * len(rows))), layout="constrained")
    bars, error, sign = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    _draw_bars(bars, rows, list(runs))
    _draw_by_score(error, runs, "mae", score_per_slice)
    error.set(ylabel="MAE (score units)", title="Error by distance from focus")
    error.set_ylim(bottom=0)
    _draw_signs(sign, runs, score_per_slice)
    for axes in (bars, error, sign):
        axes.title.set_fontsize(10)
    return figure


def _draw_bars(axes: "Axes", rows: pd.DataFrame, run_names: list[str]) -> None:
    rows = rows[::-1]  # barh counts from below
    positions = np.arange(len(rows))
    kinds = zip(rows["name"], rows["is_run"], strict=True)
    colours = [_style(run_names.index(name))[0] if is_run else PALE for name, is_run in kinds]
    axes.barh(positions, rows["mae"], color=colours, height=0.7)
    for position, value in zip(positions, rows["mae"], strict=True):
        axes.annotate(f"{value:.3f}", (value, position), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(rows["label_floor"].iloc[-1], color=GREY, linestyle="--", linewidth=1, label="label floor")
    if rows["mae_rounded"].notna().any():
        axes.plot(rows["mae_rounded"], positions, "|", color="black", markersize=12, label="rounded as the labels are")
    axes.set_yticks(positions, list(rows["name"]), fontsize=8)
    axes.set_xlim(0, 1.15 * rows["mae"].max())
    axes.set(xlabel="test MAE (score units)", title="Error on the test images")
    axes.legend(loc="lower right", fontsize=8)


def _draw_signs(axes: "Axes", runs: dict[str, list[dict[str, Any]]], score_per_slice: float) -> None:
    _draw_by_score(axes, runs, "sign_accuracy", score_per_slice, factor=100)
    lowest = min(95.0, axes.get_ylim()[0])
    axes.set_ylim(lowest, 100 + 0.04 * (100 - lowest))  # there is no share above 100 %
    axes.set_ylabel("right side of focus (%)")
    axes.set_title("Sign accuracy by distance from focus", fontsize=10)


def _draw_by_score(
    axes: "Axes", runs: dict[str, list[dict[str, Any]]], key: str, score_per_slice: float, factor: float = 1
) -> None:
    bins = sorted({(entry["from_slices"], entry["to_slices"]) for entries in runs.values() for entry in entries})
    for i, (name, entries) in enumerate(runs.items()):
        values = {entry["from_slices"]: entry[key] for entry in entries}
        colour, marker = _style(i)
        heights = [factor * values.get(start, np.nan) for start, _ in bins]
        axes.plot(range(len(bins)), heights, color=colour, marker=marker, label=name)
    axes.set_xticks(range(len(bins)), [bin_title(*ends) for ends in bins], fontsize=8)
    axes.set_xlim(-0.3, len(bins) - 0.7)  # also where the first bin has no sign to show
    axes.set_xlabel(f"distance of the label from focus (slices of {score_per_slice:g})")
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.legend(loc="best", fontsize=8)


def bin_title(start: float, end: float) -> str:
    """Name a bin by the whole slices in it: edges lie at halves."""
    first, last = int(np.ceil(start)), np.floor(end)
    if not np.isfinite(last):
        return f"{first} or more"
    return str(first) if last == first else f"{first} to {int(last)}"


def _style(i: int) -> tuple[str, str]:
    return COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def plot_history(history: pd.DataFrame) -> "Figure":
    """Draw training loss and validation error by epoch, one colour a network; a dotted line where a phase begins.

    Parameters
    ----------
    history
        Columns ``model``, ``phase``, ``loss`` and ``validation_mae``, in the order of training.
    """
    figure, loss = _figure(7.0, 6.0)
    loss.remove()
    loss, error = figure.subplots(2, 1, sharex=True)
    for i, (name, rows) in enumerate(history.groupby("model", sort=False)):
        colour, marker = _style(i)
        epochs = np.arange(1, len(rows) + 1)
        for axes, column in ((loss, "loss"), (error, "validation_mae")):
            axes.plot(epochs, rows[column], color=colour, marker=marker, markersize=3, label=name)
            for start in np.flatnonzero(rows["phase"].to_numpy()[1:] != rows["phase"].to_numpy()[:-1]):
                axes.axvline(start + 1.5, color=colour, linestyle=":", linewidth=1)
    loss.set_ylabel("training loss")
    error.set_ylabel("validation MAE (score units)")
    error.set_yscale("log")
    for set_formatter in (error.yaxis.set_major_formatter, error.yaxis.set_minor_formatter):
        set_formatter("{x:g}")
    error.set_xlabel("epoch")
    loss.legend(frameon=False)
    loss.set_title("Training")
    return figure
