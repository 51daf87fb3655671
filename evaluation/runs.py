"""The run folder: what a training leaves behind, written whole and read back with checks.

``predictions.csv`` knows no model: whatever scored the images, comparison reads the same columns. ``metrics.json`` is
written last, so a folder that has one is complete.
"""

import hashlib
import platform
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from focus_picker.dataset.declared import Declared, read_json, write_json
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text, atomic_path, sha256_of
from focus_picker.evaluation.run_claim import OWNED
from focus_picker.evaluation.run_metrics import RunMetrics

PREDICTIONS, METRICS, CONFIG, ENVIRONMENT = "predictions.csv", "metrics.json", "config.json", "environment.json"
TEXT_COLUMNS = ("image_path", "field", "stack", "split")
NUMBER_COLUMNS = ("focus_score", "true_score", "predicted", "lower", "upper")
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS)
SPLITS = ("train", "validation", "test")
PACKAGES = (
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "lightgbm",
    "opencv-python-headless",
    "pillow",
    "tifffile",
    "matplotlib",
    "tensorflow",
    "keras",
    "ai-edge-litert",
)


@dataclass(frozen=True)
class Run:
    """One run folder in memory.

    Attributes
    ----------
    path : Path
        The folder; its last part is the run's name.
    predictions : pandas.DataFrame
        Columns ``COLUMNS``, one row an image; numbers are NaN where unknown.
    metrics : RunMetrics
    config, environment : dict
        What the JSON files hold.
    """

    path: Path
    predictions: pd.DataFrame
    metrics: RunMetrics
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name of the run: that of its folder."""
        return as_text(self.path.resolve().name)

    @property
    def test(self) -> pd.DataFrame:
        """Return the predictions of the test images."""
        return self.predictions[self.predictions["split"] == "test"]


def write_run(output: str | Path, predictions: pd.DataFrame, metrics: dict[str, Any], config: dict[str, Any]) -> None:
    """Write the tables of a run into the folder ``output``, each file whole or not at all.

    ``metrics`` are those of ``RunMetrics``, and whatever else the training notes. ``metrics.json`` carries checksums
    of ``predictions.csv`` and of what the training left there before, so that a mixture of two runs is noticed.
    """
    RunMetrics.model_validate(metrics)
    output = Path(output)
    predictions = check_predictions(predictions, "the predictions table")
    with atomic_path(output / PREDICTIONS) as temporary:
        predictions.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n", errors="backslashreplace")
        checksum = sha256_of(temporary)
    write_json(output / CONFIG, config)
    write_json(output / ENVIRONMENT, environment())
    left = {name: output / name for names in OWNED.values() for name in names if (output / name).is_file()}
    files = {name: sha256_of(path) for name, path in sorted(left.items())}
    write_json(output / METRICS, metrics | {"predictions_sha256": checksum, "files_sha256": files})


def read_run(path: str | Path) -> Run:
    """Read a run folder back and check it.

    Raises
    ------
    InputError
        If the folder, its ``predictions.csv`` or its ``metrics.json`` is missing or malformed, or if the two are not
        of one run.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"No run folder at {path}: give a folder that a training left (with {PREDICTIONS}).")
    metrics = _read(path / METRICS, RunMetrics)
    predictions = read_predictions(path / PREDICTIONS)
    if metrics.predictions_sha256 not in ("", sha256_of(path / PREDICTIONS)):
        raise InputError(f"{path / PREDICTIONS} is not the table that {METRICS} was computed from: run it again.")
    about = (_read(path / name, dict[str, Any]) if (path / name).exists() else {} for name in (CONFIG, ENVIRONMENT))
    return Run(path, predictions, metrics, *about)


def _read(path: Path, declaration: type[Declared]) -> Declared:
    return read_json(path, declaration, what="file of a complete run", fix="run it again")


def find_runs(folder: str | Path) -> list[Path]:
    """Return the complete run folders directly inside ``folder``, by name; empty when there is none."""
    return sorted(path.parent for path in Path(folder).glob(f"*/{METRICS}") if (path.parent / PREDICTIONS).exists())


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read a predictions table; InputError naming the file and what is wrong with it."""
    try:
        text_types = dict.fromkeys(TEXT_COLUMNS, str)
        table = pd.read_csv(path, dtype=text_types, keep_default_na=False, na_values=dict.fromkeys(NUMBER_COLUMNS, ""))
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): give a folder that a training left.") from error
    except ValueError as error:  # also pandas' parser errors and undecodable bytes
        raise InputError(f"{path} is not a table of predictions ({error}): run the training again.") from error
    return check_predictions(table, str(path))


def check_predictions(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the declared columns of a predictions table in order, numbers as float; InputError if it breaks the form.

    ``where`` names the table in messages. Each image occurs once, and each split is one of ``SPLITS``.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"{where} lacks column {', '.join(missing)}: expected {', '.join(COLUMNS)}.")
    table = table[list(COLUMNS)].reset_index(drop=True)
    for name in NUMBER_COLUMNS:
        try:
            table[name] = table[name].astype(float)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: column {name} must hold numbers or nothing ({error}).") from error
    infinite = np.isinf(table[list(NUMBER_COLUMNS)]).any(axis=1)
    _refuse_row(infinite, table, where, "an infinite number")
    _refuse_row(table["image_path"].duplicated(), table, where, "image_path occurs twice")
    _refuse_row(~table["split"].isin(SPLITS), table, where, f"split must be one of {', '.join(SPLITS)}")
    return table


def _refuse_row(wrong: pd.Series, table: pd.DataFrame, where: str, what: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{where}, row {row + 2} ({table['image_path'].iloc[row]}): {what}.")


def environment() -> dict[str, Any]:
    """Describe what computed a run: versions and platform; no names of hosts, users or folders."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def dataset_fingerprint(dataset: str | Path, labels: pd.DataFrame) -> str:
    """Return a checksum that two data sets share only if they are the same.

    Over each image's relative path, label and size in bytes: reading sizes costs microseconds an image where hashing
    the contents would cost a second pass over the data set, and simulated sets of one layout still differ.
    """
    digest = hashlib.sha256()
    rows = labels.sort_values("image_path")
    for image_path, score in zip(rows["image_path"], rows["focus_score"], strict=True):
        n_bytes = (Path(dataset) / image_path).stat().st_size
        digest.update(f"{image_path}\t{score:.6g}\t{n_bytes}\n".encode())
    return digest.hexdigest()
