"""Leak scan: the same picture in two fields would put it on both sides of the split.

Every image is compared with every other by the low frequencies of its thumbnail, many at once as matrix products. The
few pairs that look alike are read again and laid over each other.

The second step looks at detail only, because two different cells out of focus are both a dark blob on a bright ground:
measured on 1,500 different real cells blurred by 10 pixels, the most similar two agree to 0.94, while copies that were
re-encoded (JPEG quality 50), brightened or cropped by 6 pixels agree to 0.99. Turned or mirrored copies are not found.
"""

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.fingerprints import Fingerprint, aligned_similarity, fingerprint_images, grey_of
from focus_picker.dataset.images import read_image
from focus_picker.dataset.parallel import parallel_map

COLUMNS = ("image_a", "image_b", "field_a", "field_b", "kind", "distance")

MIN_DESCRIPTOR = 0.96  # correlation of low frequencies; a crop by 6 of 140 pixels leaves 0.969 or more
MIN_ALIGNED = 0.98  # between the 0.97 of the most similar different cells and the 0.99 of copies (see above)
MAX_PAIRS = 20_000  # that are read again, the most similar ones: 25 s on two cores
TILE = 2048  # images compared with as many others at once: 16 MB of correlations


def find_leaks(dataset: str | Path, labels: pd.DataFrame, *, jobs: int = -1, progress: bool = True) -> pd.DataFrame:
    """Find images of different fields that are identical or nearly so.

    Parameters
    ----------
    dataset, labels
        The data set and its table (``dataset.labels.read_labels``); ``image_path`` and ``field`` are used.
    jobs
        Workers; -1 takes all cores.

    Returns
    -------
    pandas.DataFrame
        ``image_a, image_b, field_a, field_b, kind, distance``: kind is ``identical`` (same decoded pixels, distance 0)
        or ``near-identical`` (distance is 1 minus the correlation of their detail, at most 0.02). Of several matches
        between an image and another field the closest is listed, and of n identical images n - 1 pairs, which is
        enough to know that they belong together. Images that are unreadable or blank are passed over.
    """
    fingerprints = fingerprint_images(Path(dataset), labels["image_path"].tolist(), jobs=jobs)
    return compare_fingerprints(Path(dataset), fingerprints, labels["field"].tolist(), jobs=jobs)


def compare_fingerprints(
    dataset: Path, fingerprints: list[Fingerprint], fields: list[str], *, jobs: int = -1
) -> pd.DataFrame:
    """Do what :func:`find_leaks` does, from fingerprints that were taken already (``fields`` aligned with them)."""
    usable = [at for at, print_ in enumerate(fingerprints) if not print_.error and not print_.is_blank]
    prints, names = [fingerprints[at] for at in usable], [fields[at] for at in usable]
    if len(prints) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    field = np.unique(names, return_inverse=True)[1]
    picture = np.unique([print_.digest.hex() for print_ in prints], return_inverse=True)[1]
    identical = _identical_pairs(picture, field)
    candidates = _look_alikes(prints, picture, field)
    paths = [(dataset / prints[one].image_path, dataset / prints[other].image_path) for one, other in candidates]
    similarity = parallel_map(_file_similarity, paths, "comparing look-alikes", jobs=jobs, batch=8, threads=True)
    near = [
        (*pair, max(0.0, 1 - value)) for pair, value in zip(candidates, similarity, strict=True) if value >= MIN_ALIGNED
    ]
    rows = [
        *((one, other, "identical", 0.0) for one, other in identical),
        *((one, other, "near-identical", distance) for one, other, distance in _closest(near, field, identical)),
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


def _identical_pairs(picture: np.ndarray, field: np.ndarray) -> list[tuple[int, int]]:
    """Pair each image with an equal one of another field, such that all equal images hang together."""
    pairs: list[tuple[int, int]] = []
    for members in pd.Series(picture).groupby(picture).indices.values():
        first, *rest = members.tolist()
        elsewhere = next((index for index in rest if field[index] != field[first]), None)
        if elsewhere is not None:
            pairs += [(elsewhere if field[index] == field[first] else first, index) for index in rest]
    return [(min(pair), max(pair)) for pair in pairs]


def _look_alikes(prints: list[Fingerprint], picture: np.ndarray, field: np.ndarray) -> list[tuple[int, int]]:
    """Find the most similar pairs of different pictures in different fields; one image stands for its equals."""
    firsts = pd.DataFrame({"picture": picture, "field": field}).drop_duplicates().index.to_numpy()
    descriptors = np.stack([prints[index].descriptor for index in firsts]).astype(np.float32)
    picture, field = picture[firsts], field[firsts]
    pairs, values = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    tiles = np.array_split(np.arange(len(firsts)), -(-len(firsts) // TILE))
    for rows, columns in combinations_with_replacement(tiles, 2):
        correlation = descriptors[rows] @ descriptors[columns].T
        at_row, at_column = np.nonzero(correlation >= MIN_DESCRIPTOR)
        one, other = rows[at_row], columns[at_column]
        wanted = (one < other) & (field[one] != field[other]) & (picture[one] != picture[other])
        pairs = np.concatenate([pairs, np.stack([one, other], axis=1)[wanted]])
        values = np.concatenate([values, correlation[at_row, at_column][wanted]])
        strongest = np.argsort(-values, kind="stable")[:MAX_PAIRS]
        pairs, values = pairs[strongest], values[strongest]
    return [(int(one), int(other)) for one, other in firsts[pairs]]


def _file_similarity(paths: tuple[Path, Path]) -> float:
    try:
        one, other = (grey_of(read_image(path)) for path in paths)
    except InputError:  # gone since its fingerprint was taken
        return 0.0
    return aligned_similarity(one, other)


def _closest(
    near: list[tuple[int, int, float]], field: np.ndarray, identical: list[tuple[int, int]]
) -> list[tuple[int, int, float]]:
    """Keep the closest match of each image in each other field; an identical one is closest of all."""
    best: dict[tuple[int, int], float] = {}
    both_ways = [(one, other, 0.0) for one, other in identical] + near
    for one, other, distance in both_ways:
        for image, elsewhere in ((one, int(field[other])), (other, int(field[one]))):
            best[image, elsewhere] = min(distance, best.get((image, elsewhere), np.inf))
    return sorted(
        (one, other, distance)
        for one, other, distance in near
        if distance <= best[one, int(field[other])] and distance <= best[other, int(field[one])]
    )
