"""Images and stacks that are arrays already, brought into the form in which files are read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.stacks import Slice, Stack


@dataclass(frozen=True, eq=False)
class ArraySlice(Slice):
    """One plane of a stack whose pixels are there already."""

    pixels: np.ndarray = field(kw_only=True, repr=False)

    def read(self) -> np.ndarray:
        """Return the pixels."""
        return self.pixels

    def shape(self) -> tuple[int, int]:
        """Return height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]


def rgb_image(image: ArrayLike, name: str) -> np.ndarray:
    """Bring an array into the form that ``dataset.images.read_image`` gives.

    Parameters
    ----------
    image
        ``(H, W)`` grey, or ``(H, W, C)`` with C of 1, 3 (RGB) or 4 (alpha is dropped); ``uint8``, or ``uint16`` scaled
        so that the camera's full scale is 65535.
    name
        What to call it in an error message.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)``, C-contiguous, of the same type.

    Raises
    ------
    InputError
        Another shape or type.
    """
    array = np.asarray(image)
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name} has type {array.dtype}: give uint8, or uint16 with the camera's full scale at 65535.")
    array = array[..., np.newaxis] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise InputError(f"{name} has shape {np.shape(image)}: give (height, width) or (height, width, 3) in RGB.")
    return np.ascontiguousarray(np.broadcast_to(array[:, :, :3], (*array.shape[:2], 3)))


def is_one_image(array: np.ndarray) -> bool:
    """Whether an array has the shape of an image, not of several: ``(H, W)`` or ``(H, W, C)`` with C up to 4."""
    return array.ndim < 3 or (array.ndim == 3 and array.shape[2] <= 4)


def array_stack(images: Iterable[ArrayLike], name: str = "stack") -> Stack:
    """Make a stack of images in z order, equally spaced; they may differ in size.

    Raises
    ------
    InputError
        A single image, one that :func:`rgb_image` refuses, or none at all.
    """
    if isinstance(images, np.ndarray) and is_one_image(images):
        raise InputError(
            f"{name} has shape {images.shape}: give (planes, height, width) or (planes, height, width, 3)."
        )
    slices = tuple(
        ArraySlice(MemoryFile(str(index), b""), pixels=rgb_image(image, f"slice {index} of {name}"))
        for index, image in enumerate(images)
    )
    if not slices:
        raise InputError(f"{name} has no slices: give at least one image.")
    return Stack(name, MemoryFile(name, b""), slices)
