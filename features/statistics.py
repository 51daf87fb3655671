"""Focus measures from grey levels and their correlation at small distances.

Blur mixes neighbours and narrows the range.
"""

import numpy as np

from focus_picker.features.intermediates import Intermediates
from focus_picker.features.kernels import histogram_entropy, lagged_product, log_ratio, mean_square, ratio

_POWERS = np.stack([((np.arange(256) - 127.5) / 127.5) ** order for order in range(1, 5)], axis=1)


def variance(image: Intermediates) -> float:
    """Variance of grey, grey levels squared (Groen et al. 1985).

    Grows with exposure; ruled by how much of a crop is cell.
    """
    return image.variance


def normalised_variance(image: Intermediates) -> float:
    """Variance over mean (Groen et al. 1985; Santos et al. 1997).

    The textbooks' favourite for blood, and wrong on crops of white cells: it follows how much dark nucleus is in the
    crop far more than focus. Grows in proportion to exposure, as defined.
    """
    return ratio(image.variance, image.mean)


def contrast(image: Intermediates) -> float:
    """Standard deviation over mean: free of exposure."""
    return ratio(image.variance**0.5, image.mean)


def entropy(image: Intermediates) -> float:
    """Entropy of the grey histogram in bits (Firestone et al. 1991).

    Blur first raises it on crops with flat background.
    """
    return histogram_entropy(image.histogram)


def kurtosis(image: Intermediates) -> float:
    """Fourth central moment over squared variance of the grey histogram (Zhang et al. 1999); 0 for a flat image."""
    first, second, third, fourth = (image.histogram @ _POWERS).tolist()
    variance = second - first**2
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return central / variance**2 if variance * 127.5**2 > 0.05 else 0.0


def vollath_f4(image: Intermediates) -> float:
    """Autocorrelation one pixel apart minus two apart, along y and x (Vollath 1987).

    Noise is uncorrelated and cancels. Taken of the mean-free image, so that the missing border row does not count.
    """
    far = lagged_product(image.centred, image.centred_turned, 2)
    return ratio(image.neighbour_covariance - far, image.brightness)


def vollath_f5(image: Intermediates) -> float:
    """Autocorrelation one pixel apart minus the squared mean, along y and x (Vollath 1988): variance without noise."""
    return ratio(image.neighbour_covariance, image.brightness)


def neighbour_correlation(image: Intermediates) -> float:
    """Correlation of neighbours, 0 to 1: blur brings it to 1, noise lowers it; 0 for a flat image."""
    return ratio(image.neighbour_covariance / 2, image.variance) if image.variance > 1e-3 else 0.0


def histogram_range(image: Intermediates) -> float:
    """Grey levels between the 1st and the 99th percentile over the mean (after Firestone et al. 1991)."""
    return ratio(image.levels[5] - image.levels[0], image.mean)


def interquartile_share(image: Intermediates) -> float:
    """Middle half's range over the 5th to 95th percentile's: blur fills the levels between nucleus and background."""
    _, low, quarter, three_quarters, high, _ = image.levels
    return ratio(three_quarters - quarter, high - low)


def transition_share(image: Intermediates) -> float:
    """Share of pixels in the middle half of the way from nucleus to background: the area that blurred edges take."""
    parts = image.parts
    if not parts.found:
        return 0.0
    quarter = parts.contrast / 4
    bright, dark = (int(image_level) for image_level in (parts.background - quarter, parts.nucleus + quarter))
    return float(image.cumulated[bright] - image.cumulated[dark])


def variance_by_scale(image: Intermediates) -> float:
    """Logarithm of the variance lost from full to half scale over that lost from half to quarter scale."""
    half, quarter = mean_square(image.half_centred), mean_square(image.quarter_centred)
    return log_ratio(max(image.variance - half, 0.0), max(half - quarter, 0.0), floor=0.05)
