"""What every trained model is to the rest of the code: images in, one judgement out, and a side file.

The TFLite student (``deep.runtime``) and the LightGBM baseline (``features.baseline``) meet ``Model``; whoever scores
images knows nothing else of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from focus_picker.models.focus_state import UNSURE
from focus_picker.models.intervals import SIGMA_OF_90
from focus_picker.models.side_file import SideFile

if TYPE_CHECKING:
    import pandas as pd

LEAST_SIDE_PX = 32
"""An image with a shorter side than this shows too little of a cell to name a side, however like training it looks."""

COLUMNS = ("score", "lower", "upper", "status")


@dataclass(frozen=True)
class ScoreDistribution:
    """What a model says about the scores of n images, over bins that they share.

    Attributes
    ----------
    centres
        ``(bins,)`` centres of the score bins, ascending, equally spaced.
    probability
        ``(n, bins)``, rows sum to 1; NaN rows for images without a score.
    """

    centres: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class Judgement:
    """What a model says about n images.

    Attributes
    ----------
    score, lower, upper
        ``(n,)`` signed score and its 90 % interval, score units.
    status
        ``(n,)`` of ``models.focus_state``; an image unlike anything seen in training is ``unsure`` whatever its score,
        and of an uncalibrated model the others are ``uncalibrated``.
    distribution
        Of the scores.
    properties
        Simple properties of the images that the model measured on the way, ``(n,)`` each: drift is told by them.
    """

    score: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    status: np.ndarray
    distribution: ScoreDistribution
    properties: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.score)

    def as_table(self) -> "pd.DataFrame":
        """Return ``COLUMNS``, one row an image."""
        import pandas as pd  # for training and reports; an instrument scores without it

        return pd.DataFrame({name: getattr(self, name) for name in COLUMNS})


class Model(Protocol):
    """A trained model, ready to judge images."""

    @property
    def side(self) -> SideFile:
        """What the model says about itself."""

    def judge(self, images: Sequence[np.ndarray]) -> Judgement:
        """Judge images as ``dataset.images.read_image`` gives them; there may be none."""


def unsure_of_small(judged: Judgement, images: Sequence[np.ndarray]) -> Judgement:
    """The same judgement, ``unsure`` of images below ``LEAST_SIDE_PX``."""
    small = [min(image.shape[:2]) < LEAST_SIDE_PX for image in images]
    return replace(judged, status=np.where(small, UNSURE, judged.status)) if any(small) else judged


def normal_distribution(score: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> ScoreDistribution:
    """Distribution of a model that gives a score and its 90 % interval only: normal, of that width; ``(n,)`` each."""
    sigma = np.maximum((upper - lower) / (2 * SIGMA_OF_90), 1e-6)
    known = np.isfinite(score) & np.isfinite(sigma)
    reach = float(np.abs(score[known]).max() + 3 * sigma[known].max()) if known.any() else 1.0
    step = min(reach / 20, float(np.median(sigma[known])) / 2 if known.any() else 1.0)
    count = int(np.ceil(reach / max(step, reach / 500)))
    centres = np.linspace(-reach, reach, 2 * count + 1)
    with np.errstate(invalid="ignore"):
        weight = np.exp(-(((centres - score[:, None]) / np.maximum(sigma, centres[1] - centres[0])[:, None]) ** 2) / 2)
        return ScoreDistribution(centres, weight / weight.sum(axis=1, keepdims=True))
