"""Controls of a CNN run: what each ingredient is worth, on the same split and with the same budget."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from deep.bins import ScoreBins
from evaluation.experiment import Data, predictions_of
from evaluation.metrics import evaluate
from features.baseline import Baseline
from hybrid.blend import learn_blend
from hybrid.distill import Part, Report, build_and_train_student, build_and_train_teacher, predict_distribution
from hybrid.preset import Preset


def train_controls(
    training: dict[str, Part],
    parts: dict[str, Part],
    data: Data,
    teacher: keras.Model,
    judged: pd.DataFrame,
    baseline: Baseline,
    checkpoints: Path,
    *,
    bins: ScoreBins,
    preset: Preset,
    given: keras.Model | None,
    seed: int,
    report: Report,
) -> dict[str, Any]:
    """Train the controls and evaluate them on the test images.

    Parameters
    ----------
    training
        Parts with refined training labels.
    parts
        Parts with the labels as they are.
    data, judged
        Data set and the run's own predictions.
    teacher
        The run's teacher.
    baseline
        Features alone, trained on the same split.
    checkpoints
        Folder for the controls' checkpoints.
    bins, preset, given, seed, report
        As of the run.

    Returns
    -------
    dict
        Metrics by the control's name.
    """
    common: dict[str, Any] = {"bins": bins, "preset": preset, "seed": seed}

    def named(name: str) -> Report:
        return lambda _, row: report(name, row)

    networks = {
        "student without teacher": build_and_train_student(
            training, None, given=given, folder=checkpoints / "no_teacher", report=named("no teacher"), **common
        )[0],
        "teacher without features": build_and_train_teacher(
            training, given=given, folder=checkpoints / "no_features", report=named("no features"),
            with_features=False, **common,
        )[0],
    }  # fmt: skip
    if given is not None:
        networks["student from random weights"] = build_and_train_student(
            training, teacher, given=None, folder=checkpoints / "scratch", report=named("from scratch"), **common
        )[0]
    if preset.refine:
        common["preset"] = replace_refine(preset)
        networks["student on unrefined labels"] = build_and_train_student(
            parts, teacher, given=given, folder=checkpoints / "unrefined", report=named("unrefined"), **common
        )[0]
    results = {name: _evaluate(network, data, parts["test"], bins) for name, network in networks.items()}
    return results | _features_and_blend(data, judged, baseline)


def replace_refine(preset: Preset) -> Preset:
    """The same preset without label refinement."""
    return preset.model_copy(update={"refine": False})


def _evaluate(network: keras.Model, data: Data, part: Part, bins: ScoreBins) -> dict[str, Any]:
    score = bins.quantile(predict_distribution(network, part), 0.5)
    return evaluate(predictions_of(data, score, np.nan, np.nan, split="test"), data.score_per_slice)


def _features_and_blend(data: Data, judged: pd.DataFrame, baseline: Baseline) -> dict[str, Any]:
    """Features alone, and the mixture of features and network that is best on the validation fields."""
    scores = {
        split: (judged.loc[judged["split"] == split, "predicted"].to_numpy(), baseline.predict(data.part(split)[0]))
        for split in ("validation", "test")
    }
    share = learn_blend(*scores["validation"], data.part("validation")[1])
    network, features = scores["test"]
    tables = {
        "features alone (baseline)": features,
        f"blend, {share:.0%} network": share * network + (1 - share) * features,
    }
    return {
        name: evaluate(predictions_of(data, score, np.nan, np.nan, split="test"), data.score_per_slice)
        for name, score in tables.items()
    }
