"""Have images changed? Kolmogorov-Smirnov and population-stability figures that know how much evidence there is.

Images are not independent: slices of a stack show one cell, cells of a field share stain, light and optics. Counted as
if they were, two halves of one data set "drift" in nearly every split. So all figures work with an **effective number
of images**, the real one divided by the design effect (Kish 1965, Survey Sampling; Rao and Scott 1981, JASA 76:221):
how many times the variance of a share among these images exceeds that among as many independent ones. It is
estimated for each quantity from the groups themselves, is near the number of fields for brightness and near the number
of images for what changes within a stack, and is one number of a saved reference, which resampling groups would not be.

NumPy only: the service computes rolling figures with it.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

BINS = (10, 5, 2)  # numbers of PSI bins; the first that leaves PER_BIN effective images to each is taken
PER_BIN = 3
DECILES = np.arange(1, 10) / 10
DIGITS = 5  # significant digits that are compared: more are the rounding of float32, not the image
HALF_IMAGE = 0.5  # added to each bin, in effective images, so that an empty one has a logarithm
NORMAL_95 = NormalDist().inv_cdf(0.95)

Sizes = tuple[float, float]
"""Effective numbers of images: of the reference, and of the new images."""


@dataclass(frozen=True)
class DriftFigure:
    """How far one quantity has moved.

    Attributes
    ----------
    psi
        Population stability index: 0 for equal shares of all bins.
    psi_chance
        What it stays below in 95 of 100 samples of this size when nothing has changed.
    ks
        Kolmogorov-Smirnov statistic: the largest distance of the two cumulative distributions, 0 to 1; the difference
        of the shares for ``unsure``.
    n_new
        Number of new images of which the quantity is known.
    effective_new
        Number of independent images that say as much as these.
    """

    psi: float
    psi_chance: float
    ks: float
    n_new: int
    effective_new: float


def rounded(values: ArrayLike) -> np.ndarray:
    """Values at ``DIGITS`` significant digits, float64: a value and its copy in a saved profile are then equal."""
    values = np.asarray(values, dtype=np.float64)
    exponent = np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values)))
    scale = 10.0 ** np.clip(DIGITS - 1 - exponent, -300, 300)
    return np.round(values * scale) / scale


def effective_size(values: np.ndarray, groups: np.ndarray) -> float:
    """Return how many independent images say as much as correlated ones.

    The variance of the cumulative shares at the deciles is estimated between groups (whole groups deviate together)
    and divided by the variance that independent images would have. Cumulative shares and not shares of bins, because a
    shift of a whole field moves many neighbouring bins at once: on simulated halves the latter found drift in 40 % of
    the splits. A design effect below 1 (each stack covers the range evenly) is not used. Few groups estimate a variance
    badly; as Student's distribution is wider than the normal one, it is raised by ``f / (f - 2)`` for ``f`` degrees of
    freedom.

    Parameters
    ----------
    values
        One finite number for each image ``(n,)``.
    groups
        Label of the group that each image belongs to ``(n,)``.

    Returns
    -------
    float
        Between 1 and n. The number of groups where all values are equal, which say nothing of their correlation; 1 for
        fewer than four groups.
    """
    _, codes = np.unique(groups, return_inverse=True)
    n, n_groups = len(values), int(codes.max()) + 1
    if n_groups < 4:
        return 1.0
    edges = np.unique(np.quantile(values, DECILES))
    below = values[:, None] <= edges  # (n, edges)
    share = below.mean(axis=0)
    independent = (share * (1 - share)).sum() / n
    if independent == 0:
        return float(n_groups)
    totals = np.stack([np.bincount(codes, column) for column in (below - share).T])  # (edges, groups)
    between = (totals**2).sum() / n**2 * n_groups / (n_groups - 1)
    freedom = n_groups - 1
    effect = max(1.0, between / independent * freedom / (freedom - 2))
    return max(1.0, n / effect)


def cumulative(quantiles: ArrayLike, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of a distribution strictly below, and at or below, each point.

    Parameters
    ----------
    quantiles
        Evenly spaced quantiles from the least to the greatest value. Equal neighbours are an atom (many equal values);
        between different ones the share rises in proportion.
    points
        Values ``(k,)`` at which the shares are wanted.

    Returns
    -------
    tuple of numpy.ndarray
        Both ``(k,)``, 0 to 1.
    """
    grid = np.asarray(quantiles, dtype=np.float64)
    steps = len(grid) - 1
    first, after = (np.searchsorted(grid, points, side=side) for side in ("left", "right"))
    at = after > first
    # Between two quantiles; np.interp goes from the last of equal ones to the first of the next.
    between = np.interp(points, grid, np.arange(len(grid)) / steps)
    return np.where(at, first / steps, between), np.where(at, (after - 1) / steps, between)


