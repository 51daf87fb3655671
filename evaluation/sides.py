"""What a model's sides are worth: rank and sign of scores against the truth, and mistakes that it was sure of."""

import numpy as np
import pandas as pd

FAR_SLICES = 2  # beyond which a confident wrong side counts as such: a lens would move away from focus by more


def tells_sides(truth: np.ndarray | pd.Series, score_per_slice: float) -> bool:
    """Whether sides can be right or wrong at all: there are true scores beyond a slice on both sides of focus."""
    return bool((truth > score_per_slice).any() and (truth < -score_per_slice).any())


def confidently_wrong(score: np.ndarray, truth: np.ndarray, sure: np.ndarray, score_per_slice: float) -> np.ndarray:
    """Which images ``(N,)`` a model is sure of and puts on the wrong side though they lie beyond ``FAR_SLICES``."""
    return sure & (np.sign(score) != np.sign(truth)) & (np.abs(truth) > FAR_SLICES * score_per_slice)


def side_figures(score: np.ndarray, truth: np.ndarray, sure: np.ndarray, score_per_slice: float) -> dict[str, float]:
    """Figures of the scores of N images.

    Parameters
    ----------
    score, truth
        ``(N,)`` predicted and true scores.
    sure
        ``(N,)`` whether the model names a side at all.
    score_per_slice
        Score between neighbouring slices.

    Returns
    -------
    dict
        ``spearman``; ``mae``, score units; ``sign`` and ``sign_where_sure``, shares of right sides beyond one slice;
        ``unsure`` and ``confidently_wrong``, shares of all images. NaN where there is no image to tell by; of the
        sides also where all lie on one, since naming it always would be right.
    """
    right, beyond = np.sign(score) == np.sign(truth), np.abs(truth) > score_per_slice
    beyond &= tells_sides(truth, score_per_slice)
    told = beyond & sure
    return {
        "spearman": float(pd.Series(score).corr(pd.Series(truth), method="spearman")),
        "mae": float(np.abs(score - truth).mean()),
        "sign": float(right[beyond].mean()) if beyond.any() else np.nan,
        "sign_where_sure": float(right[told].mean()) if told.any() else np.nan,
        "unsure": float(1 - sure.mean()),
        "confidently_wrong": float(confidently_wrong(score, truth, sure, score_per_slice).mean()),
    }
