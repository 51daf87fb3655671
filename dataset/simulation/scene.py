"""A layered slide under a microscope, ready to be imaged in any plane."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft

from focus_picker.dataset.simulation.instrument import Instrument
from focus_picker.dataset.simulation.layers import Layer, layer_grid, through_layers
from focus_picker.dataset.simulation.slide import SEAM_UM, lay_out
from focus_picker.dataset.simulation.zero import sharpest_um

SOURCE_RINGS = 2  # 19 condenser points
COARSE_RINGS, COARSE_CONDENSER = 1, 0.7  # 7 find the sharpest plane as well where the condenser is closed this far
SCAN_REACH, SCAN_STEP = 1.8, 0.3  # depths of field
WEIGHED = 0.75  # middle part of the picture, along each axis, in which it is to be sharp


@dataclass(frozen=True)
class Scene:
    """Layers, the microscope over them, and the part of the periodic grid that is photographed.

    Attributes
    ----------
    layers, instrument
        What is seen, and through what.
    lengths_um
        Extent of the grid.
    pixels
        Camera pixels over that extent.
    shape
        Pixels of the picture, in the middle.
    """

    layers: list[Layer]
    instrument: Instrument
    lengths_um: tuple[float, float]
    pixels: tuple[int, int]
    shape: tuple[int, int]

    def images(self, planes_um: np.ndarray, source_rings: int = SOURCE_RINGS) -> np.ndarray:
        """Intensity ``(Z, H, W, 3)`` on the camera's pixels, 1 in empty background."""
        fine = self.instrument.oversampling
        grid = (self.pixels[0] * fine, self.pixels[1] * fine)
        fields = through_layers(self.layers, self.instrument, planes_um, self.lengths_um, grid, source_rings)
        top, left = ((total - size) // 2 for total, size in zip(self.pixels, self.shape, strict=True))
        pixels = fields[:, fine // 2 :: fine, fine // 2 :: fine]
        return pixels[:, top : top + self.shape[0], left : left + self.shape[1]]

    def sharpest_um(self) -> float:
        """Plane in which the middle of the noise-free picture looks sharpest; looked for wherever the phase puts it."""
        rings = COARSE_RINGS if self.instrument.condenser_sigma < COARSE_CONDENSER else SOURCE_RINGS
        step_um = SCAN_STEP * self.instrument.depth_of_field_um
        steps = round(SCAN_REACH / SCAN_STEP)
        middle_um = 0.0
        for _ in range(3):
            planes_um = middle_um + step_um * np.arange(-steps, steps + 1)
            found_um = sharpest_um(self._middle(self.images(planes_um, rings)), planes_um)
            if abs(found_um - middle_um) < (steps - 1) * step_um:
                return found_um
            middle_um = found_um
        return found_um

    def _middle(self, images: np.ndarray) -> np.ndarray:
        cut = [round(size * (1 - WEIGHED) / 2) for size in self.shape]
        return images[:, cut[0] : self.shape[0] - cut[0], cut[1] : self.shape[1] - cut[1]]


def lay_scene(
    picture: Path | None,
    shape: tuple[int, int],
    instrument: Instrument,
    source_pixel_um: float,
    rng: np.random.Generator,
) -> Scene:
    """Lay out a slide for an instrument with a preparation.

    Parameters
    ----------
    picture
        In-focus crop that becomes the cell, None for a drawn one.
    shape
        Camera pixels of the picture.
    instrument
        With a ``preparation``.
    source_pixel_um
        Pixel size of the crop.
    rng
        Source of randomness.
    """
    assert instrument.preparation is not None
    seam = int(np.ceil(SEAM_UM / instrument.pixel_um))
    pixels = (fft.next_fast_len(shape[0] + 2 * seam), fft.next_fast_len(shape[1] + 2 * seam))
    lengths_um = (pixels[0] * instrument.pixel_um, pixels[1] * instrument.pixel_um)
    grid = layer_grid(instrument, lengths_um)
    grid_um = float(np.mean(np.divide(lengths_um, grid)))
    layers = lay_out(
        picture,
        instrument.preparation,
        instrument.phase_um_per_density,
        grid,
        grid_um,
        source_pixel_um,
        instrument.depth_of_field_um,
        rng,
    )
    return Scene(layers, instrument, lengths_um, pixels, shape)
