"""From intensity to the bytes of a colour camera."""

from dataclasses import dataclass

import numpy as np

from focus_picker.dataset.simulation.instrument import Camera


@dataclass(frozen=True)
class Exposure:
    """What all slices of a field share: lamp level, white balance and where the vignette's centre lies.

    Attributes
    ----------
    background
        Empty background per channel as a fraction of full scale, ``(3,)``.
    vignetting
        Loss of light at one field radius from the centre.
    """

    background: np.ndarray
    vignetting: float


def draw_exposure(camera: Camera, rng: np.random.Generator) -> Exposure:
    """Draw one field's exposure from the camera's ranges."""
    level = rng.uniform(*camera.background_level)
    balance = 1 + camera.white_balance_spread * rng.uniform(-1, 1, 3)
    return Exposure(np.minimum(level * balance, 0.97), rng.uniform(*camera.vignetting))


def vignette(shape: tuple[int, int], corner: tuple[float, float], size: float, loss: float) -> np.ndarray:
    """Relative illumination ``(H, W)`` of a crop: quadratic fall from the field's centre.

    Parameters
    ----------
    shape
        Of the crop.
    corner
        Top left of the crop as a fraction of the field radius from the field's centre, (y, x).
    size
        Extent of one pixel in the same unit.
    loss
        Loss at one field radius.
    """
    y = corner[0] + size * np.arange(shape[0])
    x = corner[1] + size * np.arange(shape[1])
    return 1 - loss * (y[:, None] ** 2 + x[None, :] ** 2)


def photograph(
    intensity: np.ndarray, illumination: np.ndarray, exposure: Exposure, camera: Camera, rng: np.random.Generator
) -> np.ndarray:
    """Photograph a stack: lamp flicker, photon noise, read noise, eight bits.

    Parameters
    ----------
    intensity
        ``(Z, H, W, 3)``, 1 in empty background.
    illumination
        ``(H, W)`` from :func:`vignette`.
    exposure, camera
        Levels and noise.
    rng
        Source of the noise.

    Returns
    -------
    np.ndarray
        ``(Z, H, W, 3)`` uint8 RGB.
    """
    flicker = 1 + camera.lamp_flicker * rng.standard_normal((len(intensity), 1, 1, 1))
    scale = camera.full_well_e * exposure.background * illumination[None, :, :, None] * flicker
    electrons = intensity * scale.astype(np.float32)
    # Above a few hundred electrons Poisson noise is normal to well under a grey level, and ten times faster to draw.
    noise = rng.standard_normal(electrons.shape, dtype=np.float32)
    electrons += noise * np.sqrt(np.maximum(electrons, 0) + np.float32(camera.read_noise_e**2))
    grey = electrons * np.float32(255 / camera.full_well_e)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
