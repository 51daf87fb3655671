"""Teacher first, then the student that learns from labels and teacher together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from deep.bins import ScoreBins
from deep.pipeline import Batches, centre
from deep.student import build_student, copy_backbone, start_from
from deep.training import Schedule, train
from hybrid.losses import auxiliary_loss, distillation_loss, label_loss
from hybrid.preset import Preset
from hybrid.teacher import build_teacher

Report = Callable[[str, dict[str, float]], None]


@dataclass(frozen=True)
class Part:
    """Images of one split, ready for a network.

    Attributes
    ----------
    windows
        ``(N, S, S, 3)`` uint8 with a margin for shifts.
    features
        ``(N, F)`` standardised handcrafted features.
    score
        ``(N,)`` labels, NaN where unlabelled.
    """

    windows: np.ndarray
    features: np.ndarray
    score: np.ndarray

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """What a teacher is given."""
        return {"image": np.ascontiguousarray(centre(self.windows)), "features": self.features}


def predict_distribution(model: keras.Model, part: Part) -> np.ndarray:
    """Distributions ``(N, bins)`` of a teacher or student, without augmentation."""
    return softmax(predict_logits(model, part))


def predict_logits(model: keras.Model, part: Part) -> np.ndarray:
    """Logits ``(N, bins)`` of a teacher or student, without augmentation."""
    inputs = part.inputs if len(model.inputs) > 1 else part.inputs["image"]
    return model.predict(inputs, batch_size=128, verbose=0)["logits"]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax along the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def validation_error(part: Part, bins: ScoreBins) -> Callable[[keras.Model], float]:
    """Mean absolute error of the median read-out on the labelled images of ``part``."""
    known = np.isfinite(part.score)
    labelled = Part(part.windows[known], part.features[known], part.score[known])

    def error(model: keras.Model) -> float:
        median = bins.quantile(predict_distribution(model, labelled), 0.5)
        return float(np.abs(median - labelled.score).mean())

    return error


def build_and_train_teacher(
    parts: dict[str, Part], *, bins: ScoreBins, preset: Preset, given: keras.Model | None, folder: Path, seed: int,
    report: Report, with_features: bool = True,
) -> tuple[keras.Model, pd.DataFrame]:  # fmt: skip
    """Build a teacher for these parts, start it from ``given`` weights if there are any, and train it."""
    teacher = build_teacher(bins, parts["train"].features.shape[1] if with_features else 0, preset.backbone)
    if given is not None:
        copy_backbone(given, teacher)
    history = train_teacher(
        teacher, parts["train"], parts["validation"], bins, preset, folder,
        started=given is not None, seed=seed, report=report,
    )  # fmt: skip
    return teacher, history


def build_and_train_student(
    parts: dict[str, Part], teacher: keras.Model | None, *, bins: ScoreBins, preset: Preset, given: keras.Model | None,
    folder: Path, seed: int, report: Report,
) -> tuple[keras.Model, pd.DataFrame]:  # fmt: skip
    """Build a student, start it from ``given`` weights if there are any, and train it on labels and teacher."""
    student = build_student(bins, preset.backbone, n_auxiliary=parts["train"].features.shape[1])
    if given is not None:
        start_from(student, given)
    logits = predict_logits(teacher, parts["train"]) if teacher is not None else None
    history = train_student(
        student, logits, parts["train"], parts["validation"], bins, preset, folder,
        started=given is not None, seed=seed, report=report,
    )  # fmt: skip
    return student, history


def train_teacher(
    teacher: keras.Model, part: Part, validation: Part, bins: ScoreBins, preset: Preset, folder: Path,
    *, started: bool, seed: int, report: Report,
) -> pd.DataFrame:  # fmt: skip
    """Train the teacher on labels in place; see :func:`run_phases` for the phases."""
    targets = _label_targets(part, bins, preset)
    with_features = len(teacher.inputs) > 1
    if with_features:
        targets["features"] = part.features

    def loss(outputs: dict[str, tf.Tensor], given: dict[str, tf.Tensor]) -> tf.Tensor:
        return label_loss(outputs["logits"], given["soft"], given["weight"])

    batches = Batches(part.windows, targets, preset.batch, seed, inputs=("features",) if with_features else ())
    return run_phases(
        teacher, batches, loss, validation_error(validation, bins), preset, preset.teacher_epochs, folder,
        started=started, report=lambda row: report("teacher", row),
    )  # fmt: skip


def train_student(
    student: keras.Model, teacher_logits: np.ndarray | None, part: Part, validation: Part, bins: ScoreBins,
    preset: Preset, folder: Path, *, started: bool, seed: int, report: Report,
) -> pd.DataFrame:  # fmt: skip
    """Train the student in place, on labels, the teacher's logits for the same images, and the handcrafted features.

    ``teacher_logits`` None trains on labels and features alone: the control.
    """
    targets = _label_targets(part, bins, preset) | {"features": part.features}
    share = preset.distillation if teacher_logits is not None else 0.0
    if teacher_logits is not None:
        targets["teacher"] = teacher_logits.astype(np.float32)

    def loss(outputs: dict[str, tf.Tensor], given: dict[str, tf.Tensor]) -> tf.Tensor:
        value = (1 - share) * label_loss(outputs["logits"], given["soft"], given["weight"])
        if share:
            value += share * distillation_loss(outputs["logits"], given["teacher"], preset.temperature)
        return value + preset.auxiliary * auxiliary_loss(outputs["auxiliary"], given["features"])

    return run_phases(
        student, Batches(part.windows, targets, preset.batch, seed), loss, validation_error(validation, bins), preset,
        preset.student_epochs, folder, started=started, report=lambda row: report("student", row),
    )  # fmt: skip


def run_phases(
    model: keras.Model, batches: Batches, loss: Callable, validate: Callable, preset: Preset, epochs: int, folder: Path,
    *, started: bool, report: Callable[[dict[str, float]], None],
) -> pd.DataFrame:  # fmt: skip
    """Train in one phase from random weights, or in two from given ones.

    With ``started`` weights the head learns first on a frozen backbone, then all layers at a tenth of the rate with
    BatchNorm frozen: a new head's first gradients would spoil what the backbone already knows.
    """
    whole = Schedule(epochs, preset.learning_rate, patience=preset.patience)
    phases = {"all": whole}
    if started:
        head = replace(whole, epochs=preset.head_epochs, frozen="backbone")
        phases = {"head": head, "all": replace(whole, learning_rate=preset.learning_rate / 10, frozen="batchnorm")}
    histories = [
        train(model, batches, loss, validate, schedule, folder / phase, report=report).assign(phase=phase)
        for phase, schedule in phases.items()
    ]
    return pd.concat(histories, ignore_index=True)


def _label_targets(part: Part, bins: ScoreBins, preset: Preset) -> dict[str, np.ndarray]:
    weight = 1 + preset.far_weight * np.abs(np.nan_to_num(part.score))
    return {"soft": bins.soft_labels(part.score, preset.label_sigma), "weight": weight.astype(np.float32)}
