"""The training loop: cosine schedule, early stopping on validation fields, a checkpoint each epoch, resumable."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import TypeAdapter

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path
from focus_picker.deep.backbones import BACKBONE_LAYERS
from focus_picker.deep.fused import fused
from focus_picker.deep.pipeline import Batches

CHECKPOINT = "checkpoint.npz"
HISTORY = TypeAdapter(list[dict[str, float]])
COLUMNS = {"epoch", "loss", "validation_mae", "learning_rate", "seconds"}
WEIGHT_DECAY = 1e-4  # decoupled from the gradient (AdamW)
TOWERS = 2  # parts of a batch; the result depends on their number, so that it is not that of the cores
Loss = Callable[[dict[str, tf.Tensor], dict[str, tf.Tensor]], tf.Tensor]


def deterministic(seed: int) -> None:
    """Make weights, order and arithmetic depend on ``seed`` alone, so that a run can be repeated and resumed."""
    one_core_an_operation()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def one_core_an_operation() -> None:
    """Let TensorFlow run operations beside each other in place of splitting each, which small layers lose time by.

    It can be said before TensorFlow's first operation only; afterwards training takes longer and is otherwise the same.
    """
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)


class TrainingDiverged(InputError):
    """The loss stopped being a number: the preset's rate is too high; the message names epoch and step."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one training runs.

    Attributes
    ----------
    epochs
        Upper limit.
    learning_rate
        Peak; rises over the first epoch, then falls to zero along a half cosine.
    patience
        Epochs without a better validation error that end the training.
    frozen
        What stays fixed: "" (nothing), "backbone" (only the head learns) or "batchnorm" (statistics and scales).
    """

    epochs: int
    learning_rate: float
    patience: int = 1000
    frozen: str = ""


def train(
    model: keras.Model,
    batches: Batches,
    loss: Loss,
    validate: Callable[[keras.Model], float],
    schedule: Schedule,
    folder: Path,
    *,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> pd.DataFrame:
    """Train ``model`` in place and leave it with the weights of its best epoch.

    A checkpoint of weights, optimizer and history is written to ``folder`` after each epoch. When ``folder`` already
    holds one, training goes on from there and ends at the same weights: batches depend on seed and epoch alone.

    Parameters
    ----------
    model
        Its inputs are images; outputs go to ``loss``.
    batches
        Training batches by epoch.
    loss
        ``(outputs, targets) -> scalar``.
    validate
        Error of the model on the validation fields; smaller is better.
    schedule
        Length and speed.
    folder
        For checkpoints.
    report
        Called with each epoch's row and ``epochs``, the phase's limit.

    Returns
    -------
    pd.DataFrame
        One row an epoch: ``epoch, loss, validation_mae, learning_rate, seconds``.

    Raises
    ------
    TrainingDiverged
        When the loss is NaN or infinite.
    InputError
        The checkpoint in ``folder`` is damaged or another network's.
    """
    _freeze(model, schedule.frozen)
    total = max(schedule.epochs * batches.steps, 1)
    warmup = min(batches.steps, total // 5)
    rate = keras.optimizers.schedules.CosineDecay(
        schedule.learning_rate / 20, max(total - warmup, 1), warmup_target=schedule.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
    twin = fused(model)
    optimizer.build(twin.trainable_variables)
    state = Checkpoint(folder, twin, optimizer)
    history = state.restore()
    step = _train_step(twin, optimizer, loss, TOWERS if batches.batch % TOWERS == 0 else 1)
    for epoch in range(len(history), schedule.epochs):
        if _waited(history) >= schedule.patience:
            break
        started = time.monotonic()
        losses = [_checked(step(*batch), epoch, number) for number, batch in enumerate(batches.epoch(epoch))]
        model.set_weights(twin.get_weights())
        error = float(validate(model))
        row = {
            "epoch": epoch,
            "loss": float(np.mean(losses)) if losses else math.nan,
            "validation_mae": error,
            "learning_rate": float(rate(optimizer.iterations)),
            "seconds": time.monotonic() - started,
        }
        best = not history or error < min(past["validation_mae"] for past in history)
        history.append(row)
        state.save(history, best=best)
        report(row | {"epochs": schedule.epochs})
    model.set_weights(state.best)
    _freeze(model, "")
    return pd.DataFrame(history)


compiled = tf.function
"""Compiling takes as long as some hundred steps: tests of what comes after a training do without."""


def _train_step(model: keras.Model, optimizer: keras.optimizers.Optimizer, loss: Loss, towers: int) -> Callable:
    """One step on a batch, its equal parts side by side: a part's small layers leave all but one core idle."""

    def step(inputs: tf.Tensor, targets: dict[str, tf.Tensor]) -> tf.Tensor:
        variables = model.trainable_variables
        values, gradients = [], []
        for part, wanted in zip(_split(inputs, towers), _split(targets, towers), strict=True):
            with tf.GradientTape() as tape:
                value = loss(model(part, training=True), wanted)
            values.append(value)
            gradients.append(tape.gradient(value, variables))
        optimizer.apply([tf.add_n(parts) / towers for parts in zip(*gradients, strict=True)], variables)
        return tf.add_n(values) / towers

    return compiled(step)


