"""From a trained student to the model that is shipped: calibrated, converted, and let through the accuracy gate."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.version import VERSION
from focus_picker.deep.competence import learn_competence
from focus_picker.deep.export import VARIANTS, static_batch, to_tflite
from focus_picker.deep.intervals import COVERAGE, conformal_interval, learn_widening
from focus_picker.deep.runtime import FocusModel
from focus_picker.models.bins import ScoreBins
from focus_picker.models.decision import decide
from focus_picker.models.sidecar import Competence, Intervals, ModelFile, Sidecar

MODEL_FILE = "focus_model.tflite"
SHIP_ORDER = ("fp16", "fp32")  # the first that passes is focus_model.tflite; int8 is written beside it if it passes
MAE_MARGIN = 1.02  # a variant may be this much worse than fp32
AGREEMENT = 0.995  # and must decide as Keras does on this share of the test images
TIMED_RUNS = 300


@dataclass(frozen=True)
class Trial:
    """One converted variant and what the gate found.

    Attributes
    ----------
    variant
        Key of ``VARIANTS``.
    model
        Ready to score.
    mae
        On the labelled test images.
    agreement
        Share of test images with the same decision as Keras.
    difference
        Largest difference of a score from Keras.
    latency_ms
        Median of one image on one thread, inference alone.
    passed, reason
        The gate's word.
    """

    variant: str
    model: FocusModel
    mae: float
    agreement: float
    difference: float
    latency_ms: float
    passed: bool
    reason: str

    def as_row(self) -> dict[str, Any]:
        """Plain numbers for ``metrics.json``."""
        return {
            "bytes": len(self.model.file.content),
            "mae": self.mae,
            "decision_agreement": self.agreement,
            "largest_difference": self.difference,
            "latency_ms": self.latency_ms,
            "passed": self.passed,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Calibration:
    """What a side file states beyond the network: everything that is learned on validation fields, and the scale."""

    bins: ScoreBins
    score_per_slice: float
    intervals: Intervals
    competence: Competence
    pixel_um: float | None = None

    def interval(self, distribution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval of each distribution ``(N, bins)``."""
        return conformal_interval(self.bins, distribution, self.intervals.widening, self.intervals.coverage)

    def sidecar(self, content: bytes, variant: str, window_px: int) -> Sidecar:
        """The side file of ``content``."""
        return Sidecar(
            version=VERSION,
            sha256=hashlib.sha256(content).hexdigest(),
            variant=variant,
            window_px=window_px,
            pixel_um=self.pixel_um,
            low=self.bins.low,
            high=self.bins.high,
            bins=self.bins.count,
            score_per_slice=self.score_per_slice,
            intervals=self.intervals,
            competence=self.competence,
        )


def calibrate(
    model: keras.Model,
    bins: ScoreBins,
    train_windows: np.ndarray,
    validation_windows: np.ndarray,
    validation_label: np.ndarray,
    score_per_slice: float,
) -> Calibration:
    """Learn intervals and competence from the student with read-out; test images play no part."""
    outputs = model.predict(validation_windows, batch_size=128, verbose=0)
    widening = learn_widening(bins, outputs["distribution"], validation_label)
    return Calibration(
        bins=bins,
        score_per_slice=score_per_slice,
        intervals=Intervals(coverage=COVERAGE, widening=widening),
        competence=learn_competence(train_windows, outputs["spread"][:, 0]),
    )


def try_variants(
    model: keras.Model,
    calibration: Calibration,
    train_windows: np.ndarray,
    test_windows: np.ndarray,
    test_label: np.ndarray,
) -> dict[str, Trial]:
    """Convert every variant and hold it against Keras and against fp32 on the test images."""
    reference = model.predict(test_windows, batch_size=128, verbose=0)
    trials: dict[str, Trial] = {}
    for variant in VARIANTS:
        content = to_tflite(model, variant, train_windows)
        runtime = FocusModel(ModelFile(content, calibration.sidecar(content, variant, test_windows.shape[1])))
        fp32_mae = trials["fp32"].mae if trials else None
        trials[variant] = _try(runtime, variant, reference, test_windows, test_label, fp32_mae)
    return trials


