"""Leak scan: the same picture in two fields would put it on both sides of the split.

Three steps, each cheaper a pair than the next and each passing on far fewer pairs:

1. images whose perceptual hash agrees in at least one band are compared by their descriptors (so not all pairs are);
2. the fine detail of their thumbnails must agree at some small shift;
3. the images themselves are read again and laid over each other.

The last step looks at detail only, because two different cells out of focus are both a dark blob on a bright ground:
measured on 1,500 different real cells blurred by 10 pixels, the most similar two agree to 0.94, while copies that were
re-encoded (JPEG quality 50), brightened or cropped by 6 pixels agree to 0.99. Turned or mirrored copies are not found.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.fingerprints import Fingerprint, aligned_similarity, fingerprint_images, grey_of, watch
from focus_picker.dataset.images import read_image

COLUMNS = ("image_a", "image_b", "field_a", "field_b", "kind", "distance")

MIN_DESCRIPTOR = 0.96  # correlation of low frequencies; a crop by 3 of 200 pixels leaves 0.978 or more
MIN_BAND = 0.75  # correlation of thumbnail detail at the best shift; the same crop leaves 0.84 or more
MIN_ALIGNED = 0.98  # between the 0.97 of the most similar different cells and the 0.99 of copies (see above)

BITS_PER_BAND = 12  # 4,096 buckets a band
N_BANDS = 10  # a copy whose bits flip with 7 % chance (crop) still shares a band with 99 %
ONE_BUCKET = 2048  # so few images are compared directly: medians of few images may fall between two copies
MAX_CANDIDATES = 200_000  # pairs kept after step 1, the most similar ones
MAX_CONFIRMED = 20_000  # pairs read again in step 3, the most similar ones
SHIFT = 4  # thumbnail pixels, which is REACH of the shorter side
TILE = 2048  # images compared at once: 16 MB of correlations


def find_leaks(dataset: str | Path, labels: pd.DataFrame, *, jobs: int = -1, progress: bool = True) -> pd.DataFrame:
    """Find images of different fields that are identical or nearly so.

    Parameters
    ----------
    dataset, labels
        The data set and its table (``dataset.labels.read_labels``); ``image_path`` and ``field`` are used.
    jobs
        Threads; -1 takes all cores.
    progress
        Whether to show a progress bar (only ever on a terminal).

    Returns
    -------
    pandas.DataFrame
        ``image_a, image_b, field_a, field_b, kind, distance``: kind is ``identical`` (same decoded pixels, distance 0)
        or ``near-identical`` (distance is 1 minus the correlation of their detail, at most 0.02). Of several matches
        between an image and another field the closest is listed, and of n identical images n - 1 pairs, which is
        enough to know that they belong together. Images that are unreadable or blank are passed over.
    """
    paths = labels["image_path"].tolist()
    fingerprints = fingerprint_images(Path(dataset), paths, jobs=jobs, progress=progress)
    return compare_fingerprints(Path(dataset), fingerprints, labels["field"].tolist(), jobs=jobs, progress=progress)


def compare_fingerprints(
    dataset: Path, fingerprints: list[Fingerprint], fields: list[str], *, jobs: int = -1, progress: bool = True
) -> pd.DataFrame:
    """Do what :func:`find_leaks` does, from fingerprints that were taken already (``fields`` aligned with them)."""
    usable = [at for at, print_ in enumerate(fingerprints) if not print_.error and not print_.is_blank]
    prints, names = [fingerprints[at] for at in usable], np.array([fields[at] for at in usable], dtype=object)
    if len(prints) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    codes = np.unique(names.astype(str), return_inverse=True)[1]
    identical = _identical_pairs(prints, codes)
    near = _confirm(dataset, prints, _candidates(prints, codes), jobs, progress)
    rows = [
        *((one, other, "identical", 0.0) for one, other in identical),
        *((one, other, "near-identical", distance) for one, other, distance in _closest(near, codes, identical)),
    ]
    table = [
        (prints[one].image_path, prints[other].image_path, names[one], names[other], kind, distance)
        for one, other, kind, distance in rows
    ]
    return pd.DataFrame(table, columns=list(COLUMNS))


def linked_fields(leaks: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the pairs of fields that share images; give them to ``dataset.splits.split_fields``."""
    pairs = leaks[["field_a", "field_b"]].itertuples(index=False, name=None)
    return {(min(pair), max(pair)) for pair in pairs}


def _identical_pairs(prints: list[Fingerprint], fields: np.ndarray) -> list[tuple[int, int]]:
    """Pair images of equal pixels across fields: every field with the next, each further image with another field."""
    groups: dict[bytes, list[int]] = {}
    for index, print_ in enumerate(prints):
        groups.setdefault(print_.digest, []).append(index)
    pairs: list[tuple[int, int]] = []
    for members in groups.values():
        first_of: dict[int, int] = {}
        for index in members:
            first_of.setdefault(int(fields[index]), index)
        firsts = list(first_of.values())
        if len(firsts) < 2:
            continue
        pairs += pairwise(firsts)
        rest = [index for index in members if index not in firsts]
        pairs += [(firsts[1] if fields[index] == fields[firsts[0]] else firsts[0], index) for index in rest]
    return [(min(pair), max(pair)) for pair in pairs]


