"""Best planes of simulated stacks, whose truth is known: every method, with a model and without, beside the peers."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.naive_measures import NAIVE, grey_of
from benchmarks.report import Row
from focus_picker.dataset.simulation.generate import simulate_dataset
from focus_picker.dataset.simulation.instrument import load_instrument
from focus_picker.dataset.stacks import Stack
from focus_picker.models.contract import Model
from focus_picker.models.intervals import SIGMA_OF_90
from focus_picker.stack_inference.decide import METHODS, NEEDS_SCORES
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import Pick, calibration_of, pick_from_scores
from focus_picker.stack_inference.scoring import score_stack
from focus_picker.training.baseline_run import run_baseline
from focus_picker.training.default_data import crop_is_for_training

SEEDS = {"test": 7, "train": 8}
BY_SHARPNESS = [method for method in METHODS if method not in NEEDS_SCORES]
BY_SCORES = ("zero_crossing", "fused")


# the peers: what one writes in ten lines


def blur_effect(image: np.ndarray) -> float:
    """Minus the blur metric of scikit-image."""
    from skimage.measure import blur_effect as blur

    return -float(blur(grey_of(image)))


def naive_parabola(focus: np.ndarray) -> float:
    """Vertex through the largest value and its neighbours; the slice itself at an end."""
    k = int(np.argmax(focus))
    if k in (0, len(focus) - 1):
        return float(k)
    left, peak, right = focus[k - 1 : k + 2]
    bend = left - 2 * peak + right
    return k + (left - right) / (2 * bend) if bend else float(k)


PEERS: dict[str, Callable[[np.ndarray], float]] = {
    "OpenCV Tenengrad": NAIVE["tenengrad"],
    "OpenCV Brenner": NAIVE["brenner"],
    "OpenCV variance of Laplacian": lambda image: float(cv2.Laplacian(grey_of(image), cv2.CV_64F).var()),
    "scikit-image blur_effect": blur_effect,
}
PEER_FITS: dict[str, Callable[[np.ndarray], float]] = {"arg-max": np.argmax, "parabola": naive_parabola}

MIDBAND = (0.125, 0.25)  # of the cutoff 2 NA / wavelength, the fractions that waveorder takes unless told otherwise
POLYNOMIAL, FINE = 4, 10  # order of its fit over the whole stack, and points a slice among which its maximum is taken


@dataclass(frozen=True)
class Optics:
    """What waveorder's method has to be told."""

    numerical_aperture: float
    pixel_um: float
    wavelength_um: float = 0.54


def midband_power(image: np.ndarray, optics: Optics) -> float:
    """Sum of the spectrum's magnitude over a band of transverse frequencies, as waveorder describes its method."""
    grey = grey_of(image).astype(float)
    cutoff = 2 * optics.numerical_aperture / optics.wavelength_um
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, optics.pixel_um) for n in grey.shape), indexing="ij"))
    band = (frequency > MIDBAND[0] * cutoff) & (frequency < MIDBAND[1] * cutoff)
    return float(np.abs(np.fft.fft2(grey))[band].sum())


def polynomial_peak(focus: np.ndarray) -> float:
    """Maximum of a polynomial through the whole stack, on a grid of ``FINE`` points a slice."""
    index = np.arange(len(focus))
    fine = np.linspace(0, len(focus) - 1, FINE * len(focus))
    middle = index.mean()
    order = min(POLYNOMIAL, len(focus) - 1)
    return float(fine[np.argmax(np.polyval(np.polyfit(index - middle, focus, order), fine - middle))])


# the data, and the models that an instrument has of its own


@dataclass(frozen=True)
class Workshop:
    """Where data sets and models are made, once: what ``work`` holds from an earlier run is taken from there.

    Parameters
    ----------
    work
        Folder for all that is made.
    crops
        Folder of in-focus crops; where there is none, cells are drawn.
    stacks
        Stacks of a data set by its side, ``train`` or ``test``.
    """

    work: Path
    crops: Path
    stacks: Mapping[str, int]

    def dataset(self, instrument: str, side: str = "test") -> Path:
        """Return the simulated data set of an instrument."""
        folder = self.work / (instrument if side == "test" else f"{instrument}_{side}")
        if not (folder / "truth.csv").exists():
            optics, count = [load_instrument(instrument)], self.stacks[side]
            simulate_dataset(folder, optics, stacks=count, seed=SEEDS[side], from_images=self._crops(side), jobs=1)
        return folder

    def own_model(self, instrument: str) -> Model:
        """Return the baseline trained and calibrated on the instrument's own stacks, as ``cli.py baseline`` does it."""
        folder = self.work / f"{instrument}_model"
        if not (folder / "baseline.txt").exists():
            run_baseline(self.dataset(instrument, "train"), folder, jobs=1, leak_scan=False)
        return load_model(folder)

    def _crops(self, side: str) -> Path | None:
        """Folder with the crops on one side of the split that the shipped model was made by."""
        folder = self.work / f"crops_{side}"
        if self.crops.is_dir() and not folder.is_dir():
            folder.mkdir(parents=True)
            for path in sorted(self.crops.rglob("*.jpg")):
                if crop_is_for_training(path) == (side == "train"):
                    shutil.copy(path, folder)
        return folder if folder.is_dir() else None


