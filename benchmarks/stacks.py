"""Best plane of a stack: every method and its peers side by side, in one table.

usage: python benchmarks/stacks.py [--stacks 150] [--model default] [--work FOLDER] [--output results/stacks.md]
       python benchmarks/stacks.py --curves FILE.npz [FILE.npz ...]

The first form simulates stacks of three instruments from real crops (once; kept in --work), picks them with the shipped
model and with one trained on that instrument, and adds the real curves and the real smear stack where --data has them.
The second prints the split-half table of curve files alone: the best plane estimated from the even and from the odd
planes of each stack, which should agree.
"""

import argparse
import csv
import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

# Before NumPy is imported: timings are for one core.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.crafted_stacks import CRAFTED, STRANGE, sobel_energy, stack_of  # noqa: E402
from focus_picker.dataset.errors import InputError  # noqa: E402
from focus_picker.dataset.files import write_text  # noqa: E402
from focus_picker.dataset.labels import read_truth  # noqa: E402
from focus_picker.dataset.stacks import Stack, find_stacks  # noqa: E402
from focus_picker.models.contract import Model as Trained  # noqa: E402
from focus_picker.models.intervals import SIGMA_OF_90  # noqa: E402
from focus_picker.models.stack_calibration import UNCALIBRATED, StackCalibration  # noqa: E402
from focus_picker.stack_inference.curves import CURVES, CurveFit  # noqa: E402
from focus_picker.stack_inference.decide import METHODS, NEEDS_SCORES  # noqa: E402
from focus_picker.stack_inference.loading import load_model  # noqa: E402
from focus_picker.stack_inference.pick import Pick, pick_focus, pick_from_scores  # noqa: E402
from focus_picker.stack_inference.scoring import StackScores, score_stack  # noqa: E402
from focus_picker.stack_inference.template_learning import is_for_learning, load_curves  # noqa: E402

INSTRUMENTS = ("oil100", "dry50", "dry40")
SEED = 7
SIMULATION, HALVES = "Simulated from real crops", "Real curves, even planes against odd planes"
DATA = ROOT / ".." / "shared" / "data"

Row = dict[str, object]


# the peers: what one writes in ten lines


def grey(image: np.ndarray) -> np.ndarray:
    """8-bit luminance."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


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
    "OpenCV Tenengrad": sobel_energy,
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
class Model:
    """A trained model with what is known of its errors on stacks."""

    label: str
    model: Trained

    @property
    def calibration(self) -> StackCalibration:
        """How sharpness and its scores are weighed."""
        return self.model.side.stack_calibration or UNCALIBRATED


@dataclass(frozen=True)
class Simulated:
    """Test stacks of one instrument, measured by the peers and with each model, and their true best planes."""

    name: str
    truth: np.ndarray
    peers: dict[str, list[np.ndarray]]
    alone: list[StackScores]
    scored: list[tuple[Model, list[StackScores]]]


def simulated(name: str, folder: Path, models: Sequence[Model], limit: int) -> Simulated:
    """Measure the stacks of a data set."""
    truth, stacks = true_planes(folder), find_stacks(folder)[:limit]
    return Simulated(
        name,
        np.array([truth[stack.name] for stack in stacks]),
        {peer: peer_curves(peer, stacks) for peer in PEERS},
        [score_stack(stack) for stack in stacks],
        [(model, [score_stack(stack, model=model.model) for stack in stacks]) for model in models],
    )


def true_planes(folder: Path) -> dict[str, float]:
    """True best plane of each stack of a data set, in slices."""
    table = read_truth(folder)
    if table is None:
        raise InputError(f"{folder} has no truth.csv: remove it, so that it is simulated again")
    stack = table.image_path.str.split("/").str[1]
    return {str(name): float(plane) for name, plane in table.groupby(stack).best_z_slice.first().items()}


def peer_curves(name: str, stacks: Sequence[Stack]) -> list[np.ndarray]:
    """Curve of a peer's measure for each stack."""
    return [np.array([PEERS[name](plane.read()) for plane in stack.slices]) for stack in stacks]


