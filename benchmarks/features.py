"""Time all measures and cues of one colour crop against 42 measures written one by one with OpenCV."""

import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import cv2
import numpy as np
import typer

from benchmarks.naive_measures import NAIVE
from benchmarks.report import DATA, ROOT, Output, Report, Row, run, seconds
from focus_picker.dataset.images import read_image
from focus_picker.features import CUES, MEASURES, Intermediates, measure

HEIGHT, WIDTH = 120, 140
CROPS = {  # the first folder with pictures is taken
    "crops of real white blood cells": DATA / "wbc_crops",
    "the slices of the page's example": ROOT / "serve" / "page" / "example",
}
N_CROPS = 8
SLOWEST = 12
WARM_UP, COST_ROUNDS = 20, 200


def compare_features(
    output: Output = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each side.")] = 400,
) -> Report:
    """Report the times of both sides, and the slowest measures once what they share is there."""
    images, source = crops()
    ours, naive = alternating([measure, naively], images, rounds)
    counts = len(MEASURES) + len(CUES), len(NAIVE)
    note = (
        f"{HEIGHT} x {WIDTH} colour crop, one core, {rounds} rounds, {source}; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, OpenCV {cv2.__version__}. Ours takes {np.median(ours) / np.median(naive):.2f} of the "
        f"naive time, and {np.median(naive) / np.median(ours) * counts[0] / counts[1]:.1f} times less for a feature."
    )
    sides = {"ours, all in one call": (ours, counts[0]), "naive OpenCV, one by one": (naive, counts[1])}
    tables = {
        "": [time_row(name, *side) for name, side in sides.items()],
        "Dearest measures once their shared intermediates are there": costs(images[0])[:SLOWEST],
    }
    return Report("Feature benchmark", tables, output, note)


def crops() -> tuple[list[np.ndarray], str]:
    """Colour crops of 120 x 140 pixels, and where they are from."""
    name, paths = next((name, paths) for name, folder in CROPS.items() if (paths := sorted(folder.rglob("*.jpg"))))
    return [middle(read_image(path)) for path in paths[:: max(1, len(paths) // N_CROPS)][:N_CROPS]], name


def middle(image: np.ndarray) -> np.ndarray:
    """Cut the middle of an image."""
    top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])


def naively(image: np.ndarray) -> list[float]:
    """Compute all naive measures."""
    return [function(image) for function in NAIVE.values()]


def alternating(sides: Sequence[Callable], images: Sequence[np.ndarray], rounds: int) -> np.ndarray:
    """Microseconds of every side, ``(sides, rounds)``, in turns, so that what else the machine does hits all alike."""
    taken = [
        [seconds(partial(side, images[turn % len(images)]))[0, 0] for side in sides] for turn in range(WARM_UP + rounds)
    ]
    return 1e6 * np.array(taken[WARM_UP:]).T


def time_row(name: str, times_us: np.ndarray, count: int) -> Row:
    """Figures of one side that computes ``count`` features."""
    return {
        "": name,
        "features": count,
        "median": f"{np.median(times_us) / 1e3:.3f} ms",
        "best": f"{times_us.min() / 1e3:.3f} ms",
        "per feature": f"{np.median(times_us) / count:.1f} us",
    }


def costs(image: np.ndarray) -> list[Row]:
    """Median time of each measure and cue alone, slowest first."""
    ready = Intermediates(image)
    functions = {**MEASURES, **CUES}
    medians = {
        name: 1e6 * np.median(seconds(partial(function, ready), COST_ROUNDS, warm_up=1)[:, 0])
        for name, function in functions.items()
    }
    slowest = sorted(medians.items(), key=lambda item: -item[1])
    return [{"measure": name, "us": f"{microseconds:.1f}"} for name, microseconds in slowest]


main = partial(run, compare_features)

if __name__ == "__main__":
    sys.exit(main())
