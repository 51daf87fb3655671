"""Which features move the baseline's score: exact Shapley values of its trees.

A tree ensemble's score is its mean over the training images plus one contribution a feature; these add up to the score
exactly (TreeSHAP, Lundberg et al. 2020, Nat. Mach. Intell. 2:56). A contribution says what the model made of a
value beside the other values of this image; of features that say the same, one may take the credit of all.
"""

from dataclasses import dataclass

import numpy as np

from focus_picker.features.baseline import Baseline, ranges_of
from focus_picker.features.measures import ALL, CUES, measure


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to the score.

    Attributes
    ----------
    feature, meaning
        Its name in the feature table, and its label for people.
    signed
        Whether it is one of the cues that tell the sides of focus apart.
    value, training_low, training_high
        Of this image, and the smallest and largest one in training.
    contribution
        Score units; positive pushes to post-focal.
    """

    feature: str
    meaning: str
    signed: bool
    value: float
    training_low: float
    training_high: float
    contribution: float

    @property
    def place(self) -> float:
        """Where the value lies in the training range: 0 at its low end, 1 at its high end, beyond these outside."""
        span = self.training_high - self.training_low
        return (self.value - self.training_low) / span if span > 0 else 0.5

    @property
    def outside(self) -> bool:
        """Whether no training image had such a value."""
        return not self.training_low <= self.value <= self.training_high


@dataclass(frozen=True)
class Contributions:
    """All features' contributions, largest magnitude first; ``bias`` is the mean score in training."""

    bias: float
    rows: tuple[Contribution, ...]

    @property
    def score(self) -> float:
        """The score that the contributions add up to."""
        return self.bias + sum(row.contribution for row in self.rows)

    @property
    def n_outside(self) -> int:
        """Number of features outside their training range."""
        return sum(row.outside for row in self.rows)

    def others(self, top: int) -> float:
        """Sum of all but the ``top`` first contributions."""
        return sum(row.contribution for row in self.rows[top:])


def contributions(baseline: Baseline, image: np.ndarray) -> Contributions:
    """Share the baseline's score of an image out to its features.

    Parameters
    ----------
    baseline
        Trained or loaded.
    image
        As ``dataset.images.read_image`` gives it.

    Raises
    ------
    InputError
        For an image that the features refuse (too small).
    """
    names = baseline.feature_names_
    values = measure(image, names)
    row = np.array([[values[name] for name in names]], dtype=np.float32)  # as the trees saw them
    shares = np.asarray(baseline.booster_.predict(row, pred_contrib=True))[0]
    found = [
        Contribution(name, ALL[name].label, name in CUES, float(value), float(low), float(high), float(share))
        for name, value, (low, high), share in zip(names, row[0], ranges_of(baseline.side), shares[:-1], strict=True)
    ]
    found.sort(key=lambda item: -abs(item.contribution))
    return Contributions(float(shares[-1]), tuple(found))
