"""How much the default model may say: set by kinds of microscope that it had not met when it was asked.

A laboratory's microscope is a stranger. What a model gets wrong on strangers is therefore measured with whole kinds
left out of training. It tells a side by an interval with which few enough of theirs are wrong, and of any other kind's;
and as a real stranger is stranger than a simulated one, by the widest that still leaves enough images a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from focus_picker.evaluation.sides import side_figures
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.models.focus_state import UNSURE, focus_state
from focus_picker.models.intervals import Widening, learn_widening

WRONG_ALLOWED = 0.01  # of the images of any kind: not unsure, wrong side, beyond two slices
RIGHT_ASKED = 0.97  # of the sides told beyond one slice, of any kind
UNSURE_ALLOWED = 0.4  # of the images with colour, on the mean of the kinds
COVERAGES = np.round(np.arange(0.5, 0.991, 0.01), 2)  # tried for the interval that tells the side, loosest first
KIND_COLUMNS = ["kind", "images", "spearman", "mae", "sign_where_sure", "unsure", "confidently_wrong"]
GREY = "grey"  # images without colour count as a kind of their own
GREY_CHROMA = 2.0  # of an image without colour at most: mean difference of its channels, grey levels


class Limits(BaseModel):
    """What strangers taught.

    Attributes
    ----------
    intervals
        Widening with which the intervals hold 90 % of the strangers' images.
    side_coverage
        Coverage of the interval that tells the side.
    least_chroma
        Of an image that gets a side: 0 where images without colour may.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    intervals: Widening
    side_coverage: float
    least_chroma: float = 0.0


@dataclass(frozen=True)
class Asked:
    """What a network says about images.

    Attributes
    ----------
    distribution
        ``(N, bins)``.
    score
        ``(N,)`` true scores.
    kind
        ``(N,)`` names.
    chroma
        ``(N,)`` of the images, see :func:`deep.competence.image_properties`.
    """

    distribution: np.ndarray
    score: np.ndarray
    kind: np.ndarray
    chroma: np.ndarray

    @property
    def grey(self) -> np.ndarray:
        """Which images ``(N,)`` have no colour."""
        return self.chroma <= GREY_CHROMA

    def select(self, chosen: np.ndarray) -> "Asked":
        """Those images."""
        return Asked(self.distribution[chosen], self.score[chosen], self.kind[chosen], self.chroma[chosen])


def learn_limits(strangers: Asked, met: Asked, score_per_slice: float) -> Limits:
    """Learn from images of kinds that were not met, and of all kinds from the network that has met them.

    Strangers widen the intervals. Images with colour set the coverage: the tightest that leaves no more of them
    ``unsure`` than allowed; where some kind would be wrong too often at that, the loosest with which none is. Where
    images without colour are wrong too often at that, they get no side at all, as one coverage for both would silence
    the others.
    """
    intervals = learn_widening(DEFAULT_BINS, strangers.distribution, strangers.score)
    groups = [(one.select(~one.grey), one.select(one.grey)) for one in (strangers, met)]
    coloured, grey = ([group[at] for group in groups] for at in (0, 1))
    tried = [Limits(intervals=intervals, side_coverage=float(coverage)) for coverage in COVERAGES]
    right = [limits for limits in tried if all(right_enough(one, limits, score_per_slice) for one in coloured)]
    telling = [limits for limits in right if unsure(coloured, limits, score_per_slice) <= UNSURE_ALLOWED]
    chosen = telling[-1] if telling else (right or tried[-1:])[0]
    if not all(right_enough(one, chosen, score_per_slice) for one in grey):
        return chosen.model_copy(update={"least_chroma": GREY_CHROMA})
    return chosen


def unsure(asked: Sequence[Asked], limits: Limits, score_per_slice: float) -> float:
    """Share of images that get no side with these limits, on the mean of the kinds."""
    return float(pd.concat([limited_table(one, limits, score_per_slice) for one in asked])["unsure"].mean())


def right_enough(asked: Asked, limits: Limits, score_per_slice: float) -> bool:
    """Whether no kind has too many images on the wrong side with these limits."""
    table = limited_table(asked, limits, score_per_slice)
    # The share of right sides is NaN where no side is told.
    return not ((table["confidently_wrong"] > WRONG_ALLOWED) | (table["sign_where_sure"] < RIGHT_ASKED)).any()


def limited_table(asked: Asked, limits: Limits, score_per_slice: float) -> pd.DataFrame:
    """Figures of each kind with these limits; images without colour are a kind."""
    kind = np.where(asked.grey, GREY, asked.kind)
    said = DEFAULT_BINS.quantile(asked.distribution, 0.5)
    return kinds_table(said, is_sure(asked, limits, score_per_slice), asked.score, kind, score_per_slice)


def is_sure(asked: Asked, limits: Limits, score_per_slice: float) -> np.ndarray:
    """Which images ``(N,)`` get a side."""
    lower, upper = limits.intervals.interval(DEFAULT_BINS, asked.distribution, limits.side_coverage)
    state = focus_state(DEFAULT_BINS.quantile(asked.distribution, 0.5), lower, upper, score_per_slice)
    return (state != UNSURE) & (asked.chroma >= limits.least_chroma)


def kinds_table(
    said: np.ndarray, sure: np.ndarray, score: np.ndarray, kind: np.ndarray, score_per_slice: float
) -> pd.DataFrame:
    """Figures of each kind: Spearman, error, sign beyond one slice where sure, share unsure, confidently wrong.

    ``said`` are the predicted scores ``(N,)`` and ``sure`` whether they come with a side, ``score`` is the truth.
    """
    rows = []
    for name in pd.unique(kind):
        own = kind == name
        figures = side_figures(said[own], score[own], sure[own], score_per_slice)
        rows.append({"kind": name, "images": int(own.sum()), **figures})
    return pd.DataFrame(rows, columns=KIND_COLUMNS)
