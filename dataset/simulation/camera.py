"""From intensity to the bytes of a colour camera."""

from dataclasses import dataclass, replace

import numpy as np

from focus_picker.dataset.simulation.instrument import Camera
from focus_picker.dataset.simulation.processing import develop, dust_shadows, to_grey


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
    """Photograph a stack: lamp flicker, photon noise, read noise, eight bits, and what the camera's software does.

    Parameters
    ----------
    intensity
        ``(Z, H, W, 3)``, 1 in empty background.
    illumination
        ``(H, W)`` from :func:`vignette`.
    exposure, camera
        Levels and noise, processing.
    rng
        Source of the noise.

    Returns
    -------
    np.ndarray
        ``(Z, H, W, 3)`` uint8 RGB; of another size where the processing resamples.
    """
    settings = camera.processing
    if settings is None:
        grey = _electrons(intensity, illumination, exposure, camera, rng) * np.float32(255 / camera.full_well_e)
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if settings.dust:
        illumination = illumination * dust_shadows(illumination.shape, settings.dust, rng)
    if settings.grey:
        intensity = to_grey(intensity, settings.grey)
        exposure = replace(exposure, background=np.full(3, exposure.background.mean()))
    electrons = _electrons(intensity, illumination, exposure, camera, rng)
    if settings.grey:
        electrons[..., 1:] = electrons[..., :1]  # one sensor, one noise
    return np.stack([develop(image / np.float32(camera.full_well_e), settings) for image in electrons])


def _electrons(
    intensity: np.ndarray, illumination: np.ndarray, exposure: Exposure, camera: Camera, rng: np.random.Generator
) -> np.ndarray:
    """Electrons that the sensor counts, noise included, float32 in the shape of ``intensity``."""
    flicker = 1 + camera.lamp_flicker * rng.standard_normal((len(intensity), 1, 1, 1))
    scale = camera.full_well_e * exposure.background * illumination[None, :, :, None] * flicker
    electrons = intensity * scale.astype(np.float32)
    # Above a few hundred electrons Poisson noise is normal to well under a grey level, and ten times faster to draw.
    noise = rng.standard_normal(electrons.shape, dtype=np.float32)
    electrons += noise * np.sqrt(np.maximum(electrons, 0) + np.float32(camera.read_noise_e**2))
    return electrons
