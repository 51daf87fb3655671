"""What many measures need from one image, computed once and only when asked for.

Everything is kept in 32-bit floats on the 0-255 scale whatever the input depth: no measure sees the input's type, and
no rounding of the grey conversion is taken for detail. Every filter runs at the image's own scale, or at exactly half
and quarter of it (Burt and Adelson's pyramid, 1983): blur is a size in pixels, so that an image is never resampled to a
fixed size.
"""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import cv2
import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import LUMA
from focus_picker.features import boundary, fourier, kernels
from focus_picker.features.kernels import mean_absolute, mean_square, steps

LEAST_SIDE_PX = 8  # below it the quarter scale has one pixel left and no boundary has a ring
MOST_SIDE_PX = 2048
RED, GREEN, BLUE = 0, 1, 2

BAND_EDGES = (0.012, 0.025, 0.045, 0.07, 0.1, 0.135, 0.175, 0.24)
"""Edges of the Fourier bands, cycles per pixel of the image.

A well-sampled microscope passes nothing above the last.
"""

_GREY_OF_PAIRS = np.array(
    [LUMA[first] * LUMA[second] * (1 if first == second else 2) for first, second in fourier.PAIRS]
)

Value = TypeVar("Value")


class once(Generic[Value]):
    """``functools.cached_property`` without its lock, which costs a tenth of all measures' time.

    The first access stores the value in the instance under the method's name, where later ones find it without coming
    here. Two threads at worst compute the same value twice.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute = compute
        self.name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "once[Value]": ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> "once[Value] | Value":
        """Compute and keep the value; the descriptor itself when asked of the class."""
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.compute(instance)
        return value


class Intermediates:
    """One image and what is computed from it, lazily, at most once.

    All of it together takes about 100 bytes of memory a pixel, and time in proportion to the pixels: of a larger image
    the central ``MOST_SIDE_PX`` squared are measured, which hold far more than a cell.

    Parameters
    ----------
    image
        ``(H, W, 3)`` RGB or ``(H, W)`` grey; ``uint8``, ``uint16`` with full scale 65535, or floating point on the
        0-255 scale. At least 8 x 8 pixels.

    Raises
    ------
    InputError
        Another shape or type, fewer pixels, or a float image with NaN, infinity or values far off the 0-255 scale.
    """

    def __init__(self, image: np.ndarray) -> None:
        check_image(image)
        image = self._image = _bounded(image)
        self.is_colour = image.ndim == 3
        self.height, self.width = image.shape[:2]
        self.size = self.height * self.width
        self.inner_size = (self.height - 2) * (self.width - 2)

    # Pixels

    @once
    def pixels(self) -> np.ndarray:
        """The image on the 0-255 scale, ``(H, W, 3)`` or ``(H, W)`` float32."""
        pixels = self._image.astype(np.float32)
        if self._image.dtype == np.uint16:
            pixels *= np.float32(1 / 257)
        return pixels

    @once
    def grey(self) -> np.ndarray:
        """Luma (ITU-R BT.601), ``(H, W)`` float32, 0-255."""
        return cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY) if self.is_colour else self.pixels

    @once
    def mean(self) -> float:
        """Mean grey level."""
        return cv2.sumElems(self.grey)[0] / self.size

    @once
    def brightness(self) -> float:
        """Square of the mean grey level: what energies are divided by, so that lamp and exposure cancel."""
        return self.mean**2

    @once
    def centred(self) -> np.ndarray:
        """Grey minus its mean, ``(H, W)``."""
        return self.grey - np.float32(self.mean)

    @once
    def centred_turned(self) -> np.ndarray:
        """Transposed ``centred``, ``(W, H)``: differences along x are differences of its rows."""
        return cv2.transpose(self.centred)

    @once
    def variance(self) -> float:
        """Variance of grey."""
        return mean_square(self.centred)

    @once
    def histogram(self) -> np.ndarray:
        """Share of the pixels at each of the 256 grey levels, ``(256,)`` float64."""
        return kernels.histogram_of(cv2.convertScaleAbs(self.grey))

    @once
    def cumulated(self) -> np.ndarray:
        """Share of the pixels at or below each grey level, ``(256,)``."""
        return self.histogram.cumsum()

    @once
    def levels(self) -> list[float]:
        """Grey levels below which 1, 5, 25, 75, 95 and 99 percent of the pixels lie."""
        return kernels.percentiles(self.histogram, self.cumulated, (0.01, 0.05, 0.25, 0.75, 0.95, 0.99))

    @once
    def half_pixels(self) -> np.ndarray:
        """Red, green and blue smoothed and halved, ``(h, w, 3)``; three times grey for grey input."""
        half = cv2.pyrDown(self.pixels)
        return half if self.is_colour else cv2.merge([half] * 3)

    @once
    def half(self) -> np.ndarray:
        """Grey at half scale, ``(h, w)``."""
        return cv2.cvtColor(self.half_pixels, cv2.COLOR_RGB2GRAY)

    @once
    def quarter(self) -> np.ndarray:
        """Grey at quarter scale."""
        return cv2.pyrDown(self.half)

    @once
    def half_centred(self) -> np.ndarray:
        """``half`` minus the mean grey level."""
        return self.half - np.float32(self.mean)

    @once
    def quarter_centred(self) -> np.ndarray:
        """``quarter`` minus the mean grey level."""
        return self.quarter - np.float32(self.mean)

    # Gradients

    @once
    def sobel_y(self) -> np.ndarray:
        """Sobel's derivative along y, ``(H, W)``, 0 in the outermost pixels; 8 for a ramp of 1 level per pixel."""
        return kernels.sobel(self.central_y)

    @once
    def sobel_x_turned(self) -> np.ndarray:
        """Sobel's derivative along x, transposed: ``(W, H)``."""
        return kernels.sobel(self.central_x)

    @once
    def gradient(self) -> np.ndarray:
        """Magnitude of Sobel's gradient, ``(H, W)``, 0 in the outermost pixels."""
        # cv2.magnitude rounds differently from one place in memory to another: features would not repeat bit by bit.
        squared: np.ndarray = cv2.transpose(self.sobel_x_turned)
        squared *= squared
        squared += self.sobel_y * self.sobel_y
        return np.sqrt(squared, out=squared)

    @once
    def gradient_energy(self) -> float:
        """Mean square of Sobel's gradient over the inner pixels."""
        return kernels.total_square(self.gradient) / self.inner_size

    @once
    def gradient_mean(self) -> float:
        """Mean magnitude of Sobel's gradient over the inner pixels."""
        return cv2.sumElems(self.gradient)[0] / self.inner_size

    @once
    def gradient_maximum(self) -> float:
        """Largest magnitude of Sobel's gradient."""
        return cv2.norm(self.gradient, cv2.NORM_INF)

    @once
    def gradient_fourth(self) -> float:
        """Mean fourth power of Sobel's gradient over the inner pixels."""
        return kernels.total_square(self.gradient * self.gradient) / self.inner_size

    @once
    def edge_gradient(self) -> float:
        """Root mean square of the gradient where each pixel weighs by its squared gradient: that of the edges."""
        return math.sqrt(kernels.ratio(self.gradient_fourth, self.gradient_energy))

    # Differences at a distance

    @once
    def step_y(self) -> np.ndarray:
        """``I(y + 1) - I(y)``, ``(H - 1, W)``."""
        return steps(self.centred, 1)

    @once
    def step_x(self) -> np.ndarray:
        """``I(x + 1) - I(x)``, transposed: ``(W - 1, H)``."""
        return steps(self.centred_turned, 1)

    @once
    def central_y(self) -> np.ndarray:
        """``I(y + 1) - I(y - 1)``, ``(H - 2, W)``."""
        return steps(self.centred, 2)

    @once
    def central_x(self) -> np.ndarray:
        """``I(x + 1) - I(x - 1)``, transposed: ``(W - 2, H)``."""
        return steps(self.centred_turned, 2)

    @once
    def curve_y(self) -> np.ndarray:
        """Second difference along y, ``(H - 2, W)``."""
        return steps(self.step_y, 1)

    @once
    def curve_x(self) -> np.ndarray:
        """Second difference along x, transposed: ``(W - 2, H)``."""
        return steps(self.step_x, 1)

    @once
    def straight_curvature(self) -> float:
        """Mean absolute second difference along y plus that along x."""
        return mean_absolute(self.curve_y) + mean_absolute(self.curve_x)

    @once
    def falling(self) -> np.ndarray:
        """Differences of neighbours on falling diagonals, see :func:`features.kernels.falling_steps`."""
        return kernels.falling_steps(self.grey)

    @once
    def rising(self) -> np.ndarray:
        """Differences of neighbours on rising diagonals."""
        return kernels.rising_steps(self.grey)

    @once
    def falling_curve(self) -> np.ndarray:
        """Second differences on falling diagonals."""
        return kernels.falling_curves(self.falling)

    @once
    def rising_curve(self) -> np.ndarray:
        """Second differences on rising diagonals."""
        return kernels.rising_curves(self.rising)

    @once
    def step_y_energy(self) -> float:
        """Mean square of ``step_y``."""
        return mean_square(self.step_y)

    @once
    def structure_1(self) -> float:
        """Mean squared difference of neighbours, both directions added (the structure function at 1 pixel)."""
        return self.step_y_energy + mean_square(self.step_x)

    @once
    def structure_2(self) -> float:
        """The same of pixels two apart."""
        return mean_square(self.central_y) + mean_square(self.central_x)

    @once
    def half_central(self) -> tuple[np.ndarray, np.ndarray]:
        """``I(y + 1) - I(y - 1)`` and ``I(x + 1) - I(x - 1)`` (transposed) at half scale."""
        return steps(self.half, 2), steps(cv2.transpose(self.half), 2)

    @once
    def half_structure_2(self) -> float:
        """Mean squared difference of pixels two apart at half scale, both directions added."""
        return sum(map(mean_square, self.half_central))

    @once
    def neighbour_covariance(self) -> float:
        """Mean product of mean-free neighbours, both directions added."""
        return kernels.lagged_product(self.centred, self.centred_turned, 1)

    @once
    def diagonal_steps(self) -> float:
        """Mean squared difference of diagonal neighbours, both diagonals added."""
        pairs = (self.height - 1) * (self.width - 1)
        return (kernels.total_square(self.falling) + kernels.total_square(self.rising)) / pairs

    @once
    def haar_diagonal(self) -> float:
        """Mean squared diagonal detail of Haar's wavelet without decimation.

        With ``u = c - a`` and ``v = d - b`` in 2 x 2 pixels ``a b / c d``, the detail is ``(v - u) / 2``, and ``u + v``
        is the falling step ``d - a`` plus the rising step ``c - b``. The squares of sum and difference add up to twice
        those of ``u`` and ``v``, so that the energy follows from what other measures need too.
        """
        left, right = self.step_y[:, 0], self.step_y[:, -1]
        sides = 4 * self.step_y.size * self.step_y_energy - 2 * float(left @ left + right @ right)
        crossed = float(np.vdot(self.falling.ravel()[:-1], self.rising.ravel()[1:]))
        pairs = (self.height - 1) * (self.width - 1)
        return max((sides - 2 * crossed) / pairs - self.diagonal_steps, 0.0) / 4

    # Second derivatives

    @once
    def laplacian(self) -> np.ndarray:
        """Four-neighbour Laplacian, ``(H, W)``, grey levels per pixel squared."""
        return cv2.Laplacian(self.grey, cv2.CV_32F)

    @once
    def laplacian_squared(self) -> np.ndarray:
        """Its square."""
        return self.laplacian * self.laplacian

    @once
    def laplacian_energy(self) -> float:
        """Mean square of the Laplacian."""
        return mean_square(self.laplacian)

    @once
    def half_laplacian(self) -> np.ndarray:
        """Laplacian at half scale."""
        return cv2.Laplacian(self.half, cv2.CV_32F)

    @once
    def half_laplacian_energy(self) -> float:
        """Its mean square."""
        return mean_square(self.half_laplacian)

    @once
    def quarter_laplacian(self) -> np.ndarray:
        """Laplacian at quarter scale."""
        return cv2.Laplacian(self.quarter, cv2.CV_32F)

    @once
    def quarter_laplacian_energy(self) -> float:
        """Its mean square."""
        return mean_square(self.quarter_laplacian)

    # Frequencies

    @once
    def pair_bands(self) -> np.ndarray:
        """Covariance of two channels in each of ``BAND_EDGES``' rings of frequency, ``(6, bands)``.

        Rows are the pairs of :data:`features.fourier.PAIRS`.
        """
        # One pixel of the half scale is two of the image, so that frequencies double.
        return fourier.cross_powers(self.half_pixels, tuple(2 * edge for edge in BAND_EDGES))

    @once
    def colour_bands(self) -> list[list[list[float]]]:
        """The same as ``colour_bands[first channel][second channel][band]``."""
        pairs = self.pair_bands.tolist()
        return [[pairs[row] for row in rows] for rows in fourier.PAIR_ROWS]

    @once
    def bands(self) -> list[float]:
        """Variance of grey in each of ``BAND_EDGES``' rings of frequency."""
        return [max(power, 0.0) for power in (_GREY_OF_PAIRS @ self.pair_bands).tolist()]

    @once
    def band_logs(self) -> list[float]:
        """Natural logarithm of ``bands``, each raised by a floor far below a camera's noise."""
        return [math.log(power + kernels.ENERGY_FLOOR) for power in self.bands]

    @once
    def middle_cosine_energy(self) -> float:
        """Mean square of the mixed difference of 2 x 2 neighbours at half scale, a quarter of it."""
        along_y = steps(self.half, 1)
        return mean_square(along_y[:, 1:] - along_y[:, :-1]) / 16

    # Signed statistics

    @once
    def half_moments(self) -> dict[str, float]:
        """Third-order statistics of grey at half scale, see :func:`features.kernels.signed_moments`."""
        return kernels.signed_moments(self.half_centred, self.half_laplacian)

    @once
    def quarter_moments(self) -> dict[str, float]:
        """The same at quarter scale."""
        return kernels.signed_moments(self.quarter_centred, self.quarter_laplacian)

    # Cell and nucleus

    @once
    def parts(self) -> boundary.Levels:
        """Grey levels of nucleus, cell and background."""
        return boundary.part_levels(self.half, self.histogram, self.cumulated)

    @once
    def nucleus_profile(self) -> list[list[float]]:
        """Mean level of red, green, blue and grey in each ring about the nucleus' boundary at half scale.

        In units of the contrast between background and nucleus; zeros where there is no such contrast.
        """
        inside = self._mask(self.half, self.parts.nucleus_bound)
        if inside is None:
            return [[0.0] * boundary.N_RINGS] * 4
        means = boundary.ring_means(self.half_pixels, inside) / self.parts.contrast
        return [*means.tolist(), (LUMA @ means).tolist()]

    @once
    def cell_profile(self) -> list[float]:
        """Mean grey level in each ring about the boundary of all darker than the background, at quarter scale."""
        inside = self._mask(self.quarter, self.parts.cell_bound)
        if inside is None:
            return [0.0] * boundary.N_RINGS
        return (boundary.ring_means(self.quarter, inside)[0] / self.parts.contrast).tolist()

    def _mask(self, image: np.ndarray, bound: float) -> np.ndarray | None:
        """Where ``image`` is darker than ``bound``, ``uint8``; None where nothing or all is, or contrast is lacking."""
        inside = (image < bound).view(np.uint8)
        return inside if self.parts.found and 0 < cv2.countNonZero(inside) < inside.size else None


