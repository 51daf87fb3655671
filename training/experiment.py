"""What every training starts from and is judged by: data with their split, and the predictions table."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text
from focus_picker.dataset.fingerprints import Fingerprint, fingerprint_of
from focus_picker.dataset.labels import read_labels, read_truth, training_step, true_scores
from focus_picker.dataset.leaks import compare_fingerprints, linked_fields
from focus_picker.dataset.splits import halve_fields, split_fields
from focus_picker.deep.window import native_window
from focus_picker.evaluation.metrics import evaluate
from focus_picker.evaluation.runs import dataset_fingerprint
from focus_picker.features.table import feature_table
from focus_picker.models.contract import Model
from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference.calibration import calibrate_dataset
from focus_picker.training.scale import pixel_um, z_step_um

FEATURE_CACHE = "feature_cache"  # inside the run folder; derived from the images, never packaged
FEWEST_FIELDS = 5  # labelled ones in each half of the validation fields: a quantile over fewer hangs on one of them


@dataclass(frozen=True)
class Data:
    """What the training works on: one row an image in each table, in one order.

    Attributes
    ----------
    name, fingerprint
        Of the data set.
    labels
        Columns ``image_path``, ``focus_score``, ``stack``, ``field``, ``slice``, ``true_score`` and ``split``.
    features
        One column a measure or cue.
    score_per_slice
        Score between neighbouring slices, positive.
    pixel_um, z_step_um
        Pixel size and distance of neighbouring slices in micrometres, None where not known.
    halves
        Validation fields that decide when training ends (``choice``), and those that intervals are measured on
        (``calibration``). With too few fields each is all of them.
    n_leaks
        Pairs of images that two fields share, None where nobody looked.
    """

    name: str
    fingerprint: str
    labels: pd.DataFrame
    features: pd.DataFrame
    score_per_slice: float
    pixel_um: float | None
    z_step_um: float | None
    halves: dict[str, set[str]]
    n_leaks: int | None

    def rows(self, part: str) -> np.ndarray:
        """Which images belong to ``train``, ``validation`` or ``test``, or to ``choice`` or ``calibration``."""
        if part in self.halves:
            return self.labels["field"].isin(self.halves[part]).to_numpy()
        return (self.labels["split"] == part).to_numpy()

    def part(self, part: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Return features and labels of one part, see :meth:`rows`."""
        chosen = self.rows(part)
        return self.features[chosen], self.labels["focus_score"].to_numpy()[chosen]

    @property
    def calibration(self) -> str:
        """Part on which a trained network is calibrated: ``calibration``, or ``validation`` where it has no halves."""
        return "calibration" if self.halves["choice"] != self.halves["calibration"] else "validation"

    def describe(self, part: str) -> str:
        """Say what was calibrated on a part of the validation fields, for ``metrics.json``."""
        fields = self.labels.loc[self.rows(part), "field"].nunique()
        if part == "calibration":
            return f"{fields} validation fields that had no part in deciding when training ended"
        return f"all {fields} validation fields, which also decided when training ended"


def load_data(
    dataset: Path, cache: Path, *, seed: int, jobs: int, leak_scan: bool = True, window_px: int = 0
) -> tuple[Data, np.ndarray]:
    """Read labels and truth, split by field, and decode every image once for all that is wanted of it.

    Parameters
    ----------
    dataset
        Folder with ``focus_labels.csv``.
    cache
        Folder where features are kept between runs.
    seed, jobs
        Of the split; processes.
    leak_scan
        Whether fields that share images are found and kept on one side of the split.
    window_px
        Side of the window about the centre that is cut from each image for a network.

    Returns
    -------
    tuple
        The data and the windows ``(N, window_px, window_px, 3)`` uint8.

    Raises
    ------
    InputError
        Faulty labels, too few fields to split, images that cannot be read.
    """
    labels = read_labels(dataset)
    step = training_step(labels)
    split_fields(labels, seed)  # too few fields are told before the images are read
    features, prints, windows = _read_images(dataset, labels, cache, jobs, leak_scan, window_px)
    leaks = compare_fingerprints(dataset, prints, labels["field"].tolist(), jobs=jobs) if leak_scan else None
    linked = set() if leaks is None else linked_fields(leaks)
    truth = read_truth(dataset)
    labels = labels.assign(true_score=true_scores(labels, truth), split=split_fields(labels, seed, linked))
    data = Data(
        name=as_text(dataset.resolve().name),
        fingerprint=dataset_fingerprint(dataset, labels),
        labels=labels,
        features=features,
        score_per_slice=abs(step),
        pixel_um=pixel_um(dataset),
        z_step_um=z_step_um(dataset, labels, truth),
        halves=_halves(labels, seed, linked),
        n_leaks=None if leaks is None else len(leaks),
    )
    return data, windows


def _read_images(
    dataset: Path, labels: pd.DataFrame, cache: Path, jobs: int, leak_scan: bool, window_px: int
) -> tuple[pd.DataFrame, list[Fingerprint], np.ndarray]:
    """Features, fingerprints and windows of every image; the last two only where they are wanted."""
    prints: list[Fingerprint] = []
    windows = np.empty((len(labels), window_px, window_px, 3), np.uint8)

    def take(found: tuple[Fingerprint, np.ndarray]) -> None:
        windows[len(prints)] = found[1]
        prints.append(found[0])

    features = feature_table(
        [dataset / image_path for image_path in labels["image_path"]],
        jobs=jobs,
        cache=cache,
        also=partial(_print_and_window, dataset=dataset, window_px=window_px) if leak_scan or window_px else None,
        take=take,
    )
    return features, prints, windows


def _print_and_window(path: str, image: np.ndarray, *, dataset: Path, window_px: int) -> tuple[Fingerprint, np.ndarray]:
    return fingerprint_of(Path(path).relative_to(dataset).as_posix(), image), native_window(image, window_px)


def _halves(labels: pd.DataFrame, seed: int, linked: set[tuple[str, str]]) -> dict[str, set[str]]:
    """Labelled validation fields: those that decide when training ends, and those that intervals are measured on."""
    known = labels[(labels["split"] == "validation") & labels["focus_score"].notna()]
    fields = set(known["field"])
    choice, calibration = halve_fields(fields, seed, linked)
    if min(len(choice), len(calibration)) < FEWEST_FIELDS:
        choice = calibration = fields
    return {"choice": choice, "calibration": calibration}


def calibrate_stacks(data: Data, dataset: Path, model: Model) -> tuple[StackCalibration | None, dict[str, Any]]:
    """Measure on validation fields how sharpness and scores are to be weighed.

    Returns
    -------
    tuple
        The calibration, None where the stacks do not suffice (``pick-focus`` then uses defaults); and for
        ``metrics.json`` the number of ``stacks`` and what they are ``calibrated_on``, or the ``reason``.
    """
    reason = ""
    for part in dict.fromkeys((data.calibration, "validation")):  # where a half holds too few stacks, the whole
        names = set(data.labels.loc[data.rows(part), "stack"])
        try:
            calibration = calibrate_dataset(dataset, names, model)
        except InputError as error:
            reason = str(error)
        else:
            return calibration, {"stacks": calibration.stacks, "calibrated_on": data.describe(part)}
    return None, {"stacks": 0, "reason": reason}


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
    labels = data.labels if split is None else data.labels[data.rows(split)]
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