def _try(
    runtime: FocusModel,
    variant: str,
    reference: dict[str, np.ndarray],
    windows: np.ndarray,
    label: np.ndarray,
    fp32_mae: float | None,
) -> Trial:
    outputs = predict_all(runtime, windows)
    known = np.isfinite(label)
    mae = float(np.abs(outputs["score"][known] - label[known]).mean()) if known.any() else float("nan")
    keras_score = reference["score"][:, 0]
    agreement = float(
        np.mean(_decisions(runtime, outputs["score"], outputs["distribution"])
                == _decisions(runtime, keras_score, reference["distribution"]))
    )  # fmt: skip
    reason = gate(mae, fp32_mae, agreement)
    return Trial(
        variant=variant,
        model=runtime,
        mae=mae,
        agreement=agreement,
        difference=float(np.abs(outputs["score"] - keras_score).max()),
        latency_ms=latency_ms(runtime, windows[:1]),
        passed=not reason,
        reason=reason,
    )


def gate(mae: float, fp32_mae: float | None, agreement: float) -> str:
    """Why a variant is refused, or an empty string.

    Parameters
    ----------
    mae, fp32_mae
        Test errors of the variant and of fp32 (None for fp32 itself).
    agreement
        Share of test images decided as Keras decides.
    """
    if not np.isfinite(mae):
        return "its scores are not numbers"
    if fp32_mae is not None and mae > MAE_MARGIN * fp32_mae:
        return f"test MAE {mae:.4f} is more than 2 % above fp32's {fp32_mae:.4f}"
    if agreement < AGREEMENT:
        return f"decides as Keras does on {agreement:.2%} of the test images, {AGREEMENT:.1%} are needed"
    return ""


def _decisions(runtime: FocusModel, score: np.ndarray, distribution: np.ndarray) -> np.ndarray:
    lower, upper = runtime.interval(distribution)
    return decide(score, lower, upper, runtime.sidecar.score_per_slice)


def predict_all(runtime: FocusModel, windows: np.ndarray, batch: int = 64) -> dict[str, np.ndarray]:
    """Outputs for any number of windows, in batches."""
    parts = [runtime.predict(windows[start : start + batch]) for start in range(0, len(windows), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def latency_ms(runtime: FocusModel, window: np.ndarray) -> float:
    """Median time of one inference of one image on one thread, milliseconds; inference alone, input already set."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=runtime.file.content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], window)
    seconds = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))


def write_models(
    output: Path,
    model: keras.Model,
    calibration: Calibration,
    trials: dict[str, Trial],
    train_windows: np.ndarray,
    variants: Sequence[str] = SHIP_ORDER,
) -> Trial:
    """Write the shipped model (the first of ``variants`` that passed), its static variant, and int8 if it passed.

    Each file has its side file.

    Raises
    ------
    InputError
        When no variant passes the gate; nothing is written then.
    """
    passed = [trials[name] for name in variants if trials[name].passed]
    if not passed:
        reasons = "; ".join(f"{name}: {trials[name].reason}" for name in variants)
        raise InputError(
            f"no converted model is as good as the trained one ({reasons}); train longer or on more fields"
        )
    shipped = passed[0]
    write_model(output / MODEL_FILE, shipped.model.file)
    single = to_tflite(static_batch(model), shipped.variant, train_windows)
    sidecar = calibration.sidecar(single, shipped.variant, shipped.model.sidecar.window_px)
    write_model(output / "focus_model_static.tflite", ModelFile(single, sidecar))
    if trials["int8"].passed:
        write_model(output / "focus_model_int8.tflite", trials["int8"].model.file)
    return shipped


def write_model(path: Path, file: ModelFile) -> None:
    """Write a model and its side file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(file.content)
    file.sidecar.write(path)
