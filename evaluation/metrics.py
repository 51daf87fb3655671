"""How good a table of predictions is.

Pure functions of a predictions table (columns ``focus_score`` for the label, ``true_score``, ``predicted``, ``lower``,
``upper``; NaN where unknown) and of ``score_per_slice``, the score between neighbouring slices. Images without a label
or without a prediction are left out. A new metric is one function and one line in ``METRICS`` (a column of every
table) or in ``BY_SCORE`` (a figure for each bin of ``|label|``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from focus_picker.evaluation.sides import tells_sides

Metric = Callable[[pd.DataFrame, float], float]

# In slices. Labels are whole slices, so edges at halves leave no label on an edge; the first bin is "in focus".
SCORE_BINS = (0.0, 0.5, 1.5, 2.5, 3.5, 5.5, np.inf)
ROUNDING = 1e-6  # of a slice: 0.6000001 read from a file is still three slices of 0.2
FINEST_GRID = 0.1  # of a slice; a finer step is the number of digits in the file, not a rounding to slices
GRID_TOLERANCE = 1e-3  # of a grid step: files keep six digits


@dataclass(frozen=True)
class Column:
    """One metric as a column of a table: what computes it, its heading, how its values are printed."""

    compute: Metric
    title: str
    form: str = ".3f"


def _error(table: pd.DataFrame) -> pd.Series:
    return (table["predicted"] - table["focus_score"]).abs()


def _mean(values: pd.Series) -> float:
    """Mean of the known values, NaN when there is none."""
    return float(values.mean())


def n_images(table: pd.DataFrame, score_per_slice: float) -> float:
    """Count the labelled and predicted images."""
    return float(len(table))


def mae(table: pd.DataFrame, score_per_slice: float) -> float:
    """Mean absolute error against the labels, in score units."""
    return _mean(_error(table))


def mae_rounded(table: pd.DataFrame, score_per_slice: float) -> float:
    """Mean absolute error of predictions rounded to the labels' own grid, in score units; NaN where they have none.

    Labels that name the nearest slice favour a model that has learned to round over one that knows focus between
    slices. Rounded, both are judged alike, and a perfect model has no error.
    """
    return mae(rounded_to_labels(table, score_per_slice), score_per_slice)


def rounded_to_labels(table: pd.DataFrame, score_per_slice: float) -> pd.DataFrame:
    """Return the table with predictions rounded to the labels' own grid; NaN where the labels have none."""
    step = label_grid(table["focus_score"], score_per_slice)
    return table.assign(predicted=np.nan if step is None else step * (table["predicted"] / step).round())


def label_grid(labels: pd.Series, score_per_slice: float) -> float | None:
    """Return the step that all labels are multiples of, in score units; None where there is no such step.

    Labels by slice are multiples of ``score_per_slice``, or of a part of it where stacks have different steps.
    """
    distances = np.unique(labels.abs().dropna())
    gaps = np.diff(distances, prepend=0.0)
    step = float(gaps[gaps > GRID_TOLERANCE * score_per_slice].min(initial=score_per_slice))
    off_grid = np.abs(distances / step - (distances / step).round()).max(initial=0.0)
    return step if len(distances) and step > FINEST_GRID * score_per_slice and off_grid < GRID_TOLERANCE else None


def median_error(table: pd.DataFrame, score_per_slice: float) -> float:
    """Median absolute error against the labels, in score units."""
    return float(_error(table).median())


def p90_error(table: pd.DataFrame, score_per_slice: float) -> float:
    """Return what nine in ten absolute errors stay below, in score units (linear interpolation)."""
    return float(_error(table).quantile(0.9))


def rmse(table: pd.DataFrame, score_per_slice: float) -> float:
    """Root of the mean squared error against the labels, in score units."""
    return float(np.sqrt(_mean(_error(table) ** 2)))


