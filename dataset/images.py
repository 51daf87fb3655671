"""Reading one image: always three channels, never half decoded, never silently clipped.

Every reader is chosen by what the file contains, not by its name. Three things are done on purpose:

* EXIF orientation is ignored. Slices of one stack must stay aligned, and the camera's own frame is the one that the
  instrument moves in; a viewer's wish to turn the picture has no meaning here.
* Alpha is dropped, not blended: the colour under a transparent pixel is what the camera measured.
* JPEG and PNG are decoded by Pillow, which refuses a file that ends early. OpenCV and imagecodecs return such a JPEG
  with its lower part grey, and a grey half is a sharp edge to any focus measure.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin

from focus_picker.dataset.depth import assumed_maximum, scale_to
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import refuse_passage
from focus_picker.dataset.jpeg import is_damaged
from focus_picker.dataset.limits import DEFAULT_MAX_PIXELS, check_size
from focus_picker.dataset.memory import ImageFile, as_image_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
"""Names that count as images when a folder is listed, in lower case."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in grey (ITU-R BT.601), as in ``cv2.COLOR_RGB2GRAY``."""

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
}
"""First bytes of a file and the format they announce; GIF and WebP are known so that they can be refused by name."""

_PILLOW_CLASSES: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}

_HEADER_LOCK = threading.Lock()


