"""From a labelled data set to teacher, student and shipped model: all of ``cli.py train-cnn``."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from focus_picker.dataset.declared import read_json
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import as_text, atomic_path, sha256_of, write_text
from focus_picker.dataset.stacks import find_stacks
from focus_picker.deep.export import to_onnx
from focus_picker.deep.student import load_trained, with_readout
from focus_picker.deep.training import deterministic
from focus_picker.deep.window import SHIFT_PX, WINDOW_PX
from focus_picker.evaluation import plots
from focus_picker.evaluation.run_claim import clear_run
from focus_picker.evaluation.runs import write_run
from focus_picker.hybrid.distill import (
    Part,
    Recipe,
    Report,
    build_and_train_student,
    build_and_train_teacher,
    predict_distribution,
)
from focus_picker.hybrid.preset import Preset, load_preset
from focus_picker.hybrid.teacher import Standardiser
from focus_picker.models.bins import DEFAULT_BINS, ScoreBins
from focus_picker.models.side_file import StudentSide
from focus_picker.training.baseline_run import train as train_baseline
from focus_picker.training.cnn_controls import evaluate_network, train_controls
from focus_picker.training.experiment import (
    FEATURE_CACHE,
    Data,
    calibrate_stacks,
    evaluate_splits,
    load_data,
    predictions_of,
)
from focus_picker.training.parity import whole_path_parity
from focus_picker.training.refine import refine_labels
from focus_picker.training.ship import (
    MODEL_FILE,
    calibrate,
    choose_variant,
    rounded_if_as_good,
    try_variants,
    write_models,
)

CHECKPOINTS = "checkpoints"  # inside the run folder, removed when the run is complete


@dataclass(frozen=True)
class Plan:
    """What decides a run's result; a resumed run must have the same."""

    dataset_fingerprint: str
    preset: dict[str, Any]
    init_sha256: str
    seed: int


def run_cnn(
    dataset: str | Path,
    output: str | Path,
    *,
    preset: str = "standard",
    init: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    controls: bool = False,
    onnx: bool = False,
    seed: int = 0,
    jobs: int = 2,
    report: Report = lambda phase, row: None,
) -> dict[str, Any]:
    """Train, distil, calibrate, convert and test; leave a run folder.

    Parameters
    ----------
    dataset
        Folder with ``cell_stacks/`` and ``focus_labels.csv``.
    output
        Run folder of docs/architecture.md.
    preset
        Name in ``conf/training`` or a YAML file.
    init
        ``best_model.h5`` to start from; None starts from random weights.
    resume
        Go on after the last finished epoch of an interrupted run with the same settings.
    overwrite
        Discard the checkpoints of an interrupted run.
    controls
        Also train the controls: student from random weights, student without teacher, teacher without features,
        student on labels as they are, blend with the baseline.
    onnx
        Also write ``focus_model.onnx`` and compare it with Keras as the other files are.
    seed, jobs
        Of split and training; processes that read and measure images.
    report
        Called after each epoch with the network's name and the epoch's row.

    Returns
    -------
    dict
        The contents of ``metrics.json``.

    Raises
    ------
    InputError
        Unusable data, unknown preset, weights that do not fit, or ``resume`` of a run with other settings.
    """
    settings, output, dataset = load_preset(preset), Path(output), Path(dataset)
    given = load_trained(init) if init is not None else None
    data, windows = load_data(dataset, output / FEATURE_CACHE, seed=seed, jobs=jobs, window_px=WINDOW_PX + SHIFT_PX)
    plan = Plan(data.fingerprint, settings.model_dump(), _sha256(init), seed)
    checkpoints = prepare_checkpoints(output / CHECKPOINTS, plan, resume, overwrite)
    clear_run(output, "train-cnn")
    deterministic(seed)
    started = time.perf_counter()
    parts, bins = make_parts(data, windows), bins_for(data)
    del windows  # the parts hold copies
    refined, refinement = refine(data, dataset, parts["train"], settings, jobs)
    learning = {"train": refined, "validation": parts["choice"]}
    recipe = Recipe(bins, settings, given, seed, report)
    teacher, teacher_history = build_and_train_teacher(learning, recipe, checkpoints / "teacher")
    student, student_history = build_and_train_student(learning, teacher, recipe, checkpoints / "student")
    seconds = time.perf_counter() - started

    held = parts[data.calibration]
    model = rounded_if_as_good(with_readout(student, bins), held.inputs["image"], held.score)
    judged, side = judge(model, data, parts, bins)
    metrics = {
        "model": "student CNN, distilled from image and features",
        "score_per_slice": data.score_per_slice,
        **evaluate_splits(judged, data.score_per_slice),
        "calibrated_on": data.describe(data.calibration),
        "controls": {"teacher (image and features)": evaluate_network(teacher, data, parts["test"], bins)},
        "student_teacher_agreement": agreement(student, teacher, parts["test"], bins),
        "refinement": refinement,
        "training_seconds": round(seconds, 1),
        "leaking_pairs": data.n_leaks,
        "init": _init_name(init),
    }
    metrics |= export(model, teacher, side, data, dataset, parts, output, onnx=onnx)
    if controls:
        baseline = train_baseline(data, list(data.features.columns), seed)
        metrics["controls"] |= train_controls(
            learning, parts, data, teacher, judged, baseline, recipe, checkpoints / "controls"
        )
    histories = [teacher_history.assign(model="teacher"), student_history.assign(model="student")]
    write_history(output, pd.concat(histories, ignore_index=True))
    test = judged[judged["split"] == "test"]
    plots.save_figure(plots.plot_predicted(test, data.score_per_slice), output / "predicted.png")
    config = {"command": "train-cnn", "dataset": data.name, "dataset_fingerprint": data.fingerprint, "seed": seed}
    write_run(output, judged, metrics, config | {"preset": settings.model_dump(), "init": _init_name(init)})
    shutil.rmtree(checkpoints)
    return metrics


