"""Kinds of microscopes, and microscopes drawn from them: how far what we meet may differ, declared in one place.

``draw_instrument("scanner", rng)`` gives one microscope with its slide and camera. Ranges are as wide as catalogues and
laboratories are, not as wide as a model likes them.
"""

from dataclasses import dataclass, replace

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.simulation.instrument import Camera, Instrument, load_instrument
from focus_picker.dataset.simulation.preparation import Preparation, Stain
from focus_picker.dataset.simulation.processing import Processing
from focus_picker.dataset.simulation.slide import STAINS

Range = tuple[float, float]

PREFIX = "drawn"  # `--instrument drawn` or `--instrument drawn:scanner`


@dataclass(frozen=True)
class Kind:
    """Ranges from which a microscope's settings are drawn.

    Attributes
    ----------
    aperture, immersion_index
        Of the objective.
    sampling
        Nyquist's pixel ``lambda / (4 NA)`` over the camera's: below 1 is coarse.
    condenser
        Over the objective's aperture.
    colour_depths
        Largest axial colour of red and blue against green, depths of field.
    spherical_waves, off_axis_waves
        Largest spherical aberration; largest coma and astigmatism.
    step_depths
        Distance of slices in depths of field.
    path_um
        Optical path of red cells; bodies and membranes have up to half of it.
    flat
        Share of slides with next to no phase of their own, as under mounting medium.
    thickness_um
        Of cells.
    grey
        Share of cameras without colour.
    processed
        Share of cameras whose software sharpens, bends tones and stretches colours.
    mosaic
        Share of sensors with one colour a pixel.
    jpeg
        Quality of the files.
    """

    aperture: Range = (0.4, 0.95)
    immersion_index: float = 1.0
    sampling: Range = (0.7, 2.5)
    condenser: Range = (0.25, 0.9)
    colour_depths: Range = (0.0, 1.0)
    spherical_waves: float = 0.2
    off_axis_waves: float = 0.1
    step_depths: Range = (0.35, 0.8)
    path_um: Range = (0.03, 0.35)
    flat: float = 0.2
    thickness_um: Range = (0.0, 2.0)
    grey: float = 0.1
    processed: float = 0.4
    mosaic: float = 0.4
    jpeg: tuple[int, int] = (70, 97)


_ROUTINE = Kind()
KINDS: dict[str, Kind] = {
    "routine": replace(_ROUTINE, aperture=(0.65, 0.95)),
    "oil": replace(_ROUTINE, aperture=(1.0, 1.4), immersion_index=1.515, thickness_um=(0.0, 1.5)),
    "low-aperture": replace(_ROUTINE, aperture=(0.4, 0.65), sampling=(0.8, 3.0), thickness_um=(0.0, 4.0)),
    "scanner": replace(_ROUTINE, aperture=(0.6, 0.85), sampling=(0.6, 1.1), condenser=(0.4, 1.0)),
    "apochromat": replace(_ROUTINE, aperture=(0.5, 0.95), colour_depths=(0.0, 0.08)),
    "wide-condenser": replace(_ROUTINE, aperture=(0.6, 0.95), condenser=(0.8, 1.0)),
    "consumer": replace(_ROUTINE, aperture=(0.5, 0.95), processed=1.0, mosaic=1.0, jpeg=(50, 85)),
    "grey": replace(_ROUTINE, aperture=(0.5, 0.95), grey=1.0, mosaic=0.0, processed=0.2),
    "lens-cells": replace(_ROUTINE, aperture=(0.6, 0.95), sampling=(0.6, 1.4), path_um=(0.15, 0.4), flat=0.0),
}


def draw_instrument(kind: str, rng: np.random.Generator) -> Instrument:
    """Draw a microscope with its slide and camera.

    Parameters
    ----------
    kind
        Key of ``KINDS``.
    rng
        Source of randomness.

    Raises
    ------
    InputError
        Unknown kind; the known ones are listed.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of microscope '{kind}'; known ones: {', '.join(KINDS)}")
    ranges = KINDS[kind]
    green = 0.54
    aperture = float(rng.uniform(*ranges.aperture))
    depth_um = ranges.immersion_index * green / aperture**2
    pixel_um = green / (4 * aperture) / np.exp(rng.uniform(*np.log(ranges.sampling)))
    widest = float(np.clip(140 * pixel_um, 8, 20))
    return Instrument(
        name=kind,
        numerical_aperture=aperture,
        immersion_index=ranges.immersion_index,
        pixel_um=float(pixel_um),
        condenser_sigma=float(rng.uniform(*ranges.condenser)),
        wavelengths_um=(float(rng.uniform(0.60, 0.64)), green, float(rng.uniform(0.45, 0.48))),
        bandwidth_um=(width := float(rng.choice([0.0, 0.03, 0.08])), width, width),
        spherical_waves=float(ranges.spherical_waves * rng.uniform(-1, 1)),
        coma_waves=_pair(ranges.off_axis_waves * rng.uniform(0, 1), rng),
        astigmatism_waves=_pair(ranges.off_axis_waves * rng.uniform(0, 1), rng),
        axial_colour_um=_axial_colour(ranges, depth_um, rng),
        phase_um_per_density=float(rng.uniform(0, 0.1) * (rng.random() < 0.8)),
        z_step_um=float(depth_um * rng.uniform(*ranges.step_depths)),
        n_slices=int(rng.integers(9, 14)),
        crop_um=(0.75 * widest, widest),
        camera=draw_camera(ranges, pixel_um, rng),
        preparation=draw_preparation(ranges, depth_um, widest, rng),
    )


def _pair(length: float, rng: np.random.Generator) -> Range:
    """Two components of a vector of ``length`` in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return float(length * np.cos(angle)), float(length * np.sin(angle))


