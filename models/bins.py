"""Score bins: a score as a distribution, and a distribution as a score.

A network that predicts a distribution over bins can say "far out, but either side is possible", which one number
cannot. Its median minimises the expected absolute error, the figure by which the score is judged.
"""

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field
from pydantic.dataclasses import dataclass

LOWER_QUANTILE, UPPER_QUANTILE = 0.16, 0.84  # their half distance is the spread: one sigma of a normal distribution


@dataclass(frozen=True)
class ScoreBins:
    """Equal bins of score.

    Attributes
    ----------
    low, high
        Outer edges, score units.
    count
        Number of bins.
    """

    low: float
    high: float
    count: int = Field(ge=2, le=1000)

    def __post_init__(self) -> None:
        """Refuse edges that are out of order or no numbers."""
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"bins from {self.low} to {self.high}; expected two finite edges, the lower one first")

    @property
    def width(self) -> float:
        """Width of a bin, score units."""
        return (self.high - self.low) / self.count

    @property
    def centres(self) -> np.ndarray:
        """Bin centres ``(count,)``."""
        return self.low + self.width * (np.arange(self.count) + 0.5)

    def soft_labels(self, score: ArrayLike, sigma: float) -> np.ndarray:
        """Spread each score over the bins as a normal distribution of width ``sigma``.

        Parameters
        ----------
        score
            ``(N,)``; NaN (unlabelled) gives a row of zeros, which costs nothing in a cross-entropy.
        sigma
            Score units; about what a label is uncertain by.

        Returns
        -------
        np.ndarray
            ``(N, count)`` float32, rows of labelled images sum to 1.
        """
        distance = (np.asarray(score, dtype=float)[:, None] - self.centres[None, :]) / sigma
        weights = np.exp(-0.5 * (distance**2 - np.nanmin(distance**2, axis=1, initial=np.inf, keepdims=True)))
        weights = np.nan_to_num(weights / weights.sum(axis=1, keepdims=True))
        return weights.astype(np.float32)

    def quantile(self, distribution: np.ndarray, level: float) -> np.ndarray:
        """Score below which ``level`` of each distribution ``(N, count)`` lies, linear within a bin."""
        before = np.cumsum(distribution, axis=1) - distribution
        share = np.clip((level - before) / np.maximum(distribution, 1e-6), 0, 1)
        return self.low + self.width * share.sum(axis=1)

    def spread(self, distribution: np.ndarray) -> np.ndarray:
        """Half the distance of the outer quantiles of each distribution: one sigma of a normal one."""
        return (self.quantile(distribution, UPPER_QUANTILE) - self.quantile(distribution, LOWER_QUANTILE)) / 2

    def widened(self, largest: float) -> "ScoreBins":
        """Bins of the same width that reach beyond ``largest`` on both sides."""
        extra = max(0, int(np.ceil((largest - self.high) / self.width)))
        return ScoreBins(self.low - extra * self.width, self.high + extra * self.width, self.count + 2 * extra)


DEFAULT_BINS = ScoreBins(-2.05, 2.05, 41)  # half a slice of 0.2 wide, a bin centred on zero