def truth_rows(data: Simulated) -> list[Row]:
    """Error of every method and peer against the truth."""
    rows = []
    for peer, curves in data.peers.items():
        for fit, find in PEER_FITS.items():
            rows.append(error_row(data, f"{peer}, {fit}", np.array([find(curve) for curve in curves])))
    for method in METHODS:
        if method not in NEEDS_SCORES:
            picks = [pick_from_scores(scores, method=method) for scores in data.alone]
            rows.append(pick_row(data, f"{method} (sharpness)", picks))
    for model, scored in data.scored:
        for method in ("zero_crossing", "posterior", "fused"):
            picks = [pick_from_scores(scores, method=method, calibration=model.calibration) for scores in scored]
            rows.append(pick_row(data, f"{method} ({model.label})", picks))
    return rows


def pick_row(data: Simulated, name: str, picks: Sequence[Pick]) -> Row:
    """Figures of picks."""
    position = np.array([pick.best_position for pick in picks])
    error = np.array([pick.standard_error for pick in picks])
    return error_row(data, name, position, error, float(np.mean([pick.status == "ok" for pick in picks])))


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
        half = SIGMA_OF_90 * standard_error[known]
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


def smear_rows(folder: Path, model: Model | None) -> list[Row]:
    """How far the pick moves when 1, 2 or 4 planes are missing (30 draws each), in planes."""
    (stack,) = find_stacks(folder)
    scores = score_stack(stack)
    rows = [smear_row(method, scores, partial(pick_from_scores, method=method)) for method in CURVES]
    if model:
        pick = partial(pick_from_scores, calibration=model.calibration)
        rows.append(smear_row(f"fused ({model.label})", score_stack(stack, model=model.model), pick))
    return rows


def smear_row(name: str, scores: StackScores, pick: Callable[[StackScores], Pick]) -> Row:
    """Figures of one method."""
    whole = pick(scores)
    row: Row = {"method": name, "all planes": whole.best_position}
    for dropped in (1, 2, 4):
        rng = np.random.default_rng(dropped)
        draws = [rng.choice(len(scores.z), dropped, replace=False) for _ in range(30)]
        away = np.abs([pick(without(scores, gaps)).best_position - whole.best_position for gaps in draws])
        row |= {f"{dropped} missing, mean": away.mean(), f"{dropped} missing, largest": away.max()}
    return row | {"status": whole.status, "advice": whole.advice}


def without(scores: StackScores, gaps: np.ndarray) -> StackScores:
    """The same stack with the slices ``gaps`` missing."""
    names = ("sharpness", "grey_spread", "score", "lower", "upper")
    arrays = {name: getattr(scores, name).copy() for name in names}
    for values in arrays.values():
        values[gaps] = np.nan
    if scores.distributions is None:
        return replace(scores, **arrays)
    probability = scores.distributions.probability.copy()
    probability[gaps] = np.nan
    return replace(scores, **arrays, distributions=replace(scores.distributions, probability=probability))


# (d) time


def time_rows(crop_like: Sequence[np.ndarray], model: Model | None, repeats: int = 25) -> list[Row]:
    """Whole path from ten JPEG files of 200 x 200 pixels to the pick on one core, in milliseconds.

    Processor time does not count what other processes take from this one meanwhile, the clock does.
    """
    cv2.setNumThreads(1)
    given = {"model": model.model} if model else {}
    runs: dict[str, dict[str, Any]] = {method: {"method": method} for method in METHODS if method not in NEEDS_SCORES}
    runs |= {f"fused ({model.label})": given} if model else {}
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(crop_like):
            cv2.imwrite(f"{folder}/{index}.jpg", cv2.resize(image, (200, 200))[..., ::-1])
        (stack,) = find_stacks(folder)
        return [time_row(name, partial(pick_focus, stack, **options), repeats) for name, options in runs.items()]