def spearman(table: pd.DataFrame, score_per_slice: float) -> float:
    """Rank correlation of prediction and label; NaN where either is constant."""
    ranks = table[["predicted", "focus_score"]].rank()
    if len(ranks) < 2 or (ranks.std() == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks["predicted"], ranks["focus_score"])[0, 1])


def label_floor(table: pd.DataFrame, score_per_slice: float) -> float:
    """Mean absolute error that a perfect model would have against these labels, in score units.

    A label names the nearest slice, the truth lies up to half a slice away from it. Where the truth is known (simulated
    data) the floor is the mean ``|true_score - focus_score|``, elsewhere a quarter of a slice: the mean distance of a
    uniform offset within half a slice. ``floor_source`` says which. A model that learns to round as labels do can go
    below it without knowing focus any better: ``mae_rounded`` and ``mae_truth`` tell.
    """
    if floor_source(table) == "truth":
        return _mean((table["true_score"] - table["focus_score"]).abs())
    return score_per_slice / 4 if len(table) else float("nan")


def floor_source(table: pd.DataFrame) -> str:
    """Say where ``label_floor`` comes from: ``truth`` when every image has a true score, else ``quarter slice``."""
    return "truth" if len(table) and table["true_score"].notna().all() else "quarter slice"


def mae_truth(table: pd.DataFrame, score_per_slice: float) -> float:
    """Mean absolute error against the continuous true score, in score units; NaN where no truth is known."""
    return _mean((table["predicted"] - table["true_score"]).abs())


def mae_unsigned(table: pd.DataFrame, score_per_slice: float) -> float:
    """Mean ``||predicted| - |label||``: what is left of the error once the side of focus is given for free."""
    return _mean((table["predicted"].abs() - table["focus_score"].abs()).abs())


def sign_accuracy(table: pd.DataFrame, score_per_slice: float) -> float:
    """Share of right signs among images whose ``|label|`` is strictly more than one slice.

    Nearer to focus the sign is of no consequence and, with labels rounded to slices, not even defined. A prediction
    of exactly zero is wrong. NaN where all those images lie on one side: naming it always would be right.
    """
    least = score_per_slice * (1 + ROUNDING)
    beyond = table[table["focus_score"].abs() > least]
    return _mean(_right_sign(beyond)) if tells_sides(beyond["focus_score"], least) else float("nan")


def _right_sign(table: pd.DataFrame) -> pd.Series:
    return (np.sign(table["predicted"]) == np.sign(table["focus_score"])).astype(float)


def coverage(table: pd.DataFrame, score_per_slice: float) -> float:
    """Share of labels inside their interval, ends included; NaN where no interval is given."""
    given = table[table["lower"].notna() & table["upper"].notna()]
    return _mean(((given["lower"] <= given["focus_score"]) & (given["focus_score"] <= given["upper"])).astype(float))


def interval_width(table: pd.DataFrame, score_per_slice: float) -> float:
    """Mean width of the intervals, in score units; NaN where none is given."""
    return _mean(table["upper"] - table["lower"])


def all_signs(table: pd.DataFrame, score_per_slice: float) -> float:
    """Share of right signs among all images whose label is not zero."""
    return _mean(_right_sign(table[table["focus_score"] != 0]))


METRICS: dict[str, Column] = {
    "n_images": Column(n_images, "images", ".0f"),
    "mae": Column(mae, "MAE"),
    "mae_rounded": Column(mae_rounded, "MAE rounded"),
    "median_error": Column(median_error, "median error"),
    "p90_error": Column(p90_error, "p90 error"),
    "label_floor": Column(label_floor, "label floor"),
    "mae_truth": Column(mae_truth, "MAE against truth"),
    "mae_unsigned": Column(mae_unsigned, "MAE of |score|"),
    "rmse": Column(rmse, "RMSE"),
    "spearman": Column(spearman, "Spearman"),
    "sign_accuracy": Column(sign_accuracy, "sign beyond 1 slice", ".1%"),
    "coverage": Column(coverage, "coverage of intervals", ".1%"),
    "interval_width": Column(interval_width, "interval width"),
}

