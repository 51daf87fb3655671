"""Learn the fit of skewed peaks: ``python -m focus_picker.stack_inference.peak_learning CURVES CROPS --work FOLDER``.

Two teachers at a time. Simulated stacks of drawn microscopes know their sharpest plane: they keep the fit free of
bias. Real curves know no plane, but their even and their odd planes have to agree: they keep it precise where curves
are as skewed and as coarse as real ones. Half of the real curves, by a hash of their number, takes no part: it tests.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.dataset.labels import read_labels, read_truth
from focus_picker.dataset.simulation.generate import simulate_dataset
from focus_picker.dataset.simulation.instrument import Camera, Instrument, load_instrument, vary
from focus_picker.dataset.simulation.kinds import KINDS, draw_instrument
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models.intervals import SIGMA_OF_90
from focus_picker.stack_inference.consensus import middle_mean, spread
from focus_picker.stack_inference.curve_fit import CurveFit
from focus_picker.stack_inference.curves import CURVES
from focus_picker.stack_inference.scoring import score_stack
from focus_picker.stack_inference.skewed import (
    COEFFICIENTS,
    FARTHEST,
    FORMAT,
    REACH,
    TERMS,
    Window,
    load_fitted,
    windows_of,
)
from focus_picker.stack_inference.vertex import parabola

SEED, DRAWN, RELATIVES = 11, 120, 130  # of the drawn microscopes; how many of each kind of simulated set
CURVE_MEASURES = (
    "tenengrad",
    "brenner_gradient",
    "variance_of_gradient",
    "roberts_focus_measure",
    "sum_modified_laplacian",
    "wavelet_w1",
)
"""Of the file of real curves: gradients, second derivatives, wavelets."""

KNOWN, WHOLE, HALVES = 1.0, 0.1, 0.5
"""Weights of the mean squared errors: against the truth of simulated stacks, of half a real curve against the whole,
and of even against odd planes. Chosen on the simulated stacks and the learning half: the sum of both mean errors, each
by that of the parabola, is flat."""

BEND, CUT, PASSES = 0.09, 0.35, 4
"""Errors against the truth, in spacings, from which a row weighs less in proportion (Huber 1964), and beyond which it
is another peak and no error of the fit: twice and eight times the usual error. How often the weights are found anew."""

RIDGE = 1e-4  # far below the curvature of any term that the data determine
SIZES = {key: TERMS[key](np.zeros((1, 2 * REACH + 1))).shape[1] for key in TERMS}
STARTS = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]), strict=False))


@dataclass(frozen=True)
class Known:
    """A stack with a known plane: slices' z ``(n,)``, curves ``(measures, n)``, the plane, the microscope's number."""

    z: np.ndarray
    curves: np.ndarray
    plane: float
    microscope: int


def row_of(window: Window) -> np.ndarray:
    """Terms of a window in the columns of its key, signed so that ``place + row @ coefficients`` is its peak."""
    row = np.zeros(sum(SIZES.values()))
    start = STARTS[window.key]
    row[start : start + SIZES[window.key]] = TERMS[window.key](window.values[None])[0] * window.step
    return row


class Equations:
    """Normal equations of weighted least squares, gathered row by row."""

    def __init__(self) -> None:
        size = sum(SIZES.values())
        self.left, self.right = np.zeros((size, size)), np.zeros(size)

    def add(self, rows: np.ndarray, values: np.ndarray, weights: np.ndarray) -> None:
        """Add rows, a weight each."""
        weighted = rows * weights[:, None]
        self.left += weighted.T @ rows
        self.right += weighted.T @ values

    def solve(self) -> np.ndarray:
        """Coefficients of all windows in one vector."""
        return np.linalg.solve(self.left + RIDGE * np.eye(len(self.left)), self.right)


def relatives(count: int, seed: int) -> list[Instrument]:
    """Relatives of three instruments by ``vary``, with other pixels, aberrations, steps and cameras still."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        name = ("dry40", "dry50", "oil100", "dry50")[number % 4]
        one = vary(load_instrument(name), 0.35, rng)
        coarser = rng.uniform(-0.2, 0.4) if name == "oil100" else rng.uniform(-0.3, 0.75)
        pixel_um = one.pixel_um * float(np.exp(coarser))
        camera = Camera(
            full_well_e=float(np.exp(rng.uniform(*np.log([2500, 20000])))),
            read_noise_e=float(rng.uniform(2, 12)),
            jpeg_quality=int(rng.choice([70, 80, 90, 95, 98])),
            lamp_flicker=float(rng.choice([0.002, 0.006, 0.015])),
        )
        drawn = {
            "pixel_um": pixel_um,
            "spherical_waves": float(np.clip(rng.normal(0, 0.12), -0.35, 0.35)),
            "axial_colour_um": (0.0, 0.0, 0.0) if rng.random() < 0.25 else one.axial_colour_um,
            "condenser_sigma": float(rng.uniform(0.25, 1.0)),
            "phase_um_per_density": float(rng.uniform(0.0, 0.12)),
            "z_step_um": one.depth_of_field_um * float(rng.uniform(0.35, 0.85)),
            "n_slices": int(rng.choice([9, 11, 13])),
        }
        found.append(one.model_copy(update={**drawn, "best_slice": (0.12, 0.88), "camera": camera}))
    return found


