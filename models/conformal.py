"""Intervals that hold their promise: split-conformal prediction, scaled locally.

Residuals of fields that the model was not fitted to say how far it may be off; their quantile, with the finite-sample
correction, covers a new image of the same kind with at least the stated probability (Vovk, Gammerman and Shafer 2005;
Lei et al. 2018, J. Am. Stat. Assoc. 113:1094). Errors grow with the distance from focus, so there is one quantile per
bin of the predicted ``|score|`` (Mondrian conformal prediction): narrow intervals near focus, wide ones far out.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from focus_picker.dataset.errors import InputError

IMAGES_PER_BIN = 100  # a 90 % quantile of fewer correlated slices moves by several per cent from split to split
MAX_BINS = 5


@dataclass(frozen=True)
class HalfWidths:
    """Half width of the interval around a prediction, by its distance from zero.

    ``half_widths[i]`` holds for ``edges[i - 1] <= |predicted| < edges[i]``; the first bin starts at zero and the last
    has no end, so there is one edge fewer than half widths. All in score units.
    """

    coverage: float
    edges: tuple[float, ...]
    half_widths: tuple[float, ...]

    def at(self, predicted: np.ndarray) -> np.ndarray:
        """Return the half width for each prediction, NaN where the prediction is NaN."""
        predicted = np.asarray(predicted, dtype=float)
        index = np.searchsorted(self.edges, np.abs(predicted), side="right").clip(max=len(self.edges))
        return np.where(np.isnan(predicted), np.nan, np.asarray(self.half_widths)[index])

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers and lists."""
        return {"coverage": self.coverage, "edges": list(self.edges), "half_widths": list(self.half_widths)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "HalfWidths":
        """Build from what ``to_json`` gave; KeyError, TypeError or ValueError where the form is wrong."""
        edges = tuple(float(edge) for edge in values["edges"])
        half_widths = tuple(float(width) for width in values["half_widths"])
        if len(half_widths) != len(edges) + 1:
            raise ValueError(f"{len(half_widths)} half widths for {len(edges)} edges")
        return cls(float(values["coverage"]), edges, half_widths)


def conformal_quantile(residuals: np.ndarray, coverage: float) -> float:
    """Return the ``ceil((n + 1) * coverage)``-th smallest absolute residual.

    Raises
    ------
    InputError
        If there are too few residuals for any finite bound at this coverage (fewer than 9 at 90 %).
    """
    residuals = np.sort(np.abs(residuals))
    rank = ceil((residuals.size + 1) * coverage - 1e-9)
    if rank > residuals.size:
        needed = ceil(coverage / (1 - coverage) - 1e-9)
        raise InputError(
            f"There are {residuals.size} labelled images to calibrate intervals on, "
            f"but {coverage:.0%} intervals need at least {needed}: label more stacks."
        )
    return float(residuals[rank - 1])


def calibrate(predicted: np.ndarray, label: np.ndarray, coverage: float = 0.9) -> HalfWidths:
    """Learn half widths from predictions of images that the model was not fitted to.

    Bins of ``|predicted|`` hold about equally many images, at least ``IMAGES_PER_BIN`` each where there are that many;
    fewer images make one bin. Unlabelled (NaN) images are left out.
    """
    known = np.isfinite(label) & np.isfinite(predicted)
    distance, residuals = np.abs(predicted[known]), (label - predicted)[known]
    bins = int(np.clip(known.sum() // IMAGES_PER_BIN, 1, MAX_BINS))
    edges = np.unique(np.quantile(distance, np.arange(1, bins) / bins)) if bins > 1 else np.empty(0)
    index = np.searchsorted(edges, distance, side="right")
    if np.bincount(index, minlength=edges.size + 1).min() < IMAGES_PER_BIN // 2:
        # Many equal predictions (a model that hardly varies) leave bins empty: one width for all.
        edges, index = np.empty(0), np.zeros_like(index)
    half_widths = [conformal_quantile(residuals[index == i], coverage) for i in range(edges.size + 1)]
    return HalfWidths(coverage, tuple(edges.tolist()), tuple(half_widths))
