"""Focus measures from second derivatives: they weigh fine detail more than gradients do, and noise with it."""

import math

import cv2

from focus_picker.features.feature import COMMON, LOG, Family
from focus_picker.features.intermediates import Intermediates
from focus_picker.features.kernels import ENERGY_FLOOR, log_ratio, mean_square, ratio, total_absolute, total_square

DETAIL = Family("fine detail")


@DETAIL.declare("Variance of the four-neighbour Laplacian", sign=1, source="Pech-Pacheco et al. 2000")
def laplacian_variance(image: Intermediates) -> float:
    """Variance of the four-neighbour Laplacian.

    The one-line recipe of many programs. Noise of variance s adds 20 s, so that a grainy blank image scores high.
    """
    mean = cv2.sumElems(image.laplacian)[0] / image.size
    return ratio(max(image.laplacian_energy - mean**2, 0.0), image.brightness)


@DETAIL.declare("Mean squared eight-neighbour Laplacian", sign=1, source="Subbarao et al. 1993")
def laplacian_energy(image: Intermediates) -> float:
    """Mean squared eight-neighbour Laplacian with Subbarao's kernel (1 4 1; 4 -20 4; 1 4 1).

    The kernel is four times the four-neighbour one plus the diagonal one: nearly the same answer in all directions.
    Pixels without eight neighbours are left out.
    """
    answer = 4 * image.laplacian[1:-1]
    answer += image.falling_curve
    answer += image.rising_curve
    answer[:, 0] = answer[:, -1] = 0
    return ratio(total_square(answer), image.inner_size * image.brightness)


@DETAIL.declare("Mean absolute second difference along y and x", sign=1, source="Nayar and Nakagawa 1994")
def modified_laplacian(image: Intermediates) -> float:
    """Mean of the absolute second differences along y and x.

    Opposite curvatures don't cancel.
    """
    return ratio(image.straight_curvature, image.mean)


@DETAIL.declare("Mean absolute second difference in four directions", sign=1, source="Thelen et al. 2009")
def diagonal_modified_laplacian(image: Intermediates) -> float:
    """Modified Laplacian with the two diagonals, these over the square root of two."""
    diagonal = total_absolute(image.falling_curve) + total_absolute(image.rising_curve)
    return ratio(image.straight_curvature + diagonal / (math.sqrt(2) * image.inner_size), image.mean)


@DETAIL.declare("Largest absolute Laplacian", sign=1, source=COMMON)
def maximum_laplacian(image: Intermediates) -> float:
    """Largest absolute Laplacian: the sharpest point or line; a dead pixel rules it."""
    return ratio(cv2.norm(image.laplacian, cv2.NORM_INF), image.mean)


@DETAIL.declare("Mean squared Laplacian at half scale", sign=1)
def half_scale_laplacian(image: Intermediates) -> float:
    """Mean squared Laplacian at half scale: noise is averaged down before it is differentiated."""
    return ratio(image.half_laplacian_energy, image.brightness)


@DETAIL.declare("Mean squared Laplacian at quarter scale", sign=1)
def quarter_scale_laplacian(image: Intermediates) -> float:
    """Mean squared Laplacian at quarter scale: for images several depths of field off."""
    return ratio(image.quarter_laplacian_energy, image.brightness)


@DETAIL.declare("Kurtosis of the Laplacian", sign=0)
def laplacian_kurtosis(image: Intermediates) -> float:
    """Mean fourth power of the Laplacian over its squared mean square.

    About 3 for noise, high for sparse sharp detail.
    """
    if image.laplacian_energy < ENERGY_FLOOR:
        return 0.0
    return mean_square(image.laplacian_squared) / image.laplacian_energy**2


@DETAIL.declare("Skewness of the Laplacian at quarter scale", sign=0)
def quarter_laplacian_skewness(image: Intermediates) -> float:
    """Skewness of the Laplacian at quarter scale: whether coarse detail is dark or bright.

    No cue of sign: on either side of focus it moves with the content as much as with the side.
    """
    return image.quarter_moments["laplacian_skewness"]


@DETAIL.declare("Squared Laplacian over that at half scale", sign=1, unit=LOG)
def fine_to_half_laplacian(image: Intermediates) -> float:
    """Logarithm of the Laplacian's energy over that at half scale: falls with blur, whatever the contrast."""
    return log_ratio(image.laplacian_energy, image.half_laplacian_energy)


@DETAIL.declare("Squared Laplacian at half scale over that at quarter scale", sign=1, unit=LOG)
def half_to_quarter_laplacian(image: Intermediates) -> float:
    """The same between half and quarter scale: blur of several pixels."""
    return log_ratio(image.half_laplacian_energy, image.quarter_laplacian_energy)


@DETAIL.declare("Squared Laplacian over squared gradient", sign=1, unit=LOG)
def laplacian_to_gradient(image: Intermediates) -> float:
    """Logarithm of the Laplacian's energy over the gradient's: mean squared frequency of the edges.

    A Gaussian edge of width s gives 1 / (2 s^2) without noise: a blur estimate free of content.
    """
    return log_ratio(64 * image.laplacian_energy, image.gradient_energy)


@DETAIL.declare("Squared Laplacian over squared gradient at half scale", sign=1, unit=LOG)
def half_laplacian_to_gradient(image: Intermediates) -> float:
    """The same at half scale, against Brenner's differences: blur of several pixels."""
    return log_ratio(4 * image.half_laplacian_energy, image.half_structure_2)