def ks_statistic(quantiles: ArrayLike, values: np.ndarray) -> float:
    """Largest distance between the reference's cumulative distribution and that of ``values`` ``(n,)``."""
    points, counts = np.unique(values, return_counts=True)
    after = np.cumsum(counts) / len(values)
    before = after - counts / len(values)
    below, at_or_below = cumulative(quantiles, points)
    return float(max(np.abs(below - before).max(), np.abs(at_or_below - after).max()))


def bin_edges(quantiles: ArrayLike, bins: int) -> np.ndarray:
    """Inner edges of bins of equal shares of the reference; an atom (a repeated edge) becomes a bin of its own.

    A value belongs to the first bin whose upper edge it does not exceed. What lies between an atom and the edge beside
    it can be next to nothing; less than half a share is joined to the next bin.
    """
    grid = np.asarray(quantiles, dtype=np.float64)
    values, counts = np.unique(grid[np.linspace(0, len(grid) - 1, bins + 1).astype(int)], return_counts=True)
    atoms, plain = values[counts > 1], values[counts == 1]
    plain = plain[(plain > grid[0]) & (plain < grid[-1])]
    if len(atoms):
        below, at_or_below = cumulative(grid, atoms)
        level = cumulative(grid, plain)[1][:, np.newaxis]
        between = np.where(plain[:, np.newaxis] < atoms, below - level, level - at_or_below)  # (plain, atoms)
        plain = plain[(between >= 0.5 / bins).all(axis=1)]
    return np.unique(np.concatenate([plain, atoms, np.nextafter(atoms, -np.inf)]))


def binned_shares(quantiles: ArrayLike, values: np.ndarray, sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the reference and of ``values`` ``(n,)`` in ten bins, in fewer where too few images would fill them."""
    bins = next((bins for bins in BINS if min(sizes) >= PER_BIN * bins), BINS[-1])
    edges = bin_edges(quantiles, bins)
    reference = np.diff(cumulative(quantiles, edges)[1], prepend=0.0, append=1.0)
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return reference, counts / len(values)


def population_stability(reference: np.ndarray, new: np.ndarray, sizes: Sizes) -> tuple[float, float]:
    """Population stability index of two sets of shares (Siddiqi 2006, Credit Risk Scorecards): sum (q - p) ln(q / p).

    Each bin gets half an effective image more, the usual remedy for empty ones; half a *real* image would let a bin
    that a few fields happened to miss count as much as a true change.

    Parameters
    ----------
    reference, new
        Shares of the images in each bin, ``(bins,)`` of sum 1. A bin that is empty in both is left out.
    sizes
        Effective numbers of images.

    Returns
    -------
    tuple of float
        The index, and what it stays below by chance (:func:`psi_by_chance`).
    """
    used = (reference > 0) | (new > 0)
    bins = int(used.sum())
    p, q = (
        (share[used] * size + HALF_IMAGE) / (size + HALF_IMAGE * bins)
        for share, size in zip((reference, new), sizes, strict=True)
    )
    return float(((q - p) * np.log(q / p)).sum()), psi_by_chance(bins, sizes)


def psi_by_chance(bins: int, sizes: Sizes) -> float:
    """What the index stays below with 95 % when nothing has changed.

    It is then about ``1/n + 1/m`` times a chi-square variable of ``bins - 1`` degrees of freedom, so that its mean is
    ``(bins - 1) (1/n + 1/m)`` (Yurdakul 2018, Statistical properties of the population stability index). The half image
    added to each bin, h in all, draws the shares together: ``1/n`` becomes ``n / (n + h)^2``. The quantile by Wilson
    and Hilferty (1931, PNAS 17:684), 3 % off at one degree of freedom, 0.3 % at nine: the service has no SciPy.
    """
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    chi_square = freedom * (1 - spread + NORMAL_95 * np.sqrt(spread)) ** 3
    return float(chi_square * sum(size / (size + HALF_IMAGE * bins) ** 2 for size in sizes))
