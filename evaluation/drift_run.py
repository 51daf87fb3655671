"""Compare the images below two paths: find, score and measure them, hold them against each other, write the tables."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dataset.errors import InputError
from dataset.files import atomic_path
from dataset.labels import field_of
from dataset.progress import track
from dataset.stacks import STACKS_FOLDER, TIFF_SUFFIXES, Slice, find_stacks
from deep.competence import image_properties
from deep.window import WINDOW_PX, native_window
from evaluation.drift import UNSURE
from evaluation.drift_profile import FEWEST_GROUPS, FEWEST_IMAGES, Profile, make_profile, read_profile
from evaluation.drift_verdict import QuantityDrift, as_text, compare, conclusion, feature_quantity, verdict
from features.measures import measure
from features.table import feature_version
from stack_inference.scorers import SCORERS, load_scorer
from stack_inference.scoring import Scorer
from stack_inference.single_image import find_images

BATCH = 32
PARALLEL_FROM = 1000  # images; below that, starting processes takes longer than measuring


@dataclass(frozen=True)
class Sample:
    """Measured images.

    Attributes
    ----------
    path
        Where they came from.
    quantities
        By name, ``(n,)`` each; booleans for ``unsure``.
    groups
        ``(n,)``: which images belong together.
    problems
        One sentence for each image that could not be read or measured.
    """

    path: Path
    quantities: dict[str, np.ndarray]
    groups: np.ndarray
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Say how many images and groups there are."""
        n, groups = len(self.groups), len(np.unique(self.groups))
        unreadable = f" ({len(self.problems)} unreadable)" if self.problems else ""
        return count_sentence(n, groups) + unreadable