BY_SCORE: dict[str, Metric] = {
    "n_images": n_images,
    "mae": mae,
    "sign_accuracy": all_signs,
    "coverage": coverage,
}


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows that have both a label and a prediction."""
    return table[table["focus_score"].notna() & table["predicted"].notna()]


def by_score(table: pd.DataFrame, score_per_slice: float) -> list[dict[str, float]]:
    """Evaluate ``BY_SCORE`` in bins of ``|label|``; bins without an image are left out.

    Returns
    -------
    list of dict
        ``from_slices`` and ``to_slices`` (the last is infinite), then one entry for each member of ``BY_SCORE``.
        ``sign_accuracy`` of the first bin, around focus, counts only labels other than zero; it is NaN in all bins
        where all labels have one sign.
    """
    table = scored(table)
    one_sided = {} if tells_sides(table["focus_score"], 0) else {"sign_accuracy": float("nan")}
    index = np.digitize(table["focus_score"].abs() / score_per_slice, SCORE_BINS[1:-1])
    return [
        {"from_slices": SCORE_BINS[i], "to_slices": SCORE_BINS[i + 1]}
        | {name: compute(table[index == i], score_per_slice) for name, compute in BY_SCORE.items()}
        | one_sided
        for i in np.unique(index)
    ]


def evaluate(table: pd.DataFrame, score_per_slice: float) -> dict[str, Any]:
    """Evaluate every metric.

    Returns
    -------
    dict
        ``METRICS`` by name, ``label_grid`` (None where the labels have none), ``label_floor_source`` and the list
        ``by_score``.
    """
    rows = scored(table)
    values: dict[str, Any] = {name: column.compute(rows, score_per_slice) for name, column in METRICS.items()}
    return values | {
        "n_images": len(rows),
        "label_grid": label_grid(rows["focus_score"], score_per_slice),
        "label_floor_source": floor_source(rows),
        "by_score": by_score(rows, score_per_slice),
    }


def field_sums(table: pd.DataFrame) -> pd.DataFrame:
    """Return the sum of absolute errors and the number of images of each field: columns ``error`` and ``images``."""
    rows = scored(table)
    grouped = _error(rows).groupby(rows["field"])
    return pd.DataFrame({"error": grouped.sum(), "images": grouped.size()})


def paired_bootstrap(
    table: pd.DataFrame, reference: pd.DataFrame, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, float]:
    """Estimate how far the MAE of ``table`` differs from that of ``reference`` on the same images.

    Images of one field share cells, optics and stain, so whole fields are drawn with replacement (cluster bootstrap,
    percentile interval). Both tables see the same draw: what is hard for both cancels.

    Parameters
    ----------
    table, reference
        Predictions of the same labelled images by two models.
    resamples
        Number of random draws of fields.
    level
        Share of the draws that lies inside the interval.
    seed
        Seed of the random draws.

    Returns
    -------
    dict
        ``difference`` (negative: ``table`` is better), ``lower`` and ``upper`` in score units, ``fields``.

    Raises
    ------
    ValueError
        If the tables do not hold the same fields with the same number of images.
    """
    sums, other = field_sums(table), field_sums(reference)
    if not sums["images"].equals(other["images"]):
        raise ValueError("The two tables do not hold the same images.")
    images, gap = sums["images"].to_numpy(), (sums["error"] - other["error"]).to_numpy()
    fields = len(sums)
    if not fields:
        return {"difference": np.nan, "lower": np.nan, "upper": np.nan, "fields": 0}
    draws = np.random.default_rng(seed).multinomial(fields, np.full(fields, 1 / fields), size=resamples)
    differences = (draws @ gap) / (draws @ images)
    lower, upper = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return {
        "difference": float(gap.sum() / images.sum()),
        "lower": float(lower),
        "upper": float(upper),
        "fields": fields,
    }
