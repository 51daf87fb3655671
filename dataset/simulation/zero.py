"""Where zero is: the plane in which a purely absorbing texture looks sharpest through an instrument.

People label the plane that looks sharpest. With spherical aberration and axial colour that is not the plane where the
pupil's phase is flat; they differ by up to a slice or two. Phase is left out on purpose: it shifts the look of one cell
and not that of another, so it cannot define the instrument's zero.
"""

from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from focus_picker.dataset.images import LUMA
from focus_picker.dataset.simulation.instrument import Instrument
from focus_picker.dataset.simulation.optics import through_focus
from focus_picker.dataset.simulation.specimen import Specimen


def absorbing_texture(shape: tuple[int, int], grid_um: float, rng: np.random.Generator) -> Specimen:
    """Random density without phase, with details of 0.3 to 3 um as chromatin, granules and rims have.

    The amplitude spectrum falls as 1/f between these sizes, which is the slope of stained cells and of most pictures.
    """
    frequency = np.hypot(*np.meshgrid(fft.fftfreq(shape[0], grid_um), fft.rfftfreq(shape[1], grid_um), indexing="ij"))
    band = (frequency > 1 / 3) & (frequency < 1 / 0.3)
    slope = np.where(band, 1 / np.maximum(frequency, 1e-9), 0)
    noise = fft.irfft2(fft.rfft2(rng.standard_normal(shape)) * slope, s=shape)
    density = np.clip(0.6 + 0.2 * noise / noise.std(), 0, None)
    return Specimen(density=np.repeat(density[..., None], 3, axis=2), path_um=np.zeros(shape))


def tenengrad(intensity: np.ndarray) -> float:
    """Mean squared Sobel gradient of the luminance of one ``(H, W, 3)`` image (Tenenbaum 1970)."""
    grey = intensity @ LUMA
    gradient = cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(grey, cv2.CV_32F, 0, 1) ** 2
    return float(gradient.mean())


@lru_cache(maxsize=256)
def focus_zero_um(instrument: Instrument) -> float:
    """Plane, relative to the object, that counts as score zero for this instrument, micrometres.

    Tenengrad of :func:`absorbing_texture` is scanned over two depths of field either side in steps of an eighth, and
    a parabola through the peak and its neighbours gives the position between steps.
    """
    grid_um = instrument.pixel_um / instrument.oversampling
    side = fft.next_fast_len(int(np.ceil(8 / grid_um)))
    texture = absorbing_texture((side, side), grid_um, np.random.default_rng(0))
    step_um = instrument.depth_of_field_um / 8
    planes_um = step_um * np.arange(-16, 17)
    sharpness = np.array([tenengrad(image) for image in through_focus(texture, instrument, planes_um)])
    peak = int(np.clip(np.argmax(sharpness), 1, len(planes_um) - 2))
    before, at, after = sharpness[peak - 1 : peak + 2]
    offset = 0.5 * (before - after) / (before - 2 * at + after)
    return float(planes_um[peak] + step_um * np.clip(offset, -1, 1))
