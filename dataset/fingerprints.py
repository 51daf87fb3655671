"""What one image looks like, in a few kilobytes: enough to recognise a copy of it among tens of thousands."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.dataset.parallel import parallel_map

THUMBNAIL_SIDE = 64
N_FREQUENCIES = 16
ALIGNED_SIDE = 128
"""Shorter side, in pixels, at which two images are laid over each other: a shift of half a pixel still correlates."""

REACH = 0.06
"""Largest shift that is searched, as a share of the shorter side: 12 pixels of a 200-pixel crop."""

RESIZED_RATIO = 1.1
"""Sizes that differ by more are taken for a resized copy, below it for a cropped one."""

BLANK_CONTRAST = 1.0
"""Standard deviation in grey levels (0-255) below which an image shows nothing by which to recognise it."""

PROCESSES_FROM = 2000
"""Images (1 ms each) from which on the two seconds that worker processes take to start are earned back."""


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image, or why it could not be read.

    Attributes
    ----------
    image_path
        Path relative to the data set.
    error
        Sentence of the InputError where the image is unreadable; all further attributes are then empty.
    shape
        Height and width in pixels.
    depth
        Bits a sample: 8 or 16.
    contrast
        Standard deviation of the grey image on the 0-255 scale.
    digest
        Hash of size and decoded pixels: equal for equal images, whatever file format they are stored in.
    descriptor
        ``float16`` (255,), low spatial frequencies (DCT) of the normalised thumbnail, of unit length. It ignores
        brightness and contrast, and hardly changes on re-encoding; a perceptual hash before it is cut to bits.
    """

    image_path: str
    error: str = ""
    shape: tuple[int, int] = (0, 0)
    depth: int = 0
    contrast: float = 0.0
    digest: bytes = b""
    descriptor: np.ndarray | None = None

    @property
    def is_blank(self) -> bool:
        """Whether the image was read and shows nothing."""
        return not self.error and self.contrast < BLANK_CONTRAST


def fingerprint_image(dataset: Path, image_path: str) -> Fingerprint:
    """Read one image and reduce it; an unreadable image gives a Fingerprint with ``error``."""
    try:
        return fingerprint_of(image_path, read_image(dataset / image_path))
    except InputError as error:
        return Fingerprint(image_path, error=str(error))


def fingerprint_of(image_path: str, image: np.ndarray) -> Fingerprint:
    """Reduce one image that was read already."""
    grey = grey_of(image)
    return Fingerprint(
        image_path,
        shape=(image.shape[0], image.shape[1]),
        depth=8 * image.dtype.itemsize,
        contrast=float(grey.std()),
        digest=_digest(image),
        descriptor=_describe(_resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))),
    )


def fingerprint_images(dataset: Path, image_paths: Sequence[str], *, jobs: int = -1) -> list[Fingerprint]:
    """Fingerprint many images, in order, by ``jobs`` workers (-1: one a core)."""
    work = partial(fingerprint_image, dataset)
    prints = parallel_map(work, image_paths, "reading images", jobs=jobs, batch=64, processes_from=PROCESSES_FROM)
    return list(prints)


def grey_of(image: np.ndarray) -> np.ndarray:
    """Return ``float32`` grey on the 0-255 scale of an RGB image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey / 257 if image.dtype == np.uint16 else grey


def aligned_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate the detail of two grey images where they fit best: 1 for a copy, about 0 for unrelated cells.

    Both are brought to one scale and band-passed (detail of about 1/64 to 3/64 of the shorter side), so that neither
    brightness nor the dark blob that every blurred cell has counts; then the middle of one slides over the other by
    up to ``REACH``. Copies that were turned or mirrored are not recognised.
    """
    ratio = min(one.shape) / min(other.shape)
    if not 1 / RESIZED_RATIO < ratio < RESIZED_RATIO:
        other = _resize(other, (one.shape[1], one.shape[0]))
    factor = ALIGNED_SIDE / min(*one.shape, *other.shape)
    first, second = (_band_pass(_scale(grey, factor), ALIGNED_SIDE / THUMBNAIL_SIDE) for grey in (one, other))
    height, width = (min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    template = _middle(second, height, width, round(REACH * ALIGNED_SIDE))
    return float(cv2.matchTemplate(first, template, cv2.TM_CCOEFF_NORMED).max())


def _digest(image: np.ndarray) -> bytes:
    """Hash size, depth and pixels (SHA-256, which processors have instructions for)."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(image.data)
    return digest.digest()


def _resize(grey: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height); area averaging when shrinking, so that noise does not alias."""
    shrinks = size[0] * size[1] < grey.size
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _scale(grey: np.ndarray, factor: float) -> np.ndarray:
    """Scale both axes by one factor, not below 1 pixel."""
    return _resize(grey, (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))))


def _band_pass(grey: np.ndarray, sigma: float) -> np.ndarray:
    """Difference of Gaussians of ``sigma`` and three times that."""
    return cv2.GaussianBlur(grey, (0, 0), sigma) - cv2.GaussianBlur(grey, (0, 0), 3 * sigma)


def _describe(thumbnail: np.ndarray) -> np.ndarray:
    """Return the lowest DCT coefficients but the first, which is the mean, of unit length."""
    vector = cv2.dct(thumbnail)[:N_FREQUENCIES, :N_FREQUENCIES].ravel()[1:]
    return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float16)


def _middle(grey: np.ndarray, height: int, width: int, margin: int) -> np.ndarray:
    """Cut the central (height, width) less ``margin`` on each side."""
    margin = min(margin, (min(height, width) - 1) // 2)
    top, left = (grey.shape[0] - height) // 2 + margin, (grey.shape[1] - width) // 2 + margin
    return np.ascontiguousarray(grey[top : top + height - 2 * margin, left : left + width - 2 * margin])
