"""A run folder is one command's at a time: locked while it works, of one kind, and cleared of an older run's files."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from focus_picker.dataset.errors import InputError

LOCK = ".lock"
TABLES = ("metrics.json", "predictions.csv", "config.json", "environment.json")
NETWORK = ("focus_model.tflite", "focus_model.json", "best_model.h5", "history.csv", "loss_curve.png", "predicted.png")
OWNED = {
    "baseline": (
        *("baseline.txt", "baseline.json", "importance.png"),
        *("predicted.png", "error_by_score.png", "sign_by_score.png"),
    ),
    "train-cnn": (
        *(*NETWORK, "teacher.keras", "focus_model.onnx"),
        *(f"focus_model_{variant}.{suffix}" for variant in ("static", "int8") for suffix in ("tflite", "json")),
    ),
    "adapt": (*NETWORK, "labelling.csv", "labelling.png"),
}
"""What each command writes besides ``TABLES``; nothing else in the folder is ever touched."""


@contextmanager
def claimed_run(output: Path, command: str) -> Iterator[None]:
    """Hold the folder ``output`` for ``command`` within the block; an empty one is removed again.

    Raises
    ------
    InputError
        Another command is at work there, or the folder holds a run of another kind.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = os.open(output / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{output} is in use by another command; wait for it, or give another folder") from None
        if (found := _kind(output)) not in ("", command):
            raise InputError(f"{output} holds a run of {found}; give {command} another folder")
        try:
            yield
        finally:
            (output / LOCK).unlink(missing_ok=True)
    finally:
        os.close(lock)
        with suppress(OSError):  # not empty
            output.rmdir()


def clear_run(output: Path, command: str) -> None:
    """Remove what an older run of the command left, so that nothing of it can pass for the new one's."""
    for name in (*TABLES, *OWNED[command]):
        (output / name).unlink(missing_ok=True)


def _kind(output: Path) -> str:
    """Command whose run lies there; empty where there is none."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        return str(json.loads((output / "config.json").read_bytes())["command"])
    if (output / "baseline.txt").is_file():
        return "baseline"
    return "train-cnn" if (output / "teacher.keras").is_file() else ""
