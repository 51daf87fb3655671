"""Best planes of microscopes that nothing here was made for: other optics code, and real blood."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.naive_measures import NAIVE
from benchmarks.report import Row
from benchmarks.simulated_stacks import Optics, naive_parabola, truth_rows
from focus_picker.dataset.stacks import Stack, find_stacks
from focus_picker.models.contract import Model
from focus_picker.stack_inference.calibration import best_planes
from focus_picker.stack_inference.consensus import consensus
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.scoring import StackScores, score_stack

DRY50, SCANNER = Optics(0.8, 0.12), Optics(0.75, 0.25)
OTHER_OPTICS = {f"microscope_{letter}": DRY50 for letter in "abcd"} | {"microscope_e": SCANNER}
BLOOD = "real_blood"
REFERENCE, OURS = "OpenCV Tenengrad, parabola", "fused (sharpness)"


def other_rows(folder: Path, models: Mapping[str, Model]) -> list[Row]:
    """Errors of every peer and method on each of the microscopes in ``folder`` (other_optics, real_blood)."""
    rows = []
    for name, optics in OTHER_OPTICS.items():
        dataset = folder / "other_optics" / name
        if dataset.is_dir():
            rows += truth_rows(name, find_stacks(dataset), best_planes(dataset), models, optics)
    if (folder / BLOOD).is_dir():
        rows += truth_rows(BLOOD, find_stacks(folder / BLOOD), sharpest_planes(folder / BLOOD), models)
    return rows


def sharpest_planes(dataset: Path) -> dict[str, float]:
    """Planes of ``sharpest.csv`` by stack: no truth, but the median of several measures."""
    table = pd.read_csv(dataset / "sharpest.csv")
    names = table["image_path"].str.split("/").str[1]
    return {str(name): float(plane) for name, plane in table["sharpest_z_slice"].groupby(names).first().items()}


def beside_tenengrad(rows: Sequence[Row]) -> list[Row]:
    """Figures of ``fused`` without a model on each microscope, with the ratio of its mean error to the reference's."""
    by_method = {(row["instrument"], row["method"]): row for row in rows}
    names = dict.fromkeys(row["instrument"] for row in rows)
    found = []
    for name in names:
        ours, reference = by_method[name, OURS], by_method[name, REFERENCE]
        ratio = ours["mean"] / reference["mean"]
        figures = {"mean": ours["mean"], "Tenengrad, parabola": reference["mean"], "ratio": ratio}
        biases = {"bias": ours["bias"], "its bias": reference["bias"]}
        found.append({"instrument": name, "n": ours["n"], **figures, **biases, "coverage": ours["coverage"]})
    return found


def blood_halves(folder: Path) -> list[Row]:
    """Disagreement of even and odd planes of real blood, in planes, of ``fused``, each curve fit and the reference."""
    if not (folder / BLOOD).is_dir():
        return []
    stacks = find_stacks(folder / BLOOD)
    scored = [score_stack(stack) for stack in stacks]
    fits: dict[str, Callable[[StackScores, slice], float]] = {
        "fused": lambda one, part: consensus(one.z[part], one.curves[:, part]).position
    }
    for name, fit in CURVES.items():
        fits[name] = lambda one, part, fit=fit: fit(one.z[part], one.sharpness[part]).position  # type: ignore[misc]
    rows = [{"method": name, **_apart([_halves(find, one) for one in scored])} for name, find in fits.items()]
    reference = {"method": REFERENCE, **_apart([_naive_halves(stack) for stack in stacks])}
    return [{**row, "ratio": row["mean"] / reference["mean"]} for row in [*rows, reference]]


def _halves(find: Callable[[StackScores, slice], float], one: StackScores) -> float:
    even, odd = (find(one, slice(start, None, 2)) for start in (0, 1))
    return even - odd


def _naive_halves(stack: Stack) -> float:
    curve = np.array([NAIVE["tenengrad"](plane.read()) for plane in stack.slices])
    return 2 * naive_parabola(curve[::2]) - 2 * naive_parabola(curve[1::2]) - 1


def _apart(differences: Sequence[float]) -> Row:
    away = np.abs(differences)
    known = away[np.isfinite(away)]
    return {"mean": known.mean(), "p90": np.quantile(known, 0.9), "no answer": 1 - len(known) / len(away)}
