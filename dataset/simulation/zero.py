"""Where zero is: the plane in which a cell looks sharpest, and, for comparison, where an absorbing texture would.

People label the plane that looks sharpest, sharpness measures find it, and a lens should go there. With phase,
spherical aberration and axial colour it is neither where the pupil's phase is flat nor the same for every cell.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from focus_picker.dataset.images import LUMA
from focus_picker.dataset.simulation.instrument import Instrument
from focus_picker.dataset.simulation.optics import through_focus
from focus_picker.dataset.simulation.specimen import Specimen

SCAN_DEPTHS, SCAN_STEP = 1.5, 0.25  # depths of field to either side of the optical zero, and between scanned planes


def tenengrad(grey: np.ndarray) -> float:
    """Mean squared Sobel gradient (Tenenbaum 1970)."""
    gradient = cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(grey, cv2.CV_32F, 0, 1) ** 2
    return float(gradient.mean())


def brenner(grey: np.ndarray) -> float:
    """Mean squared difference of pixels two apart, both ways (Brenner et al. 1976)."""
    return float(((grey[2:] - grey[:-2]) ** 2).mean() + ((grey[:, 2:] - grey[:, :-2]) ** 2).mean())


def modified_laplacian(grey: np.ndarray) -> float:
    """Mean of the summed magnitudes of both second derivatives (Nayar and Nakagawa 1994), at half scale."""
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    second = np.array([[-1, 2, -1]], np.float32)
    return float(sum(np.abs(cv2.filter2D(half, cv2.CV_32F, kernel)).mean() for kernel in (second, second.T)))


def vollath_f4(grey: np.ndarray) -> float:
    """Autocorrelation at one pixel less that at two (Vollath 1987), both ways, over the same pixels."""
    g = grey - grey.mean()
    return float(sum((v[1:-1] * (v[2:] + v[:-2]) / 2 - v[2:] * v[:-2]).mean() for v in (g, g.T)))


def gradient_energy(grey: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels after light smoothing, both ways."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return float((np.diff(smooth, axis=0) ** 2).mean() + (np.diff(smooth, axis=1) ** 2).mean())


MEASURES: tuple[Callable[[np.ndarray], float], ...] = (
    tenengrad,
    brenner,
    modified_laplacian,
    vollath_f4,
    gradient_energy,
)
"""Of a float32 luminance ``(H, W)``. Written here and not taken from ``features``: truth must not move with them."""


def sharpest_um(intensity: np.ndarray, planes_um: np.ndarray) -> float:
    """Plane in which noise-free images look sharpest: the median of what ``MEASURES`` find, each between planes.

    Parameters
    ----------
    intensity
        ``(Z, H, W, 3)``, noise-free.
    planes_um
        ``(Z,)`` equally spaced, about a quarter of a depth of field apart.
    """
    luminance = [np.ascontiguousarray(image @ LUMA, dtype=np.float32) for image in intensity]
    return float(np.median([_peak_um([measure(grey) for grey in luminance], planes_um) for measure in MEASURES]))


def _peak_um(sharpness: list[float], planes_um: np.ndarray) -> float:
    """Vertex of the parabola through the largest value and its neighbours."""
    peak = int(np.clip(np.argmax(sharpness), 1, len(planes_um) - 2))
    before, at, after = sharpness[peak - 1 : peak + 2]
    offset = 0.5 * (before - after) / (before - 2 * at + after)
    return float(planes_um[peak] + (planes_um[1] - planes_um[0]) * np.clip(offset, -1, 1))


def scan_planes_um(instrument: Instrument) -> np.ndarray:
    """Planes about the optical zero among which a cell's sharpest one is looked for, micrometres."""
    steps = round(SCAN_DEPTHS / SCAN_STEP)
    return optical_zero_um(instrument) + SCAN_STEP * instrument.depth_of_field_um * np.arange(-steps, steps + 1)


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


@lru_cache(maxsize=256)
def optical_zero_um(instrument: Instrument) -> float:
    """Plane, relative to the object, in which an absorbing texture looks sharpest through this instrument, micrometres.

    Tenengrad of :func:`absorbing_texture` is scanned over two depths of field either side in steps of an eighth, and
    a parabola through the peak and its neighbours gives the position between steps.
    """
    grid_um = instrument.pixel_um / instrument.oversampling
    side = fft.next_fast_len(int(np.ceil(8 / grid_um)))
    texture = absorbing_texture((side, side), grid_um, np.random.default_rng(0))
    step_um = instrument.depth_of_field_um / 8
    planes_um = step_um * np.arange(-16, 17)
    images = through_focus(texture, instrument, planes_um)
    return _peak_um([tenengrad(np.ascontiguousarray(image @ LUMA, dtype=np.float32)) for image in images], planes_um)
