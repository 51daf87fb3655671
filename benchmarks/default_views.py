"""Whether several looks at one image tell more than one: turned, or other windows of an image larger than the window.

Images are simulated as large as cameras cut them, through microscopes and of cells that the model has not met.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.default_model import risk
from benchmarks.report import DATA, Output, Report, Row, run
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.simulation.kinds import KINDS
from focus_picker.deep.competence import other_side
from focus_picker.deep.runtime import Student, load_student
from focus_picker.deep.views import ORIENTATIONS, ImageWindows, alone, oriented, windows_of
from focus_picker.deep.window import WINDOW_PX, native_window, spread_windows
from focus_picker.evaluation.sides import side_figures
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.training.default_data import SCORE_PER_SLICE, crop_is_for_training
from focus_picker.training.whole_images import WIDEST_PX, WIDEST_UM, simulate_whole

SEED = 900
Views = Callable[[np.ndarray], Sequence[np.ndarray] | np.ndarray]


def turns(*orientations: int) -> Views:
    """The central window in some of its eight orientations."""

    def turn(image: np.ndarray) -> list[np.ndarray]:
        window = native_window(image)[np.newaxis]
        return [oriented(window, at)[0] for at in orientations]

    return turn


def windows(count: int) -> Views:
    """``count`` x ``count`` windows that reach from edge to edge, each once; the image's own size decides how far."""

    def cut(image: np.ndarray) -> list[np.ndarray]:
        size = np.maximum(image.shape[:2], WINDOW_PX)
        rows, columns = (sorted({round(at) for at in np.linspace(0, whole - WINDOW_PX, count)}) for whole in size)
        parts = [image[top : top + WINDOW_PX, left : left + WINDOW_PX] for top, left in product(rows, columns)]
        return [native_window(part) for part in parts]

    return cut


def looks(image: np.ndarray) -> np.ndarray:
    """What ships: windows turned against each other, a single one four times."""
    return windows_of([image], WINDOW_PX).looks().windows


VIEWS: dict[str, Views] = {
    "one window": turns(0),
    "two turns": turns(0, 4),
    "four turns": turns(0, 1, 2, 3),
    "eight turns": turns(*range(ORIENTATIONS)),
    "centre and corners": spread_windows,
    "centre and corners, each turned; one window four times": looks,
    "3 x 3 windows": windows(3),
    "3 x 3 windows and eight turns": lambda image: [*windows(3)(image), *turns(*range(ORIENTATIONS))(image)],
}


def compare_views(
    output: Output = None,
    data: Annotated[Path, typer.Option(help="Folder of wbc_crops.")] = DATA,
    model: Annotated[Path, typer.Option(help="Model file.")] = DEFAULT_MODEL,
    stacks: Annotated[int, typer.Option(min=1, help="Stacks of each kind of microscope.")] = 30,
    jobs: Annotated[int, typer.Option(help="Processes that simulate.")] = 2,
) -> Report:
    """Report rank, sign, risk against coverage and time of the mean distribution over several views of an image."""
    pictures = [path for path in sorted((data / "wbc_crops").rglob("*.jpg")) if not crop_is_for_training(path)]
    if not pictures:
        raise InputError(f"no wbc_crops in {data}; give the folder that holds it with --data")
    shipped = load_student(model)
    student = Student(shipped.weights, shipped.side.model_copy(update={"turns": False, "corners": False}))
    items = [(kind, number) for kind in KINDS for number in range(stacks)]
    made = list(parallel_map(partial(simulate_whole, pictures, SEED), items, "simulating stacks", jobs=jobs))
    images = [image for several, _ in made for image in several]
    truth = np.concatenate([score for _, score in made])
    kind = np.repeat([kind for kind, _ in items], [len(score) for _, score in made])
    wider = float(np.mean([min(image.shape[:2]) > WINDOW_PX for image in images]))
    rows = [views_row(name, views, student, images, truth, kind) for name, views in VIEWS.items()]
    note = (
        f"{len(images)} images of {stacks} stacks each through the nine kinds of microscope, up to {WIDEST_PX} px or "
        f"{WIDEST_UM:.0f} um wide; {wider:.0%} are larger than the window both ways, the others give fewer windows. "
        "Answers are the geometric mean of the views' distributions; the one with corners turned is what ships. "
        "Spearman and sign beyond one slice: mean over the kinds; wrong side beyond one slice among the surest shares "
        "of all; time of an image, all views."
    )
    return Report("Several looks at one image", {"Views": rows}, output, note)


def views_row(
    name: str, views: Views, student: Student, images: list[np.ndarray], truth: np.ndarray, kind: np.ndarray
) -> Row:
    """Row of a way of looking."""
    cut = [ImageWindows(np.stack(list(views(image))), np.array([0])) for image in images]
    student.predict(alone(cut[0].windows))
    began = time.perf_counter()
    pooled = [several.pooled(student.predict(alone(several.windows))["distribution"]) for several in cut]
    distribution = np.concatenate(pooled)
    took_ms = 1e3 * (time.perf_counter() - began) / len(images)
    score = DEFAULT_BINS.quantile(distribution, 0.5)
    by_kind = pd.DataFrame(
        [
            side_figures(score[own], truth[own], np.ones(own.sum(), bool), SCORE_PER_SLICE)
            for own in (kind == name for name in KINDS)
        ]
    ).mean()
    doubt = other_side(DEFAULT_BINS, distribution)
    table = pd.DataFrame({"score": score, "slices": truth / SCORE_PER_SLICE, "doubt": doubt})
    shares = {f"wrong among {share}": value for share, value in risk(table).items()}
    return {
        "views": name,
        "spearman": float(by_kind["spearman"]),
        "mae": float(by_kind["mae"]),
        "sign": float(by_kind["sign"]),
        **shares,
        "ms": took_ms,
    }


main = partial(run, compare_views)

if __name__ == "__main__":
    raise SystemExit(main())