def prepare_checkpoints(folder: Path, plan: Plan, resume: bool, overwrite: bool = False) -> Path:
    """Make the checkpoint folder, or check that the one there belongs to the same plan.

    Raises
    ------
    InputError
        ``resume`` without a checkpoint, or of a run with another data set, preset, start or seed; neither ``resume``
        nor ``overwrite`` where checkpoints lie.
    """
    note = folder / "plan.json"
    if resume:
        if not note.is_file():
            raise InputError(f"{folder.parent} holds no interrupted run to resume; leave --resume out")
        before = read_json(note, dict[str, Any], what="plan of a run", fix="start afresh with --overwrite")
        changed = [key for key, value in asdict(plan).items() if before.get(key) != value]
        if changed:
            raise InputError(
                f"the run in {folder.parent} had another {', '.join(changed)}; give the same settings, or start "
                "afresh without --resume"
            )
        return folder
    if note.is_file() and not overwrite:
        raise InputError(
            f"{folder.parent} holds the checkpoints of an interrupted run; give --resume to go on with it, or "
            "--overwrite to discard them"
        )
    shutil.rmtree(folder, ignore_errors=True)
    write_text(note, json.dumps(asdict(plan), indent=1))
    return folder


def make_parts(data: Data, windows: np.ndarray) -> dict[str, Part]:
    """Images, standardised features and labels of each part; the standardiser knows the training images alone."""
    features, score = data.features.to_numpy(), data.labels["focus_score"].to_numpy(dtype=float)
    standardise = Standardiser.fit(features[data.rows("train")])
    names = ("train", "validation", "test", "choice", "calibration")
    rows = {name: data.rows(name) for name in names}
    return {name: Part(windows[at], standardise(features[at]), score[at]) for name, at in rows.items()}


def bins_for(data: Data) -> ScoreBins:
    """The default bins where the training labels fit, else wider ones; far finer or coarser labels scale them."""
    scale = data.score_per_slice / 0.2
    train = data.labels.loc[data.labels["split"] == "train", "focus_score"]
    bins = ScoreBins(scale * DEFAULT_BINS.low, scale * DEFAULT_BINS.high, DEFAULT_BINS.count)
    return bins.widened(float(train.abs().max()) + data.score_per_slice)


