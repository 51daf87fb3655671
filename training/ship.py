"""From a trained student to the model that is shipped: calibrated, converted, compared with Keras."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import sha256_of
from focus_picker.deep.competence import learn_competence
from focus_picker.deep.export import VARIANTS, rounded, save_h5, static_batch, to_tflite
from focus_picker.deep.runtime import Student
from focus_picker.deep.views import alone
from focus_picker.models.bins import ScoreBins
from focus_picker.models.intervals import learn_widening
from focus_picker.models.side_file import StudentSide, write_model
from focus_picker.models.stack_calibration import StackCalibration

MODEL_FILE, WEIGHTS_FILE = "focus_model.tflite", "best_model.h5"
SHIP_ORDER = ("weights8", "fp16", "fp32")  # focus_model.tflite is the first that passes; int8 lies beside it if it does
MAE_MARGIN = 1.02  # a variant may be this much worse than fp32
AGREEMENT = 0.995  # and must decide as Keras does on this share of the validation images
TIMED_RUNS = 300


@dataclass(frozen=True)
class Trial:
    """One converted variant beside the trained network.

    Attributes
    ----------
    student
        Ready to judge.
    mae
        On the labelled validation images.
    agreement
        Share of validation images with the same state of focus as by Keras.
    difference
        Largest difference of a score from Keras.
    latency_ms
        Median of one image on one thread, inference alone.
    passed, reason
        Whether it may ship, and why not.
    """

    student: Student
    mae: float
    agreement: float
    difference: float
    latency_ms: float
    passed: bool
    reason: str

    def as_row(self) -> dict[str, Any]:
        """Plain numbers for ``metrics.json``."""
        return {
            "bytes": len(self.student.weights),
            "mae": self.mae,
            "decision_agreement": self.agreement,
            "largest_difference": self.difference,
            "latency_ms": self.latency_ms,
            "passed": self.passed,
            "reason": self.reason,
        }


def rounded_if_as_good(model: keras.Model, held_windows: np.ndarray, held_label: np.ndarray) -> keras.Model:
    """Round the kernels to a byte each, in place, unless the error on held-out images grows by more than the margin.

    Mostly it costs nothing; but a filter that should sum to nothing may let an image's brightness through. What is not
    rounded ships as fp16, as its ``weights8``, which the converter rounds then, is refused for the same error.

    Parameters
    ----------
    model
        Student with read-out.
    held_windows, held_label
        Windows ``(M, H, W, 3)`` and scores ``(M,)`` of fields that did not fit the student, NaN where unlabelled.
    """
    known = np.isfinite(held_label)

    def error() -> float:
        said = model.predict(held_windows[known], batch_size=128, verbose=0)["score"][:, 0]
        return float(np.abs(said - held_label[known]).mean())

    if known.any():
        before, trained = error(), model.get_weights()
        rounded(model)
        if error() > MAE_MARGIN * before:
            model.set_weights(trained)
    return model


def calibrate(
    model: keras.Model,
    bins: ScoreBins,
    train_windows: np.ndarray,
    held_windows: np.ndarray,
    held_label: np.ndarray,
    score_per_slice: float,
) -> StudentSide:
    """Learn intervals and competence from the student with read-out: its side file, for whatever it is converted to.

    Parameters
    ----------
    model, bins
        Student with read-out, and its score bins.
    train_windows
        Training windows ``(N, H, W, 3)`` uint8.
    held_windows, held_label
        Windows and scores ``(M,)`` of fields that neither fitted the student nor chose its epoch.
    score_per_slice
        Of the training stacks.
    """
    outputs = model.predict(held_windows, batch_size=128, verbose=0)
    return StudentSide(
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
        score_per_slice=score_per_slice,
        calibrated=True,
        window_px=train_windows.shape[1],
        bins=bins,
        intervals=learn_widening(bins, outputs["distribution"], held_label),
        competence=learn_competence(train_windows, outputs["spread"][:, 0]),
    )


def try_variants(
    model: keras.Model, side: StudentSide, train_windows: np.ndarray, held_windows: np.ndarray, held_label: np.ndarray
) -> dict[str, Trial]:
    """Convert every variant and compare it with Keras and with fp32 on held-out images, which are no test images.

    Parameters
    ----------
    model, side
        Student with read-out, and its side file.
    train_windows
        Training windows ``(N, H, W, 3)`` uint8, which show the int8 converter the range of every tensor.
    held_windows, held_label
        Windows and scores ``(M,)`` of the fields on which it was calibrated.
    """
    reference = model.predict(held_windows, batch_size=128, verbose=0)
    trials: dict[str, Trial] = {}
    for variant in VARIANTS:
        weights = to_tflite(model, variant, train_windows)
        student = Student(weights, side.model_copy(update={"variant": variant}))
        fp32_mae = trials["fp32"].mae if trials else None
        trials[variant] = _try(student, reference, held_windows, held_label, fp32_mae)
    return trials


def _try(
    student: Student,
    reference: dict[str, np.ndarray],
    windows: np.ndarray,
    label: np.ndarray,
    fp32_mae: float | None,
) -> Trial:
    # The reference looks once.
    one_look = Student(student.weights, student.side.model_copy(update={"turns": False, "corners": False}))
    outputs = predict_all(one_look, windows)
    known = np.isfinite(label)
    mae = float(np.abs(outputs["score"][known] - label[known]).mean()) if known.any() else float("nan")
    keras_score = reference["score"][:, 0]
    ours = student.side.state(outputs["score"], outputs["distribution"])
    theirs = student.side.state(keras_score, reference["distribution"])
    agreement = float(np.mean(ours == theirs))
    reason = why_refused(mae, fp32_mae, agreement)
    return Trial(
        student=student,
        mae=mae,
        agreement=agreement,
        difference=float(np.abs(outputs["score"] - keras_score).max()),
        latency_ms=latency_ms(student, windows[:1]),
        passed=not reason,
        reason=reason,
    )


def why_refused(mae: float, fp32_mae: float | None, agreement: float) -> str:
    """Say why a variant may not ship; an empty string where it may.

    Parameters
    ----------
    mae, fp32_mae
        Mean absolute errors of the variant and of fp32 on the held-out images (None for fp32 itself), score units.
    agreement
        Share of the held-out images that get the same state of focus from the variant and from Keras.
    """
    if not np.isfinite(mae):
        return "its scores are not numbers"
    if fp32_mae is not None and mae > MAE_MARGIN * fp32_mae:
        return f"validation MAE {mae:.4f} is more than 2 % above fp32's {fp32_mae:.4f}"
    if agreement < AGREEMENT:
        return f"decides as Keras does on {agreement:.2%} of the validation images, {AGREEMENT:.1%} are needed"
    return ""


def predict_all(student: Student, windows: np.ndarray, batch: int = 64) -> dict[str, np.ndarray]:
    """Outputs for any number of windows, in batches."""
    parts = [student.predict(alone(windows[start : start + batch])) for start in range(0, len(windows), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def latency_ms(student: Student, window: np.ndarray) -> float:
    """Median time of one inference of one image on one thread, milliseconds; inference alone, input already set."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=student.weights, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window)
    seconds = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))


