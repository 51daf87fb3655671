"""Best plane of a stack: every method and its peers side by side, in one table.

usage: python benchmarks/stacks.py [--stacks 60] [--model RUN ...] [--data FOLDER] [--output results/stacks.md]
       python benchmarks/stacks.py --curves FILE.npz [FILE.npz ...]

The first form simulates stacks of three instruments from real crops (once; kept in --work) and adds the real curves and
the real smear stack where FOLDER has them. The second prints the split-half table of curve files alone: the best plane
estimated from the even and from the odd planes of each stack, which should agree.
"""

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Before NumPy is imported: timings are for one core.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from dataset.errors import InputError  # noqa: E402
from dataset.files import write_text  # noqa: E402
from dataset.labels import read_truth  # noqa: E402
from dataset.stacks import Stack, find_stacks, read_slices  # noqa: E402
from stack_inference.calibration import UNCALIBRATED, StackCalibration, calibrate  # noqa: E402
from stack_inference.curves import CURVES, CurveFit  # noqa: E402
from stack_inference.decide import METHODS, NEEDS_SCORES  # noqa: E402
from stack_inference.pick import Pick, pick_focus, pick_from_scores  # noqa: E402
from stack_inference.scoring import StackScores, score_stack  # noqa: E402
from stack_inference.template_learning import is_for_learning, load_curves  # noqa: E402

INSTRUMENTS = ("oil100", "dry50", "dry40")
SEED = 7
DATA = ROOT / ".." / "shared" / "data"

Row = dict[str, object]


# the peers: what one writes in ten lines


def grey(image: np.ndarray) -> np.ndarray:
    """8-bit luminance."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def tenengrad(image: np.ndarray) -> float:
    """Mean squared Sobel gradient."""
    x, y = (cv2.Sobel(grey(image), cv2.CV_64F, *order) for order in ((1, 0), (0, 1)))
    return float((x**2 + y**2).mean())


def brenner(image: np.ndarray) -> float:
    """Mean squared difference of pixels two apart."""
    values = grey(image).astype(float)
    return float(((values[:, 2:] - values[:, :-2]) ** 2).mean())


def variance_of_laplacian(image: np.ndarray) -> float:
    """Variance of the Laplacian."""
    return float(cv2.Laplacian(grey(image), cv2.CV_64F).var())


def blur_effect(image: np.ndarray) -> float:
    """Minus the blur metric of scikit-image."""
    from skimage.measure import blur_effect as blur

    return -float(blur(grey(image)))


PEERS: dict[str, Callable[[np.ndarray], float]] = {
    "OpenCV Tenengrad": tenengrad,
    "OpenCV Brenner": brenner,
    "OpenCV variance of Laplacian": variance_of_laplacian,
    "scikit-image blur_effect": blur_effect,
}
PEER_FITS: dict[str, Callable[[np.ndarray], float]] = {
    "arg-max": lambda focus: float(np.argmax(focus)),
    "parabola": lambda focus: naive_parabola(focus),
}


def naive_parabola(focus: np.ndarray) -> float:
    """Vertex through the largest value and its neighbours; the slice itself at an end."""
    k = int(np.argmax(focus))
    if k in (0, len(focus) - 1):
        return float(k)
    left, peak, right = focus[k - 1 : k + 2]
    bend = left - 2 * peak + right
    return k + (left - right) / (2 * bend) if bend else float(k)


# (a) simulated stacks with truth


@dataclass(frozen=True)
class Simulated:
    """Test stacks of one instrument, measured, with their true best planes, and others to calibrate on."""

    name: str
    scores: list[StackScores]
    truth: np.ndarray
    peers: dict[str, list[np.ndarray]]
    learned: StackCalibration


def simulated(name: str, folder: Path, model: object | None, limit: int) -> Simulated:
    """Measure the stacks of a data set; every second field is for calibration, the others are for the test."""
    table = read_truth(folder)
    table["stack"] = table.image_path.str.split("/").str[1]
    truth = table.groupby("stack").best_z_slice.first()
    stacks = find_stacks(folder)[:limit]
    held_out = [int(stack.name.split("_")[1]) % 2 == 0 for stack in stacks]
    scores = [score_stack(stack, scorer=model) for stack in stacks]  # type: ignore[arg-type]
    test = [part for part, out in zip(scores, held_out, strict=True) if out]
    rest = [part for part, out in zip(scores, held_out, strict=True) if not out]
    learned = UNCALIBRATED
    if model is not None:
        try:
            learned = calibrate(rest, [truth[part.stack] for part in rest])
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
    test_stacks = [stack for stack, out in zip(stacks, held_out, strict=True) if out]
    return Simulated(
        name,
        test,
        np.array([truth[part.stack] for part in test]),
        {p: peer_curves(p, test_stacks) for p in PEERS},
        learned,
    )


def peer_curves(name: str, stacks: Sequence[Stack]) -> list[np.ndarray]:
    """Curve of a peer's measure for each stack."""
    return [np.array([PEERS[name](image) for image in read_slices(stack)]) for stack in stacks]


