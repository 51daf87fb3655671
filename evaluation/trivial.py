"""Predictors that any model has to beat, judged by the same metrics.

A member of ``TRIVIAL`` takes the features and labels of the training images and returns a function from features to
scores.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

Predictor = Callable[[pd.DataFrame], np.ndarray]
SHARPNESS = "tenengrad"


def median_score(features: pd.DataFrame, score: np.ndarray) -> Predictor:
    """Predict the median training label for every image: the best constant for the absolute error."""
    median = float(np.median(score))
    return lambda new: np.full(len(new), median)


def sharpness_alone(features: pd.DataFrame, score: np.ndarray) -> Predictor:
    """Predict ``|score|`` from Tenengrad alone: the sharper, the nearer to focus.

    A monotone (isotonic) regression of ``|score|`` on the logarithm of Tenengrad, so no shape is assumed. Sharpness
    carries no side of focus; every image gets the sign that makes the smaller error on the training images.
    """
    distance = IsotonicRegression(increasing=False, out_of_bounds="clip")
    distance.fit(_log_sharpness(features), np.abs(score))
    unsigned = distance.predict(_log_sharpness(features))
    sign = 1.0 if np.abs(unsigned - score).mean() <= np.abs(-unsigned - score).mean() else -1.0
    return lambda new: sign * distance.predict(_log_sharpness(new))


def _log_sharpness(features: pd.DataFrame) -> np.ndarray:
    sharpness = np.log(features[SHARPNESS].to_numpy(dtype=float).clip(min=1e-12))
    return np.nan_to_num(sharpness, nan=np.log(1e-12))  # what cannot be measured shows no detail


TRIVIAL: dict[str, Callable[[pd.DataFrame, np.ndarray], Predictor]] = {
    "always the median": median_score,
    "|score| from Tenengrad alone": sharpness_alone,
}


def trivial_predictions(features: pd.DataFrame, score: np.ndarray, new: pd.DataFrame) -> dict[str, np.ndarray]:
    """Fit each member of ``TRIVIAL`` on labelled training images and predict ``new``; NaN labels are left out."""
    known = np.isfinite(score)
    return {name: fit(features[known], score[known])(new) for name, fit in TRIVIAL.items()}
