"""Labelled stacks as a data set in the owner's format, complete in itself; and existing labels held against stacks."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from focus_picker.adaptation.labelling import LabelledStack, slice_places
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.labels import LABELS_FILE, read_labels, score_per_slice
from focus_picker.dataset.stacks import STACKS_FOLDER, Slice, find_stacks
from focus_picker.stack_inference import status
from focus_picker.stack_inference.batch import pick_many
from focus_picker.stack_inference.calibration import best_planes
from focus_picker.stack_inference.plot import picked_sheet

TABLE, PICTURE = "labelling.csv", "labelling.png"
SURE = 3.0
"""Standard errors by which a label's zero must lie off, beyond its rounding, to be called wrong."""


def write_dataset(labelled: Sequence[LabelledStack], output: str | Path) -> None:
    """Write copies of the labelled stacks, their labels, a table of all stacks and a picture of what was labelled.

    The folder appears whole or not at all; the input is only read.

    Raises
    ------
    InputError
        No stack is labelled, two have one name, or the folder is not empty.
    """
    output = Path(output)
    kept = [one for one in labelled if not one.left_out]
    if not kept:
        raise InputError("no stack could be labelled; record stacks that pass through focus, with the sample in view")
    _check_names(kept)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} is there already; give a new folder for the data set")
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        draft.chmod(0o755)
        rows = [row for one in kept for row in _write_stack(one, draft)]
        pd.DataFrame(rows).to_csv(draft / LABELS_FILE, index=False, float_format="%.5f", lineterminator="\n")
        table_of(labelled).to_csv(draft / TABLE, index=False, float_format="%.4f", lineterminator="\n")
        picked_sheet([one.shown for one in labelled], draft / PICTURE)
        if output.exists():
            output.rmdir()
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_names(kept: Sequence[LabelledStack]) -> None:
    seen: dict[str, LabelledStack] = {}
    for one in kept:
        if one.stack.name in seen:
            raise InputError(
                f"{one.stack.path} and {seen[one.stack.name].stack.path} have one name; rename one of the folders, "
                "such as stack_002_cell_0 for another field"
            )
        seen[one.stack.name] = one


def _write_stack(one: LabelledStack, draft: Path) -> list[dict[str, object]]:
    """Copy the usable slices of a stack and return their rows; slice numbers keep the gaps of what is left out."""
    folder = draft / STACKS_FOLDER / one.stack.name
    folder.mkdir(parents=True)
    places = slice_places(one.stack)
    whole = np.allclose(places, np.rint(places), atol=1e-3) and len(set(np.rint(places))) == len(places)
    rows = []
    for index, (part, score) in enumerate(zip(one.stack.slices, one.score, strict=True)):
        if np.isfinite(score):
            number = round(places[index]) if whole else index
            path = _copy(part, folder / str(number))
            rows.append({"image_path": path.relative_to(draft).as_posix(), "focus_score": score + 0.0})
    return rows


def _copy(part: Slice, target: Path) -> Path:
    """Copy an image file as it is; write a plane of a larger file, or one in memory, as PNG."""
    if part.page is None and isinstance(part.path, Path):
        path = target.with_suffix(part.path.suffix.lower())
        shutil.copyfile(part.path, path)
        return path
    path = target.with_suffix(".png")
    cv2.imwrite(str(path), np.ascontiguousarray(part.read()[..., ::-1]))
    return path


def table_of(labelled: Sequence[LabelledStack]) -> pd.DataFrame:
    """One row a stack: sharpest plane, its error, and why it was left out."""
    return pd.DataFrame(
        {
            "stack": one.stack.name,
            "n_slices": len(one.stack.slices),
            "labelled_slices": int(np.isfinite(one.score).sum()),
            "best_position": one.pick.best_position,
            "standard_error": one.pick.standard_error,
            "left_out": one.left_out,
            "advice": one.pick.advice,
        }
        for one in labelled
    )


@dataclass(frozen=True)
class Disagreement:
    """A stack whose labels put zero elsewhere than its sharpness does; positions in slices."""

    stack: str
    labelled: float
    sharpest: float
    allowed: float

    def in_words(self) -> str:
        """For example ``stack_001_cell_0: labelled sharpest at 3.0, looks sharpest at 5.12 (more than 0.6 apart)``."""
        return (
            f"{self.stack}: labelled sharpest at {self.labelled:.1f}, looks sharpest at {self.sharpest:.2f} "
            f"(more than {self.allowed:.1f} apart)"
        )


@dataclass(frozen=True)
class LabelCheck:
    """What the stacks say about existing labels: how many could be held against them, and which disagree.

    ``turned`` names stacks whose scores run against the data set's majority.
    """

    checked: int
    stacks: int
    disagreements: tuple[Disagreement, ...]
    turned: tuple[str, ...]

    def in_words(self) -> str:
        """Report for people, a line a stack that should be looked at."""
        lines = [one.in_words() for one in self.disagreements]
        lines += [f"{name}: its scores run against those of the other stacks" for name in self.turned]
        wrong = len({one.stack for one in self.disagreements} | set(self.turned))
        return "\n".join([*lines, f"{self.checked} of {self.stacks} stacks checked, {wrong} to look at"])


def check_dataset(dataset: str | Path, jobs: int = 1) -> LabelCheck:
    """Hold the labels of a data set against the sharpness of its stacks.

    A label's zero may lie half a slice off where labels are whole slices, and ``SURE`` standard errors of the sharpest
    plane more. Stacks that do not tell, and labels that never pass zero, are not checked.
    """
    labels, zeros = read_labels(dataset), best_planes(dataset)
    step = score_per_slice(labels) or 0.0
    stacks = [stack for stack in find_stacks(dataset) if stack.name in zeros]
    rounding = 0.5 if _whole_slices(labels, step) else 0.0
    found = [
        Disagreement(stack.name, zeros[stack.name], pick.best_position, rounding + SURE * pick.standard_error)
        for stack, pick in zip(stacks, pick_many(stacks, jobs=jobs), strict=True)
        if pick.status == status.OK and np.isfinite(pick.standard_error)
    ]
    wrong = tuple(one for one in found if abs(one.labelled - one.sharpest) > one.allowed)
    return LabelCheck(len(found), labels["stack"].nunique(), wrong, _turned(labels, step))


def _whole_slices(labels: pd.DataFrame, step: float) -> bool:
    """Whether every label is a whole number of slices, as people give them."""
    slices = labels["focus_score"].dropna() / step if step else labels["focus_score"].dropna()
    return bool(np.allclose(slices, slices.round(), atol=1e-3))


def _turned(labels: pd.DataFrame, step: float) -> tuple[str, ...]:
    """Stacks whose scores fall where those of the majority rise."""
    slopes = {
        str(name): np.polyfit(part["slice"], part["focus_score"], 1)[0]
        for name, part in labels.dropna(subset=["focus_score"]).groupby("stack")
        if len(part) > 1
    }
    return tuple(name for name, slope in slopes.items() if slope * step < 0)
