"""What handcrafted features add to a student: a kernel regression on a few stacks, kept in the student's side file.

A network knows much from simulation and little of the microscope at hand; a smooth function of the features learns that
microscope from some hundred images and nothing else. Their errors differ, so that they are weighed together.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from focus_picker.models.bins import ScoreBins

CUT = 5.0  # scales beyond which a standardised feature is cut, since one wild value must not rule
LEAST_PROBABILITY = 1e-4  # of a bin, before logarithms: neither judge can rule a score out by itself


class FeatureHead(BaseModel):
    """Gaussian-kernel ridge regression of the score on standardised features, and its share in the student's answer.

    Attributes
    ----------
    names
        Features, in the order of the columns.
    centre, scale
        ``(F,)`` that standardise them.
    support, weight
        Standardised features of the images it learned from, ``(N, F)``, and their weights ``(N,)``.
    mean
        Score of an image unlike all of them.
    width
        Of the kernel: ``exp(-width * squared distance / F)``.
    error
        Standard error of its scores on fields it had not seen, score units.
    share
        Of the features in the answer, 0 to 1; the network has the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: tuple[str, ...] = Field(min_length=1)
    centre: tuple[FiniteFloat, ...]
    scale: tuple[FiniteFloat, ...]
    support: tuple[tuple[FiniteFloat, ...], ...]
    weight: tuple[FiniteFloat, ...]
    mean: FiniteFloat
    width: float = Field(gt=0)
    error: float = Field(gt=0)
    share: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _fits(self) -> "FeatureHead":
        columns = {len(self.names), len(self.centre), len(self.scale), *map(len, self.support)}
        if len(columns) > 1 or len(self.support) != len(self.weight) or min(self.scale) <= 0:
            raise ValueError("its names, scales, support and weights do not fit each other")
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores ``(M,)`` of rows of features ``(M, F)`` in the order of ``names``."""
        rows = standardised(features, np.array(self.centre), np.array(self.scale))
        return self.mean + kernel(rows, np.array(self.support), self.width) @ np.array(self.weight)

    def distribution(self, features: np.ndarray, bins: ScoreBins) -> np.ndarray:
        """Its scores as normal distributions ``(M, bins)`` of its own error."""
        return bins.soft_labels(self.predict(features), self.error)


def standardised(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features in scales from their centre, wild values cut, and 0 for what is no number."""
    with np.errstate(invalid="ignore"):
        return np.clip(np.nan_to_num((features - centre) / scale, nan=0.0, posinf=CUT, neginf=-CUT), -CUT, CUT)


def kernel(rows: np.ndarray, support: np.ndarray, width: float) -> np.ndarray:
    """Likeness ``(M, N)`` of rows ``(M, F)`` to the support ``(N, F)``, 1 where they are the same."""
    squared = (rows**2).sum(axis=1)[:, None] + (support**2).sum(axis=1)[None, :] - 2 * rows @ support.T
    return np.exp(-width * np.maximum(squared, 0) / rows.shape[1])


def pooled(network: np.ndarray, features: np.ndarray, share: float) -> np.ndarray:
    """Weigh two judges' distributions ``(M, bins)``: a geometric mean, ``share`` of it the features'.

    Where both are sure of nearby scores the answer lies between them; where one is sure and the other is not, it is the
    sure one's; where they contradict each other, both scores stay possible.
    """
    log = (1 - share) * np.log(network + LEAST_PROBABILITY) + share * np.log(features + LEAST_PROBABILITY)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)
