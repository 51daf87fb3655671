"""One field of view: several cells seen through the same optics, photographed as z-stacks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft

from focus_picker.dataset.simulation.camera import draw_exposure, photograph, vignette
from focus_picker.dataset.simulation.cells import CELL_KINDS, draw_specimen
from focus_picker.dataset.simulation.crops import read_crop, specimen_from_image
from focus_picker.dataset.simulation.instrument import Instrument
from focus_picker.dataset.simulation.optics import through_focus
from focus_picker.dataset.simulation.processing import motion_blur
from focus_picker.dataset.simulation.scene import lay_scene
from focus_picker.dataset.simulation.specimen import Specimen
from focus_picker.dataset.simulation.zero import optical_zero_um, scan_planes_um, sharpest_um

CELL_SPREAD_SLICES = 0.3  # cells of one field lie at slightly different heights of the smear


@dataclass(frozen=True)
class FieldPlan:
    """What a field will hold, decided before any image is made.

    Attributes
    ----------
    name
        ``stack_001``.
    cells
        One entry a cell: a picture to start from, or None for a procedural cell.
    seed
        Of all that is random in this field: fields can be made in any order and number of processes.
    """

    name: str
    cells: tuple[Path | None, ...]
    seed: tuple[int, int]


@dataclass(frozen=True)
class CellStack:
    """A simulated z-stack with its truth.

    Attributes
    ----------
    name
        ``stack_001_cell_0``.
    images
        ``(Z, H, W, 3)`` uint8 RGB.
    best_slice
        Where the noise-free cell looks sharpest, in slices, between slices.
    optical_slice
        Where an absorbing texture would look sharpest, in slices.
    defocus_um
        ``(Z,)`` signed distance of each slice from the best plane; positive = lens too far.
    score
        ``(Z,)`` labels: score steps from the slice nearest to the best plane.
    """

    name: str
    images: np.ndarray
    best_slice: float
    optical_slice: float
    defocus_um: np.ndarray
    score: np.ndarray


def simulate_field(plan: FieldPlan, instrument: Instrument, source_pixel_um: float) -> list[CellStack]:
    """Make every cell stack of a field.

    Parameters
    ----------
    plan
        Names, cells and seed.
    instrument
        Optics, stage and camera, shared by the field's cells.
    source_pixel_um
        Pixel size of the pictures that cells start from, micrometres.
    """
    rng = np.random.default_rng(plan.seed)
    exposure = draw_exposure(instrument.camera, rng)
    last = instrument.n_slices - 1
    low, high = (last * fraction for fraction in instrument.best_slice)
    field_best = rng.uniform(low, high)
    stacks = []
    for number, picture in enumerate(plan.cells):
        best = float(np.clip(field_best + CELL_SPREAD_SLICES * rng.standard_normal(), 0, last))
        shape = tuple(round(um / instrument.pixel_um) for um in rng.uniform(*instrument.crop_um, 2))
        defocus_um = instrument.z_step_um * (np.arange(instrument.n_slices) - best)
        intensity, zero_um = _image_cell(picture, shape, instrument, defocus_um, source_pixel_um, rng)
        optical = best + (optical_zero_um(instrument) - zero_um) / instrument.z_step_um
        light = vignette(shape, tuple(rng.uniform(-0.7, 0.6, 2)), 0.1 / max(shape), exposure.vignetting)
        if instrument.camera.processing:
            y_um, x_um = instrument.camera.processing.motion_um
            intensity = motion_blur(intensity, (y_um / instrument.pixel_um, x_um / instrument.pixel_um))
        images = photograph(intensity, light, exposure, instrument.camera, rng)
        score = instrument.score_per_slice * (np.arange(instrument.n_slices) - np.rint(best))
        stacks.append(CellStack(f"{plan.name}_cell_{number}", images, best, optical, defocus_um, score))
    return stacks


def _image_cell(
    picture: Path | None,
    shape: tuple[int, int],
    instrument: Instrument,
    defocus_um: np.ndarray,
    source_pixel_um: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Intensity ``(Z, H, W, 3)`` on the camera's pixels, margins cut off, and the plane that looks sharpest."""
    if instrument.preparation is not None:
        scene = lay_scene(picture, shape, instrument, source_pixel_um, rng)
        zero_um = scene.sharpest_um()
        return scene.images(zero_um + defocus_um), zero_um
    fine = instrument.oversampling
    margin = _margin_px(instrument, float(np.abs(defocus_um).max()))
    grid = tuple(fine * fft.next_fast_len(size + 2 * margin) for size in shape)
    specimen = _make_specimen(picture, grid, instrument, source_pixel_um, rng)
    top, left = ((total // fine - size) // 2 for total, size in zip(grid, shape, strict=True))

    def on_camera(planes_um: np.ndarray) -> np.ndarray:
        pixels = through_focus(specimen, instrument, planes_um)[:, fine // 2 :: fine, fine // 2 :: fine]
        return pixels[:, top : top + shape[0], left : left + shape[1]]

    scan_um = scan_planes_um(instrument)
    zero_um = sharpest_um(on_camera(scan_um), scan_um)
    return on_camera(zero_um + defocus_um), zero_um


def _margin_px(instrument: Instrument, farthest_um: float) -> int:
    """Pixels around the crop that keep the periodic grid's other side out of the picture.

    0.6 of the marginal ray's reach: beyond that an image point of the largest defocus holds next to no light.
    """
    aperture, index = instrument.numerical_aperture, instrument.immersion_index
    reach_um = 0.6 * farthest_um * aperture / np.sqrt(index**2 - aperture**2)
    return int(np.ceil(min(reach_um, 4.0) / instrument.pixel_um))


def _make_specimen(
    picture: Path | None,
    grid: tuple[int, int],
    instrument: Instrument,
    source_pixel_um: float,
    rng: np.random.Generator,
) -> Specimen:
    grid_um = instrument.pixel_um / instrument.oversampling
    # Cells differ in thickness and dry mass for the same stain.
    phase = instrument.phase_um_per_density * rng.uniform(0.8, 1.2)
    if picture is None:
        return draw_specimen(str(rng.choice(list(CELL_KINDS))), grid, grid_um, phase, rng)
    image = read_crop(picture, source_pixel_um / grid_um, grid, int(rng.integers(8)))
    return specimen_from_image(image, phase)
