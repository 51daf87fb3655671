"""Specimens from in-focus pictures: one's own cells become objects with a known focus."""

from pathlib import Path

import cv2
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import IMAGE_SUFFIXES, read_image, to_uint8
from focus_picker.dataset.simulation.specimen import Specimen
from focus_picker.dataset.stacks import images_below

LEAST_CROP_PX = 48


def list_crops(folder: Path) -> list[Path]:
    """All pictures below ``folder``, sorted by path; hidden ones and the slices of data sets are passed over.

    Raises
    ------
    InputError
        When the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"--from-images {folder} is not a folder; give the folder that holds the in-focus crops")
    crops = sorted(images_below(folder, into_datasets=False))
    if not crops:
        raise InputError(
            f"--from-images {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}); give the folder with the crops"
        )
    return crops


def background_level(image: np.ndarray) -> np.ndarray:
    """Grey level of empty background per channel, ``(3,)``: the brightest twentieth's median.

    Crops of a smear show some empty glass; a high percentile alone would follow hot pixels and glare.
    """
    flat = image.reshape(-1, 3).astype(np.float32)
    luminance = flat.mean(axis=1)
    return np.median(flat[luminance >= np.quantile(luminance, 0.95)], axis=0)


def specimen_from_image(image: np.ndarray, phase_um_per_density: float) -> Specimen:
    """Turn an in-focus picture into an absorbing and refracting object.

    Density follows from Beer and Lambert, ``-ln(I / I0)``. What takes up stain is protein and nucleic acid, which is
    also what raises the refractive index (Barer 1952), so that the optical path is taken proportional to the mean
    density of the channels; fine grain of the picture is noise of its camera and is smoothed out of the path.

    Parameters
    ----------
    image
        ``(H, W, 3)`` uint8 RGB.
    phase_um_per_density
        Optical path in micrometres for one unit of density.
    """
    level = np.maximum(background_level(image), 1)
    density = -np.log(np.clip(image, 4, None) / level).astype(np.float32)
    density = np.maximum(density, 0)
    path_um = phase_um_per_density * cv2.GaussianBlur(density.mean(axis=2), (0, 0), 1.0)
    return Specimen(density=density, path_um=path_um)


def read_crop(path: Path, scale: float, shape: tuple[int, int], orientation: int) -> np.ndarray:
    """Read a crop at the simulator's grid, turned and cut about its centre.

    Parameters
    ----------
    path
        Picture.
    scale
        Grid points per source pixel.
    shape
        Wanted ``(H, W)``; a smaller crop is continued by reflection.
    orientation
        0 to 7: quarter turns, mirrored from 4 on.

    Raises
    ------
    InputError
        Unreadable picture, or one too small to hold a cell.
    """
    image = to_uint8(read_image(path))
    if min(image.shape[:2]) < LEAST_CROP_PX:
        height, width = image.shape[:2]
        raise InputError(f"{path} is {width}x{height} pixels; crops of at least {LEAST_CROP_PX} pixels are needed")
    image = np.rot90(image[:, ::-1] if orientation >= 4 else image, orientation % 4)
    # Area averaging when shrinking keeps fine detail from aliasing; cubic keeps edges when enlarging.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=method)
    return fit_to_shape(image, shape)


def fit_to_shape(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cut ``image`` about its centre to ``shape``, or continue it by reflection where it is smaller."""
    for axis, wanted in enumerate(shape):
        have = image.shape[axis]
        start = max((have - wanted) // 2, 0)
        image = np.take(image, np.arange(start, start + min(wanted, have)), axis=axis)
        missing = wanted - image.shape[axis]
        if missing > 0:
            widths = [(0, 0)] * image.ndim
            widths[axis] = (missing // 2, missing - missing // 2)
            image = np.pad(image, widths, mode="symmetric")
    return image