def truth_rows(data: Simulated, signed: bool) -> list[Row]:
    """Error of every method and peer against the truth."""
    rows = []
    for peer, curves in data.peers.items():
        for fit, find in PEER_FITS.items():
            rows.append(error_row(data, f"{peer}, {fit}", np.array([find(curve) for curve in curves])))
    for method in METHODS:
        if method not in NEEDS_SCORES:
            scores = [replace(part, signed=False) for part in data.scores]
            rows.append(
                pick_row(data, f"{method} (sharpness)", [pick_from_scores(part, method=method) for part in scores])
            )
    for method in ("zero_crossing", "posterior", "fused") if signed else ():
        for label, learned in (("model, not calibrated", UNCALIBRATED), ("model, calibrated", data.learned)):
            picks = [pick_from_scores(part, method=method, calibration=learned) for part in data.scores]
            rows.append(pick_row(data, f"{method} ({label})", picks))
    return rows


def pick_row(data: Simulated, name: str, picks: Sequence[Pick]) -> Row:
    """Figures of picks."""
    position = np.array([pick.best_position for pick in picks])
    error = np.array([pick.standard_error for pick in picks])
    return error_row(data, name, position, error, np.mean([pick.status == "ok" for pick in picks]))


def error_row(
    data: Simulated, name: str, position: np.ndarray, standard_error: np.ndarray | None = None, ok: float = np.nan
) -> Row:
    """Mean, 90 % point, bias, scatter, slope and coverage of one method's errors, in slices."""
    known = np.isfinite(position)
    away = (position - data.truth)[known]
    about = away - np.median(away)
    row: Row = {
        "instrument": data.name,
        "method": name,
        "n": len(position),
        "mean": np.abs(away).mean(),
        "p90": np.quantile(np.abs(away), 0.9),
        "bias": away.mean(),
        "scatter": np.abs(about).mean(),
        "slope": np.polyfit(data.truth[known], position[known], 1)[0],
        "within 1": np.mean(np.abs(away) <= 1),
    }
    if standard_error is not None:
        half = 1.645 * standard_error[known]
        row |= {
            "coverage": np.mean(np.abs(away) <= half),
            "coverage about bias": np.mean(np.abs(about) <= half),
            "ok": ok,
        }
    return row


# (b) real curves, split in halves


def split_half_rows(path: Path, measure: str, *, every: int = 1, unseen_only: bool = False) -> list[Row]:
    """Disagreement of even and odd planes, in planes, and agreement with the reference plane."""
    curves, number = load_curves(path, measure)
    with np.load(path, allow_pickle=False) as data:
        reference = data["reference_plane"].astype(float) if "reference_plane" in data else np.full(len(curves), np.nan)
    if unseen_only:
        keep = ~is_for_learning(number)
        curves, reference = curves[keep], reference[keep]
    curves, reference = curves[::every], reference[::every]
    return [split_half_row(path, name, fit, curves, reference) for name, fit in CURVES.items()]


