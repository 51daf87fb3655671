"""Predict every stack by models that never saw its group: what chooses the blend and what calibrates it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np

from focus_picker.adaptation.examples import Examples, deal
from focus_picker.adaptation.feature_model import fit_kernel
from focus_picker.adaptation.network import Tuning, distributions, fine_tune
from focus_picker.models.bins import ScoreBins
from focus_picker.models.feature_head import pooled
from focus_picker.models.intervals import SIGMA_OF_90

FOLDS = 3
SHARES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)  # of the features; the network always has a say
WORTH = 0.97  # of the network's own error: a blend that gains less is not worth 0.6 ms an image
LEAST_ERROR = 0.02  # score units


@dataclass(frozen=True)
class LeftOut:
    """What models say about images of groups that they never saw.

    Attributes
    ----------
    network
        Distributions ``(n, bins)`` of the fine-tuned student.
    features
        Scores ``(n,)`` of the kernel regression.
    error
        Standard error of the latter: the 90 % quantile of its magnitude by that of a normal variable.
    share
        Of the features in the best blend.
    """

    network: np.ndarray
    features: np.ndarray
    error: float
    share: float

    def blend(self, bins: ScoreBins, share: float | None = None) -> np.ndarray:
        """Distributions ``(n, bins)`` of the blend with a share of the features, by default the best."""
        share = self.share if share is None else share
        return pooled(self.network, bins.soft_labels(self.features, self.error), share) if share else self.network


def cross_validate(
    examples: Examples,
    start: keras.Model,
    bins: ScoreBins,
    tuning: Tuning,
    *,
    seed: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> LeftOut:
    """Fine-tune and fit once a fold and predict the fold's groups; then choose the blend.

    Parameters
    ----------
    examples
        Of any number of groups; of a single one what is said is no prediction.
    start, bins, tuning, seed
        As in ``network.fine_tune``.
    report
        Called with steps done and in all.
    """
    fold = deal(examples.group, FOLDS, seed)
    folds = np.unique(fold)
    seen, grey = examples.seen, examples.grey
    network = np.empty((len(fold), bins.count))
    for number, held in enumerate(folds):
        here = fold == held
        rest = ~here if len(folds) > 1 else here  # one stack alone: it is judged by what it taught, and not calibrated

        def told(step: int, loss: float, before: int = number * tuning.all_steps) -> None:
            report(before + step, len(folds) * tuning.all_steps)

        student = fine_tune(
            start, examples.windows[rest], examples.score[rest], bins, tuning, seed=seed, grey=grey, report=told
        )
        network[here] = distributions(student, seen[here])
    features = features_left_out(examples.features, examples.score, fold)
    error = max(float(np.quantile(np.abs(features - examples.score), 0.9)) / SIGMA_OF_90, LEAST_ERROR)
    left_out = LeftOut(network, features, error, 0.0)
    # One group alone has seen its own images, and the features would know them by heart.
    share = best_share(left_out, examples.score, bins) if len(folds) > 1 else 0.0
    return replace(left_out, share=share)


def features_left_out(features: np.ndarray, score: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Scores ``(n,)`` of each fold by a kernel regression fitted to the others."""
    predicted = np.empty(len(score))
    for held in np.unique(fold):
        here = fold == held
        rest = ~here if not here.all() else here
        predicted[here] = fit_kernel(features[rest], score[rest]).predict(features[here])
    return predicted


def best_share(left_out: LeftOut, score: np.ndarray, bins: ScoreBins) -> float:
    """Share of the features with the least mean absolute error; 0 unless it is worth its time."""
    errors = [np.abs(bins.quantile(left_out.blend(bins, share), 0.5) - score).mean() for share in SHARES]
    best = int(np.argmin(errors))
    return SHARES[best] if errors[best] < WORTH * errors[0] else 0.0