def read_image(path: str | ImageFile, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Read one image as RGB.

    Parameters
    ----------
    path
        A JPEG, PNG, BMP or single-page TIFF file, on disk or in memory. Grey becomes three equal channels, a palette
        its colours, one-bit 0 and 255; alpha is dropped and EXIF orientation is ignored (see the module's text).
    max_pixels
        Largest width times height that is decoded; checked from the header, before any pixel is unpacked.

    Returns
    -------
    numpy.ndarray
        (H, W, 3), C-contiguous and writable. ``uint8`` for sources of up to 8 bits a sample. ``uint16`` for deeper
        ones, scaled so that the declared range maps to 65535: OME SignificantBits, a TIFF MaxSampleValue that is a
        camera's full scale (2^n - 1; other values are statistics of the picture), BitsPerSample, or else
        :func:`dataset.depth.assumed_maximum`. Nothing is clipped: a value above its declared range is refused.

    Raises
    ------
    InputError
        The file is missing, empty, not an image of these formats, truncated or damaged, larger than ``max_pixels``,
        animated, CMYK, a stack of pages, or a float TIFF (which has no declared range).
    """
    path = as_image_file(path)
    kind = image_format(path)
    if kind not in READERS:
        raise InputError(_refusal(path, kind))
    image = READERS[kind](path, max_pixels)
    return np.ascontiguousarray(image)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Return ``image`` on 0-255: bytes pass through, 16-bit is divided by 257 and rounded (65535 becomes 255).

    Meant for display and for models that take bytes. Raises InputError for any other type, whose range is unknown.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    raise InputError(f"An image of type {image.dtype} has no known range; give uint8 or uint16 as read_image does.")


def image_size(path: str | ImageFile) -> tuple[int, int]:
    """Width and height that the header of a JPEG, PNG or BMP file declares; no pixel is unpacked.

    Raises InputError for other formats (a TIFF file may hold many sizes: ``dataset.tiff``) and damaged headers.
    """
    path = as_image_file(path)
    kind = image_format(path)
    if kind not in _PILLOW_CLASSES:
        raise InputError(f"{path} has no JPEG, PNG or BMP header: export it as one of {', '.join(READERS)}.")
    with _header(path, path.read_bytes(), kind) as image:
        return image.size


def image_format(path: str | ImageFile) -> str:
    """Name the format that the file's first bytes announce (see ``SIGNATURES``), or '' where they announce none.

    Raises InputError where the file cannot be opened or is empty.
    """
    path = as_image_file(path)
    try:
        if isinstance(path, Path):
            refuse_passage(path)
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not an image: give one of the files in it.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check its permissions.") from None
    if not head:
        raise InputError(f"{path} is empty (zero bytes): copy or export it again.")
    name = next((name for signature, name in SIGNATURES.items() if head.startswith(signature)), "")
    return "" if name == "WebP" and head[8:12] != b"WEBP" else name


def _refusal(path: ImageFile, kind: str) -> str:
    """Say why a file of a format without a reader is refused."""
    known = ", ".join(READERS)
    if kind not in ("GIF", "WebP"):
        return f"{path} is not an image of a known format ({known}), whatever its name says: export it as one of them."
    frames = _count_frames(path)
    if frames > 1:
        return f"{path} is animated ({frames} {kind} frames): export its frames as single images, or as a TIFF stack."
    return f"{path} is a {kind} image, which is not read here: save it as one of {known}."


def _count_frames(path: ImageFile) -> int:
    """Count the frames of a GIF or WebP file; 1 where they cannot be counted."""
    with _HEADER_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with path.open("rb") as file, Image.open(file) as image:
                return getattr(image, "n_frames", 1)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            return 1


def _read_jpeg(path: ImageFile, max_pixels: int) -> np.ndarray:
    data = path.read_bytes()
    if is_damaged(data):
        raise InputError(
            f"{path} is truncated or damaged (its JPEG data end early, or hold zeros where pixels should be): "
            "copy or export it again."
        )
    return _decode(path, data, "JPEG", max_pixels)


def _read_png(path: ImageFile, max_pixels: int) -> np.ndarray:
    data = path.read_bytes()
    if b"IEND" not in data[-4096:] and b"IEND" not in data:
        raise InputError(f"{path} is truncated (the PNG ends before its last chunk): copy or export it again.")
    return _decode(path, data, "PNG", max_pixels)


def _read_bmp(path: ImageFile, max_pixels: int) -> np.ndarray:
    return _decode(path, path.read_bytes(), "BMP", max_pixels)


def _read_tiff(path: ImageFile, max_pixels: int) -> np.ndarray:
    from focus_picker.dataset.tiff import TiffPlanes  # tifffile costs 0.2 s to import, and most data sets hold none

    with TiffPlanes(path, max_pixels) as tiff:
        if len(tiff) > 1:
            raise InputError(
                f"{path} holds {len(tiff)} planes: it is a stack, not one image; give it where a stack is asked for, "
                "or export the plane you mean."
            )
        return tiff.read(0)


READERS: dict[str, Callable[[ImageFile, int], np.ndarray]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "BMP": _read_bmp,
    "TIFF": _read_tiff,
}
"""Format name -> reader of (path, max_pixels); a new format is a signature above and a line here."""


def _decode(path: ImageFile, data: bytes, kind: str, max_pixels: int) -> np.ndarray:
    """Decode ``data`` with Pillow's class for ``kind``, after its header has been judged."""
    with _header(path, data, kind) as image:
        check_size(path, *image.size, max_pixels)
        _check_kind(path, image)
        if kind == "PNG" and data[24] == 16:  # IHDR's bit depth; Pillow would drop the lower byte of colour
            return _decode_deep_png(data)
        return _as_rgb(image)


@contextmanager
def _header(path: ImageFile, data: bytes, kind: str) -> Iterator[Image.Image]:
    """Parse the header, give the undecoded image, and turn whatever a decoder raises into one sentence."""
    try:
        with _open_pillow(data, kind) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, their own ...
        reason = "truncated" if "truncated" in str(error).lower() else f"damaged ({error})"
        raise InputError(f"{path} is {reason}: its {kind} data cannot be decoded; copy or export it again.") from error


def _open_pillow(data: bytes, kind: str) -> Image.Image:
    """Parse the header only.

    The format's class is used in place of Image.open, whose own pixel limit warns or raises before ours can speak.
    Odd metadata (EXIF, APNG) makes Pillow warn; the lock keeps catch_warnings, which is process-wide, to one thread.
    """
    with _HEADER_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _PILLOW_CLASSES[kind](io.BytesIO(data))


def _check_kind(path: ImageFile, image: Image.Image) -> None:
    """Refuse animations and ink colours, which have no single camera image in them."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise InputError(
            f"{path} is animated ({frames} frames): export its frames as single images, or as a TIFF stack."
        )
    if image.mode == "CMYK":
        raise InputError(f"{path} is a CMYK image, made for printing: export it as RGB.")


def _as_rgb(image: Image.Image) -> np.ndarray:
    """Decode fully and return (H, W, 3) bytes."""
    image.load()
    image.info.pop("transparency", None)  # else convert() warns about, or maps, a colour that is dropped anyway
    return np.array(image.convert("RGB"))


def _decode_deep_png(data: bytes) -> np.ndarray:
    """Decode a PNG of 16 bits a sample."""
    from imagecodecs import png_decode  # 0.2 s to import

    image = png_decode(data)  # (H, W) or (H, W, S)
    image = image if image.ndim == 3 else image[:, :, np.newaxis]
    colour = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, :1]
    colour = scale_to(colour, assumed_maximum(colour))
    return np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else colour
