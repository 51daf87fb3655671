"""What a camera and its software do to an image before it is a file, step by step.

Each step is a pure function of a float32 image ``(H, W, 3)``, 1 at full scale, and of one setting whose default leaves
the image as it is.
"""

from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from focus_picker.dataset.images import LUMA

Share = Annotated[float, Field(ge=0, le=1)]


class Processing(BaseModel):
    """Settings of the steps, in their order.

    Attributes
    ----------
    motion_um
        Way of the stage during the exposure in y and x, micrometres.
    dust
        Shadows of grains on the sensor, at places that all slices share: number a picture.
    mosaic
        Whether the sensor sees one colour a pixel (RGGB), interpolated bilinearly.
    bits
        Of the analogue-digital converter.
    grey
        Weights of red, green and blue in a camera without colour; None for a colour camera.
    crosstalk
        Share of each channel that the other two get (a colour matrix's rows still sum to 1).
    saturation
        Of the colours, 1 as they are.
    denoise_px
        Sigma of the smoothing against noise, pixels.
    resize
        Scale by which the picture is resampled.
    gamma
        Exponent of the tone curve; below 1 lifts the dark parts.
    contrast
        Strength of an S-shaped tone curve, 0 for none.
    sharpen, sharpen_px
        Amount and radius of an unsharp mask.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    motion_um: tuple[float, float] = (0.0, 0.0)
    dust: Annotated[int, Field(ge=0, le=100)] = 0
    mosaic: bool = False
    bits: Annotated[int, Field(ge=8, le=16)] = 12
    grey: tuple[Share, Share, Share] | None = None
    crosstalk: Annotated[float, Field(ge=0, le=0.3)] = 0.0
    saturation: Annotated[float, Field(ge=0, le=3)] = 1.0
    denoise_px: Annotated[float, Field(ge=0, le=3)] = 0.0
    resize: Annotated[float, Field(ge=0.3, le=3)] = 1.0
    gamma: Annotated[float, Field(gt=0.2, le=3)] = 1.0
    contrast: Share = 0.0
    sharpen: Annotated[float, Field(ge=0, le=3)] = 0.0
    sharpen_px: Annotated[float, Field(gt=0, le=5)] = 1.0


def develop(image: np.ndarray, settings: Processing) -> np.ndarray:
    """Turn what the sensor counted into the picture that is written: uint8 ``(H', W', 3)``.

    Parameters
    ----------
    image
        Linear, 1 at full scale, noise included; ``(H, W, 3)`` float32.
    settings
        Of the steps; its ``motion_um``, ``dust`` and ``grey`` have happened before the sensor.
    """
    image = quantise(np.clip(image, 0, 1), settings.bits)
    if settings.mosaic:
        image = demosaic(image)
    image = mix_colours(image, settings.crosstalk, settings.saturation)
    image = smooth(image, settings.denoise_px)
    if settings.resize != 1:
        image = cv2.resize(image, None, fx=settings.resize, fy=settings.resize, interpolation=cv2.INTER_LINEAR)
    image = tone(np.clip(image, 0, 1), settings.gamma, settings.contrast)
    image = unsharp(image, settings.sharpen, settings.sharpen_px)
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def motion_blur(intensity: np.ndarray, way_px: tuple[float, float]) -> np.ndarray:
    """Smear a stack ``(Z, H, W, C)`` along a straight way given in pixels (y, x)."""
    length = float(np.hypot(*way_px))
    if length < 0.05:
        return intensity
    size = 2 * int(np.ceil(length / 2)) + 1
    kernel, steps = np.zeros((size, size), np.float32), np.linspace(-0.5, 0.5, 4 * size)
    for y, x in np.outer(steps, way_px) + size // 2:
        top, left = int(y), int(x)
        for row, column, weight in (
            (top, left, (top + 1 - y) * (left + 1 - x)),
            (top + 1, left, (y - top) * (left + 1 - x)),
            (top, left + 1, (top + 1 - y) * (x - left)),
            (top + 1, left + 1, (y - top) * (x - left)),
        ):
            if weight > 0:
                kernel[row, column] += weight
    return np.stack([cv2.filter2D(image, -1, kernel / kernel.sum()) for image in intensity])


def dust_shadows(shape: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Relative light ``(H, W)`` behind ``count`` round grains in front of the sensor, out of focus by nature."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    light = np.ones(shape, np.float32)
    for _ in range(count):
        radius, depth = rng.uniform(2, 7), rng.uniform(0.03, 0.15)
        away = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        light *= (1 - depth / (1 + np.exp((away - radius) / 1.2))).astype(np.float32)
    return light


def to_grey(intensity: np.ndarray, weights: tuple[float, float, float]) -> np.ndarray:
    """What a camera without colour sees of ``(..., 3)``, in all three channels."""
    share = np.asarray(weights, np.float32) / np.float32(sum(weights))
    return np.repeat((intensity @ share)[..., None], 3, axis=-1)


def quantise(image: np.ndarray, bits: int) -> np.ndarray:
    """Round to the levels of an analogue-digital converter."""
    top = np.float32(2**bits - 1)
    return np.rint(image * top) / top


def demosaic(image: np.ndarray) -> np.ndarray:
    """Keep one colour a pixel (RGGB) and interpolate the others bilinearly."""
    wide = np.clip(image * 65535, 0, 65535).astype(np.uint16)
    mosaic = wide[..., 1].copy()
    mosaic[0::2, 0::2] = wide[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = wide[1::2, 1::2, 2]
    # OpenCV names a mosaic by its second row's second and third pixel: RGGB is its BayerBG.
    return cv2.cvtColor(mosaic, cv2.COLOR_BayerBG2RGB).astype(np.float32) / np.float32(65535)


def mix_colours(image: np.ndarray, crosstalk: float, saturation: float) -> np.ndarray:
    """Pass a share of each channel to the others, then stretch colours away from grey."""
    if crosstalk == 0 and saturation == 1:
        return image
    mix = (1 - 3 * crosstalk) * np.eye(3) + crosstalk
    stretch = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA)
    return cv2.transform(image, (stretch @ mix).astype(np.float32))


def smooth(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian smoothing, as simple software reduces noise."""
    return cv2.GaussianBlur(image, (0, 0), sigma_px) if sigma_px > 0 else image


def tone(image: np.ndarray, gamma: float, contrast: float) -> np.ndarray:
    """Gamma, then a blend with the S-curve ``3 x^2 - 2 x^3``; 0 stays 0 and 1 stays 1."""
    curved = image if gamma == 1 else np.power(image, np.float32(gamma))
    return curved if contrast == 0 else (1 - contrast) * curved + contrast * curved**2 * (3 - 2 * curved)


def unsharp(image: np.ndarray, amount: float, radius_px: float) -> np.ndarray:
    """Add ``amount`` of the difference from a smoothed copy."""
    return image if amount == 0 else image + np.float32(amount) * (image - cv2.GaussianBlur(image, (0, 0), radius_px))
