"""Time all measures and cues of one colour crop against 42 measures written one by one with OpenCV.

usage: python benchmarks/features.py [--output results/features_benchmark.md]

Both run in this process on one core, alternating, so that whatever else the machine does hits both alike.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Before NumPy is imported: its matrix products would otherwise use every core.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # in front of this folder, whose features.py would hide the package

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from focus_picker.dataset.files import write_text  # noqa: E402
from focus_picker.dataset.images import read_image  # noqa: E402
from focus_picker.features import CUES, MEASURES, Intermediates, measure  # noqa: E402

HEIGHT, WIDTH = 120, 140
CROPS = ROOT / ".." / "shared" / "data" / "wbc_crops"
N_CROPS = 8
SLOWEST = 12

Measure = Callable[[np.ndarray], float]


# 42 measures as one writes them from the papers: each turns the crop grey and filters it for itself


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


def filtered(crop: np.ndarray, kernel: list[list[float]]) -> np.ndarray:
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


def crops() -> tuple[list[np.ndarray], str]:
    """Colour crops of 120 x 140 pixels and where they are from: real ones where they are, made ones otherwise."""
    paths = sorted(CROPS.glob("*/*.jpg"))[:: max(1, len(list(CROPS.glob("*/*.jpg"))) // N_CROPS)][:N_CROPS]
    if not paths:
        return [made_crop(seed) for seed in range(N_CROPS)], "made crops"
    return [middle(read_image(path)) for path in paths], "crops of real white blood cells"


def middle(image: np.ndarray) -> np.ndarray:
    """Cut the middle of an image."""
    top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])


def made_crop(seed: int) -> np.ndarray:
    """Dark blobs on a bright ground."""
    rng = np.random.default_rng(seed)
    noise = sum(size * cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)), (0, 0), size) for size in (1, 3, 9))
    stain = np.clip(noise / noise.std(), 0, None)[..., None]
    return np.clip(220 * np.exp(-stain * np.array([0.5, 0.8, 0.3])), 0, 255).astype(np.uint8)


def timed(work: Callable[[], object]) -> float:
    """Microseconds that ``work`` takes."""
    begin = time.perf_counter()
    work()
    return 1e6 * (time.perf_counter() - begin)


def compare(images: list[np.ndarray], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Microseconds of all our features and of the naive measures, ``(rounds,)`` each, alternating crop by crop."""
    ours, naive = [], []
    for turn in range(-20, rounds):
        image = images[turn % len(images)]
        pair = timed(lambda: measure(image)), timed(lambda: [function(image) for function in NAIVE.values()])  # noqa: B023
        if turn >= 0:  # before, caches and clock warm up
            ours.append(pair[0])
            naive.append(pair[1])
    return np.array(ours), np.array(naive)


def costs(image: np.ndarray, rounds: int = 200) -> dict[str, float]:
    """Microseconds of each measure and cue once what it shares with others is there, dearest first."""
    ready = Intermediates(image)
    functions = {**MEASURES, **CUES}
    for function in functions.values():
        function(ready)
    medians = {
        name: float(np.median([timed(lambda: function(ready)) for _ in range(rounds)]))  # noqa: B023
        for name, function in functions.items()
    }
    return dict(sorted(medians.items(), key=lambda item: -item[1]))


def table(ours: np.ndarray, naive: np.ndarray, source: str) -> str:
    """Results as Markdown."""
    n_ours = len(MEASURES) + len(CUES)
    rows = [
        ("ours, all in one call", n_ours, ours),
        ("naive OpenCV, one by one", len(NAIVE), naive),
    ]
    lines = ["| | features | median | best | per feature |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {count} | {np.median(times) / 1e3:.3f} ms | {times.min() / 1e3:.3f} ms "
        f"| {np.median(times) / count:.1f} us |"
        for name, count, times in rows
    ]
    share = np.median(ours) / np.median(naive)
    per_feature = np.median(naive) / len(NAIVE) / (np.median(ours) / n_ours)
    return "\n".join(
        [
            f"{HEIGHT} x {WIDTH} colour crop, one core, {len(ours)} rounds, {source};",
            f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}.",
            "",
            *lines,
            "",
            f"Ours takes {share:.2f} of the naive time, and {per_feature:.1f} times less for a feature.",
        ]
    )


def main() -> None:
    """Run, print, and write the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    parser.add_argument("--rounds", type=int, default=400, help="timings of each side (default: 400)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    images, source = crops()
    text = table(*compare(images, arguments.rounds), source)
    print(text, "\n")
    print("Dearest once shared intermediates are there, microseconds:")
    for name, microseconds in list(costs(images[0]).items())[:SLOWEST]:
        print(f"  {name:30s}{microseconds:6.1f}")
    if arguments.output:
        heading = f"# Feature benchmark\n\n`python benchmarks/features.py --output {arguments.output}`\n\n"
        write_text(arguments.output, heading + text + "\n")


if __name__ == "__main__":
    main()