def _candidates(prints: list[Fingerprint], fields: np.ndarray) -> np.ndarray:
    """Find pairs (N, 2) of different fields that steps 1 and 2 cannot tell apart; one image stands for equal ones."""
    first_of: dict[tuple[bytes, int], int] = {}
    for index, print_ in enumerate(prints):
        first_of.setdefault((print_.digest, int(fields[index])), index)
    firsts = np.array(list(first_of.values()))
    descriptors = np.stack([prints[at].descriptor for at in firsts]).astype(np.float32)
    pairs = firsts[_similar_pairs(descriptors, fields[firsts])]
    digests = np.array([print_.digest.hex() for print_ in prints])
    pairs = pairs[digests[pairs[:, 0]] != digests[pairs[:, 1]]]
    similarity = np.array([_band_similarity(prints[one].band, prints[other].band) for one, other in pairs])
    strongest = np.argsort(-similarity, kind="stable")[:MAX_CONFIRMED]
    return pairs[strongest[similarity[strongest] >= MIN_BAND]]


def _similar_pairs(descriptors: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Find pairs (N, 2) of different fields whose descriptors correlate, within the buckets of each hash band."""
    count = len(descriptors)
    keys, values = np.empty(0, np.int64), np.empty(0, np.float32)
    for bucket in _buckets(descriptors, fields):
        for one, other, value in _compare_bucket(descriptors, fields, bucket):
            keys, first = np.unique(np.concatenate([keys, one * count + other]), return_index=True)
            values = np.concatenate([values, value])[first]
            if len(keys) > MAX_CANDIDATES:
                kept = np.sort(np.argsort(-values, kind="stable")[:MAX_CANDIDATES])
                keys, values = keys[kept], values[kept]
    return np.stack([keys // count, keys % count], axis=1)


def _buckets(descriptors: np.ndarray, fields: np.ndarray) -> Iterator[np.ndarray]:
    """Yield sets of images worth comparing: those that share all bits of one band of their hash.

    A bit says whether a coefficient lies above its median over the data set. Medians rather than zero, because all
    cells are dark in the middle, and bits that are the same for all of them would sort nothing.
    """
    if len(descriptors) <= ONE_BUCKET:
        yield np.arange(len(descriptors))
        return
    bits = descriptors[:, : N_BANDS * BITS_PER_BAND] > np.median(descriptors[:, : N_BANDS * BITS_PER_BAND], axis=0)
    weights = 1 << np.arange(BITS_PER_BAND)
    for band in range(N_BANDS):
        # every N_BANDS-th bit, so that each band has low and high frequencies
        hashes = bits[:, band::N_BANDS] @ weights
        order = np.argsort(hashes, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
            if len(bucket) > 1 and (fields[bucket] != fields[bucket[0]]).any():
                yield np.sort(bucket)


def _compare_bucket(
    descriptors: np.ndarray, fields: np.ndarray, bucket: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield first index, second index (larger) and correlation of the similar pairs, tile by tile."""
    for top in range(0, len(bucket), TILE):
        for left in range(top, len(bucket), TILE):
            rows, columns = bucket[top : top + TILE], bucket[left : left + TILE]
            correlation = descriptors[rows] @ descriptors[columns].T
            wanted = (correlation >= MIN_DESCRIPTOR) & (fields[rows][:, np.newaxis] != fields[columns])
            at_row, at_column = np.nonzero(wanted)
            one, other, value = rows[at_row], columns[at_column], correlation[at_row, at_column]
            upper = one < other
            if upper.any():
                yield one[upper].astype(np.int64), other[upper].astype(np.int64), value[upper]


def _band_similarity(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Correlate two thumbnails' detail at the best shift of up to SHIFT pixels (circular, by Fourier transform)."""
    if one is None or other is None:
        return 0.0
    first, second = one.astype(np.float32), other.astype(np.float32)
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    product = np.fft.irfft2(np.fft.rfft2(first) * np.conj(np.fft.rfft2(second)), s=first.shape)
    near = np.r_[-SHIFT : SHIFT + 1]
    return float(product[np.ix_(near, near)].max()) / max(scale, 1e-6)


def _confirm(
    dataset: Path, prints: list[Fingerprint], pairs: np.ndarray, jobs: int, progress: bool
) -> list[tuple[int, int, float]]:
    """Lay the images of each pair over each other; return the pairs that agree, with their distance."""
    work = Parallel(n_jobs=jobs, prefer="threads", return_as="generator", batch_size=8)
    paths = [(dataset / prints[one].image_path, dataset / prints[other].image_path) for one, other in pairs]
    similarities = work(delayed(_file_similarity)(*both) for both in paths)
    found = zip(pairs.tolist(), watch(similarities, "Comparing look-alikes", len(pairs), progress), strict=True)
    return [(one, other, max(0.0, 1 - value)) for (one, other), value in found if value >= MIN_ALIGNED]


def _file_similarity(one: Path, other: Path) -> float:
    try:
        return aligned_similarity(grey_of(read_image(one)), grey_of(read_image(other)))
    except InputError:  # gone since its fingerprint was taken
        return 0.0


def _closest(
    near: list[tuple[int, int, float]], fields: np.ndarray, identical: list[tuple[int, int]]
) -> list[tuple[int, int, float]]:
    """Keep the closest match of each image in each other field; an identical one is closest of all."""
    best: dict[tuple[int, int], float] = {}
    both_ways = [(one, other, 0.0) for one, other in identical] + near
    for one, other, distance in both_ways:
        for image, field in ((one, int(fields[other])), (other, int(fields[one]))):
            best[image, field] = min(distance, best.get((image, field), np.inf))
    return sorted(
        (one, other, distance)
        for one, other, distance in near
        if distance <= best[one, int(fields[other])] and distance <= best[other, int(fields[one])]
    )