def time_row(name: str, work: Callable[[], object], repeats: int) -> Row:
    """Time one method; the first call, which imports and loads, does not count."""
    work()
    clock, processor = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        work()
        clock.append(1000 * (time.perf_counter() - start[0]))
        processor.append(1000 * (time.process_time() - start[1]))
    figures = {"median ms": np.median(clock), "fastest ms": min(clock), "median processor ms": np.median(processor)}
    return {"method": name, **figures}


# (e) crafted bad stacks, and images outside the competence of a model


def crafted_rows(folders: Sequence[Path], count: int, model: Model | None) -> list[Row]:
    """Share of right statuses for ``count`` stacks of each kind, from all instruments in turn."""
    given = {"model": model.model} if model else {}
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in CRAFTED}
    for number, stack in enumerate(in_turn(folders, count)):
        images = [plane.read() for plane in stack.slices]
        for kind, (craft, _) in CRAFTED.items():
            made = stack_of(craft(images, np.random.default_rng(number)))
            statuses[kind][pick_focus(made, **given).status] += 1  # type: ignore[arg-type]
    return [
        {
            "scorer": model.label if model else "none",
            "kind": kind,
            "n": seen.total(),
            "right": sum(seen[state] for state in CRAFTED[kind][1]) / seen.total(),
            "expected": " or ".join(sorted(CRAFTED[kind][1])),
            "statuses": ", ".join(f"{name} {n}" for name, n in sorted(seen.items())),
        }
        for kind, seen in statuses.items()
    ]


def in_turn(folders: Sequence[Path], count: int) -> list[Stack]:
    """The first ``count`` stacks of several data sets, one of each in turn."""
    rounds = zip(*(find_stacks(folder) for folder in folders), strict=False)
    return [stack for stacks in rounds for stack in stacks][: max(count, 1)]


def strange_rows(folders: Sequence[Path], count: int, model: Model) -> list[Row]:
    """Error of ``fused`` beside that of sharpness alone where the images are not what the model was made for."""
    stacks = in_turn(folders, count)
    truth = {(folder, name): plane for folder in folders for name, plane in true_planes(folder).items()}
    rows = []
    for kind, change in STRANGE.items():
        both, alone, picks = [], [], []
        for stack in stacks:
            goal = truth[stack.path.parents[1], stack.name]
            scores = score_stack(stack_of([change(plane.read()) for plane in stack.slices]), model=model.model)
            picks.append(pick_from_scores(scores, calibration=model.calibration))
            both.append(abs(picks[-1].best_position - goal))
            alone.append(abs(pick_from_scores(replace(scores, signed=False)).best_position - goal))
        seen = Counter(pick.status for pick in picks)
        rows.append(
            {
                "images": kind,
                "n": len(picks),
                "fused": np.nanmean(both),
                "sharpness alone": np.nanmean(alone),
                "fused, worst stack": np.nanmax(both),
                "sharpness alone, worst stack": np.nanmax(alone),
                "scores not used": np.mean(["scores not used" in pick.advice for pick in picks]),
                "statuses": ", ".join(f"{name} {n}" for name, n in sorted(seen.items())),
            }
        )
    return rows


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


# the parts together


def crops_of(side: str, crops: Path, work: Path) -> Path | None:
    """Folder with the crops on one side, ``train`` or ``test``, of the split that the shipped model was made by."""
    from focus_picker.training.make_default import crop_is_for_training

    folder = work / f"crops_{side}"
    if crops.is_dir() and not folder.is_dir():
        folder.mkdir(parents=True)
        for path in sorted(crops.rglob("*.jpg")):
            if crop_is_for_training(path) == (side == "train"):
                shutil.copy(path, folder)
    return folder if folder.is_dir() else None


def dataset_of(name: str, side: str, options: argparse.Namespace) -> Path:
    """Data set of one instrument; simulated unless ``--work`` has it from an earlier run."""
    from focus_picker.dataset.simulation.generate import simulate_dataset
    from focus_picker.dataset.simulation.instrument import load_instrument

    folder = options.work / (name if side == "test" else f"{name}_train")
    if not (folder / "truth.csv").exists():
        crops = crops_of(side, options.data / "wbc_crops", options.work)
        count, seed = (options.stacks, SEED) if side == "test" else (options.train_stacks, SEED + 1)
        simulate_dataset(folder, [load_instrument(name)], stacks=count, seed=seed, from_images=crops, jobs=1)
    return folder


