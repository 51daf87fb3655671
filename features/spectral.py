"""Focus measures from spatial frequencies: defocus takes the high ones first.

Fourier measures look through a tapered square window in the middle of the crop at half scale (:mod:`features.fourier`);
a well-sampled microscope passes nothing above. The finest scale is left to Haar's wavelet, taken without decimation, so
that shifting the image by a pixel changes nothing.
"""

import math
from functools import partial
from itertools import pairwise

import numpy as np

from focus_picker.features.feature import COMMON, LOG, Family
from focus_picker.features.intermediates import BAND_EDGES, Intermediates
from focus_picker.features.kernels import ENERGY_FLOOR, log_ratio, ratio

_CENTRES = [math.sqrt(low * high) for low, high in pairwise(BAND_EDGES)]
_LOG_AREAS = [math.log(high**2 - low**2) for low, high in pairwise(BAND_EDGES)]
_OFFSETS = np.log(_CENTRES) - np.log(_CENTRES).mean()
_SLOPE_WEIGHTS = _OFFSETS / (_OFFSETS @ _OFFSETS)
_AREA_SLOPE = float(_SLOPE_WEIGHTS @ _LOG_AREAS)

FREQUENCIES = Family("spatial frequencies")


@FREQUENCIES.declare(
    "Power above 0.07 cycles per pixel over the squared mean", sign=1, source="after Firestone et al. 1991"
)
def high_frequency_energy(image: Intermediates) -> float:
    """Power above 0.07 cycles per pixel over the squared mean level."""
    return ratio(sum(image.bands[3:]), image.brightness)


@FREQUENCIES.declare("Power above 0.07 cycles per pixel over that below", sign=1, unit=LOG)
def high_to_low_frequency(image: Intermediates) -> float:
    """Logarithm of the power above 0.07 cycles per pixel over that below: free of contrast."""
    return log_ratio(sum(image.bands[3:]), sum(image.bands[:3]))


@FREQUENCIES.declare("Exponent of the spectrum's fall with frequency", sign=1, source="Field and Brady 1997")
def spectral_slope(image: Intermediates) -> float:
    """Exponent of the spectral density's fall with frequency, about -2 to -3 in focus."""
    if sum(image.bands) < ENERGY_FLOOR:
        return 0.0
    return float(_SLOPE_WEIGHTS @ image.band_logs) - _AREA_SLOPE


@FREQUENCIES.declare("Fall of the upper frequencies minus fall of the lower", sign=0, unit=LOG)
def spectral_bend(image: Intermediates) -> float:
    """Fall of the upper bands minus fall of the lower: defocus cuts the spectrum off, content only tilts it."""
    low, middle, high = image.band_logs[0], image.band_logs[3], image.band_logs[6]
    return high - 2 * middle + low


@FREQUENCIES.declare("Mean frequency of the power", sign=1, unit="cycles/pixel", source=COMMON)
def spectral_centroid(image: Intermediates) -> float:
    """Mean frequency of the power, cycles per pixel."""
    total = sum(image.bands)
    if total < ENERGY_FLOOR:
        return 0.0
    return sum(power * centre for power, centre in zip(image.bands, _CENTRES, strict=True)) / total


@FREQUENCIES.declare(
    "Entropy of the power over the frequencies", sign=1, unit="bits", source="after Kristan et al. 2006"
)
def spectral_entropy(image: Intermediates) -> float:
    """Entropy, in bits, of the power over the bands: blur gathers it in the lowest."""
    total = sum(image.bands)
    if total < ENERGY_FLOOR:
        return 0.0
    return -sum(power / total * math.log2(power / total) for power in image.bands if power > 0)


def band_step(image: Intermediates, band: int) -> float:
    """Logarithm of the power in one ring of frequency over that in the next lower one.

    Where the spectrum breaks off.
    """
    return image.band_logs[band] - image.band_logs[band - 1]


for _band in range(1, len(BAND_EDGES) - 1):
    _label = f"Fall of the spectrum from frequency band {_band - 1} to {_band}"
    FREQUENCIES.add(f"band_step_{_band}", partial(band_step, band=_band), _label, sign=1, unit=LOG)


@FREQUENCIES.declare("Energy of Haar's diagonal detail", sign=1, source="Yang and Nelson 2003")
def haar_diagonal(image: Intermediates) -> float:
    """Energy of Haar's diagonal detail: what a camera's noise reaches first.

    Haar's horizontal and vertical detail together are Roberts' cross, see :func:`features.gradient.roberts`.
    """
    return ratio(image.haar_diagonal, image.brightness)


@FREQUENCIES.declare("Haar's straight detail over the variance", sign=1, unit=LOG, source="after Kautsky et al. 2002")
def haar_detail_share(image: Intermediates) -> float:
    """Logarithm of Haar's straight detail over the variance: free of contrast."""
    return log_ratio(image.diagonal_steps / 2, image.variance)


@FREQUENCIES.declare("Haar's diagonal detail over the straight one", sign=1, unit=LOG, source="after Xie et al. 2006")
def haar_diagonal_ratio(image: Intermediates) -> float:
    """Logarithm of diagonal over straight detail: the finest scale against the next."""
    return log_ratio(image.haar_diagonal, image.diagonal_steps / 2)


@FREQUENCIES.declare("Energy of the middle term of 4 x 4 cosine transforms", sign=1, source="Lee et al. 2008")
def middle_cosine(image: Intermediates) -> float:
    """Energy of the middle term of 4 x 4 cosine transforms.

    Of all terms the middle one rises most steadily towards focus: low ones follow content, high ones noise. Lee's
    operator gives the four quarters of a block the signs + - - +; here a quarter's mean is a pixel of the half scale.
    """
    return ratio(image.middle_cosine_energy, image.brightness)


@FREQUENCIES.declare(
    "Middle cosine term over squared differences at half scale", sign=1, unit=LOG, source="after Lee et al. 2008"
)
def middle_cosine_ratio(image: Intermediates) -> float:
    """Logarithm of the same over the mean squared difference two pixels apart at half scale: free of contrast."""
    return log_ratio(image.middle_cosine_energy, image.half_structure_2)
