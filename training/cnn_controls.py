"""Controls of a CNN run: what each ingredient is worth, on the same split and with the same budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from focus_picker.evaluation.metrics import evaluate
from focus_picker.features.baseline import Baseline
from focus_picker.hybrid.blend import learn_blend
from focus_picker.hybrid.distill import (
    Part,
    Recipe,
    build_and_train_student,
    build_and_train_teacher,
    predict_distribution,
)
from focus_picker.models.bins import ScoreBins
from focus_picker.training.experiment import Data, predictions_of


def train_controls(
    learning: dict[str, Part],
    parts: dict[str, Part],
    data: Data,
    teacher: keras.Model,
    judged: pd.DataFrame,
    baseline: Baseline,
    recipe: Recipe,
    checkpoints: Path,
) -> dict[str, Any]:
    """Train the controls and evaluate them on the test images.

    Parameters
    ----------
    learning
        What the run's networks learned from: ``train`` with refined labels, and ``validation``.
    parts
        All parts with the labels as they are.
    data, judged
        Data set and the run's own predictions.
    teacher
        The run's teacher.
    baseline
        Features alone, trained on the same split.
    recipe
        Of the run.
    checkpoints
        Folder for the controls' checkpoints.

    Returns
    -------
    dict
        Metrics by the control's name.
    """

    def named(name: str, **changes: Any) -> Recipe:
        return replace(recipe, report=lambda _, row: recipe.report(name, row), **changes)

    networks = {
        "student without teacher": build_and_train_student(
            learning, None, named("no teacher"), checkpoints / "no_teacher"
        )[0],
        "teacher without features": build_and_train_teacher(
            learning, named("no features"), checkpoints / "no_features", with_features=False
        )[0],
    }
    if recipe.given is not None:
        networks["student from random weights"] = build_and_train_student(
            learning, teacher, named("from scratch", given=None), checkpoints / "scratch"
        )[0]
    if recipe.preset.refine:
        networks["student on unrefined labels"] = build_and_train_student(
            {**learning, "train": parts["train"]}, teacher, named("unrefined"), checkpoints / "unrefined"
        )[0]
    results = {name: evaluate_network(network, data, parts["test"], recipe.bins) for name, network in networks.items()}
    return results | _features_and_blend(data, judged, baseline)


def evaluate_network(network: keras.Model, data: Data, part: Part, bins: ScoreBins) -> dict[str, Any]:
    """Metrics of a network on the test images, by the median of its distribution."""
    score = bins.quantile(predict_distribution(network, part), 0.5)
    return evaluate(predictions_of(data, score, np.nan, np.nan, split="test"), data.score_per_slice)


def _features_and_blend(data: Data, judged: pd.DataFrame, baseline: Baseline) -> dict[str, Any]:
    """Features alone, and the mixture of features and network that is best on the calibration fields."""
    network = judged["predicted"].to_numpy()
    learned = data.rows(data.calibration)
    features, label = data.part(data.calibration)
    share = learn_blend(network[learned], baseline.predict(features), label)
    test, alone = data.rows("test"), baseline.predict(data.part("test")[0])
    tables = {
        "features alone (baseline)": alone,
        f"blend, {share:.0%} network": share * network[test] + (1 - share) * alone,
    }
    return {
        name: evaluate(predictions_of(data, score, np.nan, np.nan, split="test"), data.score_per_slice)
        for name, score in tables.items()
    }