# the tables


def truth_rows(
    instrument: str,
    stacks: Sequence[Stack],
    known: Mapping[str, float],
    models: Mapping[str, Model],
    optics: Optics | None = None,
) -> list[Row]:
    """Error of every peer and method against the ``known`` planes, the latter with every model.

    waveorder's method takes part where the ``optics`` are known.
    """
    row = partial(error_row, instrument, np.array([known[stack.name] for stack in stacks]))
    rows = []
    for peer, (measure, fits) in peers(optics).items():
        curves = [np.array([measure(plane.read()) for plane in stack.slices]) for stack in stacks]
        rows += [row(f"{peer}, {fit}", [find(curve) for curve in curves]) for fit, find in fits.items()]
    scored = [score_stack(stack) for stack in stacks]
    for method in BY_SHARPNESS:
        rows.append(row(f"{method} (sharpness)", picks=[pick_from_scores(one, method=method) for one in scored]))
    for label, model in models.items():
        calibration = calibration_of(model)
        scored = [score_stack(stack, model=model) for stack in stacks]
        for method in BY_SCORES:
            picks = [pick_from_scores(one, method=method, calibration=calibration) for one in scored]
            rows.append(
                row(f"{method} ({label})", picks=picks)
                | {"calibration stacks": calibration.stacks if calibration else 0}
            )
    return rows


Fits = Mapping[str, Callable[[np.ndarray], float]]


def peers(optics: Optics | None) -> dict[str, tuple[Callable[[np.ndarray], float], Fits]]:
    """Measure and fits of every peer."""
    found: dict[str, tuple[Callable[[np.ndarray], float], Fits]] = {
        name: (measure, PEER_FITS) for name, measure in PEERS.items()
    }
    if optics:
        fits = {"arg-max": np.argmax, f"polynomial of order {POLYNOMIAL}": polynomial_peak}
        found["waveorder's mid-band"] = (partial(midband_power, optics=optics), fits)
    return found


def error_row(
    instrument: str, truth: np.ndarray, method: str, positions: Sequence[float] = (), picks: Sequence[Pick] = ()
) -> Row:
    """Mean, 90 % point, bias, scatter and slope of errors in slices; of picks also what their intervals cover."""
    position = np.array([pick.best_position for pick in picks] if picks else positions, dtype=float)
    known = np.isfinite(position)
    away = (position - truth)[known]
    about = away - np.median(away)
    row = {
        "instrument": instrument,
        "method": method,
        "n": len(position),
        "mean": np.abs(away).mean(),
        "p90": np.quantile(np.abs(away), 0.9),
        "bias": away.mean(),
        "scatter": np.abs(about).mean(),
        "slope": np.polyfit(truth[known], position[known], 1)[0],
        "within 1": np.mean(np.abs(away) <= 1),
    }
    if picks:
        half = SIGMA_OF_90 * np.array([pick.standard_error for pick in picks])[known]
        row |= {
            "coverage": np.mean(np.abs(away) <= half),
            "coverage about bias": np.mean(np.abs(about) <= half),
            "ok": np.mean([pick.status == "ok" for pick in picks]),
        }
    return row


def coverage_rows(simulated: Sequence[Row], labels: Sequence[str]) -> list[Row]:
    """Coverage of ``fused`` by model, for each instrument and all of them, with its own standard error."""
    rows = []
    for label in labels:
        parts = [row for row in simulated if row["method"] == f"fused ({label})"]
        if not parts:
            continue
        n, share = (np.array([row[key] for row in parts]) for key in ("n", "coverage"))
        names = [f"{row['instrument']} ({row['calibration stacks']} calibration stacks)" for row in parts]
        for name, count, covered in [*zip(names, n, share, strict=True), ("all", n.sum(), share @ n / n.sum())]:
            spread = np.sqrt(covered * (1 - covered) / count)
            rows.append({"method": label, "instrument": name, "n": int(count), "coverage": covered, "+-": spread})
    return rows
