"""From a labelled data set to a trained, calibrated and tested baseline: all of ``cli.py baseline``."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from focus_picker.dataset.images import read_image
from focus_picker.evaluation import plots
from focus_picker.evaluation.metrics import evaluate
from focus_picker.evaluation.run_claim import clear_run
from focus_picker.evaluation.runs import write_run
from focus_picker.evaluation.trivial import trivial_predictions
from focus_picker.features import CUES, MEASURES
from focus_picker.features.baseline import FOLDS, MODEL_FILE, Baseline
from focus_picker.training.experiment import (
    FEATURE_CACHE,
    Data,
    calibrate_stacks,
    evaluate_splits,
    load_data,
    predictions_of,
)

TIMED_IMAGES = 50
WITHOUT_CUES = "measures without asymmetric cues"


def run_baseline(
    dataset: str | Path,
    output: str | Path,
    *,
    seed: int = 0,
    jobs: int = 2,
    leak_scan: bool = True,
) -> dict[str, Any]:
    """Train a baseline on ``dataset`` and leave a run folder at ``output``.

    Parameters
    ----------
    dataset
        Folder with ``cell_stacks/`` and ``focus_labels.csv``.
    output
        Folder to write: the model (``baseline.txt``, ``baseline.json``), ``predictions.csv``, ``metrics.json``,
        ``config.json``, ``environment.json`` and pictures. Files of an older run there are replaced.
    seed, jobs
        Seed of split and training; processes that measure images.
    leak_scan
        Whether fields with identical or near-identical images are found and kept on one side of the split.

    Returns
    -------
    dict
        The contents of ``metrics.json``.

    Raises
    ------
    InputError
        If the data set cannot be read or is too small to split, train and calibrate on.
    """
    output = Path(output)
    data, _ = load_data(Path(dataset), output / FEATURE_CACHE, seed=seed, jobs=jobs, leak_scan=leak_scan)
    clear_run(output, "baseline")
    started = time.perf_counter()
    baseline = train(data, list(data.features.columns), seed)
    training_seconds = time.perf_counter() - started
    without_cues = train(data, [name for name in data.features.columns if name in MEASURES], seed)

    judged = baseline.judge_features(data.features)
    predictions = predictions_of(data, judged.score, judged.lower, judged.upper)
    metrics = {
        "model": "LightGBM on handcrafted features",
        "score_per_slice": data.score_per_slice,
        **evaluate_splits(predictions, data.score_per_slice),
        "calibrated_on": calibrated_on(data),
        "controls": evaluate_controls(data, without_cues),
        "trees": baseline.booster_.best_iteration,
        "features": len(baseline.feature_names_),
        "training_seconds": round(training_seconds, 2),
        "latency_ms": round(latency_ms(baseline, Path(dataset), predictions), 3),
        "leaking_pairs": data.n_leaks,
    }
    calibration, metrics["stack_calibration"] = calibrate_stacks(data, Path(dataset), baseline)
    baseline.save(output / MODEL_FILE, stack_calibration=calibration, pixel_um=data.pixel_um, z_step_um=data.z_step_um)
    metrics["model_bytes"] = (output / MODEL_FILE).stat().st_size
    save_pictures(output, baseline, predictions, metrics)
    config = {
        "command": "baseline",
        "dataset": data.name,
        "dataset_fingerprint": data.fingerprint,
        "seed": seed,
        "jobs": jobs,
        "leak_scan": leak_scan,
        "model": baseline.get_params(),
    }
    write_run(output, predictions, metrics, config)
    return metrics


def train(data: Data, names: list[str], seed: int) -> Baseline:
    """Train a baseline on the named features of the training fields; validation fields decide when it ends."""
    features, score = data.part("train")
    held_out, held_out_score = data.part("choice")
    return Baseline(seed=seed).fit(
        features[names],
        score,
        validation=(held_out[names], held_out_score),
        score_per_slice=data.score_per_slice,
        fields=data.labels.loc[data.labels["split"] == "train", "field"],
    )


def calibrated_on(data: Data) -> str:
    """Say what the intervals were measured on, for ``metrics.json``."""
    known = data.labels[data.rows("train") & data.labels["focus_score"].notna()]
    fields = known["field"].nunique()
    return f"{fields} training fields, each left out in turn" if fields >= FOLDS else data.describe("validation")


def evaluate_controls(data: Data, without_cues: Baseline) -> dict[str, Any]:
    """Evaluate the trivial predictors and the model without asymmetric cues on the test images."""
    features, score = data.part("train")
    new, _ = data.part("test")
    tables = {
        name: predictions_of(data, predicted, np.nan, np.nan, split="test")
        for name, predicted in trivial_predictions(features, score, new).items()
    }
    judged = without_cues.judge_features(new)
    tables[WITHOUT_CUES] = predictions_of(data, judged.score, judged.lower, judged.upper, split="test")
    return {name: evaluate(table, data.score_per_slice) for name, table in tables.items()}


def latency_ms(baseline: Baseline, dataset: Path, predictions: pd.DataFrame) -> float:
    """Time features and prediction of one image in memory, in milliseconds: the median over some test images."""
    chosen = predictions.loc[predictions["split"] == "test", "image_path"].iloc[:TIMED_IMAGES]
    seconds = []
    for image in [read_image(dataset / image_path) for image_path in chosen]:
        started = time.perf_counter()
        baseline.judge([image])
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))


def save_pictures(output: Path, baseline: Baseline, predictions: pd.DataFrame, metrics: dict[str, Any]) -> None:
    """Draw what the baseline uses and where it errs."""
    step, test = metrics["score_per_slice"], metrics["test"]
    by_score = {"all features": test["by_score"], WITHOUT_CUES: metrics["controls"][WITHOUT_CUES]["by_score"]}
    plots.save_figure(plots.plot_importance(baseline.importance(), set(CUES)), output / "importance.png")
    test_rows = predictions[predictions["split"] == "test"]
    plots.save_figure(plots.plot_predicted(test_rows, step), output / "predicted.png")
    plots.save_figure(plots.plot_error_by_score(by_score, test["label_floor"], step), output / "error_by_score.png")
    plots.save_figure(plots.plot_sign_by_score(by_score, step), output / "sign_by_score.png")