def drawn(count: int, *, plain: bool) -> list[Instrument]:
    """Microscopes of every kind in turn; ``plain`` without neighbours, depth or phase of the cells' own."""
    kinds = list(KINDS)
    found = [draw_instrument(kinds[k % len(kinds)], np.random.default_rng((SEED, k))) for k in range(count)]
    return [one.model_copy(update={"preparation": None}) if plain else one for one in found]


def simulated(work: Path, crops: Path) -> tuple[list[Known], list[Known]]:
    """Stacks of cells alone, from which coefficients are learned, and of cells among neighbours at other heights.

    What ``work`` holds from an earlier run is taken.
    """
    sets = {
        "relatives_1": (1, relatives(RELATIVES, 1)),
        "relatives_2": (2, relatives(RELATIVES, 2)),
        "plain": (SEED + 1, drawn(DRAWN, plain=True)),
        "drawn": (SEED, drawn(DRAWN, plain=False)),
    }
    known = {}
    for name, (seed, instruments) in sets.items():
        folder = work / name
        if not (folder / "truth.csv").exists():
            simulate_dataset(folder, instruments, stacks=len(instruments), seed=seed, from_images=crops, jobs=1)
        known[name] = known_of(folder)
    return [*known["relatives_1"], *known["relatives_2"], *known["plain"]], known["drawn"]


def known_of(folder: Path) -> list[Known]:
    """Stacks of a simulated data set."""
    labels, truth = read_labels(folder), read_truth(folder)
    assert truth is not None
    plane = truth.set_index("image_path")["best_z_slice"].groupby(labels.set_index("image_path")["stack"]).first()
    scores = [score_stack(stack) for stack in find_stacks(folder)]
    return [Known(one.z, one.curves, float(plane[one.stack]), int(one.stack.split("_")[1])) for one in scores]


def with_cut(known: Sequence[Known]) -> list[Known]:
    """Stacks, and the same without what comes before their sharpest slice, or all but one of it."""
    cut = []
    for one in known:
        first = round(one.plane)
        for start in (first - 1, first):
            if 0 < start < len(one.z) - 3:
                cut.append(replace(one, z=one.z[start:], curves=one.curves[:, start:]))
    return [*known, *cut]


def load_curves(path: str | Path, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one measure's curves, ``(stacks, planes)``, and the stacks' numbers ``(stacks,)`` from an ``.npz`` file.

    Raises
    ------
    InputError
        If the file cannot be read, lacks an array, or does not hold that measure.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            names = [str(name) for name in data["measures"]]
            if measure not in names:
                raise InputError(f"{path} has no measure '{measure}': take one of {', '.join(names)}.")
            curves = data["curves"][:, :, names.index(measure)].astype(float)
            number = data["stack_index"] if "stack_index" in data else np.arange(len(curves))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} is no file of focus curves ({error}): "
            "give an .npz with the arrays curves (stack, plane, measure) and measures"
        ) from None
    return curves, number