def _axial_colour(ranges: Kind, depth_um: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Red and blue against green.

    Half of the objectives are under-corrected (red below, blue above), a quarter have the secondary spectrum of an
    achromat (both on one side), a quarter anything.
    """
    size, share = depth_um * rng.uniform(*ranges.colour_depths), rng.random()
    red, blue = rng.uniform(0.2, 1, 2)
    if share < 0.5:
        red = -red
    elif share < 0.75:
        red, blue = np.array([red, blue]) * rng.choice([-1, 1])
    else:
        red, blue = rng.uniform(-1, 1, 2)
    return float(0.6 * size * red), 0.0, float(size * blue)


def draw_preparation(ranges: Kind, depth_um: float, width_um: float, rng: np.random.Generator) -> Preparation:
    """Draw a slide."""
    flat = rng.random() < ranges.flat
    lens_um = float(rng.uniform(0, 0.02) if flat else rng.uniform(*ranges.path_um))
    stain: Stain = "giemsa" if rng.random() < 0.7 else list(STAINS)[int(rng.integers(len(STAINS)))]
    tilt = 0.5 * depth_um / width_um * (rng.random() < 0.3)
    return Preparation(
        body_path_um=float(lens_um * rng.uniform(0, 0.5)),
        red_cell_path_um=lens_um,
        dimple=float(rng.uniform(0.1, 0.8)),
        membrane_path_um=float(0.4 * lens_um * rng.uniform(0, 1)),
        texture_path_um=float(rng.uniform(0, 0.012) * (rng.random() < 0.6)),
        colour_detail=float(rng.uniform(0, 0.25) * (rng.random() < 0.6)),
        thickness_um=float(rng.uniform(*ranges.thickness_um) * (rng.random() < 0.6)),
        tilt=_pair(tilt, rng),
        neighbours=float(rng.uniform(0.2, 1.2) * (rng.random() < 0.4)),
        neighbour_height_um=float(rng.uniform(0, 0.8) * depth_um),
        debris=float(rng.uniform(0.5, 8) * (rng.random() < 0.5)),
        debris_height_um=float(depth_um * rng.uniform(-4, 4)),
        stain=stain,
        size=float(rng.uniform(0.8, 1.25)),
        red_cells_only=float(rng.choice([0.0, 0.2, 0.6])),
        off_centre_um=float(rng.choice([1.0, 6.0])),
    )


def draw_camera(ranges: Kind, pixel_um: float, rng: np.random.Generator) -> Camera:
    """Draw a camera with its software."""
    processed = rng.random() < ranges.processed
    return Camera(
        full_well_e=float(np.exp(rng.uniform(*np.log((2_000, 40_000))))),
        read_noise_e=float(rng.uniform(2, 12)),
        background_level=(0.6, 0.93),
        white_balance_spread=float(rng.uniform(0, 0.15)),
        vignetting=(0.0, 0.15),
        jpeg_quality=int(rng.integers(*ranges.jpeg)),
        processing=Processing(
            motion_um=_pair(0.6 * pixel_um * rng.uniform(0, 1), rng) if rng.random() < 0.2 else (0.0, 0.0),
            dust=int(rng.integers(0, 4)),
            mosaic=bool(rng.random() < ranges.mosaic),
            bits=int(rng.choice([8, 10, 12, 16])),
            grey=_grey_weights(rng) if rng.random() < ranges.grey else None,
            crosstalk=float(rng.uniform(0, 0.12)),
            saturation=float(rng.uniform(0.7, 1.6)) if processed else 1.0,
            denoise_px=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.3 else 0.0,
            resize=float(rng.uniform(0.8, 1.25)) if rng.random() < 0.25 else 1.0,
            gamma=float(rng.uniform(0.45, 1.1)) if processed else 1.0,
            contrast=float(rng.uniform(0, 0.5)) if processed else 0.0,
            sharpen=float(rng.uniform(0.2, 1.6)) if processed else 0.0,
            sharpen_px=float(rng.uniform(0.7, 1.8)),
        ),
    )


def _grey_weights(rng: np.random.Generator) -> tuple[float, float, float]:
    """White light on a bare sensor, or a green filter before it."""
    return (0.3, 0.4, 0.3) if rng.random() < 0.5 else (0.0, 1.0, 0.0)


def find_instrument(name: str, seed: int) -> Instrument:
    """Instrument of that name or file, or the microscope that ``drawn`` (any kind) or ``drawn:KIND`` names for a seed.

    Raises
    ------
    InputError
        Unknown name or kind, or a file that holds no instrument.
    """
    first, _, kind = name.partition(":")
    if first != PREFIX:
        return load_instrument(name)
    rng = np.random.default_rng((seed, 11))
    return draw_instrument(kind or str(rng.choice(list(KINDS))), rng)
