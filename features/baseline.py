"""The baseline: gradient-boosted trees on handcrafted measures, with calibrated intervals.

``features.baseline_file`` says how it is kept.
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
from focus_picker.features import measure
from focus_picker.features.baseline_file import read_model, write_model
from focus_picker.models.conformal import calibrate
from focus_picker.models.decision import decide

# Some thousand rows grow a tree in 3 ms on one thread. Two threads gain little on idle cores and wait for each other
# on busy ones (measured: 35 s instead of 1 s), and the sum of a gradient then depends on their number.
THREADS = 1
FOLDS = 5  # into which the training fields are dealt for calibration
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
    half_widths_ : HalfWidths
        Interval half widths, calibrated on fields that the predicting trees were not grown on.
    ranges_ : numpy.ndarray
        ``(n_features, 2)`` smallest and largest value in training.
    novelty_limit_ : float
        Share of features outside ``ranges_`` above which an image is unlike anything seen.
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
            Field of each training image. With it the intervals are calibrated on the validation fields and on the
            training fields left out in turn (cross-conformal, Vovk 2015, Ann. Math. Artif. Intell. 74:9): measured
            over 14 splits of 400 stacks, the coverage of test fields then varies by 2.3 % around 90 % instead of 3.4 %,
            since some 25 validation fields are few. Without it only the validation fields are used.

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
        # fmin and fmax pass over NaN.
        self.ranges_ = np.column_stack([reduce(features.to_numpy()) for reduce in (np.fmin.reduce, np.fmax.reduce)])
        self.novelty_limit_ = max(NOVELTY_FLOOR, float(self._share_outside(self._matrix(held_out)).max()))
        left_out = self._predict_left_out(self._matrix(features), score, fields)
        predicted, known = np.r_[self.predict(held_out), left_out], np.r_[held_out_score, score]
        self.half_widths_ = calibrate(predicted, known, self.coverage)
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

    def predict_interval(self, features: pd.DataFrame) -> pd.DataFrame:
        """Return columns ``score``, ``lower``, ``upper`` and ``status``, one row for each row of ``features``."""
        check_is_fitted(self)
        return self._judge(self._matrix(features)).set_index(features.index)

    def score_images(self, images: Sequence[np.ndarray]) -> pd.DataFrame:
        """Score images as ``dataset.images.read_image`` gives them.

        Returns
        -------
        pandas.DataFrame
            Columns ``score``, ``lower``, ``upper`` (score units) and ``status`` (see ``models.decision``), one row
            an image. An image unlike anything seen in training (blank, saturated, not a cell) is ``unsure`` whatever
            its score.
        """
        check_is_fitted(self)
        rows = [measure(image, self.feature_names_) for image in images]
        matrix = np.array([[row[name] for name in self.feature_names_] for row in rows], dtype=np.float32)
        return self._judge(matrix.reshape(len(rows), len(self.feature_names_)))

    def importance(self) -> pd.Series:
        """Return each feature's share of the total gain (sum 1), largest first."""
        check_is_fitted(self)
        gain = self.booster_.feature_importance("gain", iteration=self._trees())
        share = pd.Series(gain / max(gain.sum(), np.finfo(float).tiny), index=self.feature_names_)
        return share.sort_values(ascending=False, kind="stable")

    def save(self, path: str | Path) -> None:
        """Write ``path`` (LightGBM text) and the ``.json`` beside it; ``load_baseline`` reads them back."""
        check_is_fitted(self)
        side = {
            "features": self.feature_names_,
            "score_per_slice": self.score_per_slice_,
            "intervals": self.half_widths_.to_json(),
            "ranges": [[float(low), float(high)] for low, high in self.ranges_],
            "novelty_limit": self.novelty_limit_,
        }
        write_model(path, self.booster_.model_to_string(num_iteration=self._trees()), side)

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

    def _share_outside(self, matrix: np.ndarray) -> np.ndarray:
        inside = (matrix >= self.ranges_[:, 0]) & (matrix <= self.ranges_[:, 1])
        return 1.0 - inside.mean(axis=1)  # NaN is never inside

    def _judge(self, matrix: np.ndarray) -> pd.DataFrame:
        if not len(matrix):
            return pd.DataFrame(columns=["score", "lower", "upper", "status"])
        score = self._predict_matrix(matrix)
        half_width = self.half_widths_.at(score)
        status = decide(score, score - half_width, score + half_width, self.score_per_slice_)
        status = np.where(self._share_outside(matrix) > self.novelty_limit_, "unsure", status)
        return pd.DataFrame(
            {"score": score, "lower": score - half_width, "upper": score + half_width, "status": status}
        )


def load_baseline(path: str | Path) -> Baseline:
    """Load a baseline from its ``baseline.txt`` or from the run folder that holds it.

    Raises
    ------
    InputError
        If a file is missing or not a baseline's, if the model is not the one that the side file describes (checksum),
        or if it needs measures that this version does not have.
    """
    text, side = read_model(path)
    baseline = Baseline(coverage=side["intervals"].coverage)
    baseline.booster_ = _booster(text, Path(path))
    baseline.feature_names_ = side["features"]
    baseline.score_per_slice_ = side["score_per_slice"]
    baseline.half_widths_ = side["intervals"]
    baseline.ranges_ = side["ranges"]
    baseline.novelty_limit_ = side["novelty_limit"]
    return baseline


def _booster(text: str, path: Path) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
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