def count_sentence(n_images: int, n_groups: int) -> str:
    """Say how many images there are, and as how many groups they count."""
    if n_images == n_groups:
        return f"{n_images} images, each counted for itself"
    return f"{n_images} images in {n_groups} group{'s' if n_groups != 1 else ''}"


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison: reference, new images, one row a quantity (what moved most first)."""

    profile: Profile
    new: Sample
    rows: list[QuantityDrift]
    problems: tuple[str, ...]

    def as_text(self) -> str:
        """Verdict, numbers of images, what moved most, and what that usually means, as lines of text."""
        reference = count_sentence(self.profile.n_images, self.profile.n_groups)
        return f"{as_text(self.rows)}\nnew: {self.new}; reference: {reference}"

    def as_json(self) -> dict[str, Any]:
        """Return the verdict and all rows as what JSON can hold."""
        return {
            "verdict": verdict(self.rows),
            "conclusion": conclusion(self.rows),
            "reference_images": self.profile.n_images,
            "reference_groups": self.profile.n_groups,
            "new_images": len(self.new.groups),
            "new_groups": len(np.unique(self.new.groups)),
            "new_unreadable": len(self.new.problems),
            "quantities": [asdict(row) for row in self.rows],
        }

    def write_table(self, output: str | Path) -> None:
        """Write ``drift.csv``, one row a quantity."""
        with atomic_path(output) as temporary:
            pd.DataFrame([asdict(row) for row in self.rows]).to_csv(temporary, index=False, float_format="%.6g")


def run_drift(reference: Path, new: Path, *, model: Path, group_by: str = "auto", jobs: int = 2) -> Comparison:
    """Compare the images below ``new`` with a reference.

    Parameters
    ----------
    reference
        Data set, folder of images or of stacks, or a profile that :func:`read_reference` made before.
    new
        Data set, folder of images or of stacks.
    model
        Model file or run folder that scores the images.
    group_by
        Key of ``GROUPINGS``.
    jobs
        Processes.

    Raises
    ------
    InputError
        Nothing there, too few readable images or groups, no such model or grouping, or a profile made with another
        model. Single unreadable images are told in ``problems``.
    """
    profile, problems = read_reference(reference, model=model, group_by=group_by, jobs=jobs)
    sample = measure_sample(new, model=model, group_by=group_by, jobs=jobs)
    rows = compare(profile, sample.quantities, sample.groups)
    return Comparison(profile, sample, rows, (*problems, *sample.problems))


def read_reference(
    path: Path, *, model: Path, group_by: str = "auto", jobs: int = 2
) -> tuple[Profile, tuple[str, ...]]:
    """Read a profile, or make one of the images below ``path``; parameters and errors as in :func:`run_drift`.

    Returns
    -------
    tuple
        The profile, and one sentence for whatever is wrong with it or with its images.
    """
    sha256 = model_sha256(model)
    if not path.is_file():
        sample = measure_sample(path, model=model, group_by=group_by, jobs=jobs)
        profile = make_profile(sample.quantities, sample.groups, model_sha256=sha256, feature_version=feature_version())
        return profile, sample.problems
    profile = read_profile(path)
    if profile.model_sha256 != sha256:
        raise InputError(f"{path} was made with another model than {model}; give that one, or make the profile again")
    if profile.feature_version != feature_version():
        return profile, (f"{path} was made by another version of the feature code: features may differ for that",)
    return profile, ()


def model_sha256(path: Path) -> str:
    """SHA-256 of the model file at ``path``, or of the one that a run folder is scored with."""
    names = [name for name in SCORERS if (path / name).is_file()]
    file = path / names[0] if names else path
    if not file.is_file():
        raise InputError(f"{path} holds no model ({', '.join(SCORERS)}); give a model file or a finished run's folder")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def measure_sample(path: Path, *, model: Path, group_by: str = "auto", jobs: int = 2) -> Sample:
    """Score and measure every image below ``path``; parameters and errors as in :func:`run_drift`."""
    if group_by not in GROUPINGS:
        raise InputError(f"there is no grouping '{group_by}'; take one of {', '.join(GROUPINGS)}")
    planes, scorer = find_planes(path), load_scorer(model)
    rows: list[dict[str, float]] = []
    groups, problems = [], []
    for outcome, group in zip(_measure_all(planes, scorer, jobs), GROUPINGS[group_by](planes), strict=True):
        if isinstance(outcome, str):
            problems.append(outcome)
        else:
            rows.append(outcome)
            groups.append(group)
    names = rows[0] if rows else ()
    quantities = {name: np.array([row[name] for row in rows]) for name in names}
    sample = Sample(path, quantities, np.array(groups), tuple(problems))
    _check_enough(sample, group_by)
    return sample


def _check_enough(sample: Sample, group_by: str) -> None:
    groups = len(np.unique(sample.groups))
    if len(sample.groups) >= FEWEST_IMAGES and groups >= FEWEST_GROUPS:
        return
    hint = ", or --group-by image where each shows another cell" if group_by != "image" and groups else ""
    raise InputError(
        f"{sample.path} holds {sample}; at least {FEWEST_IMAGES} readable images in {FEWEST_GROUPS} groups (stacks, "
        f"fields) are needed: give more{hint}"
    )


# Which images there are, and which belong together


def find_planes(path: Path) -> list[Slice]:
    """List the images below ``path`` in natural order, page by page of TIFF stacks; of a data set, its stacks."""
    stacks = path / STACKS_FOLDER
    return [plane for file in find_images([stacks if stacks.is_dir() else path]) for plane in _planes(file)]


def _planes(file: Path) -> list[Slice]:
    if file.suffix.lower() not in TIFF_SUFFIXES:
        return [Slice(file)]
    try:
        return list(find_stacks(file)[0].slices)
    except InputError:  # one page, or damaged: reading it will tell
        return [Slice(file)]


def _folder(plane: Slice) -> Path:
    """Folder of a slice; a TIFF stack counts as one."""
    path = Path(str(plane.path))
    return path.parent if plane.page is None else path.with_suffix("")


def group_by_folder(planes: Sequence[Slice]) -> list[str]:
    """Group by folder, the cells of one field (``stack_001_cell_0``, ``stack_001_cell_1``) together."""
    folders = [_folder(plane) for plane in planes]
    return [str(folder.parent / field_of(folder.name)) for folder in folders]


def group_by_image(planes: Sequence[Slice]) -> list[str]:
    """Count each image for itself."""
    return [str(number) for number in range(len(planes))]


def group_by_stack(planes: Sequence[Slice]) -> list[str]:
    """Group as ``folder`` where a folder is a stack, else count each image for itself.

    A folder is a stack by its name (``..._cell_0``) or where its files' numbers count on, as slices do and the names of
    collected crops do not. Images that all lie in one folder are a collection, not one stack.
    """
    names: dict[Path, list[str]] = {}
    for plane in planes:
        names.setdefault(_folder(plane), []).append(plane.path.stem)
    stacks = {
        folder for folder, stems in names.items() if "_cell_" in folder.name or (len(names) > 1 and _counts_on(stems))
    }
    pairs = zip(planes, group_by_folder(planes), strict=True)
    return [group if plane.page is not None or _folder(plane) in stacks else str(plane.path) for plane, group in pairs]


def _counts_on(stems: Sequence[str]) -> bool:
    """Whether names differ in one number only, in even steps of which fewer than half are missing."""
    parts = [re.fullmatch(r"(.*?)([+-]?\d+)(\D*)", stem) for stem in stems]
    if not all(parts) or len({part.group(1, 3) for part in parts if part}) > 1:
        return False
    numbers = np.unique([int(part[2]) for part in parts if part])
    return len(numbers) == 1 or np.ptp(numbers) < 2 * len(numbers) * np.diff(numbers).min()


GROUPINGS: dict[str, Callable[[Sequence[Slice]], list[str]]] = {
    "auto": group_by_stack,
    "folder": group_by_folder,
    "image": group_by_image,
}


# Measuring


def _measure_all(planes: Sequence[Slice], scorer: Scorer, jobs: int) -> Iterator[dict[str, float] | str]:
    """Yield the quantities of each image in order, or why there are none."""
    batches = [planes[start : start + BATCH] for start in range(0, len(planes), BATCH)]
    workers = jobs if len(planes) >= PARALLEL_FROM else 1
    results = Parallel(n_jobs=workers, return_as="generator")(
        delayed(_measure_batch)(batch, scorer) for batch in batches
    )
    for batch in track(results, "measuring images", total=len(batches)):
        yield from batch


def _measure_batch(planes: Sequence[Slice], scorer: Scorer) -> list[dict[str, float] | str]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # images are small and there is a process for each core
    try:
        return [_measure(plane, scorer) for plane in planes]
    finally:
        cv2.setNumThreads(threads)


def _measure(plane: Slice, scorer: Scorer) -> dict[str, float] | str:
    """All quantities of one image, or a sentence that says why there are none."""
    try:
        image = plane.read()
        features = measure(image)
        scored = scorer.score_images([image]).iloc[0]
    except InputError as error:
        return str(error) if str(plane.path) in str(error) else f"{plane.path}: {error}"
    window_px = getattr(getattr(scorer, "sidecar", None), "window_px", WINDOW_PX)
    properties = image_properties(native_window(image, window_px)[np.newaxis])
    return {
        "score": float(scored["score"]),
        "interval_width": float(scored["upper"] - scored["lower"]),
        UNSURE: scored.get("status") == "unsure",
        **{name: float(value[0]) for name, value in properties.items()},
        **{feature_quantity(name): value for name, value in features.items()},
    }
