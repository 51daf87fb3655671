"""What every training starts from and is judged by: data with their split, and the predictions table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.labels import read_labels, read_truth, score_per_slice, true_scores
from focus_picker.dataset.leaks import find_leaks, linked_fields
from focus_picker.dataset.splits import split_fields
from focus_picker.evaluation.metrics import evaluate
from focus_picker.evaluation.runs import dataset_fingerprint
from focus_picker.features.table import feature_table
from focus_picker.models.contract import Model
from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference.calibration import calibrate_dataset

FEATURE_CACHE = "feature_cache"  # inside the run folder; derived from the images, never packaged


@dataclass(frozen=True)
class Data:
    """What the training works on: one row an image in each, in one order.

    ``labels`` has columns ``image_path``, ``focus_score``, ``stack``, ``field``, ``slice``, ``true_score`` and
    ``split``; ``features`` one column a measure or cue.
    """

    name: str
    fingerprint: str
    labels: pd.DataFrame
    features: pd.DataFrame
    score_per_slice: float
    n_leaks: int | None

    def part(self, split: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Return features and labels of one split."""
        chosen = (self.labels["split"] == split).to_numpy()
        return self.features[chosen], self.labels["focus_score"].to_numpy()[chosen]


def load_data(
    dataset: Path, cache: Path, *, seed: int, jobs: int, leak_scan: bool = True, progress: bool = True
) -> Data:
    """Read labels and truth, split by field, measure every image."""
    labels = read_labels(dataset)
    step = score_per_slice(labels)
    if step is None:
        raise InputError(f"{dataset} has no stack with two labelled slices of different score: label more slices.")
    leaks = find_leaks(dataset, labels, jobs=jobs, progress=progress) if leak_scan else None
    split = split_fields(labels, seed, [] if leaks is None else linked_fields(leaks))
    labels = labels.assign(true_score=true_scores(labels, read_truth(dataset)), split=split)
    paths = [dataset / image_path for image_path in labels["image_path"]]
    return Data(
        name=dataset.resolve().name,
        fingerprint=dataset_fingerprint(dataset, labels),
        labels=labels,
        features=feature_table(paths, jobs=jobs, cache=cache, progress=progress),
        score_per_slice=abs(step),
        n_leaks=None if leaks is None else len(leaks),
    )


def calibrate_stacks(data: Data, dataset: Path, model: Model) -> tuple[StackCalibration | None, dict[str, Any]]:
    """Measure on the validation fields how sharpness and scores are to be weighed.

    Returns
    -------
    tuple
        The calibration, None where the stacks do not suffice (``pick-focus`` then uses defaults); and for
        ``metrics.json`` the number of ``stacks`` with, where there is none, the ``reason``.
    """
    names = set(data.labels.loc[data.labels["split"] == "validation", "stack"])
    try:
        calibration = calibrate_dataset(dataset, names, model)
    except InputError as error:
        return None, {"stacks": 0, "reason": str(error)}
    return calibration, {"stacks": calibration.stacks}


def predictions_of(
    data: Data, predicted: ArrayLike, lower: ArrayLike, upper: ArrayLike, split: str | None = None
) -> pd.DataFrame:
    """Put predictions beside the labels, in the form of ``evaluation.runs``.

    Parameters
    ----------
    data
        Data set.
    predicted, lower, upper
        One value an image of ``split`` in the order of ``data.labels``, or one for all.
    split
        Part that was predicted; None for every image, unlabelled ones too.
    """
    labels = data.labels if split is None else data.labels[data.labels["split"] == split]
    columns = labels[["image_path", "field", "stack", "split", "focus_score", "true_score"]]
    values = {"predicted": predicted, "lower": lower, "upper": upper}
    return columns.assign(**{name: np.asarray(value, dtype=float) for name, value in values.items()})


def evaluate_splits(predictions: pd.DataFrame, step: float) -> dict[str, Any]:
    """Evaluate the test images, and the validation images for what early stopping saw."""
    return {
        split: evaluate(predictions[predictions["split"] == split], step)
        | {"n_fields": int(predictions.loc[predictions["split"] == split, "field"].nunique())}
        for split in ("test", "validation")
    }
