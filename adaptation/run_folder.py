"""The run folder that ``adapt`` leaves: what ``train-cnn`` leaves, but for the teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from focus_picker.adaptation.examples import Examples
from focus_picker.adaptation.labelled_dataset import PICTURE, TABLE, table_of
from focus_picker.adaptation.labelling import LabelledStack
from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.labels import field_of
from focus_picker.evaluation import plots
from focus_picker.evaluation.runs import write_run
from focus_picker.models.contract import Judgement
from focus_picker.stack_inference.plot import picked_sheet


def predictions_of(examples: Examples, judgement: Judgement) -> pd.DataFrame:
    """Table of ``predictions.csv``: every image by models that had not seen its group, so that all are test images."""
    names = [one.stack.name for one in examples.labelled]
    stacks = [names[number] for number in examples.stack]
    return pd.DataFrame(
        {
            "image_path": examples.image_path,
            "field": [field_of(name) for name in stacks],
            "stack": stacks,
            "split": "test",
            "focus_score": examples.score,
            "true_score": float("nan"),
            "predicted": judgement.score,
            "lower": judgement.lower,
            "upper": judgement.upper,
        }
    )


def write_tables(
    output: Path,
    labelled: Sequence[LabelledStack],
    predictions: pd.DataFrame,
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
) -> None:
    """Write predictions, metrics, settings, history, what was labelled, and the pictures."""
    losses = pd.DataFrame(history)
    with atomic_path(output / "history.csv") as temporary:
        losses.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    with atomic_path(output / TABLE) as temporary:
        table_of(labelled).to_csv(
            temporary, index=False, float_format="%.4f", lineterminator="\n", errors="backslashreplace"
        )
    picked_sheet([one.shown for one in labelled], output / PICTURE)
    plots.save_figure(plots.plot_predicted(predictions, metrics["score_per_slice"]), output / "predicted.png")
    plots.save_figure(_plot_loss(losses), output / "loss_curve.png")
    write_run(output, predictions, dict(metrics), dict(config))


def _plot_loss(history: pd.DataFrame) -> Figure:
    """Training loss of the final student by step."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(history["step"], history["loss"])
    axes.set(xlabel="step", ylabel="training loss", title="Fine-tuning on all stacks")
    return figure
