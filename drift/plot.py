"""Picture of a comparison: how far each quantity moved, and the distributions that tell most."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focus_picker.drift.comparison import Comparison
from focus_picker.drift.profile import UNSURE, Distribution
from focus_picker.drift.samples import count_sentence
from focus_picker.drift.statistics import cumulative
from focus_picker.drift.verdict import LEVELS, QuantityDrift, headline
from focus_picker.evaluation.plots import COLOURS, GREY, PALE, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE_COLOUR, NEW_COLOUR = COLOURS[0], COLOURS[1]
LEVEL_COLOURS = {"no drift": PALE, "some drift": COLOURS[4], "drift": COLOURS[1]}
BARS, PANELS, SHARE_BINS = 15, 6, 24
ALWAYS_SHOWN = ("score", "interval_width", "brightness", "chroma")
UNITS = {
    "score": "score",
    "interval_width": "score units",
    "brightness": "grey levels",
    "chroma": "grey levels",
    "contrast": "grey levels",
}
TAIL = 0.002  # of a distribution that may lie outside a panel, so that one odd image does not squeeze it


def plot_drift(comparison: Comparison, output: str | Path) -> None:
    """Draw a comparison to a picture of less than 300 KB; see :func:`evaluation.plots.save_figure`."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = Figure(figsize=(12.5, 6.4), layout="constrained")
    bars, panels = np.asarray(figure.subfigures(1, 2, width_ratios=(1, 1.45)))
    _draw_bars(bars.add_subplot(), comparison.rows[:BARS])
    bars.legend(loc="outside lower center", ncols=2, fontsize=8)
    grid = panels.subplots(2, PANELS // 2)
    for axes, row in zip(grid.flat, shown_rows(comparison.rows), strict=True):
        _draw_distributions(axes, comparison, row)
    for axes in grid[:, 0]:
        axes.set_ylabel("images (%)", fontsize=8)
    panels.legend(
        [Patch(color=REFERENCE_COLOUR, alpha=0.5), Line2D([], [], color=NEW_COLOUR, linewidth=1.6)],
        [
            f"reference: {count_sentence(comparison.profile.n_images, comparison.profile.n_groups)}",
            f"new: {comparison.new}",
        ],
        loc="outside lower center",
        ncols=2,
        fontsize=8,
    )
    figure.suptitle(headline(comparison.rows), fontsize=11, fontweight="bold")
    save_figure(figure, output)


def shown_rows(rows: Sequence[QuantityDrift]) -> list[QuantityDrift]:
    """Rows whose distributions are drawn: those that everybody asks for, then what moved most."""
    by_name = {row.quantity: row for row in rows if row.quantity != UNSURE}
    first = [by_name[name] for name in ALWAYS_SHOWN if name in by_name]
    return [*first, *(row for row in by_name.values() if row not in first)][:PANELS]


def _draw_bars(axes: "Axes", rows: Sequence[QuantityDrift]) -> None:
    """PSI of each row, and the limit that chance sets it."""
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [row.psi for row in rows], color=[LEVEL_COLOURS[row.level] for row in rows], height=0.7)
    axes.plot([row.psi_chance for row in rows], places, "|", color="black", markersize=11, markeredgewidth=1.5)
    for (level, psi), side in zip(LEVELS.items(), ("", "right", "left"), strict=True):
        axes.plot([], [], "s", color=LEVEL_COLOURS[level], label=level)
        if psi:
            axes.axvline(psi, color=GREY, linestyle="--", linewidth=0.8)
            axes.annotate(f"{psi:g}", (psi, 1), (0, 2), ("data", "axes fraction"), "offset points", ha=side, fontsize=7)
    axes.plot([], [], "|", color="black", markersize=9, markeredgewidth=1.5, label="chance: 95 % stay below")
    axes.set_yticks(places, [row.quantity for row in rows], fontsize=8)
    axes.set_xlabel("population stability index (PSI)", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(y=0.01)


def _draw_distributions(axes: "Axes", comparison: Comparison, row: QuantityDrift) -> None:
    """Shares of the reference's and of the new images in common bins."""
    reference = comparison.profile.distributions[row.quantity]
    values = comparison.new.quantities[row.quantity]
    values = values[np.isfinite(values)]
    edges = _common_edges(reference, values)
    expected = 100 * np.diff(cumulative(reference.quantiles, edges)[1])
    found = 100 * np.histogram(values, edges)[0] / len(values)
    axes.stairs(expected, edges, fill=True, color=REFERENCE_COLOUR, alpha=0.35)
    axes.stairs(expected, edges, color=REFERENCE_COLOUR, linewidth=1)
    axes.stairs(found, edges, color=NEW_COLOUR, linewidth=1.6)
    axes.set_title(f"{row.quantity}: {row.level}", fontsize=8)
    axes.set_xlabel(UNITS.get(row.quantity, ""), fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)


def _common_edges(reference: Distribution, values: np.ndarray) -> np.ndarray:
    """Edges of bins that hold both distributions but for their outermost tails."""
    low = min(reference.quantiles[1], np.quantile(values, TAIL))
    high = max(reference.quantiles[-2], np.quantile(values, 1 - TAIL))
    margin = 0.03 * (high - low) or 0.5
    return np.linspace(low - margin, high + margin, SHARE_BINS + 1)