def _bounded(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = max(0, height - MOST_SIDE_PX) // 2, max(0, width - MOST_SIDE_PX) // 2
    return image[top : top + MOST_SIDE_PX, left : left + MOST_SIDE_PX]


def check_image(image: np.ndarray) -> None:
    """Refuse what the measures cannot read.

    Raises
    ------
    InputError
        See :class:`Intermediates`.
    """
    if not isinstance(image, np.ndarray) or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        shape = getattr(image, "shape", type(image).__name__)
        raise InputError(f"an image of shape {shape} cannot be measured; give (H, W, 3) RGB or (H, W) grey")
    if min(image.shape[:2]) < LEAST_SIDE_PX:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise InputError(f"an image of {size} pixels is too small to measure; give at least {LEAST_SIDE_PX} x 8")
    if image.dtype in (np.uint8, np.uint16):
        return
    if image.dtype.kind != "f":
        raise InputError(f"pixels of type {image.dtype} cannot be measured; give uint8, uint16, or float on 0 to 255")
    low, high = float(image.min()), float(image.max())
    if not math.isfinite(low + high):
        raise InputError("the image has NaN or infinite pixels; replace them before measuring")
    if low < -255 or high > 510:
        raise InputError(
            f"float pixels run from {low:g} to {high:g}; bring them to the 0 to 255 scale before measuring"
        )
