"""Make the shipped default model again: `python -m training.make_default --crops ../shared/data/wbc_crops`.

About 40 minutes on two cores. Simulates stacks of varied instruments from drawn cells and from real in-focus crops,
trains a student on their true scores, calibrates and converts it, tests it on crops it has not seen, and writes model
and weights into ``models/``. An interrupted training goes on where it stopped.
"""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer

from focus_picker.dataset.files import write_text
from focus_picker.dataset.labels import read_labels, read_truth, true_scores
from focus_picker.dataset.simulation.generate import simulate_dataset
from focus_picker.dataset.simulation.instrument import known_instruments, load_instrument
from focus_picker.dataset.splits import place_of
from focus_picker.models import DEFAULT_MODEL

if TYPE_CHECKING:
    import keras

    from focus_picker.deep.runtime import Student
    from focus_picker.models.contract import Judgement

SEED = 100
TRAIN_SHARE = 0.6  # of the crops; the rest is for tests, here and elsewhere
VARY = 0.2  # spread of the optics from field to field about each shipped instrument
REAL_STACKS, DRAWN_STACKS, TEST_STACKS = 1200, 300, 60
VALIDATION_SHARE = 0.1  # of the fields
EPOCHS, BATCH, LEARNING_RATE = 36, 64, 3e-3
LABEL_SIGMA = 0.05  # the truth is exact; this is what neighbouring bins have in common
MODELS = DEFAULT_MODEL.parent
METRICS = MODELS / "metrics.csv"


