"""Array kernels that the intermediates are built from, each chosen by its time on a 120 x 140 image.

At this size OpenCV and dot products are two to five times faster than NumPy's reductions, and differences of columns
are three times slower than differences of rows: that is why a mean square is a dot product here, and why differences
along x are taken along the rows of the transposed image.
"""

import math

import cv2
import numpy as np

ENERGY_FLOOR = 1e-3
"""Grey levels squared: below any camera's noise and above rounding, so that nothing over nothing is 1 in a ratio."""

LEAST_RMS = 0.05  # grey levels: what is flatter than any camera's noise has no shape to speak of


def ratio(numerator: float, denominator: float) -> float:
    """Quotient of two quantities, 0 where there is nothing to divide by."""
    return numerator / denominator if denominator > 1e-9 else 0.0


def log_ratio(numerator: float, denominator: float, floor: float = ENERGY_FLOOR) -> float:
    """Natural logarithm of a quotient of two quantities that are never negative; 0 where both vanish.

    ``floor`` is added to both: it should lie well below what noise alone gives, and it keeps the result finite.
    """
    return math.log((numerator + floor) / (denominator + floor))


def total_square(array: np.ndarray) -> float:
    """Sum of the squares."""
    return float(np.vdot(array, array))


def total_product(first: np.ndarray, second: np.ndarray) -> float:
    """Sum of the products of two arrays of one shape."""
    return float(np.vdot(first, second))


def total_absolute(array: np.ndarray) -> float:
    """Sum of the absolute values."""
    return cv2.norm(array, cv2.NORM_L1)


def mean_square(array: np.ndarray) -> float:
    """Mean of the squares."""
    return float(np.vdot(array, array)) / array.size


def mean_absolute(array: np.ndarray) -> float:
    """Mean of the absolute values."""
    return cv2.norm(array, cv2.NORM_L1) / array.size


def mean_product(first: np.ndarray, second: np.ndarray) -> float:
    """Mean of the products of two arrays of one shape."""
    return float(np.vdot(first, second)) / first.size


def steps(image: np.ndarray, distance: int) -> np.ndarray:
    """Differences of rows ``distance`` apart, ``(H - distance, W)``; of a transposed image, differences along x."""
    return image[distance:] - image[:-distance]


def lagged_product(image: np.ndarray, turned: np.ndarray, distance: int) -> float:
    """Mean product of pixels ``distance`` apart along y plus the same along x, from an image and its transpose."""
    along_y = mean_product(image[distance:], image[:-distance])
    return along_y + mean_product(turned[distance:], turned[:-distance])


# Below, differences and sums of neighbours in a row, or on a diagonal, are taken over the image as one long line: two
# to three times faster than over shifted rectangles. What wraps from one row's end to the next row is then set to 0.


def sobel(central: np.ndarray) -> np.ndarray:
    """Sobel's derivative from differences of rows two apart ``(H - 2, W)``: smoothed with 1 2 1 along the rows.

    Returns
    -------
    np.ndarray
        ``(H, W)``, 0 in the outermost rows and columns.
    """
    height, width = central.shape[0] + 2, central.shape[1]
    result = np.empty((height, width), np.float32)
    line = central.ravel()
    pairs = line[1:] + line[:-1]
    np.add(pairs[1:], pairs[:-1], out=result.ravel()[width + 1 : -width - 1])
    result[0] = result[-1] = 0
    result[:, 0] = result[:, -1] = 0
    return result


def falling_steps(image: np.ndarray) -> np.ndarray:
    """``I(y + 1, x + 1) - I(y, x)``, ``(H - 1, W)``; the last column, which has no such pixel, is 0."""
    height, width = image.shape
    result = np.empty((height - 1, width), np.float32)
    line = image.ravel()
    np.subtract(line[width + 1 :], line[: -width - 1], out=result.ravel()[:-1])
    result[:, -1] = 0
    return result


def rising_steps(image: np.ndarray) -> np.ndarray:
    """``I(y + 1, x - 1) - I(y, x)``, ``(H - 1, W)`` with zeros in the first column."""
    height, width = image.shape
    result = np.empty((height - 1, width), np.float32)
    line = image.ravel()
    np.subtract(line[width - 1 : -1], line[:-width], out=result.ravel())
    result[:, 0] = 0
    return result


def falling_curves(first: np.ndarray) -> np.ndarray:
    """Second differences about each inner row from :func:`falling_steps`, ``(H - 2, W)``; outer columns are 0."""
    height, width = first.shape
    result = np.empty((height - 1, width), np.float32)
    line = first.ravel()
    np.subtract(line[width + 1 :], line[: -width - 1], out=result.ravel()[1:])
    result[:, 0] = result[:, -1] = 0
    return result


def rising_curves(first: np.ndarray) -> np.ndarray:
    """Second differences about each inner row from :func:`rising_steps`, ``(H - 2, W)``; outer columns are 0."""
    height, width = first.shape
    result = np.empty((height - 1, width), np.float32)
    line = first.ravel()
    np.subtract(line[width:-1], line[1:-width], out=result.ravel()[:-1])
    result[:, 0] = result[:, -1] = 0
    return result


# Histograms


def histogram_of(levels: np.ndarray) -> np.ndarray:
    """Share of the pixels at each of the 256 levels of a ``uint8`` image, ``(256,)`` float64."""
    return cv2.calcHist([levels], [0], None, [256], [0, 256]).ravel() / np.float64(levels.size)


def percentiles(histogram: np.ndarray, cumulated: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    """Levels below which the given shares of a normalised 256-level histogram lie, interpolated between levels."""
    found = np.minimum(cumulated.searchsorted(shares), 255)
    places = zip(found.tolist(), cumulated[found].tolist(), histogram[found].tolist(), shares, strict=True)
    return [level + 0.5 - min(max((upto - share) / (own + 1e-12), 0.0), 1.0) for level, upto, own, share in places]


def histogram_entropy(histogram: np.ndarray) -> float:
    """Entropy in bits of a normalised histogram."""
    return max(-float(histogram @ np.log2(histogram + 1e-12)), 0.0)


# Third-order statistics


def signed_moments(level: np.ndarray, curvature: np.ndarray) -> dict[str, float]:
    """Third-order statistics of a mean-free image ``u`` and its Laplacian ``l``, each made free of scale.

    Returns
    -------
    dict
        ``intensity_skewness`` <u u u>, ``laplacian_skewness`` <l l l>, ``transport`` <u u l>, ``detail_side`` <l l u>,
        each over the root mean squares of its three factors; 0 where the image is flat.
    """
    level_squared, curvature_squared = level * level, curvature * curvature
    u, v = math.sqrt(mean_square(level)), math.sqrt(mean_square(curvature))
    if u < LEAST_RMS or v < LEAST_RMS:
        return dict.fromkeys(("intensity_skewness", "laplacian_skewness", "transport", "detail_side"), 0.0)
    return {
        "intensity_skewness": mean_product(level_squared, level) / u**3,
        "laplacian_skewness": mean_product(curvature_squared, curvature) / v**3,
        "transport": mean_product(level_squared, curvature) / (u * u * v),
        "detail_side": mean_product(curvature_squared, level) / (v * v * u),
    }