def choose_variant(trials: dict[str, Trial], variants: Sequence[str] = SHIP_ORDER) -> Trial:
    """Return the first of ``variants`` that passed.

    Raises
    ------
    InputError
        When none did.
    """
    passed = [trials[name] for name in variants if trials[name].passed]
    if not passed:
        reasons = "; ".join(f"{name}: {trials[name].reason}" for name in variants)
        raise InputError(
            f"no converted model is as good as the trained one ({reasons}); train longer or on more fields"
        )
    return passed[0]


def write_models(
    output: Path,
    model: keras.Model,
    trials: dict[str, Trial],
    shipped: Trial,
    stack_calibration: StackCalibration | None,
    train_windows: np.ndarray,
) -> None:
    """Write the trained network, the shipped model, its static variant, and int8 if it passed, with their side files.

    Parameters
    ----------
    output
        Folder.
    model
        Student with read-out.
    trials, shipped
        From ``try_variants`` and ``choose_variant``.
    stack_calibration
        Measured with the shipped model; int8 has other errors and goes without.
    train_windows
        Representative images for the conversion.
    """
    save_h5(model, output / WEIGHTS_FILE)
    stated = {"trained_sha256": sha256_of(output / WEIGHTS_FILE)}
    side = shipped.student.side.model_copy(update=stated | {"stack_calibration": stack_calibration})
    write_model(output / MODEL_FILE, shipped.student.weights, side)
    single = to_tflite(static_batch(model), side.variant, train_windows)
    one_window = side.model_copy(update={"turns": False, "corners": False})  # it takes no more at a time
    write_model(output / "focus_model_static.tflite", single, one_window)
    if trials["int8"].passed:
        int8 = trials["int8"].student
        write_model(output / "focus_model_int8.tflite", int8.weights, int8.side.model_copy(update=stated))
