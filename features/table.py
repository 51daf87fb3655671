"""Measures and cues of many images as one table: in parallel, and never twice for the same file content."""

import ast
import hashlib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path, sha256_of
from focus_picker.dataset.images import read_image
from focus_picker.dataset.parallel import parallel_map
from focus_picker.features.measures import CUES, MEASURES, measure

COLUMNS = (*MEASURES, *CUES)
BATCH = 32  # images a process takes at a time: about a tenth of a second's work
PROCESSES_FROM = 200  # below that, starting processes takes longer than the images do
ROOT = Path(__file__).parents[1]  # of the package
NAMED_FAULTS = 3  # unreadable images that an error message names; the rest are counted

Found = TypeVar("Found")  # what is made of an image beside its features
Row = np.ndarray  # (features,) float32 in the order of COLUMNS


def feature_table(
    paths: Sequence[str | Path],
    *,
    jobs: int = 2,
    cache: Path | None = None,
    also: Callable[[str, np.ndarray], Found] | None = None,
    take: Callable[[Found], None] = lambda found: None,
) -> pd.DataFrame:
    """Compute every measure and cue of every image; each file is decoded once, whatever else is wanted of it.

    Parameters
    ----------
    paths
        Image files. The same content under two names is measured once.
    jobs
        Processes.
    cache
        Folder where rows are kept between calls, by the SHA-256 of the file's bytes; made if missing. Each version of
        the feature code has its own file there, so that an edit starts afresh. None keeps nothing.
    also, take
        What else is to be made of each path and its pixels, in the process that decoded them; and what receives it
        here, path by path in the given order. With it every file is decoded, without it only what the cache lacks.

    Returns
    -------
    pd.DataFrame
        float32, one row a path in the given order, index ``image_path`` as given, columns ``features.MEASURES`` then
        ``features.CUES``.

    Raises
    ------
    InputError
        Images that cannot be read or measured: all are counted, the first named. What was computed is in the cache.
    """
    digests, faults = _digests(paths)
    rows = _load(cache)
    pending = {digest: path for path, digest in reversed(digests.items()) if digest not in rows}  # the first of equals
    orders = [(path, pending.get(digest) == path) for path, digest in digests.items()]
    wanted = [order for order in orders if order[1] or also]
    work = partial(_read_file, also=also)
    outcomes = parallel_map(work, wanted, "reading images", jobs=jobs, batch=BATCH, processes_from=PROCESSES_FROM)
    try:
        for (path, measured), (outcome, found) in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, str):
                faults.append(outcome)
                continue
            if measured:
                rows[digests[path]] = outcome
            if found is not None:
                take(found)
    finally:
        # Also after Ctrl-C: an hour's work on a large set is there for the next call.
        if pending:
            _store(cache, rows)
    if faults:
        raise InputError(_fault_sentence(faults, len(paths)))
    values = np.array([rows[digests[str(path)]] for path in paths], np.float32).reshape(len(paths), len(COLUMNS))
    names = pd.Index([str(path) for path in paths], dtype=object, name="image_path")  # a name need not be text
    return pd.DataFrame(values, index=names, columns=list(COLUMNS))


def _digests(paths: Sequence[str | Path]) -> tuple[dict[str, str], list[str]]:
    """SHA-256 of each file's bytes by path, and one sentence for each file that cannot be opened."""
    digests: dict[str, str] = {}
    faults = []
    for path in dict.fromkeys(str(path) for path in paths):
        try:
            digests[path] = sha256_of(path)
        except OSError as error:
            faults.append(f"{path} cannot be opened ({error.strerror})")
    return digests, faults


def _read_file(
    order: tuple[str, bool], also: Callable[[str, np.ndarray], Found] | None
) -> tuple[Row | str, Found | None]:
    """Decode one file, measure it if so ordered, and do what else is wanted; a file at fault becomes its sentence."""
    path, measured = order
    try:
        image = read_image(path)
    except InputError as error:
        return str(error), None
    try:
        row = np.array(list(measure(image).values()) if measured else [], np.float32)
    except InputError as error:
        return f"{path}: {error}", None
    return row, also(path, image) if also else None


def _fault_sentence(faults: Sequence[str], total: int) -> str:
    named = "; ".join(faults[:NAMED_FAULTS])
    more = f"; and {len(faults) - NAMED_FAULTS} more" if len(faults) > NAMED_FAULTS else ""
    return f"{len(faults)} of {total} images cannot be measured: {named}{more}; repair them or take them out"


# The cache: one file a version, rows beside their digests


def sources() -> list[Path]:
    """Files of ours that decide a feature's value: those that read and measure an image, and all that they import."""
    found: set[Path] = set()
    waiting = {ROOT / "dataset" / "images.py", ROOT / "features" / "measures.py"}
    while waiting:
        found |= waiting
        waiting = set().union(*map(_imported, waiting)) - found
    return sorted(found)


def _imported(file: Path) -> set[Path]:
    """Files of ours that a module imports, wherever in it."""
    imports = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.ImportFrom)]
    names = [
        name for node in imports for name in (str(node.module), *(f"{node.module}.{part.name}" for part in node.names))
    ]
    ours = [name.split(".")[1:] for name in names if name.startswith("focus_picker.")]
    return {path for parts in ours if (path := ROOT.joinpath(*parts).with_suffix(".py")).is_file()}


@lru_cache(maxsize=1)
def feature_version() -> str:
    """Hash of the code that makes features, sixteen hexadecimal digits: an edit must not meet old rows in a cache."""
    state = hashlib.sha256(cv2.__version__.encode())
    for file in sources():
        state.update(file.read_bytes())
    return state.hexdigest()[:16]


def cache_file(cache: Path) -> Path:
    """File that holds the rows of the present version of the feature code."""
    return Path(cache) / f"features-{feature_version()}.npz"


def _load(cache: Path | None) -> dict[str, Row]:
    """Rows of the cache by digest; a damaged file counts as empty, with a warning."""
    if cache is None or not cache_file(cache).is_file():
        return {}
    try:
        # Opened here: NumPy leaves a damaged archive's file open.
        with cache_file(cache).open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            digests, values = content["digests"], content["values"]
        if digests.shape != values.shape[:1] or values.shape[1:] != (len(COLUMNS),) or values.dtype != np.float32:
            raise ValueError("arrays do not fit")
        return dict(zip(digests.tolist(), values, strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"feature cache {cache_file(cache)} is damaged ({error}); it is built anew", stacklevel=3)
        return {}


def _store(cache: Path | None, rows: Mapping[str, Row]) -> None:
    if cache is None or not rows:
        return
    with atomic_path(cache_file(cache)) as temporary:
        np.savez(temporary, digests=np.array(list(rows), dtype="U64"), values=np.array(list(rows.values()), np.float32))
