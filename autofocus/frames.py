"""Frames of a search: taken, cropped, checked and measured."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from focus_picker.autofocus.devices import Camera, Stopped
from focus_picker.autofocus.settings import Settings
from focus_picker.dataset.arrays import rgb_image
from focus_picker.dataset.errors import InputError
from focus_picker.features import measure
from focus_picker.models.contract import Model
from focus_picker.models.focus_state import UNCALIBRATED, UNSURE

SHARPNESS = "tenengrad"


@dataclass(frozen=True)
class Frame:
    """One look through the microscope.

    Attributes
    ----------
    z_um
        Where the drive was.
    image
        The judged region, ``(H, W, 3)``.
    sharpness
        Natural logarithm of Tenengrad by mean brightness squared.
    score
        Of the model; NaN where there is none or it abstains.
    """

    z_um: float
    image: np.ndarray
    sharpness: float
    score: float


def take(camera: Camera, z_um: float, settings: Settings, model: Model | None) -> Frame:
    """Take a frame at ``z_um`` and measure it.

    Raises
    ------
    Stopped
        The camera raised, or what it gave is no image or cannot be measured.
    """
    try:
        image = cropped(rgb_image(camera.snap(), "the camera's image"), settings.crop)
        sharpness = log_sharpness(image)
        score = score_of(image, model)
    except (InputError, ArithmeticError) as error:
        raise Stopped("camera", str(error)) from error
    except Stopped:
        raise
    except Exception as error:  # whatever a driver raises
        raise Stopped("camera", f"the camera gave no image: {error}") from error
    return Frame(z_um, image, sharpness, score)


def cropped(image: np.ndarray, crop: tuple[int, int, int, int] | None) -> np.ndarray:
    """Region ``(x, y, width, height)`` of an image; Stopped where it reaches beyond it."""
    if crop is None:
        return image
    x, y, width, height = crop
    if x + width > image.shape[1] or y + height > image.shape[0]:
        raise Stopped("camera", f"the crop {crop} reaches beyond the image of {image.shape[1]} x {image.shape[0]}")
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def log_sharpness(image: np.ndarray) -> float:
    """Logarithm of the sharpness measure; an image without any edge has a very small one."""
    return math.log(max(measure(image, [SHARPNESS])[SHARPNESS], 1e-12))


def score_of(image: np.ndarray, model: Model | None) -> float:
    """Score of an image; NaN without a model, where it was not calibrated, or where the image is unlike anything seen.

    A model is also unsure where its interval holds both sides. That is common near focus and no reason to leave the
    score out: what it is worth there was measured by the calibration.
    """
    if model is None:
        return math.nan
    judged, slice_score = model.judge([image]), model.side.score_per_slice
    state, both_sides = str(judged.status[0]), judged.lower[0] < -slice_score and judged.upper[0] > slice_score
    if state == UNCALIBRATED or (state == UNSURE and not both_sides):
        return math.nan
    return float(judged.score[0])


def check_brightness(image: np.ndarray, settings: Settings) -> None:
    """Raise Stopped where a frame's exposure is plainly wrong: nothing that follows could be trusted."""
    full = np.iinfo(image.dtype).max
    mean = float(np.mean(cv2.mean(image)[:3])) / full
    saturated = float((image >= full).all(axis=2).mean())
    low, high = settings.brightness
    if not low <= mean <= high:
        word = "dark" if mean < low else "bright"
        raise Stopped("brightness", f"too {word}: the mean is {mean:.1%} of full scale; check lamp, shutter, exposure")
    if saturated > settings.most_saturated:
        raise Stopped("brightness", f"{saturated:.0%} of the pixels are saturated: lower exposure_ms")
