"""Focus measures from spatial frequencies: defocus takes the high ones first.

Fourier measures look through a tapered square window in the middle of the crop at half scale (:mod:`features.fourier`);
a well-sampled microscope passes nothing above. The finest scale is left to Haar's wavelet, taken without decimation, so
that shifting the image by a pixel changes nothing.
"""

import math
from itertools import pairwise

import numpy as np

from focus_picker.features.intermediates import BAND_EDGES, Intermediates
from focus_picker.features.kernels import ENERGY_FLOOR, log_ratio, ratio

_CENTRES = [math.sqrt(low * high) for low, high in pairwise(BAND_EDGES)]
_LOG_AREAS = [math.log(high**2 - low**2) for low, high in pairwise(BAND_EDGES)]
_OFFSETS = np.log(_CENTRES) - np.log(_CENTRES).mean()
_SLOPE_WEIGHTS = _OFFSETS / (_OFFSETS @ _OFFSETS)
_AREA_SLOPE = float(_SLOPE_WEIGHTS @ _LOG_AREAS)


def band_step(image: Intermediates, band: int) -> float:
    """Logarithm of the power in one ring of frequency over that in the next lower one.

    Where the spectrum breaks off.
    """
    return image.band_logs[band] - image.band_logs[band - 1]


def high_frequency_energy(image: Intermediates) -> float:
    """Power above 0.07 cycles per pixel over the squared mean level (after Firestone et al. 1991)."""
    return ratio(sum(image.bands[3:]), image.brightness)


def high_to_low_frequency(image: Intermediates) -> float:
    """Logarithm of the power above 0.07 cycles per pixel over that below: free of contrast."""
    return log_ratio(sum(image.bands[3:]), sum(image.bands[:3]))


def spectral_slope(image: Intermediates) -> float:
    """Exponent of the spectral density's fall with frequency, about -2 to -3 in focus (Field and Brady 1997)."""
    if sum(image.bands) < ENERGY_FLOOR:
        return 0.0
    return float(_SLOPE_WEIGHTS @ image.band_logs) - _AREA_SLOPE


def spectral_bend(image: Intermediates) -> float:
    """Fall of the upper bands minus fall of the lower: defocus cuts the spectrum off, content only tilts it."""
    low, middle, high = image.band_logs[0], image.band_logs[3], image.band_logs[6]
    return high - 2 * middle + low


def spectral_centroid(image: Intermediates) -> float:
    """Mean frequency of the power, cycles per pixel."""
    total = sum(image.bands)
    if total < ENERGY_FLOOR:
        return 0.0
    return sum(power * centre for power, centre in zip(image.bands, _CENTRES, strict=True)) / total


def spectral_entropy(image: Intermediates) -> float:
    """Entropy, in bits, of the power over the bands: blur gathers it in the lowest (after Kristan et al. 2006)."""
    total = sum(image.bands)
    if total < ENERGY_FLOOR:
        return 0.0
    return -sum(power / total * math.log2(power / total) for power in image.bands if power > 0)


def haar_diagonal(image: Intermediates) -> float:
    """Energy of Haar's diagonal detail (Yang and Nelson 2003): what a camera's noise reaches first.

    Haar's horizontal and vertical detail together are Roberts' cross, see :func:`features.gradient.roberts`.
    """
    return ratio(image.haar_diagonal, image.brightness)


def haar_detail_share(image: Intermediates) -> float:
    """Logarithm of Haar's straight detail over the variance (after Kautsky et al. 2002): free of contrast."""
    return log_ratio(image.diagonal_steps / 2, image.variance)


def haar_diagonal_ratio(image: Intermediates) -> float:
    """Logarithm of diagonal over straight detail: the finest scale against the next (after Xie et al. 2006)."""
    return log_ratio(image.haar_diagonal, image.diagonal_steps / 2)


def middle_cosine(image: Intermediates) -> float:
    """Energy of the middle term of 4 x 4 cosine transforms (Lee et al. 2008).

    Of all terms the middle one rises most steadily towards focus: low ones follow content, high ones noise. Lee's
    operator gives the four quarters of a block the signs + - - +; here a quarter's mean is a pixel of the half scale.
    """
    return ratio(image.middle_cosine_energy, image.brightness)


def middle_cosine_ratio(image: Intermediates) -> float:
    """Logarithm of the same over the mean squared difference two pixels apart at half scale: free of contrast."""
    return log_ratio(image.middle_cosine_energy, image.half_structure_2)
