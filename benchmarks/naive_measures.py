"""Focus measures as one writes them with OpenCV from the papers: each turns the crop grey and filters it for itself.

They work on bytes and 16-bit integers, which OpenCV filters faster than the floats of ``features``. What they lack is
sharing: of grey image, gradients, Laplacian, histogram, pyramid and spectrum.
"""

from collections.abc import Callable

import cv2
import numpy as np

Measure = Callable[[np.ndarray], float]


def grey_of(crop: np.ndarray) -> np.ndarray:
    """Grey image."""
    return cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)


def gradient_of(crop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel's derivatives along x and y."""
    grey = grey_of(crop)
    return cv2.Sobel(grey, cv2.CV_16S, 1, 0), cv2.Sobel(grey, cv2.CV_16S, 0, 1)


def energy(array: np.ndarray) -> float:
    """Mean square."""
    return cv2.norm(array, cv2.NORM_L2SQR) / array.size


def strength(array: np.ndarray) -> float:
    """Mean absolute value."""
    return cv2.norm(array, cv2.NORM_L1) / array.size


def shifted(crop: np.ndarray, kind: int, y: int, x: int) -> float:
    """Mean difference of pixels ``y`` and ``x`` apart, in a norm."""
    grey = grey_of(crop)
    height, width = grey.shape
    return cv2.norm(grey[y:, x:], grey[: height - y, : width - x], kind) / grey.size


def filtered(crop: np.ndarray, kernel: list[list[int]]) -> np.ndarray:
    """Grey image through a small kernel."""
    return cv2.filter2D(grey_of(crop), cv2.CV_16S, np.array(kernel, np.float32))


def histogram_of(crop: np.ndarray) -> np.ndarray:
    """Share of the pixels at each grey level."""
    counts = cv2.calcHist([grey_of(crop)], [0], None, [256], [0, 256]).ravel()
    return counts / counts.sum()


def moment(crop: np.ndarray, order: int) -> float:
    """Standardised central moment of the grey levels."""
    share, levels = histogram_of(crop), np.arange(256.0)
    offset = levels - share @ levels
    square = offset * offset
    higher = square * (offset if order == 3 else square)
    return float(share @ higher / (share @ square) ** (order / 2))


def level_range(crop: np.ndarray, low: float, high: float) -> float:
    """Grey levels between two shares of the pixels."""
    cumulated = np.cumsum(histogram_of(crop))
    return float(np.searchsorted(cumulated, high) - np.searchsorted(cumulated, low))


def entropy_of(crop: np.ndarray) -> float:
    """Entropy of the grey levels, bits."""
    share = histogram_of(crop)
    share = share[share > 0]
    return -float(share @ np.log2(share))


def tenengrad_variance(crop: np.ndarray) -> float:
    """Variance of the gradient's magnitude."""
    across, down = (side.astype(np.float32) for side in gradient_of(crop))
    return float(cv2.meanStdDev(cv2.magnitude(across, down))[1][0, 0]) ** 2


def normalised_variance(crop: np.ndarray) -> float:
    """Variance over mean."""
    mean, spread = cv2.meanStdDev(grey_of(crop))
    return float(spread[0, 0] ** 2 / mean[0, 0])


def correlated(crop: np.ndarray, y: int, x: int) -> float:
    """Mean product of pixels ``y`` and ``x`` apart."""
    grey = grey_of(crop).astype(np.float32)
    height, width = grey.shape
    return cv2.mean(cv2.multiply(grey[y:, x:], grey[: height - y, : width - x]))[0]


def smaller(crop: np.ndarray) -> np.ndarray:
    """Grey image at half scale."""
    return cv2.pyrDown(grey_of(crop))


def haar(crop: np.ndarray, kind: str) -> float:
    """Energy of one detail of Haar's wavelet."""
    grey = grey_of(crop).astype(np.float32)
    a, b, c, d = grey[::2, ::2], grey[::2, 1::2], grey[1::2, ::2], grey[1::2, 1::2]
    signs = {"horizontal": (-1, 1, -1), "vertical": (1, -1, -1), "diagonal": (-1, -1, 1)}[kind]
    return energy(a + signs[0] * b + signs[1] * c + signs[2] * d)


def spectrum_share(crop: np.ndarray, low: int, high: int) -> float:
    """Share of the spectrum between two frequencies."""
    square = grey_of(crop)[:96, :96].astype(np.float32)
    power = np.square(cv2.dft(square))
    return float(power[low:high, low:high].sum() / power[1:, 1:].sum())


def cosine_share(crop: np.ndarray, low: int, high: int) -> float:
    """Share of the cosine transform between two frequencies."""
    power = np.square(cv2.dct(grey_of(crop)[:64, :64].astype(np.float32)))
    return float(power[low:high, low:high].sum() / power[1:, 1:].sum())


def reblurred(crop: np.ndarray) -> float:
    """Mean change by a small blur (after Crete et al. 2007)."""
    grey = grey_of(crop)
    return cv2.norm(grey, cv2.blur(grey, (3, 3)), cv2.NORM_L1) / grey.size


SUBBARAO = [[1, 4, 1], [4, -20, 4], [1, 4, 1]]
NAIVE: dict[str, Measure] = {
    "tenengrad": lambda crop: sum(map(energy, gradient_of(crop))),
    "tenengrad_variance": tenengrad_variance,
    "sobel_mean": lambda crop: sum(map(strength, gradient_of(crop))),
    "sobel_maximum": lambda crop: max(cv2.norm(side, cv2.NORM_INF) for side in gradient_of(crop)),
    "scharr": lambda crop: energy(cv2.Scharr(grey_of(crop), cv2.CV_16S, 1, 0)),
    "scharr_y": lambda crop: energy(cv2.Scharr(grey_of(crop), cv2.CV_16S, 0, 1)),
    "brenner": lambda crop: shifted(crop, cv2.NORM_L2SQR, 0, 2),
    "brenner_y": lambda crop: shifted(crop, cv2.NORM_L2SQR, 2, 0),
    "squared_gradient": lambda crop: shifted(crop, cv2.NORM_L2SQR, 0, 1),
    "squared_gradient_y": lambda crop: shifted(crop, cv2.NORM_L2SQR, 1, 0),
    "absolute_gradient": lambda crop: shifted(crop, cv2.NORM_L1, 0, 1),
    "absolute_gradient_y": lambda crop: shifted(crop, cv2.NORM_L1, 1, 0),
    "roberts": lambda crop: shifted(crop, cv2.NORM_L2SQR, 1, 1),
    "boddeke": lambda crop: energy(filtered(crop, [[-1, 0, 1]])),
    "prewitt": lambda crop: energy(filtered(crop, [[-1, 0, 1]] * 3)),
    "coarse_tenengrad": lambda crop: energy(cv2.Sobel(smaller(crop), cv2.CV_16S, 1, 0)),
    "laplacian_variance": lambda crop: energy(cv2.Laplacian(grey_of(crop), cv2.CV_16S)),
    "laplacian_mean": lambda crop: strength(cv2.Laplacian(grey_of(crop), cv2.CV_16S)),
    "laplacian_maximum": lambda crop: cv2.norm(cv2.Laplacian(grey_of(crop), cv2.CV_16S), cv2.NORM_INF),
    "laplacian_energy": lambda crop: energy(filtered(crop, SUBBARAO)),
    "modified_laplacian": lambda crop: strength(filtered(crop, [[-1, 2, -1]])),
    "modified_laplacian_y": lambda crop: strength(filtered(crop, [[-1], [2], [-1]])),
    "diagonal_laplacian": lambda crop: strength(filtered(crop, [[-1, 0, 0], [0, 2, 0], [0, 0, -1]])),
    "coarse_laplacian": lambda crop: energy(cv2.Laplacian(smaller(crop), cv2.CV_16S)),
    "variance": lambda crop: float(cv2.meanStdDev(grey_of(crop))[1][0, 0]) ** 2,
    "normalised_variance": normalised_variance,
    "skewness": lambda crop: moment(crop, 3),
    "kurtosis": lambda crop: moment(crop, 4),
    "entropy": entropy_of,
    "histogram_range": lambda crop: level_range(crop, 0.01, 0.99),
    "histogram_middle": lambda crop: level_range(crop, 0.25, 0.75),
    "vollath_f4": lambda crop: correlated(crop, 0, 1) - correlated(crop, 0, 2),
    "vollath_f5": lambda crop: correlated(crop, 0, 1) - cv2.mean(grey_of(crop))[0] ** 2,
    "haar_horizontal": lambda crop: haar(crop, "horizontal"),
    "haar_vertical": lambda crop: haar(crop, "vertical"),
    "haar_diagonal": lambda crop: haar(crop, "diagonal"),
    "fourier_low": lambda crop: spectrum_share(crop, 1, 16),
    "fourier_high": lambda crop: spectrum_share(crop, 16, 96),
    "cosine_low": lambda crop: cosine_share(crop, 1, 8),
    "cosine_high": lambda crop: cosine_share(crop, 8, 64),
    "reblur": reblurred,
    "coarse_variance": lambda crop: float(cv2.meanStdDev(smaller(crop))[1][0, 0]) ** 2,
}
