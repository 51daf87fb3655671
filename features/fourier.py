"""Power of each colour channel and what channels share, in rings of spatial frequency."""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

LARGEST_WINDOW_PX = 512  # the window stops growing here, so that time stays linear in the number of pixels


def window_side(height: int, width: int) -> int:
    """Side of the square transform: the power of two next above three quarters of the image's shorter side.

    A power of two is what the transform is fast at; an image a little larger loses its margin to the cut, a smaller one
    is padded with the zeros that its own taper already reaches.
    """
    side = 8
    while side < 0.75 * min(height, width) and side < LARGEST_WINDOW_PX:
        side *= 2
    return side


class Frame(NamedTuple):
    """The part of an image that is transformed, and the window it is looked at through."""

    side: int
    rows: slice
    columns: slice
    taper: np.ndarray


@lru_cache(maxsize=64)
def frame(height: int, width: int) -> Frame:
    """Middle of an image of ``(height, width)`` pixels and Hann's window over it, float32.

    The window is scaled so that powers add up to the image's variance: its mean square is 1, raised by the share of the
    transform that padding leaves empty.
    """
    side = window_side(height, width)
    starts = [max(size - side, 0) // 2 for size in (height, width)]
    sizes = [min(size, side) for size in (height, width)]
    window = np.outer(*(np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 for size in sizes))
    window *= side / np.sqrt(np.sum(window**2))
    rows, columns = (slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
    return Frame(side, rows, columns, window.astype(np.float32))


@lru_cache(maxsize=32)
def ring_matrix(side: int, edges: tuple[float, ...]) -> np.ndarray:
    """Weights that sum squares of OpenCV's packed real spectrum over rings of frequency, ``(rings, side * side)``.

    ``cv2.dft`` packs the half spectrum of a real image into ``side x side`` numbers, each a real or an imaginary part
    ("CCS" layout): columns hold Re F(0), Re F(1), Im F(1), Re F(2) ... Re F(side / 2) along x, and the first and last
    column, whose frequencies along x have no mirror image, are packed along y in the same way. Parts whose mirror image
    is left out count twice.
    """
    packed = (np.arange(side) + 1) // 2
    row = np.minimum(np.arange(side), side - np.arange(side))
    frequency = np.hypot(row[:, None], packed[None, :]) / side
    weight = np.full((side, side), 2.0)
    for column in (0, side - 1):
        frequency[:, column] = np.hypot(packed, packed[column]) / side
        weight[[0, -1], column] = 1.0
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    weights = np.stack([np.where(inside, weight, 0).ravel() for inside in rings])
    return (weights / side**4).astype(np.float32)


def packed_spectra(image: np.ndarray) -> np.ndarray:
    """Packed spectra ``(3, side, side)`` of the channels of the middle of an image, mean removed, tapered, padded.

    ``image`` is ``(H, W, 3)``.
    """
    side, rows, columns, taper = frame(*image.shape[:2])
    middle = image[rows, columns]
    # The mean goes before tapering: the window's own spectrum would otherwise fill the lowest ring.
    means = np.array(cv2.sumElems(middle)[:3], np.float32) / taper.size
    spectra = np.zeros((3, side, side), np.float32)
    area = spectra[:, : taper.shape[0], : taper.shape[1]]
    np.subtract(middle.transpose(2, 0, 1), means[:, None, None], out=area)
    area *= taper
    for spectrum in spectra:
        cv2.dft(spectrum, dst=spectrum)
    return spectra


PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2))
"""Pairs of channels in the order of :func:`cross_powers`' rows."""

PAIR_ROWS = ((0, 3, 5), (3, 1, 4), (5, 4, 2))
"""Row of the pair of two channels."""


def cross_powers(image: np.ndarray, edges: tuple[float, ...]) -> np.ndarray:
    """Covariance of each of ``PAIRS`` of an image's channels ``(H, W, 3)`` in each ring of frequency, ``(6, rings)``.

    ``edges`` are in cycles per pixel of the image. The covariance is the real part of the cross spectrum; parts of two
    packed spectra multiply to it one by one, so that all rings of all pairs are one matrix product.
    """
    spectra = packed_spectra(image)
    side = spectra.shape[-1]
    products = np.empty((6, side, side), np.float32)
    np.multiply(spectra, spectra, out=products[:3])
    np.multiply(spectra[:2], spectra[1:], out=products[3:5])
    np.multiply(spectra[0], spectra[2], out=products[5])
    return products.reshape(6, -1) @ ring_matrix(side, edges).T
