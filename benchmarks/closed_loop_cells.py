"""Cells of the closed-loop benchmark: noise-free planes far beyond focus, made once and kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import DATA, ROOT
from focus_picker.autofocus.virtual.scene import Scene, recorded_scene
from focus_picker.dataset.simulation.field import FieldPlan, simulate_field
from focus_picker.dataset.simulation.instrument import Instrument, load_instrument

REACH_UM = 12.0  # planes to either side of focus: starts within 10 um, and what a search overshoots
CROP_UM = (13.0, 13.5)


@dataclass(frozen=True)
class Bench:
    """A simulated microscope of the benchmark: its optics, and whether its camera is grey."""

    name: str
    optics: Instrument
    grey: bool = False


def benches() -> list[Bench]:
    """Return the five: three of the project's instruments, one with a grey camera, and a wide 20x scanner."""
    dry50 = load_instrument("dry50")
    scanner = dry50.model_copy(
        update={
            "numerical_aperture": 0.75,
            "pixel_um": 0.2,
            "condenser_sigma": 0.7,
            "spherical_waves": -0.04,
            "axial_colour_um": (0.15, 0.0, -0.25),
        }
    )
    return [
        Bench("dry40", load_instrument("dry40")),
        Bench("dry50", dry50),
        Bench("oil100", load_instrument("oil100")),
        Bench("dry50_grey", dry50, grey=True),
        Bench("scanner20", scanner),
    ]


@dataclass(frozen=True)
class CellPlanes:
    """One cell: ``images`` ``(Z, H, W, 3)`` uint8, ``defocus_um`` ``(Z,)`` rising, 0 where it looks sharpest."""

    images: np.ndarray
    defocus_um: np.ndarray


def make_cells(bench: Bench, side: str, count: int, work: Path) -> list[CellPlanes]:
    """Simulate ``count`` cells of one side, ``train`` or ``test``, which share no picture; kept below ``work``."""
    pictures = _pictures(side)
    return [_cell(bench, side, number, pictures, work / "cells" / bench.name) for number in range(count)]


def _cell(bench: Bench, side: str, number: int, pictures: Sequence[Path], folder: Path) -> CellPlanes:
    file = folder / f"{side}_{number:03d}.npz"
    if not file.exists():
        picture = pictures[number * 7919 % len(pictures)] if pictures else None
        seed = (("train", "test").index(side) + 200, number)
        stack = simulate_field(FieldPlan("stack_001", (picture,), seed), _wide(bench.optics), 0.1)[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, images=stack.images, defocus_um=stack.defocus_um)
    with np.load(file) as kept:
        images, defocus_um = kept["images"], kept["defocus_um"]
    if bench.grey:
        weights = np.array([0.299, 0.587, 0.114])
        images = np.repeat(np.rint(images @ weights).astype(np.uint8)[..., None], 3, axis=3)
    return CellPlanes(images, defocus_um)


def _wide(optics: Instrument) -> Instrument:
    """Return the instrument with planes a third of a depth of field apart over the whole reach, and without noise."""
    step_um = optics.depth_of_field_um / 3
    planes = 2 * int(np.ceil(REACH_UM / step_um)) + 1
    clean = optics.camera.model_copy(update={"full_well_e": 1e9, "read_noise_e": 0.0, "lamp_flicker": 0.0})
    middle = {"best_slice": (0.495, 0.505), "crop_um": CROP_UM, "camera": clean}
    return optics.model_copy(update={"z_step_um": step_um, "n_slices": planes, **middle})


def _pictures(side: str) -> list[Path]:
    """In-focus crops of one side, where there are any; every other one of the sorted files."""
    folder = DATA / "wbc_crops" if DATA.is_dir() else ROOT / "nowhere"
    return sorted(folder.rglob("*.jpg"))[("train", "test").index(side) :: 2]


REAL_STEP_UM, HALF_OF_FIELDS = 0.4, 4
"""Published distance of the planes of ``real_blood``; the last of its fields (columns of one image) that is left."""


def real_scenes() -> tuple[list[Scene], list[Scene]] | None:
    """Recorded stacks of real blood by half of the image, left and right; None where they are not there.

    Only stacks whose sharpest plane keeps a micrometre from their ends: others show one side of focus only.
    """
    folder = DATA / "real_blood"
    if not folder.is_dir():
        return None
    planes = pd.read_csv(folder / "sharpest.csv")
    best = planes.groupby(planes["image_path"].str.split("/").str[1])["sharpest_z_slice"].first()
    halves: tuple[list[Scene], list[Scene]] = ([], [])
    for name, plane in best.items():
        field = int(str(name).split("_")[1])
        if field == 0 or not 2.5 <= plane <= 6.5:  # field 0 holds cells from all over the image
            continue
        halves[field > HALF_OF_FIELDS].append(recorded_scene(folder / "cell_stacks" / str(name), REAL_STEP_UM, plane))
    return halves
