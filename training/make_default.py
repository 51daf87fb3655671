"""Make the shipped default model again: `python -m training.make_default --crops ../shared/data/wbc_crops`.

Draws microscopes of every kind in ``dataset.simulation.kinds``, makes training windows, and trains the student in
stages; ``models/README.md`` states the times. What is there is kept: shards, and each stage's checkpoint of a megabyte.
A stage takes the shards that are there when it starts. The first stage leaves some kinds out. A branch of it goes
on to the whole window without them, and what that gets wrong on them, and the last stage on the others, sets how much
the shipped model says: a laboratory's microscope is of no kind that it has met.
"""

import os
import shutil
from dataclasses import dataclass
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
from focus_picker.deep.window import SHIFT_PX
from focus_picker.evaluation.sides import side_figures
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.models.focus_state import UNSURE
from focus_picker.training.default_data import (
    ALL_KINDS,
    SCORE_PER_SLICE,
    SHIPPED,
    Windows,
    crop_is_for_training,
    load_shards,
    make_shards,
)
from focus_picker.training.default_limits import Asked, Limits, kinds_table, learn_limits, limited_table
from focus_picker.training.whole_images import WholeImages, make_whole_images

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from focus_picker.deep.runtime import Student
    from focus_picker.models.contract import Judgement
    from focus_picker.models.side_file import StudentSide

HELD_KINDS = ("scanner", "grey", "lens-cells")  # not in the first stage: what is said about strangers is set by them
SHIPPED_PART = 6  # drawn stacks for one of a shipped instrument
VALIDATION_SHARE = 0.1  # of the stacks
BATCH, SEED = 64, 100
LABEL_SIGMA = 0.06  # the truth is exact; this is what neighbouring bins have in common
TEST_STACKS = 15  # of each shipped instrument
WHOLE_STACKS = 100  # of each kind, of whole images
AUXILIARY = 1.0  # weight of predicting the handcrafted features: the cues to the side of focus are among them
GREY_SHARE = 0.15  # of the images lose their colour
MODELS = DEFAULT_MODEL.parent
METRICS = MODELS / "metrics.csv"
HELD_TABLE = "held_kinds.csv"
KINDS_TABLE = MODELS / "kinds.csv"


@dataclass(frozen=True)
class Stage:
    """One run of the training loop, its rate rising once and falling to zero.

    Attributes
    ----------
    name
        Of its folder.
    images
        Images that it looks at, in whole passes.
    learning_rate
        Peak.
    window_px
        Side of its window; a small one costs less and shows the same blur.
    strangers
        Whether it leaves ``HELD_KINDS`` out.
    asked
        Whether it ends there: what it says of these kinds sets the limits; the next stage starts from the one before.
    """

    name: str
    images: int
    learning_rate: float
    window_px: int
    strangers: bool = False
    asked: bool = False


STAGES = (
    Stage("without_some_kinds", 1_000_000, 3e-3, 80, strangers=True),
    Stage("asked_about_them", 400_000, 1.5e-3, 128, strangers=True, asked=True),
    Stage("all_kinds", 1_500_000, 2e-3, 80),
    Stage("whole_window", 2_000_000, 1.5e-3, 128),
)


