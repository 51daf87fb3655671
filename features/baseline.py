"""The baseline: gradient-boosted trees on handcrafted measures, with calibrated intervals.

It is kept as LightGBM's own text format with a side file beside it: text only, nothing that unpickles.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from focus_picker.dataset.errors import InputError
from focus_picker.features import CUES, MEASURES, measure
from focus_picker.features.tree_text import checked_trees
from focus_picker.models.contract import Judgement, normal_distribution, unsure_of_small
from focus_picker.models.focus_state import UNSURE, focus_state, stated
from focus_picker.models.intervals import learn_half_widths
from focus_picker.models.side_file import BaselineSide, FeatureRange, read_model, write_model

# Some thousand rows grow a tree in 3 ms on one thread. Two threads gain little on idle cores and wait for each other
# on busy ones (measured: 35 s instead of 1 s), and the sum of a gradient then depends on their number.
THREADS = 1
FOLDS = 5  # into which the training fields are divided for calibration
MODEL_FILE = "baseline.txt"
FINGERPRINT_TOLERANCE = 1e-2  # lets other builds of OpenCV pass, which round differently
NOVELTY_FLOOR = 0.2  # an image is never called novel while fewer features than this share lie outside their range


class Baseline(RegressorMixin, BaseEstimator):
    """LightGBM regressor of the focus score with a smoothed absolute-error objective.

    The absolute error is what is judged, and its optimum, the median, shrugs off a wrong label. But labels are rounded
    to slices, and near them the bare absolute error teaches a model to round as they do: within a slice the loss is
    squared (Huber 1964, Ann. Math. Stat. 35:73). Measured over four splits of 400 simulated stacks, with a quarter of
    the trees: error against truth 0.041 instead of 0.052, against labels 0.042 instead of 0.053. The number of trees
    is where the mean absolute error on the validation *fields* stops falling. Follows the scikit-learn contract.

    Parameters
    ----------
    smoothing
        Half width of the squared part of the loss, in slices; 0 gives the bare absolute error.
    learning_rate, num_leaves, min_child_samples, feature_fraction, bagging_fraction, lambda_l2
        As in LightGBM.
    max_trees, patience
        Upper limit of trees, and how many trees without improvement end the training.
    coverage
        Share of new images whose label the intervals should hold.
    seed
        Random seed. The same data and seed give the same model, bit for bit.

    Attributes
    ----------
    booster_ : lightgbm.Booster
    feature_names_ : list of str
        Columns the model was trained on, in order; only these are computed for a new image.
    score_per_slice_ : float
    side_ : BaselineSide
        Everything else that it learned: intervals, ranges of the features, limits.
    """

    def __init__(
        self,
        *,
        smoothing: float = 1.0,
        learning_rate: float = 0.05,
        num_leaves: int = 15,
        min_child_samples: int = 5,
        feature_fraction: float = 0.7,
        bagging_fraction: float = 0.7,
        lambda_l2: float = 1.0,
        max_trees: int = 3000,
        patience: int = 80,
        coverage: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.smoothing = smoothing
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.feature_fraction = feature_fraction
        self.bagging_fraction = bagging_fraction
        self.lambda_l2 = lambda_l2
        self.max_trees = max_trees
        self.patience = patience
        self.coverage = coverage
        self.seed = seed

    def fit(
        self,
        features: pd.DataFrame,
        score: ArrayLike,
        *,
        validation: tuple[pd.DataFrame, ArrayLike],
        score_per_slice: float,
        fields: ArrayLike | None = None,
    ) -> "Baseline":
        """Grow trees on the training images, stop by the validation images, calibrate on fields left out.

        Parameters
        ----------
        features, score
            Feature table and labels of the training fields; NaN labels are left out.
        validation
            The same of other fields.
        score_per_slice
            Score difference of two neighbouring slices; kept for decisions.
        fields
            Field of each training image. With it the intervals are calibrated on the training fields, each left out
            in turn (cross-conformal, Vovk 2015, Ann. Math. Artif. Intell. 74:9), and not on the validation fields,
            which have chosen the number of trees. Without it, or with fewer than ``FOLDS`` fields, the validation
            fields have to serve for both.

        Raises
        ------
        InputError
            If the training or the validation fields hold no labelled image, or too few to calibrate intervals.
        """
        features, score, fields = _labelled(features, score, fields, "training")
        held_out, held_out_score, _ = _labelled(*validation, None, "validation")
        self.feature_names_ = list(features.columns)
        self.score_per_slice_ = float(score_per_slice)
        train_set = lightgbm.Dataset(self._matrix(features), score, feature_name=self.feature_names_)
        self.booster_ = lightgbm.train(
            self._lightgbm_parameters(),
            train_set,
            num_boost_round=self.max_trees,
            valid_sets=[lightgbm.Dataset(self._matrix(held_out), held_out_score, reference=train_set)],
            callbacks=[lightgbm.early_stopping(self.patience, verbose=False)],
        )
        left_out = self._predict_left_out(self._matrix(features), score, fields)
        alone = np.isfinite(left_out)
        predicted, known = (left_out[alone], score[alone]) if alone.any() else (self.predict(held_out), held_out_score)
        intervals = learn_half_widths(predicted, known, self.coverage)
        # fmin and fmax pass over NaN.
        ranges = np.column_stack([reduce(features.to_numpy()) for reduce in (np.fmin.reduce, np.fmax.reduce)])
        novel = float(_share_outside(self._matrix(held_out), ranges).max())
        self.side_ = BaselineSide(
            versions={"lightgbm": lightgbm.__version__},
            score_per_slice=self.score_per_slice_,
            calibrated=True,
            features=_fingerprinted(self.feature_names_, ranges),
            novelty_limit=max(NOVELTY_FLOOR, novel),
            intervals=intervals,
        )
        return self

    def _predict_left_out(self, matrix: np.ndarray, score: np.ndarray, fields: np.ndarray) -> np.ndarray:
        """Predict each training image by trees that never saw its field; NaN where there are too few fields."""
        names, codes = np.unique(fields, return_inverse=True)
        fold = np.random.default_rng(self.seed).permutation(len(names))[codes] % FOLDS
        predicted = np.full(len(score), np.nan)
        for left_out in range(FOLDS if len(names) >= FOLDS else 0):
            rest = lightgbm.Dataset(matrix[fold != left_out], score[fold != left_out])
            booster = lightgbm.train(self._lightgbm_parameters(), rest, num_boost_round=self._trees())
            predicted[fold == left_out] = booster.predict(matrix[fold == left_out], num_threads=THREADS)
        return predicted

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the score of each row; ``features`` may hold more columns, in any order."""
        check_is_fitted(self)
        return self._predict_matrix(self._matrix(features))

    @property
    def side(self) -> BaselineSide:
        """What the baseline says about itself; see :class:`models.contract.Model`."""
        check_is_fitted(self, "side_")
        return self.side_

    def judge(self, images: Sequence[np.ndarray]) -> Judgement:
        """Judge images; see :class:`models.contract.Model`."""
        check_is_fitted(self, "side_")
        rows = [list(measure(image, self.feature_names_).values()) for image in images]
        judged = self._judge(np.array(rows, dtype=np.float32).reshape(len(rows), len(self.feature_names_)))
        return unsure_of_small(judged, images)

    def judge_features(self, features: pd.DataFrame) -> Judgement:
        """Judge rows of a feature table."""
        check_is_fitted(self, "side_")
        return self._judge(self._matrix(features))

    def importance(self) -> pd.Series:
        """Return each feature's share of the total gain (sum 1), largest first."""
        check_is_fitted(self)
        gain = self.booster_.feature_importance("gain", iteration=self._trees())
        share = pd.Series(gain / max(gain.sum(), np.finfo(float).tiny), index=self.feature_names_)
        return share.sort_values(ascending=False, kind="stable")

    def save(self, path: str | Path, **stated: Any) -> None:
        """Write ``path`` (LightGBM text) and its side file; ``load_baseline`` reads them back.

        Parameters
        ----------
        path
            File to write, ``baseline.txt``.
        stated
            Further fields of the side file, such as ``stack_calibration``.
        """
        text = self.booster_.model_to_string(num_iteration=self._trees())
        write_model(Path(path), text.encode(), self.side.model_copy(update=stated))

    def _lightgbm_parameters(self) -> dict[str, Any]:
        return {
            **self._objective(),
            "metric": "l1",
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_child_samples": self.min_child_samples,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": THREADS,
            "seed": self.seed,
            "verbose": -1,
        }

    def _objective(self) -> dict[str, Any]:
        if self.smoothing == 0:
            return {"objective": "regression_l1"}
        return {"objective": "huber", "alpha": self.smoothing * self.score_per_slice_}

    def _trees(self) -> int:
        return self.booster_.best_iteration if self.booster_.best_iteration > 0 else self.booster_.num_trees()

    def _matrix(self, features: pd.DataFrame) -> np.ndarray:
        missing = [name for name in self.feature_names_ if name not in features.columns]
        if missing:
            raise InputError(f"The feature table lacks {', '.join(missing)}, which the baseline was trained on.")
        return np.ascontiguousarray(features[self.feature_names_], dtype=np.float32)

    def _predict_matrix(self, matrix: np.ndarray) -> np.ndarray:
        # Booster.predict and not the scikit-learn wrapper, which spends 0.6 ms a call on checks.
        return np.asarray(self.booster_.predict(matrix, num_iteration=self._trees(), num_threads=THREADS))

    def _judge(self, matrix: np.ndarray) -> Judgement:
        side = self.side_
        score = self._predict_matrix(matrix) if len(matrix) else np.empty(0)
        half_width = side.intervals.at(score)
        lower, upper = score - half_width, score + half_width
        novel = _share_outside(matrix, ranges_of(side)) > side.novelty_limit
        state = np.where(novel, UNSURE, focus_state(score, lower, upper, side.score_per_slice))
        return Judgement(score, lower, upper, stated(state, side.calibrated), normal_distribution(score, lower, upper))


