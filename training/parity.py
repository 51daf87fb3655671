"""The same file must get the same score from Keras, from TensorFlow Lite and from LiteRT, over the whole path."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from focus_picker.dataset.images import read_image
from focus_picker.deep.runtime import load_student
from focus_picker.deep.window import native_window

FILES = 200
TOLERANCE = 0.1  # of a slice; two bytes a weight move a score by a hundredth


def whole_path_parity(
    model: keras.Model, model_file: Path, files: Sequence[Path], onnx: bytes | None, score_per_slice: float
) -> dict[str, Any]:
    """Score image files by every runtime, from the file on, and compare with Keras.

    Parameters
    ----------
    model
        Student with read-out.
    model_file
        The shipped ``.tflite`` with its side file.
    files
        Test images; at most ``FILES`` of them, evenly spread, are used.
    onnx
        The ONNX model, if there is one.
    score_per_slice
        Of the training stacks.

    Returns
    -------
    dict
        Number of ``files``, largest absolute difference of the score from Keras for each runtime, and whether all of
        them ``agree`` within ``TOLERANCE``; a warning says so where they do not.
    """
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(FILES, len(files))).astype(int))]
    images = [read_image(file) for file in chosen]
    student = load_student(model_file)
    windows = np.stack([native_window(image, student.side.window_px) for image in images])
    reference = model.predict(windows, batch_size=64, verbose=0)["score"][:, 0]
    scores = {
        "litert": student.judge(images).score,
        "tf_lite": _tf_lite(model_file.read_bytes())(windows),
    }
    if onnx is not None:
        scores["onnx"] = _onnx(onnx)(windows)
    differences = {f"{name}_largest_difference": float(np.abs(s - reference).max()) for name, s in scores.items()}
    agree = max(differences.values()) <= TOLERANCE * score_per_slice
    if not agree:
        warnings.warn(
            f"{model_file} scores images otherwise than the trained network does ({differences}); do not use it",
            stacklevel=2,
        )
    return {"files": len(chosen), **differences, "agree": agree}


def _tf_lite(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    with warnings.catch_warnings():
        # Deprecated in favour of LiteRT, which is the point of the comparison.
        warnings.simplefilter("ignore")
        runner = tf.lite.Interpreter(model_content=content).get_signature_runner()
    return lambda windows: runner(image=windows)["score"][:, 0]


def _onnx(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    position = [output.name for output in session.get_outputs()].index("score")
    return lambda windows: session.run(None, {name: windows})[position][:, 0]
