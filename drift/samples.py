"""Images below a path, found, grouped by what belongs together, scored and measured."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.labels import field_of
from focus_picker.dataset.parallel import parallel_map
from focus_picker.dataset.stacks import STACKS_FOLDER, TIFF_SUFFIXES, Slice, find_stacks
from focus_picker.drift.profile import FEWEST_GROUPS, FEWEST_IMAGES
from focus_picker.drift.quantities import quantities_of
from focus_picker.drift.verdict import feature_quantity
from focus_picker.features.measures import measure
from focus_picker.models.contract import Model
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.single_image import find_images

BATCH = 32
PROCESSES_FROM = 1000  # images; below that, starting processes takes longer than measuring


@dataclass(frozen=True)
class Sample:
    """Measured images.

    Attributes
    ----------
    path
        Where they came from.
    quantities
        One array ``(n,)`` for each quantity, by name; 0 or 1 for ``unsure``.
    groups
        Label of the group that each image belongs to ``(n,)``.
    problems
        One sentence for each image that could not be read or measured.
    """

    path: Path
    quantities: dict[str, np.ndarray]
    groups: np.ndarray
    problems: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))

    def __str__(self) -> str:
        """Say how many images and groups there are."""
        unreadable = f" ({len(self.problems)} unreadable)" if self.problems else ""
        return count_sentence(len(self.groups), self.n_groups) + unreadable


def count_sentence(n_images: int, n_groups: int) -> str:
    """Say how many images there are, and as how many groups they count."""
    if n_images == n_groups:
        return f"{n_images} images, each counted for itself"
    return f"{n_images} images in {n_groups} group{'s' if n_groups != 1 else ''}"


def measure_sample(path: Path, *, model: Path, group_by: str = "auto", jobs: int = 2) -> Sample:
    """Score and measure every image below ``path``; parameters and errors as in :func:`run_drift`."""
    if group_by not in GROUPINGS:
        raise InputError(f"there is no grouping '{group_by}'; take one of {', '.join(GROUPINGS)}")
    planes = find_planes(path)
    work = partial(_measure, model=load_model(model))
    found = parallel_map(work, planes, "measuring images", jobs=jobs, batch=BATCH, processes_from=PROCESSES_FROM)
    rows, groups, problems = [], [], []
    for outcome, group in zip(found, GROUPINGS[group_by](planes), strict=True):
        if isinstance(outcome, str):
            problems.append(outcome)
        else:
            rows.append(outcome)
            groups.append(group)
    quantities = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    sample = Sample(path, quantities, np.array(groups), tuple(problems))
    if len(groups) < FEWEST_IMAGES or sample.n_groups < FEWEST_GROUPS:
        hint = ", or --group-by image where each shows another cell" if group_by != "image" and groups else ""
        raise InputError(
            f"{path} holds {sample}; at least {FEWEST_IMAGES} readable images in {FEWEST_GROUPS} groups (stacks, "
            f"fields) are needed: give more{hint}"
        )
    return sample


def _measure(plane: Slice, model: Model) -> dict[str, float] | str:
    """All quantities of one image, or a sentence that says why there are none."""
    try:
        image = plane.read()
        features = measure(image)
        judged = model.judge([image])
    except InputError as error:
        return str(error) if str(plane.path) in str(error) else f"{plane.path}: {error}"
    return quantities_of(image, judged) | {feature_quantity(name): value for name, value in features.items()}


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
