"""Trained models from their files: one line for each kind of file that can judge an image."""

from collections.abc import Callable
from pathlib import Path

from focus_picker.dataset.errors import InputError
from focus_picker.models.contract import Model


def _load_student(path: Path) -> Model:
    from focus_picker.deep.runtime import load_student

    return load_student(path)


def _load_baseline(path: Path) -> Model:
    from focus_picker.features.baseline import load_baseline

    return load_baseline(path)


LOADERS: dict[str, Callable[[Path], Model]] = {
    "focus_model.tflite": _load_student,
    "baseline.txt": _load_baseline,
}
"""Loader by file name; in a run folder the first that is there is taken, so that order is preference."""


def load_model(path: str | Path) -> Model:
    """Load a trained model from its file or from the run folder that holds it.

    Raises
    ------
    InputError
        No such path, a folder without a model, a file of an unknown kind, or one that its loader refuses.
    """
    path = find_model(path)
    return {Path(name).suffix: loader for name, loader in LOADERS.items()}[path.suffix](path)


def find_model(path: str | Path) -> Path:
    """Return the model file at ``path``, which may be the run folder that holds it.

    Raises
    ------
    InputError
        No such path, a folder without a model, or a file of an unknown kind.
    """
    path = Path(path)
    if path.is_dir():
        names = [name for name in LOADERS if (path / name).is_file()]
        if not names:
            raise InputError(f"{path} holds no model ({', '.join(LOADERS)}); give the folder of a finished run")
        return path / names[0]
    if not path.is_file():
        raise InputError(f"model {path} does not exist; give a model file or its run folder")
    suffixes = [Path(name).suffix for name in LOADERS]
    if path.suffix not in suffixes:
        raise InputError(f"{path} is no model this version knows ({', '.join(suffixes)}); give one of those")
    return path
