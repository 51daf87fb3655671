"""Which doubt tells a wrong side on kinds of microscope that the default network had not met.

Asks the network of the default model's first stage, which has seen no microscope of three kinds, about stacks of these
kinds. Needs the shards and the first stage of `python -m training.make_default` in the work folder.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import typer
from scipy.special import softmax

from benchmarks.default_model import risk
from benchmarks.report import Output, Report, Row, run
from focus_picker.dataset.errors import InputError
from focus_picker.deep.competence import other_side
from focus_picker.deep.views import turned
from focus_picker.deep.window import centre
from focus_picker.models.bins import DEFAULT_BINS
from focus_picker.training.default_data import ALL_KINDS, SCORE_PER_SLICE, Windows, load_shards
from focus_picker.training.make_default import STAGES, held_back, held_kinds, train_stage

if TYPE_CHECKING:
    import keras

INSIDE = (0.005, 0.995)  # quantiles of a feature in training that count as its range
BATCH = 128


def compare_doubts(
    output: Output = None,
    work: Annotated[Path, typer.Option(help="Work folder of training.make_default.")] = Path("data/default"),
    images: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 2000,
) -> Report:
    """Report the share of wrong sides by how many images are answered, for several measures of doubt."""
    stage = STAGES[0]
    if not (work / stage.name).is_dir():
        raise InputError(f"no {stage.name} in {work}; run python -m training.make_default first, or give its --work")
    windows = load_shards(work / "windows", work / "shipped")  # what the stage learned from: it is taken up as it is
    network = embedding_too(train_stage(stage, windows, work, 1.0, None))
    met = first_of(windows, ~np.isin(windows.kind, held_kinds()) & held_back(windows), 3 * images)
    known = seen_by(network, met.image, stage.window_px)
    rows = []
    for kind in held_kinds():
        strangers = first_of(windows, windows.kind == kind, images)
        rows += rows_of(ALL_KINDS[kind], strangers, seen_by(network, strangers.image, stage.window_px), met, known)
    note = (
        "The kinds were left out of training. Wrong side among the images beyond one slice of focus, by the share "
        "of them that is answered, the least doubtful first; `beyond a slice on both sides` is what the model ships "
        "with: the probability beyond a slice on the side that has less of it, which says whether an interval reaches "
        "beyond a slice on both. Other side: the probability on the side opposite to the score. Turns: of the mean "
        "distribution over eight orientations; their scores' standard deviation. Embedding: Mahalanobis distance from "
        "images of kinds that were met. Features: how many lie outside the middle "
        f"{INSIDE[1] - INSIDE[0]:.0%} of those images."
    )
    return Report("Doubt about strangers", {"Wrong side by the share that is answered": rows}, output, note)


def first_of(windows: Windows, chosen: np.ndarray, count: int) -> Windows:
    """The first images among the chosen ones."""
    return windows.select(np.flatnonzero(chosen)[:count])


def embedding_too(student: "keras.Model") -> "keras.Model":
    """A model that answers with logits and embedding."""
    import keras

    from focus_picker.deep.student import EMBEDDING, LOGITS

    return keras.Model(student.input, [student.get_layer(LOGITS).output, student.get_layer(EMBEDDING).output])


def seen_by(network: "keras.Model", images: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Distributions ``(8, N, bins)`` of every orientation, and embeddings ``(N, E)`` of the upright one."""
    views = turned(np.ascontiguousarray(centre(images, size)))
    answers = [network.predict(view, batch_size=BATCH, verbose=0) for view in views]
    return np.stack([softmax(logits, axis=-1) for logits, _ in answers]), answers[0][1]


def rows_of(
    kind: str,
    strangers: Windows,
    seen: tuple[np.ndarray, np.ndarray],
    met: Windows,
    known: tuple[np.ndarray, np.ndarray],
) -> list[Row]:
    """Rows of a kind: one for each measure of doubt."""
    views, embedding = seen
    upright, mean = views[0], views.mean(axis=0)
    scores = np.stack([DEFAULT_BINS.quantile(view, 0.5) for view in views])
    low, high = np.quantile(met.features, INSIDE, axis=0)
    outside = ((strangers.features < low) | (strangers.features > high)).sum(axis=1)
    lower, upper = DEFAULT_BINS.quantile(upright, 0.05), DEFAULT_BINS.quantile(upright, 0.95)
    doubts: dict[str, tuple[np.ndarray, np.ndarray]] = {
        "beyond a slice on both sides": (scores[0], beyond_a_slice(upright)),
        "other side": (scores[0], other_side(DEFAULT_BINS, upright)),
        "width of the interval": (scores[0], upper - lower),
        "other side, mean of the turns": (DEFAULT_BINS.quantile(mean, 0.5), other_side(DEFAULT_BINS, mean)),
        "turns' scores": (scores[0], scores.std(axis=0)),
        "embedding": (scores[0], distance_from(known[1])(embedding)),
        "features": (scores[0], outside.astype(float)),
    }
    slices = strangers.score / SCORE_PER_SLICE
    return [
        {"kind": kind, "doubt": name, **risk(pd.DataFrame({"score": score, "slices": slices, "doubt": doubt}))}
        for name, (score, doubt) in doubts.items()
    ]


def beyond_a_slice(distribution: np.ndarray) -> np.ndarray:
    """Probability ``(N,)`` beyond a slice of focus, on the side that has less of it."""
    near, far = DEFAULT_BINS.centres < -SCORE_PER_SLICE, DEFAULT_BINS.centres > SCORE_PER_SLICE
    return np.minimum(distribution @ near, distribution @ far)


def distance_from(embedding: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Mahalanobis distance from the cloud ``(N, E)``."""
    middle, covariance = embedding.mean(axis=0), np.cov(embedding.T)
    inverse = np.linalg.pinv(covariance + 1e-6 * np.trace(covariance) * np.eye(len(covariance)))

    def distance(points: np.ndarray) -> np.ndarray:
        off = points - middle
        return np.sqrt(np.einsum("ij,jk,ik->i", off, inverse, off))

    return distance


main = partial(run, compare_doubts)

if __name__ == "__main__":
    raise SystemExit(main())
