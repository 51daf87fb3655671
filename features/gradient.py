"""Focus measures from first derivatives: edges are steep where the lens is in focus.

All but the ratios are divided by the mean grey level (or its square), so that exposure cancels; what they cannot cancel
is content: an image with more edges scores higher. The ratios between scales and the widths at the end are there for
that.
"""

import cv2

from focus_picker.features.feature import COMMON, LOG, Family
from focus_picker.features.intermediates import Intermediates
from focus_picker.features.kernels import ENERGY_FLOOR, log_ratio, ratio, total_product

SOBEL_GAIN = 8.0  # Sobel's kernel answers 8 to a ramp of one grey level per pixel

EDGES = Family("edges")


@EDGES.declare("Mean squared Sobel gradient", sign=1, source="Tenenbaum 1970; Krotkov 1987")
def tenengrad(image: Intermediates) -> float:
    """Mean squared Sobel gradient.

    The classical choice for stacks. Its peak is pulled off focus by phase contrast, and noise of variance s adds 24 s.
    """
    return ratio(image.gradient_energy, image.brightness)


@EDGES.declare("Variance of the Sobel gradient's magnitude", sign=1, source="Pech-Pacheco et al. 2000")
def tenengrad_variance(image: Intermediates) -> float:
    """Variance of the Sobel gradient's magnitude.

    Strong edges count, an even haze does not.
    """
    return ratio(max(image.gradient_energy - image.gradient_mean**2, 0.0), image.brightness)


@EDGES.declare("Mean magnitude of the Sobel gradient", sign=1, source=COMMON)
def gradient_mean(image: Intermediates) -> float:
    """Mean magnitude of the Sobel gradient; less ruled by single strong edges than Tenengrad, more by noise."""
    return ratio(image.gradient_mean, image.mean)


@EDGES.declare("Mean squared difference of pixels two apart", sign=1, source="Brenner et al. 1976")
def brenner(image: Intermediates) -> float:
    """Mean squared difference of pixels two apart, along y and x.

    The original looks along one axis only; both are taken so that turning the crop changes nothing. Boddeke's measure
    (1994) is the same difference.
    """
    return ratio(image.structure_2, image.brightness)


@EDGES.declare("Mean squared difference of neighbours", sign=1, source="Eskicioglu and Fisher 1995; Santos et al. 1997")
def squared_gradient(image: Intermediates) -> float:
    """Mean squared difference of neighbours.

    Noisier than Brenner's.
    """
    return ratio(image.structure_1, image.brightness)


@EDGES.declare("Mean squared Scharr gradient", sign=1, source="Scharr 2000")
def scharr(image: Intermediates) -> float:
    """Mean squared Scharr gradient, the 3 x 3 gradient with the best rotation symmetry.

    Scharr's kernel is three times Sobel's plus four times the central difference, so that its energy follows from
    theirs and their product.
    """
    along_y = total_product(image.sobel_y[1:-1], image.central_y)
    shared = along_y + total_product(image.sobel_x_turned[1:-1], image.central_x)
    energy = 9 * image.gradient_energy + 24 * shared / image.inner_size + 16 * image.structure_2
    return ratio(energy, image.brightness)


@EDGES.declare("Mean squared difference of diagonal neighbours", sign=1, source="Roberts 1963")
def roberts(image: Intermediates) -> float:
    """Mean squared difference of diagonal neighbours, Roberts' cross (1963); the smallest kernel, so the noisiest."""
    return ratio(image.diagonal_steps, image.brightness)


@EDGES.declare("Steepest Sobel gradient", sign=1, unit="1/pixel", source=COMMON)
def maximum_gradient(image: Intermediates) -> float:
    """Steepest Sobel gradient, per pixel.

    Sharpness of the sharpest edge, whatever else is there; a dead pixel rules it.
    """
    return ratio(image.gradient_maximum / SOBEL_GAIN, image.mean)


@EDGES.declare("Gradient of the edges", sign=1, unit="1/pixel")
def edge_gradient(image: Intermediates) -> float:
    """Gradient of the edges, per pixel: its root mean square weighted by the squared gradient itself.

    The sharpness of what edges there are, whatever their number, without the single worst pixel.
    """
    return ratio(image.edge_gradient / SOBEL_GAIN, image.mean)


@EDGES.declare("Brenner's measure at half scale", sign=1, source="after Brenner et al. 1976")
def half_scale_gradient(image: Intermediates) -> float:
    """Brenner's measure at half scale.

    Less noise, and it still rises where the finest scale has nothing left to say.
    """
    return ratio(image.half_structure_2, image.brightness)


@EDGES.declare("Kurtosis of the gradient", sign=0)
def gradient_kurtosis(image: Intermediates) -> float:
    """Mean fourth power of the gradient over its squared mean square: blur spreads edges, which lowers it.

    Free of contrast and exposure. Falls with noise, and an image of one edge scores higher than one of many.
    """
    return ratio(image.gradient_fourth, image.gradient_energy**2) if image.gradient_energy > ENERGY_FLOOR else 0.0


@EDGES.declare("Squared mean over mean square of the gradient", sign=0)
def edge_share(image: Intermediates) -> float:
    """Squared mean over mean square of the gradient: 1 for an even ramp, near 0 for few edges on flat ground."""
    return ratio(image.gradient_mean**2, image.gradient_energy) if image.gradient_energy > ENERGY_FLOOR else 0.0


@EDGES.declare("Steepest gradient over the edges' gradient", sign=0, unit=LOG)
def edge_spread(image: Intermediates) -> float:
    """Logarithm of the steepest gradient over the edges' gradient: how unlike the edges are."""
    return log_ratio(image.gradient_maximum, image.edge_gradient, floor=0.4)


@EDGES.declare(
    "Pixels from the darkest to the brightest level at an edge",
    sign=-1,
    unit=LOG,
    source="after Marziliano et al. 2002",
)
def edge_width(image: Intermediates) -> float:
    """Logarithm of the pixels that the edges' gradient would take from the darkest to the brightest level.

    Levels are the 5th and 95th percentiles. Free of contrast; small where edges are sharp.
    """
    contrast = image.levels[4] - image.levels[1]
    return log_ratio(contrast, image.edge_gradient / SOBEL_GAIN, floor=0.05)


@EDGES.declare("Brenner's measure over the same at half scale", sign=1, unit=LOG)
def fine_to_half_gradient(image: Intermediates) -> float:
    """Logarithm of Brenner's measure over the same at half scale: falls with blur, whatever the content's contrast."""
    return log_ratio(image.structure_2, image.half_structure_2)


@EDGES.declare("Steepest gradient over the steepest at half scale", sign=1, unit=LOG)
def steepest_scale_ratio(image: Intermediates) -> float:
    """Logarithm of the largest gradient over the largest at half scale: width of the sharpest edge alone."""
    coarse = max(cv2.norm(side, cv2.NORM_INF) for side in image.half_central)
    return log_ratio(image.gradient_maximum / 4, coarse, floor=0.1)


@EDGES.declare("Squared difference one pixel apart over that two apart", sign=1, unit=LOG)
def structure_1_to_2(image: Intermediates) -> float:
    """Logarithm of the mean squared difference one pixel apart over that two apart: log 1/4 where all is smooth."""
    return log_ratio(image.structure_1, image.structure_2)


@EDGES.declare("Squared difference two pixels apart over the variance", sign=1, unit=LOG)
def structure_2_to_variance(image: Intermediates) -> float:
    """Logarithm of the mean squared difference two pixels apart over four times the variance.

    How far grey correlates.
    """
    return log_ratio(image.structure_2, 4 * image.variance)