def main(
    crops: Annotated[Path, typer.Option(help="Folder of in-focus crops, 0.1 um a pixel.")],
    work: Annotated[Path, typer.Option(help="Folder for shards and checkpoints.")] = Path("data/default"),
    stacks: Annotated[int, typer.Option(help="Stacks to simulate.")] = 10_000,
    effort: Annotated[float, typer.Option(help="Share of each stage's images to look at.")] = 1.0,
    start: Annotated[
        Path | None, typer.Option(help="Trained weights from which the stages of all kinds go on.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Simulate, train, export, test, and write models/."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from focus_picker.deep.student import load_trained

    windows = make_windows(crops, work, stacks, jobs)
    images = make_whole_images(crops, work / "whole_images.npz", WHOLE_STACKS, jobs)
    student = None
    for stage in STAGES:
        if start and not stage.strangers:
            student, start = load_trained(start), None  # strangers are to stay some: their stages never start from it
        trained = train_stage(stage, windows, work, effort, student)
        if stage.asked:
            strangers = ask(trained, images.of(HELD_KINDS))
        else:
            student = trained
    limits = set_limits(strangers, ask(student, images), work)
    results = ship(student, windows, limits, crops, work, jobs)
    print(results.to_string(index=False))


def make_windows(crops: Path, work: Path, stacks: int, jobs: int) -> Windows:
    """Windows of ``stacks`` stacks through drawn microscopes, and of a part as many through shipped instruments."""
    make_shards(crops, work / "windows", stacks, jobs)
    make_shards(crops, work / "shipped", stacks // SHIPPED_PART, jobs, SHIPPED)
    return load_shards(work / "windows", work / "shipped")


def held_kinds() -> list[int]:
    """Indices of ``HELD_KINDS`` in ``ALL_KINDS``."""
    return [ALL_KINDS.index(name) for name in HELD_KINDS]


def is_validation(stack: int) -> bool:
    """Decide by the stack's number, so that every model sees the same stacks held back."""
    return place_of(f"default {stack}") > 1 - VALIDATION_SHARE


def held_back(windows: Windows) -> np.ndarray:
    """Which images ``(N,)`` are of stacks that nothing learns from."""
    return np.array([is_validation(int(stack)) for stack in windows.stack])


def train_stage(
    stage: Stage, windows: Windows, work: Path, effort: float, before: "keras.Model | None"
) -> "keras.Model":
    """Train one stage from the network before, or from random weights."""
    import keras

    from focus_picker.deep.student import build_student, start_from
    from focus_picker.deep.training import one_core_an_operation

    one_core_an_operation()
    keras.utils.set_random_seed(SEED)
    student = build_student(DEFAULT_BINS, n_auxiliary=windows.features.shape[1], size=stage.window_px)
    if before is not None:
        start_from(student, before)
    met = ~np.isin(windows.kind, held_kinds()) if stage.strangers else None
    return learn(student, stage, windows, work, effort, met)


def learn(
    network: "keras.Model", stage: Stage, windows: Windows, work: Path, effort: float, met: np.ndarray | None = None
) -> "keras.Model":
    """Train a network on the windows that are not held back, and of these on those that are ``met`` ``(N,)``.

    One that is given the features sees those of ``windows``, which are standardised by the caller.
    """
    from focus_picker.deep.pipeline import Batches
    from focus_picker.deep.training import Schedule
    from focus_picker.deep.training import train as train_network
    from focus_picker.evaluation.summary import summarise_epoch
    from focus_picker.hybrid.losses import auxiliary_loss, label_loss
    from focus_picker.hybrid.teacher import Standardiser

    validation, met = held_back(windows), np.ones(len(windows.score), bool) if met is None else met
    rows, held = np.flatnonzero(~validation & met), windows.select(validation & met)
    beside = ("features",) if len(network.inputs) > 1 else ()
    targets = {
        "soft": DEFAULT_BINS.soft_labels(windows.score, LABEL_SIGMA),
        "features": windows.features if beside else Standardiser.fit(windows.features[rows])(windows.features),
    }
    margin = (windows.image.shape[1] - stage.window_px - SHIFT_PX) // 2  # shifts stay small whatever the window
    images = windows.image[:, margin : -margin or None, margin : -margin or None]
    batches = Batches(
        images, targets, BATCH, SEED, beside, stage.window_px, rows=rows, grey_share=GREY_SHARE, jpeg=False
    )

    def loss(outputs: dict, given: dict) -> "tf.Tensor":
        value = label_loss(outputs["logits"], given["soft"])
        if "auxiliary" in outputs:
            value += AUXILIARY * auxiliary_loss(outputs["auxiliary"], given["features"])
        return value

    train_network(
        network,
        batches,
        loss,
        lambda model: validation_error(model, held, stage.window_px),
        Schedule(max(1, round(effort * stage.images / len(rows))), stage.learning_rate),
        work / stage.name,
        report=lambda row: print(summarise_epoch(stage.name, row), flush=True),
    )
    return network


def validation_error(model: "keras.Model", held: Windows, size: int) -> float:
    """Mean absolute error of the median on the stacks held back."""
    score = DEFAULT_BINS.quantile(distributions(model, held, size), 0.5)
    return float(np.abs(score - held.score).mean())


def distributions(model: "keras.Model", windows: Windows, size: int) -> np.ndarray:
    """Predicted distributions ``(N, bins)``."""
    from focus_picker.deep.window import centre

    image = np.ascontiguousarray(centre(windows.image, size))
    return said(model, {"image": image, "features": windows.features} if len(model.inputs) > 1 else image)


def said(model: "keras.Model", given: Any) -> np.ndarray:
    """Distributions ``(N, bins)`` that a network predicts from what it is given."""
    from scipy.special import softmax

    return softmax(model.predict(given, batch_size=128, verbose=0)["logits"], axis=-1)


def ask(student: "keras.Model", images: WholeImages) -> Asked:
    """Ask a network about whole images through microscopes that it has not met, as the runtime does."""
    from focus_picker.deep.competence import image_properties

    looks = images.cut.looks()
    predicted = looks.pooled(said(student, looks.windows))
    chroma = image_properties(images.cut.central)["chroma"]
    return Asked(predicted, images.score, images.kind, chroma)


def set_limits(strangers: Asked, met: Asked, work: Path) -> Limits:
    """Learn the limits, and keep the table of what strangers cost with them in ``held_kinds.csv``."""
    limits = learn_limits(strangers, met, SCORE_PER_SLICE)
    table = limited_table(strangers, limits, SCORE_PER_SLICE)
    write_text(work / HELD_TABLE, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    print(table.to_string(index=False), limits, sep="\n", flush=True)
    return limits


def ship(student: "keras.Model", windows: Windows, limits: Limits, crops: Path, work: Path, jobs: int) -> pd.DataFrame:
    """Convert, state what is known, test on unseen crops through the shipped instruments, write ``models/``."""
    from focus_picker.deep.student import with_readout
    from focus_picker.deep.window import centre
    from focus_picker.training.ship import calibrate, choose_variant, rounded_if_as_good, try_variants, write_models

    validation = held_back(windows)
    seen = np.ascontiguousarray(centre(windows.image[np.flatnonzero(~validation)[::4]]))
    held = np.ascontiguousarray(centre(windows.image[validation]))
    model = rounded_if_as_good(with_readout(student, DEFAULT_BINS), held, windows.score[validation])
    side = limited(calibrate(model, DEFAULT_BINS, seen, held, windows.score[validation], SCORE_PER_SLICE), limits)
    trials = try_variants(model, side, seen, held, windows.score[validation])
    shipped = choose_variant(trials, ("weights8",))
    write_models(MODELS, model, trials, shipped, None, seen)
    write_kinds(shipped.student, windows.select(validation), pd.read_csv(work / HELD_TABLE))
    results = pd.DataFrame(
        [test(shipped.student, name, *load(simulated(name, crops, work, jobs), jobs)) for name in known_instruments()]
    )
    write_metrics(results)
    return results


def write_kinds(student: "Student", held: Windows, strangers: pd.DataFrame) -> None:
    """Write where the shipped file holds: figures of stacks held back by kind, and Spearman before it had met three."""
    from focus_picker.deep.window import centre

    judged = student.judge_windows(np.ascontiguousarray(centre(held.image)))
    kind, sure = np.array(ALL_KINDS)[held.kind], judged.status != UNSURE
    table = kinds_table(judged.score, sure, held.score, kind, SCORE_PER_SLICE)
    left_out = strangers.set_index("kind")["spearman"].rename("spearman_left_out")
    table = table.join(left_out, on="kind")
    write_text(KINDS_TABLE, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def limited(side: "StudentSide", limits: Limits) -> "StudentSide":
    """Put what strangers taught in place of what the known kinds say, which is too little doubt."""
    chroma = (limits.least_chroma, side.competence.chroma[1])
    competence = side.competence.model_copy(update={"side_coverage": limits.side_coverage, "chroma": chroma})
    stated = {
        "calibrated": False,
        "intervals": limits.intervals,
        "competence": competence,
        "turns": True,
        "corners": True,
    }
    return side.model_copy(update=stated)


def simulated(name: str, crops: Path, work: Path, jobs: int) -> Path:
    """Stacks of a shipped instrument from crops that no model was trained on; made where they are not there yet."""
    folder = work / name
    if not folder.is_dir():
        unseen = work / "crops_test"
        unseen.mkdir(parents=True, exist_ok=True)
        for path in sorted(crops.rglob("*.jpg")):
            if not crop_is_for_training(path):
                shutil.copy(path, unseen)
        simulate_dataset(
            folder, [load_instrument(name)], stacks=TEST_STACKS, seed=SEED + 3, from_images=unseen, jobs=jobs
        )
    return folder


def load(dataset: Path, jobs: int) -> tuple[np.ndarray, np.ndarray]:
    """True scores and windows of a simulated data set."""
    from focus_picker.deep.pipeline import load_windows

    labels = read_labels(dataset)
    windows = load_windows([dataset / path for path in labels["image_path"]], jobs=jobs)
    return true_scores(labels, read_truth(dataset)).to_numpy(), windows


def test(student: "Student", name: str, truth: np.ndarray, windows: np.ndarray) -> dict[str, Any]:
    """Metrics of the shipped file on one instrument, against truth."""
    from focus_picker.deep.window import centre

    judged = student.judge_windows(np.ascontiguousarray(centre(windows)))
    return metrics_row("focus_model", name, truth, judged, student.side.score_per_slice)


def metrics_row(
    model: str, instrument: str, truth: np.ndarray, judged: "Judgement", score_per_slice: float
) -> dict[str, Any]:
    """Row of ``metrics.csv``: what a model's scores and intervals are worth against the true focus ``(n,)``."""
    figures = side_figures(judged.score, truth, judged.status != UNSURE, score_per_slice)
    return {
        "model": model,
        "instrument": instrument,
        "images": len(truth),
        "spearman": figures["spearman"],
        "mae_truth": figures["mae"],
        "bias": (judged.score - truth).mean(),
        "sign_beyond_one_slice": figures["sign"],
        "sign_where_sure": figures["sign_where_sure"],
        "unsure": figures["unsure"],
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