def _split(arrays: Any, parts: int) -> list:
    """Split arrays ``(N, ...)``, alone or by name, into ``parts`` of equal length."""
    if not isinstance(arrays, dict):
        return tf.split(arrays, parts)
    split = {name: tf.split(array, parts) for name, array in arrays.items()}
    return [{name: pieces[part] for name, pieces in split.items()} for part in range(parts)]


def _checked(value: tf.Tensor, epoch: int, step: int) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise TrainingDiverged(f"loss is {number} in epoch {epoch + 1}, step {step + 1}; lower the learning rate")
    return number


def _waited(history: list[dict[str, float]]) -> int:
    """Epochs since the best one."""
    errors = [row["validation_mae"] for row in history]
    return len(errors) - 1 - int(np.argmin(errors)) if errors else 0


def _freeze(model: keras.Model, what: str) -> None:
    """Set what learns; a frozen BatchNorm layer also keeps its statistics (Keras runs it in inference mode)."""
    for layer in model.layers:
        if what == "backbone":
            layer.trainable = not isinstance(layer, BACKBONE_LAYERS)
        elif what == "batchnorm":
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        else:
            layer.trainable = True


def finished_epochs(folder: Path) -> list[dict[str, float]]:
    """Rows of the epochs that an interrupted :func:`train` left in ``folder``; empty where it left no checkpoint."""
    if not (folder / CHECKPOINT).is_file():
        return []
    with _opened(folder / CHECKPOINT) as saved:
        history = HISTORY.validate_json(str(saved["history"]))
        if any(row.keys() != COLUMNS for row in history):
            raise ValueError("its epochs are not told whole")
        return history


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Arrays of a checkpoint by name; InputError for whatever goes wrong with them within the block."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            yield saved
    except Exception as error:  # of the zip file, of NumPy's format, or of arrays that do not fit the network
        detail = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is damaged or another network's ({detail}); start afresh with --overwrite") from error


class Checkpoint:
    """Weights, best weights, optimizer and history in one file of plain arrays, replaced whole after each epoch."""

    def __init__(self, folder: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        self.path = folder / CHECKPOINT
        self.model, self.optimizer = model, optimizer
        self.best = model.get_weights()

    def save(self, history: list[dict[str, float]], *, best: bool) -> None:
        """Write the state after an epoch; ``best`` also keeps the weights as the best so far."""
        if best:
            self.best = self.model.get_weights()
        groups = {
            # All variables: the state of the dropout's random generator is no weight, but decides what comes next.
            "model": [variable.numpy() for variable in self.model.variables],
            "best": self.best,
            "optimizer": [variable.numpy() for variable in self.optimizer.variables],
        }
        arrays = {f"{group}_{i}": array for group, members in groups.items() for i, array in enumerate(members)}
        with atomic_path(self.path) as temporary:
            np.savez(temporary, history=json.dumps(history), **arrays)

    def restore(self) -> list[dict[str, float]]:
        """Take up a saved state, if there is one, and return its history; InputError where it does not fit."""
        history = finished_epochs(self.path.parent)
        if not history:
            return []
        with _opened(self.path) as saved:
            best = [saved[f"best_{i}"] for i in range(len(self.best))]
            self.model.set_weights(best)  # refuses what does not fit now, and not after hours of training
            for group, variables in (("model", self.model.variables), ("optimizer", self.optimizer.variables)):
                for i, variable in enumerate(variables):
                    variable.assign(saved[f"{group}_{i}"])
        self.best = best
        return history
