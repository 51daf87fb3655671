"""How large an image may be, decided from its header before any pixel is unpacked."""

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.memory import ImageFile

DEFAULT_MAX_PIXELS = 100_000_000
"""More than any microscope camera; a small file that unpacks to more than this is damaged or hostile."""


def check_size(path: ImageFile, width: int, height: int, max_pixels: int) -> None:
    """Refuse an image of no pixels, or of more than ``max_pixels``, from the numbers in its header."""
    if width < 1 or height < 1:
        raise InputError(f"{path} declares {width} x {height} pixels: its header is damaged, export it again.")
    if width * height > max_pixels:
        raise InputError(
            f"{path} declares {width} x {height} pixels, more than the limit of {max_pixels}: "
            "crop it to the cell, or raise the limit if the size is right."
        )
