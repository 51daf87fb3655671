"""Label refinement: from "nearest slice" to fractions of a slice.

A label says which slice is nearest to focus, so all labels of a stack share one error of up to half a slice.
Predictions of all its slices, made by models that never saw its field, estimate that one number far better than they
estimate any single image.
"""

import lightgbm
import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

FOLDS = 5


def out_of_fold(features: np.ndarray, score: np.ndarray, field: np.ndarray, seed: int = 0) -> np.ndarray:
    """Predict every image by trees that were trained on other fields.

    Parameters
    ----------
    features
        ``(N, F)`` handcrafted features, with further columns such as a given network's score.
    score
        ``(N,)`` labels, NaN where unlabelled.
    field
        ``(N,)`` field of each image.
    seed
        Of the training. One thread: on busy cores several wait for each other and take twenty times as long.
    """
    predicted = np.full(len(score), np.nan)
    known = np.isfinite(score)
    folds = min(FOLDS, len(np.unique(field[known])))
    settings = {
        "objective": "regression_l1", "learning_rate": 0.05, "num_leaves": 31, "feature_fraction": 0.4,
        "bagging_fraction": 0.7, "bagging_freq": 1, "seed": seed, "num_threads": 1, "deterministic": True,
        "force_row_wise": True, "verbose": -1,
    }  # fmt: skip
    for train, held in GroupKFold(folds).split(features, groups=field):
        rows = train[known[train]]
        booster = lightgbm.train(settings, lightgbm.Dataset(features[rows], score[rows]), num_boost_round=300)
        predicted[held] = booster.predict(features[held], num_threads=1)
    return predicted


def stack_offsets(predicted: np.ndarray, score: np.ndarray, stack: np.ndarray, score_per_slice: float) -> pd.Series:
    """Estimate how far each stack's labels lie off, score units.

    The mean over a stack of ``predicted - label`` is the offset plus what the model gets wrong about this stack.
    Offsets of a nearest-slice label are uniform over one slice, of variance ``score_per_slice^2 / 12``; what the means
    vary beyond that is the model's error, and the estimate is shrunk by the share that is signal (James and Stein's
    argument).

    Returns
    -------
    pd.Series
        Offset by stack, at most half a slice; 0 where a stack has no label.
    """
    difference = pd.Series(predicted - score).groupby(np.asarray(stack)).mean().fillna(0.0)
    # A model's constant bias is no property of a stack.
    difference -= difference.median()
    signal = score_per_slice**2 / 12
    total = max(float(difference.var(ddof=0)), signal)
    return (signal / total * difference).clip(-score_per_slice / 2, score_per_slice / 2)


def refine_labels(features: np.ndarray, labels: pd.DataFrame, score_per_slice: float, seed: int = 0) -> np.ndarray:
    """Refined training labels ``(N,)``.

    Parameters
    ----------
    features
        ``(N, F)``, see :func:`out_of_fold`.
    labels
        Columns ``focus_score``, ``stack`` and ``field`` of the training images only.
    score_per_slice
        Score between neighbouring slices.
    """
    score = labels["focus_score"].to_numpy(dtype=float)
    predicted = out_of_fold(features, score, labels["field"].to_numpy(), seed)
    offsets = stack_offsets(predicted, score, labels["stack"].to_numpy(), score_per_slice)
    return score + offsets.reindex(labels["stack"]).to_numpy()