def own_model(name: str, options: argparse.Namespace) -> Model:
    """Baseline trained and calibrated on an instrument's own stacks, as ``cli.py baseline`` does it."""
    from focus_picker.training.baseline_run import run_baseline

    folder = options.work / f"{name}_model"
    if not (folder / "baseline.txt").exists():
        run_baseline(dataset_of(name, "train", options), folder, jobs=1, leak_scan=False, progress=False)
    return load_labelled("own model", folder)


def load_labelled(label: str, path: Path) -> Model:
    """Model at ``path`` with a name for the tables."""
    return Model(label, load_model(path))


def given_model(word: str) -> Model | None:
    """Model that stands for the shipped one: ``default``, ``none``, or a path."""
    from focus_picker.models import DEFAULT_MODEL

    if word == "none" or (word == "default" and not DEFAULT_MODEL.exists()):
        return None
    return load_labelled(
        "default model" if word == "default" else "given model", DEFAULT_MODEL if word == "default" else Path(word)
    )


def run_all(options: argparse.Namespace) -> dict[str, list[Row]]:
    """All parts that the data at hand allow, by title."""
    folders = {name: dataset_of(name, "test", options) for name in INSTRUMENTS}
    model = given_model(options.model)
    models = {
        name: [*([model] if model else []), *([own_model(name, options)] if name in options.own else [])]
        for name in INSTRUMENTS
    }
    say("simulated stacks")
    measured = [simulated(name, folder, models[name], options.stacks) for name, folder in folders.items()]
    simulation = [row for part in measured for row in truth_rows(part)]
    say("real curves")
    smear = options.data / "smear_stack" / "cell_stacks"
    parts = {
        SIMULATION: simulation,
        HALVES: real_rows(options),
        "Real smear stack with planes missing": smear_rows(smear, model) if smear.exists() else [],
        "Time": time_rows([plane.read() for plane in find_stacks(folders["dry50"])[0].slices[:10]], model),
    }
    say("images outside the model's competence")
    used = list(folders.values())
    parts["Outside the model's competence"] = strange_rows(used, options.crafted // 4, model) if model else []
    say("crafted stacks")
    parts["Crafted stacks"] = crafted_rows(used, options.crafted, None)
    parts["Crafted stacks"] += crafted_rows(used, options.crafted, model) if model else []
    coverage = coverage_rows(measured)
    return {"Targets": target_rows(parts, coverage), "Coverage of the 90 % interval of fused": coverage, **parts}


def say(part: str) -> None:
    """Name what comes next, with the time used so far, on stderr."""
    print(f"{time.process_time():5.0f} s of processor time  {part}", file=sys.stderr, flush=True)


def real_rows(options: argparse.Namespace) -> list[Row]:
    """Split-half rows of all curve files; of the white blood cells those that the template was not learned from."""
    rows = []
    for path in sorted((options.data / "focus_curves").glob("*.npz"), key=lambda path: -path.stat().st_size):
        seen = path.stem == "wbc"
        rows += split_half_rows(path, options.measure, every=options.every if seen else 1, unseen_only=seen)
    return rows


def coverage_rows(measured: Sequence[Simulated]) -> list[Row]:
    """Coverage by model, for each instrument and all of them, with its own standard error."""
    rows = []
    labels = dict.fromkeys(model.label for part in measured for model, _ in part.scored)
    for label in labels:
        held: dict[str, np.ndarray] = {}
        for part in measured:
            for model, scored in part.scored:
                if model.label == label:
                    intervals = [pick_from_scores(one, calibration=model.calibration).interval for one in scored]
                    low, high = np.array(intervals).T
                    held[f"{part.name} ({model.calibration.stacks} calibration stacks)"] = (low <= part.truth) & (
                        part.truth <= high
                    )
        held["all"] = np.concatenate(list(held.values()))
        for name, inside in held.items():
            share = inside.mean()
            spread = np.sqrt(share * (1 - share) / len(inside))
            rows.append({"method": label, "instrument": name, "n": len(inside), "coverage": share, "+-": spread})
    return rows


def target_rows(parts: dict[str, list[Row]], coverage: Sequence[Row]) -> list[Row]:
    """Figures that were asked for, beside the measured ones; rows without data are left out."""

    def found(title: str, figure: str, **wanted: str) -> list[float]:
        rows = [row for row in parts[title] if all(row.get(key) == value for key, value in wanted.items())]
        return [float(row[figure]) for row in rows]  # type: ignore[arg-type]

    def covered(label: str) -> list[float]:
        return [float(row["coverage"]) for row in coverage if row["method"] == label]  # type: ignore[arg-type]

    names, wbc = " / ".join(INSTRUMENTS), {"file": "wbc.npz", "method": "template"}
    shipped, own = {"method": "fused (default model)"}, {"method": "fused (own model)"}
    asked = [
        ("real WBC curves, halves: mean, planes", "0.13", found(HALVES, "mean", **wbc)),
        ("real WBC curves, halves: p90, planes", "0.28", found(HALVES, "p90", **wbc)),
        (f"shipped model, {names}: mean error, slices", "0.20", found(SIMULATION, "mean", **shipped)),
        (f"own model, {names}: mean error, slices", "0.10", found(SIMULATION, "mean", **own)),
        (f"own model, {names}: bias, slices", "-0.03 to 0.03", found(SIMULATION, "bias", **own)),
        (f"own model, {names} / all: coverage", "0.87 to 0.93", covered("own model")),
        (f"shipped model, {names} / all: coverage", "0.87 to 0.93", covered("default model")),
        ("crafted stacks, the worst kind: right status", "0.99", found("Crafted stacks", "right", scorer="none")),
        ("the same with the shipped model", "0.99", found("Crafted stacks", "right", scorer="default model")),
        ("10 JPEG files to the pick, one core: ms", "25", found("Time", "median processor ms", method="fused")),
        ("the same with the shipped model", "25", found("Time", "median processor ms", **shipped)),
    ]
    return [
        {
            "measure": name,
            "target": target,
            "measured": shown(min(values)) if target == "0.99" else ", ".join(map(shown, values)),
        }
        for name, target, values in asked
        if values
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", nargs="+", type=Path, help="print the split-half table of these files and stop")
    parser.add_argument("--measure", default="tenengrad", help="measure of the curves")
    parser.add_argument("--every", type=int, default=1, help="take every n-th real curve")
    parser.add_argument("--stacks", type=int, default=150, help="simulated test stacks an instrument")
    parser.add_argument(
        "--train-stacks", type=int, default=240, help="stacks that an instrument's own model learns from"
    )
    parser.add_argument("--crafted", type=int, default=200, help="crafted stacks of each kind")
    parser.add_argument("--model", default="default", help="default (the shipped one), none, or a model file or run")
    parser.add_argument("--own", nargs="*", default=INSTRUMENTS, help="instruments to train a model of their own for")
    parser.add_argument("--work", type=Path, default=ROOT / "results" / "runs" / "stacks_data", help="simulated data")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with wbc_crops, focus_curves, smear_stack")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "stacks.md")
    options = parser.parse_args(arguments)
    try:
        if options.curves:
            rows = [
                row for path in options.curves for row in split_half_rows(path, options.measure, every=options.every)
            ]
            print(markdown(rows))
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
    "Errors in slices. Test stacks are simulated from crops that neither the shipped nor the instruments' own models "
    "saw. `scatter` is the mean error about the method's own median, so that a constant offset does not "
    "count; `slope` of estimate against truth shows a method that shrinks to the middle. `coverage` is that of the "
    "90 % interval. Real WBC curves are those that the template was not learned from. Times under Targets are those of "
    "the processor; the clock's are under Time."
)


if __name__ == "__main__":
    main()
