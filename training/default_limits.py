"""How much the default model may say: set by kinds of microscope that it had not met when it was asked.

A laboratory's microscope is a stranger. What a model gets confidently wrong on strangers is therefore measured with
whole kinds left out of training, and the limit on doubt is the loosest at which no such kind has more than
``WRONG_ALLOWED`` of its images called on the wrong side.
"""

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from focus_picker.deep.competence import other_side
from focus_picker.evaluation.sides import confidently_wrong, side_figures
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.models.focus_state import UNSURE, focus_state
from focus_picker.models.intervals import Widening, learn_widening

WRONG_ALLOWED = 0.01  # of the images of any kind: not unsure, wrong side, beyond two slices
LIMITS = np.round(np.geomspace(0.5, 0.001, 80), 4)  # tried for the probability of the other side, loosest first


class Limits(BaseModel):
    """What strangers taught.

    Attributes
    ----------
    intervals
        Widening with which the intervals hold 90 % of the strangers' images.
    other_side
        Greatest probability of the side opposite to the score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    intervals: Widening
    other_side: float


def learn_limits(distribution: np.ndarray, score: np.ndarray, kind: np.ndarray, score_per_slice: float) -> Limits:
    """Learn from distributions ``(N, bins)`` of images whose ``kind`` ``(N,)`` the network has not met."""
    intervals, median = learn_widening(DEFAULT_BINS, distribution, score), DEFAULT_BINS.quantile(distribution, 0.5)
    for limit in LIMITS:
        limits = Limits(intervals=intervals, other_side=limit)
        sure = is_sure(distribution, limits, score_per_slice)
        wrong = confidently_wrong(median, score, sure, score_per_slice)
        if pd.Series(wrong).groupby(kind).mean().max() <= WRONG_ALLOWED:
            break
    return limits


def is_sure(distribution: np.ndarray, limits: Limits, score_per_slice: float) -> np.ndarray:
    """Which images ``(N,)`` get a side."""
    lower, upper = limits.intervals.interval(DEFAULT_BINS, distribution)
    median = DEFAULT_BINS.quantile(distribution, 0.5)
    decided = focus_state(median, lower, upper, score_per_slice) != UNSURE
    return decided & (other_side(DEFAULT_BINS, distribution) <= limits.other_side)


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
    return pd.DataFrame(rows).drop(columns="sign")