def split_half_row(
    path: Path, name: str, fit: Callable[..., CurveFit], curves: np.ndarray, reference: np.ndarray
) -> Row:
    """Figures of one fit on curves ``(stacks, planes)``."""
    z = np.arange(curves.shape[1], dtype=float)
    even, odd, full = (
        [fit(z[half], focus[half]) for focus in curves] for half in (slice(0, None, 2), slice(1, None, 2), slice(None))
    )
    place = {
        key: np.array([part.position for part in fits]) for key, fits in (("even", even), ("odd", odd), ("full", full))
    }
    away = np.abs(place["even"] - place["odd"])
    known = np.isfinite(away)
    return {
        "file": path.name,
        "method": name,
        "n": len(curves),
        "mean": away[known].mean(),
        "p90": np.quantile(away[known], 0.9),
        "even minus odd": np.mean((place["even"] - place["odd"])[known]),
        "no answer": 1 - known.mean(),
        "mean with end slices": np.abs(
            slice_if_none(place["even"], z[::2], curves[:, ::2]) - slice_if_none(place["odd"], z[1::2], curves[:, 1::2])
        ).mean(),
        "full within 1 of reference": np.nanmean(np.abs(place["full"] - reference) <= 1),
    }


def slice_if_none(position: np.ndarray, z: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Positions with the best slice where a fit gave none, which is what a pick does then."""
    return np.where(np.isfinite(position), position, z[np.argmax(curves, axis=1)])


# (c) the real smear stack with planes missing


def smear_rows(folder: Path) -> list[Row]:
    """How far the pick moves when 1, 2 or 4 planes are missing (30 draws each), in planes."""
    (stack,) = find_stacks(folder)
    scores = score_stack(stack)
    rows = []
    for method in METHODS:
        if method in NEEDS_SCORES:
            continue
        whole = pick_from_scores(scores, method=method).best_position
        row: Row = {"method": method, "all planes": whole}
        for dropped in (1, 2, 4):
            rng = np.random.default_rng(dropped)
            moved = [
                moved_by_gaps(scores, method, rng.choice(len(scores.z), dropped, replace=False)) for _ in range(30)
            ]
            away = np.abs(np.array(moved) - whole)
            row |= {f"{dropped} missing, mean": away.mean(), f"{dropped} missing, largest": away.max()}
        rows.append(row)
    return rows


def moved_by_gaps(scores: StackScores, method: str, gaps: np.ndarray) -> float:
    """Best position once the slices ``gaps`` are missing."""
    sharpness, spread = scores.sharpness.copy(), scores.grey_spread.copy()
    sharpness[gaps] = spread[gaps] = np.nan
    return pick_from_scores(replace(scores, sharpness=sharpness, grey_spread=spread), method=method).best_position


# (d) time


def time_rows(crop_like: Sequence[np.ndarray], repeats: int = 15) -> list[Row]:
    """Whole path from ten JPEG files of 200 x 200 pixels to the pick on one core, median milliseconds."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(crop_like):
            cv2.imwrite(f"{folder}/{index}.jpg", cv2.resize(image, (200, 200))[..., ::-1])
        (stack,) = find_stacks(folder)
        rows = []
        for method in METHODS:
            if method in NEEDS_SCORES:
                continue
            times = []
            for _ in range(repeats):
                start = time.perf_counter()
                pick_focus(stack, method=method)
                times.append(1000 * (time.perf_counter() - start))
            rows.append({"method": method, "median ms": np.median(times), "fastest ms": min(times)})
    return rows


# (e) crafted bad stacks


def flat_field(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Empty fields: grey levels of the background with the camera's noise."""
    level = np.median(images[0], axis=(0, 1))
    noisy = [level + rng.normal(0, 2, image.shape) for image in images]
    return [np.clip(np.round(image), 0, 255).astype(np.uint8) for image in noisy]


def two_cells(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Two cells side by side, seven slices apart in height."""
    del rng
    height, width = images[0].shape[:2]
    best = int(np.argmax([tenengrad(image) for image in images]))
    first = [images[min(max(best - 3 + k, 0), len(images) - 1)] for k in range(13)]
    other = [images[min(max(best - 10 + k, 0), len(images) - 1)] for k in range(13)]
    return [np.hstack([a[:height, :width], b[:height, :width]]) for a, b in zip(first, other, strict=True)]


def with_slice(value: int) -> Callable[[list[np.ndarray], np.random.Generator], list[np.ndarray]]:
    """Replace one slice by a constant."""

    def craft(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        spoilt = list(images)
        spoilt[int(rng.integers(len(images)))] = np.full_like(images[0], value)
        return spoilt

    return craft


def before_focus(images: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Only slices on one side of the sharpest, which is cut off with one neighbour."""
    del rng
    best = int(np.argmax([tenengrad(image) for image in images]))
    return images[: max(best - 1, 2)] if best >= 4 else images[best + 2 :]


Craft = Callable[[list[np.ndarray], np.random.Generator], list[np.ndarray]]

CRAFTED: dict[str, tuple[Craft, frozenset[str]]] = {
    "good stack": (lambda images, rng: images, frozenset({"ok"})),
    "one slice": (lambda images, rng: images[4:5], frozenset({"edge"})),
    "two slices": (lambda images, rng: images[4:6], frozenset({"edge"})),
    "all slices equal": (lambda images, rng: [images[4]] * 11, frozenset({"flat"})),
    "empty field": (flat_field, frozenset({"flat"})),
    "focus outside": (before_focus, frozenset({"edge"})),
    "one black slice": (with_slice(0), frozenset({"ok", "edge"})),
    "one saturated slice": (with_slice(255), frozenset({"ok", "edge"})),
    "reverse order": (lambda images, rng: images[::-1], frozenset({"ok"})),
    "every slice twice": (lambda images, rng: [image for image in images for _ in range(2)], frozenset({"ok"})),
    "sizes differ": (
        lambda images, rng: [image[: image.shape[0] - k, k:] for k, image in enumerate(images)],
        frozenset({"ok"}),
    ),
    "two cells": (two_cells, frozenset({"ambiguous"})),
}
"""Kinds of stacks: what is done to a good one, and the statuses that are right."""


@dataclass(frozen=True)
class MemorySlice:
    """A slice that is already read; to ``scoring`` like one of a file."""

    path: Path
    image: np.ndarray
    page: int | None = None

    @property
    def file(self) -> str:
        """Name."""
        return self.path.name

    def read(self) -> np.ndarray:
        """Pixels."""
        return self.image


def crafted_rows(folders: Sequence[Path], count: int) -> list[Row]:
    """Share of right statuses for ``count`` stacks of each kind."""
    stacks = [stack for folder in folders for stack in find_stacks(folder)][: max(count, 1)]
    right: dict[str, list[bool]] = {kind: [] for kind in CRAFTED}
    seen: dict[str, dict[str, int]] = {kind: {} for kind in CRAFTED}
    for number, stack in enumerate(stacks):
        images = list(read_slices(stack))
        for kind, (craft, expected) in CRAFTED.items():
            made = craft(images, np.random.default_rng(number))
            slices = tuple(MemorySlice(Path(f"{k}.png"), image) for k, image in enumerate(made))
            state = pick_focus(Stack(stack.name, stack.path, slices)).status  # type: ignore[arg-type]
            right[kind].append(state in expected)
            seen[kind][state] = seen[kind].get(state, 0) + 1
    return [
        {
            "kind": kind,
            "n": len(right[kind]),
            "right": np.mean(right[kind]),
            "expected": " or ".join(sorted(CRAFTED[kind][1])),
            "statuses": ", ".join(f"{name} {n}" for name, n in sorted(seen[kind].items())),
        }
        for kind in CRAFTED
    ]


# the report


def markdown(rows: Sequence[Row]) -> str:
    """Table of rows that share their keys; later keys may be missing in some."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    lines += ["| " + " | ".join(shown(row.get(key, "")) for key in keys) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """Cell of the table."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3f}"
    return str(value)


def to_csv(parts: dict[str, list[Row]]) -> str:
    """All parts as one long table: part, row's names, figure, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "on", "method", "figure", "value"])
    for part, rows in parts.items():
        for row in rows:
            on = row.get("instrument", row.get("file", ""))
            name = row.get("method", row.get("kind", ""))
            for key, value in row.items():
                if isinstance(value, (float, int)):
                    writer.writerow([part, on, name, key, f"{value:.6g}"])
    return out.getvalue()


def simulate_missing(work: Path, crops: Path, stacks: int) -> dict[str, Path]:
    """Simulate the data sets that are not in ``work`` yet."""
    from dataset.simulation.generate import simulate_dataset
    from dataset.simulation.instrument import load_instrument

    folders = {name: work / name for name in INSTRUMENTS}
    for name, folder in folders.items():
        if not (folder / "truth.csv").exists():
            source = crops if crops.exists() else None
            simulate_dataset(folder, [load_instrument(name)], stacks=stacks, seed=SEED, from_images=source)
    return folders


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", nargs="+", type=Path, help="print the split-half table of these files and stop")
    parser.add_argument("--measure", default="tenengrad", help="measure of the curves")
    parser.add_argument("--every", type=int, default=1, help="take every n-th real curve")
    parser.add_argument("--stacks", type=int, default=100, help="simulated stacks an instrument")
    parser.add_argument("--crafted", type=int, default=200, help="crafted stacks of each kind")
    parser.add_argument("--model", nargs="*", type=Path, default=[], help="models; one for all or INSTRUMENT=PATH each")
    parser.add_argument("--work", type=Path, default=ROOT / "results" / "runs" / "stacks_data")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with wbc_crops, focus_curves, smear_stack")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "stacks.md")
    options = parser.parse_args(arguments)
    try:
        if options.curves:
            print(
                markdown(
                    [
                        row
                        for path in options.curves
                        for row in split_half_rows(path, options.measure, every=options.every)
                    ]
                )
            )
            return
        parts = run_all(options)
    except InputError as error:
        sys.exit(f"error: {error}")
    given = [Path(word).name if word.startswith("/") else word for word in (arguments or sys.argv[1:])]
    command = " ".join(["python benchmarks/stacks.py", *given])
    titles = "\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in parts.items() if rows)
    write_text(options.output, f"# Best plane of a stack\n\nMade by `{command}`. {CAVEATS}\n\n{titles}")
    write_text(options.output.with_suffix(".csv"), to_csv(parts))
    print(titles)


CAVEATS = (
    "Errors in slices. `scatter` is the mean error about the method's own median, so that a constant offset does not "
    "count; `slope` of estimate against truth shows a method that shrinks to the middle. `coverage` is that of the "
    "90 % interval. Real WBC curves are those that the template was not learned from."
)


def run_all(options: argparse.Namespace) -> dict[str, list[Row]]:
    """All parts that the data at hand allow, by title."""
    folders = simulate_missing(options.work, options.data / "wbc_crops", options.stacks)
    models = {name: model_for(name, options.model) for name in folders}
    simulations = [simulated(name, folder, models[name], options.stacks) for name, folder in folders.items()]
    curves = sorted((options.data / "focus_curves").glob("*.npz"), key=lambda path: -path.stat().st_size)
    smear = options.data / "smear_stack" / "cell_stacks"
    example = list(read_slices(find_stacks(folders["dry50"])[0]))[:10]
    return {
        "Simulated from real crops": [
            row for part in simulations for row in truth_rows(part, models[part.name] is not None)
        ],
        "Real curves, even planes against odd planes": [
            row
            for path in curves
            for row in split_half_rows(
                path, options.measure, every=options.every if path.stem == "wbc" else 1, unseen_only=path.stem == "wbc"
            )
        ],
        "Real smear stack with planes missing": smear_rows(smear) if smear.exists() else [],
        "Crafted stacks": crafted_rows(list(folders.values()), options.crafted),
        "Time": time_rows(example),
    }


def model_for(instrument: str, given: Sequence[Path]) -> object | None:
    """Model of an instrument: ``NAME=PATH`` for this one, else a plain path, else none."""
    from stack_inference.scorers import load_scorer

    for path in given:
        name, _, rest = str(path).partition("=")
        if rest and name == instrument:
            return load_scorer(rest)
    plain = [path for path in given if "=" not in str(path)]
    return load_scorer(plain[0]) if plain else None


if __name__ == "__main__":
    main()
