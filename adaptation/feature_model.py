"""Fit the kernel regression of the features: a closed form, so that cross-validation costs next to nothing."""

from dataclasses import dataclass

import numpy as np

from focus_picker.adaptation.examples import FEATURES
from focus_picker.models.feature_head import FeatureHead, kernel, standardised

WIDTH, RIDGE = 0.5, 0.05
"""Of the kernel in units of the mean squared distance of a feature, and its noise; best on simulated microscopes among
widths of 0.1 to 1 and ridges of 0.01 to 0.1, and flat about it (docs/adapt.md)."""
DIGITS = 3  # of what is kept of standardised features


@dataclass(frozen=True)
class KernelModel:
    """A fitted kernel regression; see ``models.feature_head.FeatureHead`` for its parts."""

    centre: np.ndarray
    scale: np.ndarray
    support: np.ndarray
    weight: np.ndarray
    mean: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Scores ``(M,)`` of rows of features ``(M, F)``."""
        rows = standardised(features, self.centre, self.scale)
        return self.mean + kernel(rows, self.support, WIDTH) @ self.weight

    def as_head(self, error: float, share: float) -> FeatureHead:
        """As the side file keeps it, with its error on unseen fields and its share in the answer."""
        return FeatureHead(
            names=FEATURES,
            centre=tuple(self.centre.tolist()),
            scale=tuple(self.scale.tolist()),
            support=tuple(tuple(row) for row in self.support.tolist()),
            weight=tuple(self.weight.tolist()),
            mean=self.mean,
            width=WIDTH,
            error=error,
            share=share,
        )


def fit_kernel(features: np.ndarray, score: np.ndarray) -> KernelModel:
    """Fit scores ``(N,)`` on features ``(N, F)``; features are standardised by median and interquartile range."""
    low, centre, high = np.nanquantile(features, (0.25, 0.5, 0.75), axis=0)
    centre, scale = np.nan_to_num(centre), np.nan_to_num((high - low) / 1.349)
    scale = np.where(scale > 1e-9, scale, 1.0)
    support = np.round(standardised(features, centre, scale), DIGITS)
    mean = float(score.mean())
    likeness = kernel(support, support, WIDTH) + RIDGE * np.eye(len(score))
    return KernelModel(centre, scale, support, np.linalg.solve(likeness, score - mean), mean)
