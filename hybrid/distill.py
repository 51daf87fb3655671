"""Teacher first, then the student that learns from labels and teacher together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import softmax

from focus_picker.deep.pipeline import Batches
from focus_picker.deep.student import build_student, copy_backbone, start_from
from focus_picker.deep.training import Loss, Schedule, train
from focus_picker.deep.window import centre
from focus_picker.hybrid.losses import auxiliary_loss, distillation_loss, label_loss
from focus_picker.hybrid.preset import Preset
from focus_picker.hybrid.teacher import build_teacher
from focus_picker.models.bins import ScoreBins

Report = Callable[[str, dict[str, float]], None]


@dataclass(frozen=True)
class Recipe:
    """What all networks of a run have in common.

    Attributes
    ----------
    bins
        Score bins of every head.
    preset
        Settings.
    given
        Trained student to start from, None for random weights.
    seed
        Of batches and augmentation.
    report
        Called after each epoch with the network's name and the epoch's row.
    """

    bins: ScoreBins
    preset: Preset
    given: keras.Model | None
    seed: int
    report: Report


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
    return softmax(predict_logits(model, part), axis=-1)


def predict_logits(model: keras.Model, part: Part) -> np.ndarray:
    """Logits ``(N, bins)`` of a teacher or student, without augmentation."""
    inputs = part.inputs if len(model.inputs) > 1 else part.inputs["image"]
    return model.predict(inputs, batch_size=128, verbose=0)["logits"]


def validation_error(part: Part, bins: ScoreBins) -> Callable[[keras.Model], float]:
    """Mean absolute error of the median read-out on the labelled images of ``part``."""
    known = np.isfinite(part.score)
    labelled = Part(part.windows[known], part.features[known], part.score[known])

    def error(model: keras.Model) -> float:
        median = bins.quantile(predict_distribution(model, labelled), 0.5)
        return float(np.abs(median - labelled.score).mean())

    return error


def build_and_train_teacher(
    parts: dict[str, Part], recipe: Recipe, folder: Path, *, with_features: bool = True
) -> tuple[keras.Model, pd.DataFrame]:
    """Build a teacher, start it from given weights if there are any, and train it on labels.

    Parameters
    ----------
    parts
        ``train``, and ``validation``: the images that decide which epoch is best.
    recipe
        Of the run.
    folder
        For checkpoints.
    with_features
        Whether it is given the handcrafted features beside the image.

    Returns
    -------
    tuple
        The teacher and its history, see :func:`run_phases`.
    """
    part, preset = parts["train"], recipe.preset
    targets = {"soft": recipe.bins.soft_labels(part.score, preset.label_sigma)}
    if with_features:
        targets["features"] = part.features
    teacher = build_teacher(recipe.bins, part.features.shape[1] if with_features else 0, preset.backbone)
    if recipe.given is not None:
        copy_backbone(recipe.given, teacher)

    def loss(outputs: dict[str, tf.Tensor], given: dict[str, tf.Tensor]) -> tf.Tensor:
        return label_loss(outputs["logits"], given["soft"])

    inputs = ("features",) if with_features else ()
    batches = Batches(part.windows, targets, preset.batch, recipe.seed, inputs=inputs)
    history = run_phases(teacher, batches, loss, parts["validation"], recipe, preset.teacher_epochs, folder, "teacher")
    return teacher, history


def build_and_train_student(
    parts: dict[str, Part], teacher: keras.Model | None, recipe: Recipe, folder: Path
) -> tuple[keras.Model, pd.DataFrame]:
    """Build a student, start it from given weights if there are any, and train it.

    It learns from the labels, from the teacher's logits for the same images, and to predict the handcrafted features.
    Without a teacher it learns from labels and features alone: the control. Otherwise as
    :func:`build_and_train_teacher`.
    """
    part, preset = parts["train"], recipe.preset
    targets = {"soft": recipe.bins.soft_labels(part.score, preset.label_sigma), "features": part.features}
    student = build_student(recipe.bins, preset.backbone, n_auxiliary=part.features.shape[1])
    if recipe.given is not None:
        start_from(student, recipe.given)
    share = preset.distillation if teacher is not None else 0.0
    if teacher is not None:
        targets["teacher"] = predict_logits(teacher, part).astype(np.float32)

    def loss(outputs: dict[str, tf.Tensor], given: dict[str, tf.Tensor]) -> tf.Tensor:
        value = (1 - share) * label_loss(outputs["logits"], given["soft"])
        if share:
            value += share * distillation_loss(outputs["logits"], given["teacher"], preset.temperature)
        return value + preset.auxiliary * auxiliary_loss(outputs["auxiliary"], given["features"])

    batches = Batches(part.windows, targets, preset.batch, recipe.seed)
    history = run_phases(student, batches, loss, parts["validation"], recipe, preset.student_epochs, folder, "student")
    return student, history


def run_phases(
    model: keras.Model,
    batches: Batches,
    loss: Loss,
    validation: Part,
    recipe: Recipe,
    epochs: int,
    folder: Path,
    name: str,
) -> pd.DataFrame:
    """Train in one phase from random weights, or in two from given ones.

    With given weights the head learns first on a frozen backbone, then all layers at a tenth of the rate with BatchNorm
    frozen: a new head's first gradients would spoil what the backbone already knows.

    Returns
    -------
    pd.DataFrame
        One row an epoch, as :func:`deep.training.train` gives them, and its ``phase``.
    """
    preset, validate = recipe.preset, validation_error(validation, recipe.bins)
    whole = Schedule(epochs, preset.learning_rate, patience=preset.patience)
    phases = {"all": whole}
    if recipe.given is not None:
        head = replace(whole, epochs=preset.head_epochs, frozen="backbone")
        phases = {"head": head, "all": replace(whole, learning_rate=preset.learning_rate / 10, frozen="batchnorm")}
    histories = [
        train(
            model, batches, loss, validate, schedule, folder / phase, report=lambda row: recipe.report(name, row)
        ).assign(phase=phase)
        for phase, schedule in phases.items()
    ]
    return pd.concat(histories, ignore_index=True)