def load_baseline(path: str | Path) -> Baseline:
    """Load a baseline from its ``baseline.txt`` or from the run folder that holds it.

    Raises
    ------
    InputError
        If a file is missing or not a baseline's, if the model is not the one that the side file describes (checksum),
        or if it needs features that this version does not have or computes otherwise.
    """
    path = Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)
    text, side = read_model(path, BaselineSide)
    _check_features(side, path)
    baseline = Baseline(coverage=side.intervals.coverage)
    baseline.booster_ = _booster(text, list(side.features), path)
    baseline.feature_names_ = list(side.features)
    baseline.score_per_slice_ = side.score_per_slice
    baseline.side_ = side
    return baseline


def ranges_of(side: BaselineSide) -> np.ndarray:
    """Smallest and largest value of each feature in training, ``(n_features, 2)``."""
    return np.array([(feature.low, feature.high) for feature in side.features.values()], dtype=float)


def _share_outside(matrix: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Share of the features ``(n, n_features)`` of each row that lie outside their range; NaN is never inside."""
    return 1.0 - ((matrix >= ranges[:, 0]) & (matrix <= ranges[:, 1])).mean(axis=1)


def _fingerprinted(names: Sequence[str], ranges: np.ndarray) -> dict[str, FeatureRange]:
    """Ranges of the features with their value on a fixed picture."""
    values = measure(probe_picture(), names)

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        name: FeatureRange(low=number(low), high=number(high), fingerprint=number(values[name]))
        for name, (low, high) in zip(names, ranges, strict=True)
    }


def _check_features(side: BaselineSide, path: Path) -> None:
    """Refuse a model whose features are unknown or have changed their meaning since it was trained."""
    if unknown := [name for name in side.features if name not in MEASURES and name not in CUES]:
        raise InputError(f"{path} uses {_some(unknown)}, unknown to this version: train it again with it.")
    now, then = (
        np.array([feature.fingerprint for feature in features.values()], dtype=float)
        for features in (_fingerprinted(list(side.features), ranges_of(side)), side.features)
    )
    same = np.isclose(now, then, rtol=FINGERPRINT_TOLERANCE, atol=FINGERPRINT_TOLERANCE**2, equal_nan=True)
    if changed := [name for name, unchanged in zip(side.features, same, strict=True) if not unchanged]:
        raise InputError(f"{path} was trained when {_some(changed)} had another definition: train it again.")


def probe_picture() -> np.ndarray:
    """Fixed picture: a stained disc with a mottled nucleus beside its middle, colours out of register."""
    y, x = np.mgrid[:96, :120].astype(float)
    channels = [
        220
        - 50 * (np.hypot(x - 60 - c, y - 48) < 36)
        - (60 + 15 * np.sin(x * 0.9 + c) * np.cos(y * 0.7)) * (np.hypot(x - 52, y - 50 + c) < 18)
        for c in range(3)
    ]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _booster(text: bytes, names: Sequence[str], path: Path) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_str=checked_trees(text.decode(), names))
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise InputError(f"{path} is not a LightGBM model ({error}): train the baseline again.") from error


def _labelled(
    features: pd.DataFrame, score: ArrayLike, fields: ArrayLike | None, part: str
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Keep the labelled rows; fields that are not given count as one."""
    score = np.asarray(score, dtype=float)
    fields = np.zeros(score.size) if fields is None else np.asarray(fields)
    if not len(features) == score.size == fields.size:
        raise ValueError(f"{len(features)} rows of {part} features, {score.size} scores, {fields.size} fields")
    known = np.isfinite(score)
    if not known.any():
        raise InputError(f"The {part} fields hold no labelled image: fill in focus_score for some of their stacks.")
    return features[known], score[known], fields[known]
