"""What the virtual camera sees: planes of one cell by their defocus, simulated or recorded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import to_uint8
from focus_picker.dataset.stacks import find_stacks


@dataclass(frozen=True, eq=False)
class Scene:
    """Planes of a cell.

    Attributes
    ----------
    planes
        ``(Z, H, W, 3)`` uint8.
    defocus_um
        ``(Z,)`` rising; 0 where the cell looks sharpest, positive where the lens is too far.
    noise
        Standard deviation of the noise that is in the planes already, grey levels; 0 for noise-free ones.
    """

    planes: np.ndarray
    defocus_um: np.ndarray
    noise: float = 0.0

    def at(self, defocus_um: float) -> tuple[np.ndarray, float]:
        """Image between planes, ``(H, W, 3)`` float32, and how much its own noise is short of a plane's, as variance.

        Blending two planes averages their noise away, and sharpness measures see that: whoever shows the image has to
        add the difference. Beyond the planes the last one is shown.
        """
        place = float(np.interp(defocus_um, self.defocus_um, np.arange(len(self.planes))))
        low = min(int(place), len(self.planes) - 2)
        share = place - low
        image = (1 - share) * self.planes[low].astype(np.float32) + share * self.planes[low + 1].astype(np.float32)
        return image, 2 * share * (1 - share) * self.noise**2


def recorded_scene(path: str | Path, z_step_um: float, best_slice: float) -> Scene:
    """Make a scene of a recorded stack.

    Parameters
    ----------
    path
        Folder of slices or multi-page TIFF, of one stack; rising slices are taken for a lens that goes away.
    z_step_um
        Distance of slices.
    best_slice
        Where it looks sharpest, in slices from 0.

    Raises
    ------
    InputError
        Not one stack, fewer than two slices, or slices of different size.
    """
    stacks = find_stacks(path)
    if len(stacks) != 1:
        raise InputError(f"{path} holds {len(stacks)} stacks: give the folder or file of one.")
    images = [to_uint8(part.read()) for part in stacks[0].slices]
    if len({image.shape for image in images}) > 1 or len(images) < 2:
        raise InputError(f"{path} has {len(images)} slices of several sizes: give at least two of one size.")
    planes = np.stack(images)
    return Scene(planes, (np.arange(len(planes)) - best_slice) * z_step_um, _noise_of(planes))


def _noise_of(planes: np.ndarray) -> float:
    """Noise of the least sharp plane by its second differences (Immerkaer 1996), grey levels."""
    grey = planes.astype(np.float32).mean(axis=3)
    mask = grey[:, :-2, :-2] - 2 * grey[:, :-2, 1:-1] + grey[:, :-2, 2:]
    twice = mask - 2 * _shifted(grey, 1) + _shifted(grey, 2)
    return float(np.sqrt(3) * np.median(np.abs(twice), axis=(1, 2)).min() / 0.6745 / 6)


def _shifted(grey: np.ndarray, rows: int) -> np.ndarray:
    """Second differences along x, ``rows`` further down."""
    part = grey[:, rows : grey.shape[1] - 2 + rows]
    return part[:, :, :-2] - 2 * part[:, :, 1:-1] + part[:, :, 2:]