def main(
    crops: Annotated[Path, typer.Option(help="Folder of in-focus crops, 0.1 um a pixel.")],
    work: Annotated[Path, typer.Option(help="Folder for data and checkpoints.")] = Path("data/default"),
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Simulate, train, export, test, and write models/."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    simulate(crops, work, jobs)
    student, windows, score, validation = train(work, jobs)
    results = ship(student, windows, score, validation, work, jobs)
    print(results.to_string(index=False))


def crop_is_for_training(path: Path) -> bool:
    """Decide by the file's name alone, so that a crop keeps its side wherever it lies."""
    return place_of(path.name) < TRAIN_SHARE


def simulate(crops: Path, work: Path, jobs: int) -> None:
    """Make the data sets that are not there yet: two to train on, one a shipped instrument to test on."""
    sides = {side: work / f"crops_{side}" for side in ("train", "test")}
    for side, folder in sides.items():
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for path in sorted(crops.rglob("*.jpg")):
                if crop_is_for_training(path) == (side == "train"):
                    shutil.copy(path, folder)
    instruments = [load_instrument(name) for name in ("dry50", "dry40", "oil100")]
    sets: dict[str, dict[str, Any]] = {
        "real": {"stacks": REAL_STACKS, "seed": SEED + 1, "vary_by": VARY, "from_images": sides["train"]},
        "drawn": {"stacks": DRAWN_STACKS, "seed": SEED + 2, "vary_by": VARY},
    }
    for name, settings in sets.items():
        if not (work / name).is_dir():
            simulate_dataset(work / name, instruments, jobs=jobs, **settings)
    for name in known_instruments():
        if not (work / name).is_dir():
            simulate_dataset(
                work / name, [load_instrument(name)], stacks=TEST_STACKS, seed=SEED + 3, from_images=sides["test"],
                jobs=jobs,
            )  # fmt: skip


def load(dataset: Path, jobs: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels with ``true_score``, and windows with a margin for shifts."""
    from focus_picker.deep.pipeline import load_windows

    labels = read_labels(dataset)
    labels["true_score"] = true_scores(labels, read_truth(dataset))
    labels["field"] = dataset.name + labels["field"]  # fields of two sets are different fields
    return labels, load_windows([dataset / path for path in labels["image_path"]], jobs=jobs)


def train(work: Path, jobs: int) -> tuple:
    """Train on the true scores of both sets; return student, windows, scores and which of them are validation."""
    import tensorflow as tf

    from focus_picker.deep.pipeline import Batches
    from focus_picker.deep.student import build_student
    from focus_picker.deep.training import Schedule, deterministic
    from focus_picker.deep.training import train as train_network
    from focus_picker.evaluation.summary import summarise_epoch
    from focus_picker.hybrid.distill import Part, validation_error
    from focus_picker.hybrid.losses import label_loss
    from focus_picker.models.bins import DEFAULT_BINS

    parts = [load(work / name, jobs) for name in ("real", "drawn")]
    labels, windows = pd.concat([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    score = labels["true_score"].to_numpy()
    validation = labels["field"].map(is_validation).to_numpy()
    deterministic(SEED)
    student = build_student(DEFAULT_BINS)
    targets = {"soft": DEFAULT_BINS.soft_labels(score[~validation], LABEL_SIGMA)}

    def loss(outputs: dict, given: dict) -> tf.Tensor:
        return label_loss(outputs["logits"], given["soft"])

    held = Part(windows[validation], np.empty((validation.sum(), 0)), score[validation])
    train_network(
        student,
        Batches(windows[~validation], targets, BATCH, SEED),
        loss,
        validation_error(held, DEFAULT_BINS),
        Schedule(EPOCHS, LEARNING_RATE),
        work / "checkpoint",
        report=lambda row: print(summarise_epoch("default", row), flush=True),
    )
    return student, windows, score, validation


def is_validation(field: str) -> bool:
    """Decide by the field's name, the data set's before it, so that every model sees the same fields held back."""
    return place_of(f"0:{field}") > 1 - VALIDATION_SHARE


def ship(
    student: "keras.Model", windows: np.ndarray, score: np.ndarray, validation: np.ndarray, work: Path, jobs: int
) -> pd.DataFrame:
    """Calibrate on the validation fields, convert, test on unseen crops through each instrument, write ``models/``."""
    from focus_picker.deep.export import save_h5
    from focus_picker.deep.student import with_readout
    from focus_picker.deep.window import centre
    from focus_picker.models.bins import DEFAULT_BINS
    from focus_picker.training.ship import calibrate, choose_variant, try_variants, write_models

    model = with_readout(student, DEFAULT_BINS)
    seen = np.ascontiguousarray(centre(windows[~validation][::4]))
    held = np.ascontiguousarray(centre(windows[validation]))
    # Measured in simulation, which is no user's microscope.
    side = calibrate(model, DEFAULT_BINS, seen, held, score[validation], 0.2).model_copy(update={"calibrated": False})
    trials = try_variants(model, side, seen, held, score[validation])
    shipped = choose_variant(trials, ("fp16",))
    write_models(MODELS, model, trials, shipped, None, seen)
    save_h5(model, MODELS / "best_model.h5")
    results = pd.DataFrame([test(shipped.student, name, *load(work / name, jobs)) for name in known_instruments()])
    write_metrics(results)
    return results


def test(student: "Student", name: str, labels: pd.DataFrame, windows: np.ndarray) -> dict[str, Any]:
    """Metrics of the shipped file on one instrument, against truth."""
    from focus_picker.deep.window import centre

    judged = student.judge_windows(np.ascontiguousarray(centre(windows)))
    return metrics_row("focus_model", name, labels["true_score"].to_numpy(), judged, student.side.score_per_slice)


def metrics_row(
    model: str, instrument: str, truth: np.ndarray, judged: "Judgement", score_per_slice: float
) -> dict[str, Any]:
    """Row of ``metrics.csv``: what a model's scores and intervals are worth against the true focus ``(n,)``."""
    score, beyond = judged.score, np.abs(truth) > score_per_slice
    return {
        "model": model,
        "instrument": instrument,
        "images": len(truth),
        "spearman": pd.Series(score).corr(pd.Series(truth), method="spearman"),
        "mae_truth": np.abs(score - truth).mean(),
        "bias": (score - truth).mean(),
        "sign_beyond_one_slice": (np.sign(score) == np.sign(truth))[beyond].mean(),
        "coverage": ((judged.lower <= truth) & (truth <= judged.upper)).mean(),
    }


def write_metrics(rows: pd.DataFrame) -> None:
    """Put one model's rows into ``metrics.csv`` in place of its former ones."""
    before = pd.read_csv(METRICS) if METRICS.is_file() else rows.iloc[:0]
    kept = before[~before["model"].isin(rows["model"])]
    table = pd.concat([kept, rows]).sort_values("model", ascending=False, kind="stable")
    write_text(METRICS, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


if __name__ == "__main__":
    typer.run(main)
