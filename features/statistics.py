"""Focus measures from grey levels and their correlation at small distances.

Blur mixes neighbours and narrows the range.
"""

import numpy as np

from focus_picker.features.feature import COMMON, LOG, Family
from focus_picker.features.intermediates import Intermediates
from focus_picker.features.kernels import histogram_entropy, lagged_product, log_ratio, mean_square, ratio

_POWERS = np.stack([((np.arange(256) - 127.5) / 127.5) ** order for order in range(1, 5)], axis=1)

LEVELS = Family("grey levels")


@LEVELS.declare("Variance of grey", sign=1, unit="grey levels²", source="Groen et al. 1985")
def variance(image: Intermediates) -> float:
    """Variance of grey, grey levels squared.

    Grows with exposure; ruled by how much of a crop is cell.
    """
    return image.variance


@LEVELS.declare("Variance over mean", sign=1, unit="grey levels", source="Groen et al. 1985; Santos et al. 1997")
def normalised_variance(image: Intermediates) -> float:
    """Variance over mean.

    The textbooks' favourite for blood, and wrong on crops of white cells: it follows how much dark nucleus is in the
    crop far more than focus. Grows in proportion to exposure, as defined.
    """
    return ratio(image.variance, image.mean)


@LEVELS.declare("Standard deviation over mean", sign=1, source=COMMON)
def contrast(image: Intermediates) -> float:
    """Standard deviation over mean: free of exposure."""
    return ratio(image.variance**0.5, image.mean)


@LEVELS.declare("Entropy of the grey histogram", sign=0, unit="bits", source="Firestone et al. 1991")
def entropy(image: Intermediates) -> float:
    """Entropy of the grey histogram in bits.

    Blur first raises it on crops with flat background.
    """
    return histogram_entropy(image.histogram)


@LEVELS.declare("Kurtosis of the grey histogram", sign=0, source="Zhang et al. 1999")
def kurtosis(image: Intermediates) -> float:
    """Fourth central moment over squared variance of the grey histogram; 0 for a flat image."""
    first, second, third, fourth = (image.histogram @ _POWERS).tolist()
    variance = second - first**2
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return central / variance**2 if variance * 127.5**2 > 0.05 else 0.0


@LEVELS.declare("Autocorrelation one pixel apart minus two apart", sign=1, source="Vollath 1987")
def vollath_f4(image: Intermediates) -> float:
    """Autocorrelation one pixel apart minus two apart, along y and x.

    Noise is uncorrelated and cancels. Taken of the mean-free image, so that the missing border row does not count.
    """
    far = lagged_product(image.centred, image.centred_turned, 2)
    return ratio(image.neighbour_covariance - far, image.brightness)


@LEVELS.declare("Autocorrelation one pixel apart minus the squared mean", sign=1, source="Vollath 1988")
def vollath_f5(image: Intermediates) -> float:
    """Autocorrelation one pixel apart minus the squared mean, along y and x: variance without noise."""
    return ratio(image.neighbour_covariance, image.brightness)


@LEVELS.declare("Correlation of neighbours, 0 to 1", sign=-1)
def neighbour_correlation(image: Intermediates) -> float:
    """Correlation of neighbours, 0 to 1: blur brings it to 1, noise lowers it; 0 for a flat image."""
    return ratio(image.neighbour_covariance / 2, image.variance) if image.variance > 1e-3 else 0.0


@LEVELS.declare("Range of the grey levels over their mean", sign=1, source="after Firestone et al. 1991")
def histogram_range(image: Intermediates) -> float:
    """Grey levels between the 1st and the 99th percentile over the mean."""
    return ratio(image.levels[5] - image.levels[0], image.mean)


@LEVELS.declare("Middle half's range over the 5th to 95th percentile's", sign=0)
def interquartile_share(image: Intermediates) -> float:
    """Middle half's range over the 5th to 95th percentile's: blur fills the levels between nucleus and background."""
    _, low, quarter, three_quarters, high, _ = image.levels
    return ratio(three_quarters - quarter, high - low)


@LEVELS.declare("Share of pixels between nucleus and background", sign=0)
def transition_share(image: Intermediates) -> float:
    """Share of pixels in the middle half of the way from nucleus to background: the area that blurred edges take."""
    parts = image.parts
    if not parts.found:
        return 0.0
    quarter = parts.contrast / 4
    bright, dark = (int(image_level) for image_level in (parts.background - quarter, parts.nucleus + quarter))
    return float(image.cumulated[bright] - image.cumulated[dark])


@LEVELS.declare("Variance lost from full to half over half to quarter scale", sign=1, unit=LOG)
def variance_by_scale(image: Intermediates) -> float:
    """Logarithm of the variance lost from full to half scale over that lost from half to quarter scale."""
    half, quarter = mean_square(image.half_centred), mean_square(image.quarter_centred)
    return log_ratio(max(image.variance - half, 0.0), max(half - quarter, 0.0), floor=0.05)
