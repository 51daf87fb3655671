"""How a baseline is kept: two files that hold text only, nothing that unpickles.

``baseline.txt`` is LightGBM's own format. ``baseline.json`` beside it holds what LightGBM does not know: features in
order, intervals, training ranges, the checksum of the model, and what the features are on a fixed picture, so that a
measure that changed its meaning under its old name is noticed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.features import CUES, MEASURES, measure
from focus_picker.models.conformal import HalfWidths

FORMAT = "focus-picker baseline 1"  # rises when a reader would misread older files
MODEL_FILE = "baseline.txt"
PROBE_TOLERANCE = 1e-2  # lets other builds of OpenCV pass, which round differently


def write_model(path: str | Path, text: str, side: dict[str, Any]) -> None:
    """Write the model ``text`` to ``path`` and ``side`` to the ``.json`` beside it, with checksum and probe."""
    path = Path(path)
    write_text(path, text)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    whole = {"format": FORMAT, "sha256": checksum, **side, "probe": probe(side["features"])}
    write_text(path.with_suffix(".json"), json.dumps(whole, indent=1) + "\n")


def read_model(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Read and check what ``write_model`` wrote; ``path`` is the model or the folder that holds it.

    Returns the model's text and the side values, with ``intervals`` as HalfWidths and ``ranges`` as an array
    ``(n_features, 2)``.

    Raises
    ------
    InputError
        If a file is missing or of another kind, the checksum differs, or a feature is unknown or has changed.
    """
    path = Path(path)
    path = path / MODEL_FILE if path.is_dir() else path
    text, side = _read_text(path), _read_side(path.with_suffix(".json"))
    if hashlib.sha256(text.encode()).hexdigest() != side["sha256"]:
        raise InputError(f"{path} is not the model that {path.stem}.json describes (checksum differs): train it again.")
    unknown = [name for name in side["features"] if name not in MEASURES and name not in CUES]
    if unknown:
        raise InputError(f"{path} uses {_some(unknown)}, unknown to this version: train it again with it.")
    _check_probe(side, path)
    return text, side


def _read_text(path: Path) -> str:
    # Bytes, not text mode: a changed line ending is a changed file.
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"No baseline at {path} ({error.strerror}): give a {MODEL_FILE} or its run folder.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a baseline: LightGBM's text format was expected.") from error


def _read_side(path: Path) -> dict[str, Any]:
    """Read and check the side file; its intervals and ranges come back as objects."""
    try:
        side = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} is missing: keep it beside the model, which cannot be read without it.") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): train the baseline again.") from error
    try:
        if side["format"] != FORMAT:
            raise InputError(f"{path} has format {side['format']!r}, expected {FORMAT!r}: train the baseline again.")
        ranges = np.array(side["ranges"], dtype=np.float64).reshape(len(side["features"]), 2)
        return {
            "sha256": str(side["sha256"]),
            "features": [str(name) for name in side["features"]],
            "score_per_slice": float(side["score_per_slice"]),
            "intervals": HalfWidths.from_json(side["intervals"]),
            "ranges": ranges,
            "novelty_limit": float(side["novelty_limit"]),
            "probe": [float(value) for value in side["probe"]],
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a baseline's side file ({error!r}): train the baseline again.") from error


def _check_probe(side: dict[str, Any], path: Path) -> None:
    """Refuse a model whose measures have changed their meaning under the same name since it was trained."""
    now = np.array(probe(side["features"]))
    if now.shape != np.shape(side["probe"]):
        raise InputError(f"{path} has {len(side['features'])} features, but {len(side['probe'])} probe values.")
    same = np.isclose(now, side["probe"], rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE**2, equal_nan=True)
    if not same.all():
        changed = [name for name, unchanged in zip(side["features"], same, strict=True) if not unchanged]
        raise InputError(f"{path} was trained when {_some(changed)} had another definition: train it again.")


def probe(names: list[str]) -> list[float]:
    """Measure a fixed picture: a stained disc with a mottled nucleus beside its middle, colours out of register."""
    y, x = np.mgrid[:96, :120].astype(float)
    channels = [
        220
        - 50 * (np.hypot(x - 60 - c, y - 48) < 36)
        - (60 + 15 * np.sin(x * 0.9 + c) * np.cos(y * 0.7)) * (np.hypot(x - 52, y - 50 + c) < 18)
        for c in range(3)
    ]
    picture = np.stack(channels, axis=-1).round().astype(np.uint8)
    values = measure(picture, names)
    return [float(values[name]) for name in names]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
