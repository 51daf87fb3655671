"""90 % intervals that hold what they promise, by conformal prediction.

Residuals of fields that the model was not fitted to say how far it may be off; their quantile, with the finite-sample
correction, covers a new image of the same kind with at least the stated probability (Vovk, Gammerman and Shafer 2005;
Lei et al. 2018, J. Am. Stat. Assoc. 113:1094). What is learned differs with what a model gives: ``HalfWidths`` for a
bare score, ``Widening`` for a score distribution.
"""

from math import ceil

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from focus_picker.dataset.errors import InputError
from focus_picker.models.bins import ScoreBins

COVERAGE = 0.9
SIGMA_OF_90 = 1.645  # half width of the 90 % interval of a normal variable, by its standard deviation
IMAGES_PER_BIN = 100  # a 90 % quantile of fewer correlated slices moves by several per cent from split to split
MAX_BINS = 5


def conformal_quantile(residuals: np.ndarray, coverage: float) -> float:
    """Return the ``ceil((n + 1) * coverage)``-th smallest of n residuals: a share ``coverage`` of new ones is below.

    Raises
    ------
    InputError
        If there are too few residuals for any finite bound at this coverage (fewer than 9 at 90 %).
    """
    rank = ceil((residuals.size + 1) * coverage - 1e-9)
    if rank > residuals.size:
        needed = ceil(coverage / (1 - coverage) - 1e-9)
        raise InputError(
            f"There are {residuals.size} labelled images to calibrate intervals on, "
            f"but {coverage:.0%} intervals need at least {needed}: label more stacks."
        )
    return float(np.sort(residuals)[rank - 1])


class HalfWidths(BaseModel):
    """Half width of the interval around a score, by the score's distance from zero (Mondrian conformal prediction).

    Errors grow with the distance from focus: ``half_widths[i]`` holds for ``edges[i - 1] <= |score| < edges[i]``; the
    first bin starts at zero and the last has no end, so there is one edge fewer than half widths. All in score units.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    coverage: float = Field(default=COVERAGE, gt=0, lt=1)
    edges: tuple[float, ...] = ()
    half_widths: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> "HalfWidths":
        if len(self.half_widths) != len(self.edges) + 1:
            raise ValueError(f"{len(self.half_widths)} half widths for {len(self.edges)} edges")
        return self

    def at(self, score: np.ndarray) -> np.ndarray:
        """Return the half width for each score, NaN where the score is NaN."""
        score = np.asarray(score, dtype=float)
        index = np.searchsorted(self.edges, np.abs(score), side="right").clip(max=len(self.edges))
        return np.where(np.isnan(score), np.nan, np.asarray(self.half_widths)[index])


def learn_half_widths(predicted: np.ndarray, label: np.ndarray, coverage: float = COVERAGE) -> HalfWidths:
    """Learn half widths from predictions of images that the model was not fitted to.

    Bins of ``|predicted|`` hold about equally many images, at least ``IMAGES_PER_BIN`` each where there are that many;
    fewer images make one bin. Unlabelled (NaN) images are left out.
    """
    known = np.isfinite(label) & np.isfinite(predicted)
    distance, residuals = np.abs(predicted[known]), np.abs(label - predicted)[known]
    bins = int(np.clip(known.sum() // IMAGES_PER_BIN, 1, MAX_BINS))
    edges = np.unique(np.quantile(distance, np.arange(1, bins) / bins)) if bins > 1 else np.empty(0)
    index = np.searchsorted(edges, distance, side="right")
    if np.bincount(index, minlength=edges.size + 1).min() < IMAGES_PER_BIN // 2:
        # Many equal predictions (a model that hardly varies) leave bins empty: one width for all.
        edges, index = np.empty(0), np.zeros_like(index)
    half_widths = [conformal_quantile(residuals[index == i], coverage) for i in range(edges.size + 1)]
    return HalfWidths(coverage=coverage, edges=tuple(edges.tolist()), half_widths=tuple(half_widths))


class Widening(BaseModel):
    """How far to move a distribution's own 5 % and 95 % points outwards (negative: inwards), score units.

    Conformalised quantile regression (Romano, Patterson and Candes 2019, arXiv:1905.03222): the distribution follows
    each image (wide when both signs are possible), and one learned number makes its quantiles cover what they promise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    coverage: float = Field(default=COVERAGE, gt=0, lt=1)
    widening: float

    def interval(
        self, bins: ScoreBins, distribution: np.ndarray, coverage: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end ``(N,)`` of the interval of each distribution ``(N, bins)``, score units.

        Its ``coverage`` is the one for which it was learned where no other is asked for.
        """
        coverage = self.coverage if coverage is None else coverage
        lower = bins.quantile(distribution, (1 - coverage) / 2) - self.widening
        upper = bins.quantile(distribution, (1 + coverage) / 2) + self.widening
        # A negative widening may turn a very narrow interval over; it is then a point.
        middle = (lower + upper) / 2
        return np.minimum(lower, middle), np.maximum(upper, middle)


def learn_widening(
    bins: ScoreBins, distribution: np.ndarray, label: np.ndarray, coverage: float = COVERAGE
) -> Widening:
    """Learn how far intervals must be moved for them to hold ``coverage`` of the labels.

    Parameters
    ----------
    bins, distribution
        Predicted distributions ``(N, bins)`` of images that the network was not fitted to.
    label
        ``(N,)`` scores, NaN where unlabelled.
    coverage
        Share of labels to hold.
    """
    known = np.isfinite(label)
    as_it_is = Widening(coverage=coverage, widening=0.0)
    lower, upper = as_it_is.interval(bins, distribution[known])
    missed_by = np.maximum(lower - label[known], label[known] - upper)
    return Widening(coverage=coverage, widening=conformal_quantile(missed_by, coverage))
