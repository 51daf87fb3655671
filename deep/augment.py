"""Label-preserving augmentation of uint8 windows, one image at a time, in NumPy and OpenCV.

Only what leaves the blur as it is: flips, quarter turns, whole-pixel shifts, brightness, white balance, sensor noise
and JPEG. No zoom, no rotation by other angles and no blur: they resample or smooth, and so change the label. All
randomness comes from the generator that is handed in; training makes it from epoch and step, so that a resumed run
sees the same pictures. TensorFlow's own operations took five times as long, as long as the network itself.
"""

from functools import cache

import cv2
import numpy as np

GAIN = 0.15  # brightness, relative half width
BALANCE = 0.06  # white balance a channel
NOISE_GREY = 3.0  # largest standard deviation of added noise, grey levels
NOISE_COUNT = 2**21  # numbers drawn once; noise starts anywhere among them, as drawing anew takes most of the time
JPEG_QUALITY = (70, 95)
JPEG_SHARE = 0.25  # of images; coding costs as much time as training on the image


def random_shift(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a ``size`` window at a random whole-pixel place: ``(S, S, 3)``."""
    top, left = rng.integers(image.shape[0] - size + 1, size=2)
    return image[top : top + size, left : left + size]


def random_turn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror and transpose with even chance: all eight orientations of a square."""
    down, across, transposed = rng.random(3) < 0.5
    image = image[:: -1 if down else 1, :: -1 if across else 1]
    return image.swapaxes(0, 1) if transposed else image


def random_light(image: np.ndarray, rng: np.random.Generator, balance: float = BALANCE) -> np.ndarray:
    """Scale brightness and white balance; float32 0-255, not clipped."""
    gain = rng.uniform(1 - GAIN, 1 + GAIN) * rng.uniform(1 - balance, 1 + balance, 3)
    return image * gain.astype(np.float32)


def random_noise(
    image: np.ndarray, rng: np.random.Generator, largest: float = NOISE_GREY, *, same: bool = False
) -> np.ndarray:
    """Add sensor noise of a random strength, the ``same`` in all channels for a grey camera; float32 0-255."""
    shape = (*image.shape[:2], 1) if same else image.shape
    count = int(np.prod(shape))
    start = int(rng.integers(NOISE_COUNT - count))
    return image + np.float32(rng.uniform(0, largest)) * _normals()[start : start + count].reshape(shape)


@cache
def _normals() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(NOISE_COUNT, np.float32)


def random_grey(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Take the colour from a ``share`` of the images, with weights of any camera without one; float32 0-255."""
    weights = rng.random(3, np.float32)
    if rng.random() >= share:
        return image
    return np.repeat((image @ (weights / weights.sum()))[..., np.newaxis], 3, axis=2)


def random_jpeg(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Code a share of the images as JPEG of random quality; uint8 in and out."""
    if rng.random() >= JPEG_SHARE:
        return image
    quality = int(rng.integers(*JPEG_QUALITY))
    # Channels are named by OpenCV's order: RGB has to be turned for luminance to be coded as luminance.
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def as_grey_levels(light: np.ndarray) -> np.ndarray:
    """Round to uint8."""
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def augment(
    image: np.ndarray, size: int, rng: np.random.Generator, *, grey_share: float = 0.0, jpeg: bool = True
) -> np.ndarray:
    """All of it: uint8 ``(S, S, 3)`` with a margin for shifts -> uint8 ``(size, size, 3)``.

    Parameters
    ----------
    image
        Window a little larger than ``size``.
    size
        Side of the network's window.
    rng
        Source of randomness.
    grey_share
        Share of images that lose their colour.
    jpeg
        Whether to code some as JPEG; not where the data have that already.
    """
    image = random_turn(random_shift(image, size, rng), rng)
    light = random_noise(random_light(image, rng), rng)
    if grey_share:
        light = random_grey(light, grey_share, rng)
    coded = as_grey_levels(light)
    return random_jpeg(coded, rng) if jpeg else coded