def refine(data: Data, dataset: Path, part: Part, preset: Preset, jobs: int) -> tuple[Part, dict[str, Any]]:
    """Move the training labels to fractions of a slice, if the preset asks for it; say what that did.

    Where truth is known the mean error of the training labels before and after is reported; it is never used.
    """
    if not preset.refine:
        return part, {"used": False}
    labels = data.labels[data.labels["split"] == "train"]
    refined = refine_labels(find_stacks(dataset), labels, jobs)
    truth = labels["true_score"].to_numpy(dtype=float)
    known = np.isfinite(truth) & np.isfinite(part.score)
    report: dict[str, Any] = {"used": True}
    if known.any():
        report["label_error_before"] = float(np.abs(part.score - truth)[known].mean())
        report["label_error_after"] = float(np.abs(refined - truth)[known].mean())
    return replace(part, score=refined), report


def judge(model: keras.Model, data: Data, parts: dict[str, Part], bins: ScoreBins) -> tuple[pd.DataFrame, StudentSide]:
    """Calibrate on validation fields and predict every image with the student and its read-out."""
    held = parts[data.calibration]
    side = calibrate(
        model, bins, parts["train"].inputs["image"], held.inputs["image"], held.score, data.score_per_slice
    ).model_copy(update={"pixel_um": data.pixel_um, "z_step_um": data.z_step_um})
    tables = []
    for split in ("train", "validation", "test"):
        outputs = model.predict(parts[split].inputs["image"], batch_size=128, verbose=0)
        lower, upper = side.intervals.interval(bins, outputs["distribution"])
        tables.append(predictions_of(data, outputs["score"][:, 0], lower, upper, split=split))
    return pd.concat(tables).sort_index().reset_index(drop=True), side


def agreement(student: keras.Model, teacher: keras.Model, part: Part, bins: ScoreBins) -> dict[str, float]:
    """How alike student and teacher judge the test images: the measure of a distillation itself."""
    medians = [bins.quantile(predict_distribution(network, part), 0.5) for network in (student, teacher)]
    return {
        "mean_difference": float(np.abs(medians[0] - medians[1]).mean()),
        "same_sign": float(np.mean(np.sign(medians[0]) == np.sign(medians[1]))),
    }


def export(
    model: keras.Model,
    teacher: keras.Model,
    side: StudentSide,
    data: Data,
    dataset: Path,
    parts: dict[str, Part],
    output: Path,
    *,
    onnx: bool,
) -> dict[str, Any]:
    """Convert the student, choose what is shipped, write all models, and compare the shipped file with Keras."""
    train_windows, held = parts["train"].inputs["image"], parts[data.calibration]
    trials = try_variants(model, side, train_windows, held.inputs["image"], held.score)
    shipped = choose_variant(trials)
    stack_calibration, stacks = calibrate_stacks(data, dataset, shipped.student)
    write_models(output, model, trials, shipped, stack_calibration, train_windows)
    with atomic_path(output / "teacher.keras") as temporary:
        teacher.save(temporary)
    proto = to_onnx(model) if onnx else None
    if proto is not None:
        with atomic_path(output / "focus_model.onnx") as temporary:
            temporary.write_bytes(proto)
    files = [dataset / path for path in data.labels.loc[data.labels["split"] == "test", "image_path"]]
    return {
        "variant": shipped.student.side.variant,
        "stack_calibration": stacks,
        "variants": {name: trial.as_row() for name, trial in trials.items()},
        "parity": whole_path_parity(model, output / MODEL_FILE, files, proto, data.score_per_slice),
        "latency_ms": shipped.latency_ms,
        "model_bytes": len(shipped.student.weights),
        "parameters": int(model.count_params()),
    }


def write_history(output: Path, history: pd.DataFrame) -> None:
    """``history.csv`` and ``loss_curve.png``."""
    with atomic_path(output / "history.csv") as temporary:
        history.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    plots.save_figure(plots.plot_history(history), output / "loss_curve.png")


def _sha256(init: str | Path | None) -> str:
    if init is None:
        return ""
    path = Path(init)
    return sha256_of(path / "best_model.h5" if path.is_dir() else path)


def _init_name(init: str | Path | None) -> str:
    return "random weights" if init is None else as_text(Path(init).name)