def is_for_learning(stack_number: np.ndarray) -> np.ndarray:
    """Tell which stacks may be learned from: half of them, by a hash of their number; the rest tests."""
    return (stack_number.astype(np.int64) * 2654435761 % 2**32) < 2**31


def add_known(equations: Equations, known: Sequence[Known], coefficients: np.ndarray | None) -> None:
    """Peaks of simulated curves against the truth, in spacings of the window; each kind of window weighs the same.

    Errors left by earlier ``coefficients`` bound what a row may weigh: most large ones are other peaks.
    """
    windows = [
        (window, one.plane) for one in with_cut(known) for focus in one.curves for window in windows_of(one.z, focus)
    ]
    rows = np.array([row_of(window) / window.step for window, _ in windows])
    values = np.array([(plane - window.place) / window.step for window, plane in windows])
    keys = np.array([window.key for window, _ in windows])
    weights = (np.abs(values) < FARTHEST).astype(float)
    if coefficients is not None:
        left = np.abs(values - rows @ coefficients)
        weights *= np.minimum(1, BEND / np.maximum(left, BEND)) * (left < CUT)
    for key in TERMS:
        chosen = weights * (keys == key)
        equations.add(rows, values, KNOWN * chosen / max(chosen.sum(), 1))


def add_halves(equations: Equations, curves: np.ndarray) -> None:
    """Halves of real curves ``(stacks, planes)`` against the whole and against each other, in spacings of a half."""
    z = np.arange(curves.shape[1], dtype=float)
    rows, values, differences, gaps = [], [], [], []
    for focus in curves:
        whole = parabola(z, focus, logarithm=True)
        windows = [windows_of(z[part], focus[part]) for part in (slice(0, None, 2), slice(1, None, 2))]
        if not all(windows):
            continue
        even, odd = (window[0] for window in windows)
        differences.append((row_of(even) - row_of(odd)) / 2)
        gaps.append((odd.place - even.place) / 2)
        if whole:
            rows += [row_of(window) / 2 for window in (even, odd)]
            values += [(whole.position - window.place) / 2 for window in (even, odd)]
    for left, right, weight, most in ((rows, values, WHOLE, FARTHEST), (differences, gaps, HALVES, 2 * FARTHEST)):
        used = np.abs(right) < most
        equations.add(np.array(left), np.array(right), weight / len(CURVE_MEASURES) * used / used.sum())


def learn(known: Sequence[Known], real: Equations) -> np.ndarray:
    """Coefficients from simulated stacks and the equations of the real curves."""
    coefficients = None
    for _ in range(PASSES):
        equations = Equations()
        equations.left, equations.right = real.left.copy(), real.right.copy()
        add_known(equations, known, coefficients)
        coefficients = equations.solve()
    assert coefficients is not None
    return coefficients


def left_out(plain: Sequence[Known], judged: Sequence[Known], real: Equations) -> list["Judged"]:
    """Judge stacks by coefficients from the plain stacks of the other half of the microscopes."""
    halves = [learn([one for one in plain if one.microscope % 2 != side], real) for side in (0, 1)]
    return [_judged(one, halves[one.microscope % 2]) for one in judged]


@dataclass(frozen=True)
class Judged:
    """A stack as the consensus sees it.

    Attributes
    ----------
    away
        Errors of the measures' fits, in spacings of their windows, and the windows' keys.
    error, own, spread
        Error of the consensus in slices; the usual error of its fits, a number by window; the measures' spread.
    """

    away: list[tuple[str, float]]
    error: float
    key: str
    step: float
    spread: float


def _judged(one: Known, coefficients: np.ndarray) -> Judged:
    windows = [windows_of(one.z, focus)[0] for focus in one.curves]
    places = np.array([window.place + row_of(window) @ coefficients for window in windows])
    away = [(part.key, (place - one.plane) / part.step) for part, place in zip(windows, places, strict=True)]
    step = abs(float(np.median([window.step for window in windows])))
    return Judged(away, middle_mean(places) - one.plane, windows[0].key, step, spread(places))


def usual_errors(judged: Sequence[Judged]) -> dict[str, float]:
    """Error of a fit by window, in its spacings: the 68 % quantile of its magnitude, which other peaks leave be."""
    away = [pair for one in judged for pair in one.away]
    return {key: float(np.quantile([abs(error) for name, error in away if name == key], 0.68)) for key in TERMS}


def shares(judged: Sequence[Judged], usual: dict[str, float]) -> tuple[float, float]:
    """Shares of own error and spread in the error of the consensus.

    The own error alone holds 90 % of the half of the stacks on which the measures agree best; the least share of the
    spread is added that holds 90 % of the other half.
    """
    inside = [one for one in judged if one.key == f"{REACH} {REACH}"]
    error = np.abs([one.error for one in inside])
    own, apart = np.array([[one.step * usual[one.key], one.spread] for one in inside]).T
    agree = apart <= np.median(apart)
    scale = float(np.quantile(error[agree] / own[agree], 0.9) / SIGMA_OF_90)
    missing = np.maximum((error / SIGMA_OF_90) ** 2 - (scale * own) ** 2, 0)[~agree]
    return scale, float(np.quantile(np.sqrt(missing) / apart[~agree], 0.9))


def factor_of(fit: Callable[..., CurveFit], known: Sequence[Known]) -> float:
    """Error of a fit to the panel's first curves by the one that it reports, so that 90 % intervals hold 90 %."""
    fits = [(fit(one.z, one.curves[0]), one.plane) for one in known]
    ratio = [abs(found.position - plane) / found.standard_error for found, plane in fits if found.standard_error > 0]
    return float(np.quantile(ratio, 0.9) / SIGMA_OF_90)


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn and write the JSON."""
    parser = argparse.ArgumentParser(description="Learn the fit of skewed peaks.")
    parser.add_argument("curves", type=Path, help=".npz with curves (stack, plane, measure), measures, stack_index")
    parser.add_argument("crops", type=Path, help="folder of in-focus crops to simulate from")
    parser.add_argument("--work", type=Path, default=Path("results/runs/peaks"), help="folder for what is simulated")
    parser.add_argument("--every", type=int, default=1, help="take every n-th real curve")
    options = parser.parse_args(arguments)
    real, count = Equations(), 0
    for measure in CURVE_MEASURES:
        curves, number = load_curves(options.curves, measure)
        chosen = curves[is_for_learning(number)][:: options.every]
        add_halves(real, chosen)
        count = len(chosen)
    plain, among = simulated(options.work, options.crops)
    coefficients = learn(plain, real)
    usual = usual_errors(left_out(plain, with_cut(plain), real))
    own, of_spread = shares(left_out(plain, [*plain, *among], real), usual)
    content = {
        "format": FORMAT,
        "decides": "positions and errors of the fit `skewed`, and with it of the method `fused`",
        "learned_from": f"{len(plain)} simulated stacks of as many microscopes and the curves of {count} real stacks "
        f"of {options.curves.name}, the learning half; errors from these and {len(among)} stacks with neighbours",
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m focus_picker.stack_inference.peak_learning {options.curves.name} {options.crops.name} "
        f"--every {options.every}",
        "coefficients": {
            key: [round(float(value), 5) for value in coefficients[STARTS[key] : STARTS[key] + SIZES[key]]]
            for key in TERMS
        },
        "error": {key: round(value, 4) for key, value in usual.items()},
        "own": round(own, 4),
        "spread": round(of_spread, 4),
        "factors": {},
    }
    _write(content)
    load_fitted.cache_clear()  # the errors below are those of the new fit
    content["factors"] = {name: round(factor_of(fit, [*plain, *among]), 2) for name, fit in CURVES.items()}
    _write(content)
    print(f"{COEFFICIENTS}: learned from {content['learned_from']}")


def _write(content: dict[str, object]) -> None:
    write_text(COEFFICIENTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
