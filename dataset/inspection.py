"""What is in a data set and what is wrong with it: everything that can be said, not only the first fault."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.fingerprints import Fingerprint, fingerprint_images
from focus_picker.dataset.labels import (
    LABELS_FILE,
    check_labels,
    label_outliers,
    neighbour_steps,
    read_truth,
    score_per_slice,
    training_step,
)
from focus_picker.dataset.leaks import COLUMNS as LEAK_COLUMNS
from focus_picker.dataset.leaks import compare_fingerprints, linked_fields
from focus_picker.dataset.sheet import contact_sheet
from focus_picker.dataset.splits import PARTS, split_fields
from focus_picker.dataset.stacks import STACKS_FOLDER, find_stacks

__all__ = ["SEVERITIES", "Inspection", "Problem", "contact_sheet", "describe", "inspect_dataset"]

SEVERITIES = ("error", "warning", "note")
"""From what makes a data set unusable to what is only worth knowing."""

LEAST_SIDE_PX = 8  # features and networks refuse less
MAX_BARS = 25
SHOWN_PROBLEMS = 25


@dataclass(frozen=True)
class Problem:
    """One finding, as a sentence; ``severity`` is one of SEVERITIES."""

    severity: str
    text: str


@dataclass(frozen=True)
class Inspection:
    """What :func:`inspect_dataset` found.

    Attributes
    ----------
    dataset
        Folder of the data set.
    n_stacks, n_fields, n_images
        Of the rows in the labels table that are right.
    n_labelled, n_unlabelled, n_unreadable
        How many of these images have a score, have none, cannot be read (whatever their score).
    slices_per_stack, heights, widths
        Smallest, median and largest; (0, 0, 0) where nothing is known.
    depths
        Bits a sample -> images.
    histogram
        (lower edge, upper edge, images) of the scores; both edges are the score itself where few different ones exist.
    score_step
        Score of one slice, see ``dataset.labels.score_per_slice``.
    has_truth
        Whether ``truth.csv`` is there.
    parts
        Part of the split (seed 0) -> images, empty where no split is possible.
    leaks
        Table of ``dataset.leaks.find_leaks``.
    problems
        Everything found, errors first.
    """

    dataset: Path
    n_stacks: int = 0
    n_fields: int = 0
    n_images: int = 0
    n_labelled: int = 0
    n_unlabelled: int = 0
    n_unreadable: int = 0
    slices_per_stack: tuple[int, int, int] = (0, 0, 0)
    heights: tuple[int, int, int] = (0, 0, 0)
    widths: tuple[int, int, int] = (0, 0, 0)
    depths: dict[int, int] = field(default_factory=dict)
    histogram: tuple[tuple[float, float, int], ...] = ()
    score_step: float | None = None
    has_truth: bool = False
    parts: dict[str, int] = field(default_factory=dict)
    leaks: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(LEAK_COLUMNS)))
    problems: tuple[Problem, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a model can be trained on it: no problem is an error."""
        return all(problem.severity != "error" for problem in self.problems)


def inspect_dataset(dataset: str | Path, *, jobs: int = -1) -> Inspection:
    """Read every image of a data set and report counts, sizes, scores and problems.

    Parameters
    ----------
    dataset
        Folder with ``cell_stacks/`` and ``focus_labels.csv``.
    jobs
        Workers that read images; -1 takes all cores.

    Raises
    ------
    InputError
        The folder does not exist. Any other fault is a problem of the report.
    """
    dataset = Path(dataset)
    if not dataset.is_dir():
        raise InputError(f"{dataset} is not a folder: give a data set with {STACKS_FOLDER}/ and {LABELS_FILE}.")
    try:
        labels, faults = check_labels(dataset)
    except InputError as error:
        return Inspection(dataset, problems=(Problem("error", str(error)), *_unlisted(dataset, set())))
    prints = fingerprint_images(dataset, labels["image_path"].tolist(), jobs=jobs)
    leaks = compare_fingerprints(dataset, prints, labels["field"].tolist(), jobs=jobs)
    readable = np.array([not print_.error for print_ in prints], dtype=bool)
    parts, split_problems = _try_split(labels[readable], leaks)
    problems = [
        *(Problem("error", fault.text) for fault in faults),
        *split_problems,
        *_truth_problems(dataset, labels),
        *(Problem("error", print_.error) for print_ in prints if print_.error),
        *(
            Problem(
                "error",
                f"{print_.image_path} has {print_.shape[1]} x {print_.shape[0]} pixels, too few to measure: "
                "crop it larger, or delete its row.",
            )
            for print_ in prints
            if not print_.error and min(print_.shape) < LEAST_SIDE_PX
        ),
        *_leak_problems(leaks),
        *_score_problems(labels),
        *_image_problems(prints, labels),
        *_unlisted(dataset, set(labels["image_path"]) | {fault.image_path for fault in faults}),
    ]
    return Inspection(
        dataset,
        **_count(labels, readable),
        **_measure([print_ for print_ in prints if not print_.error]),
        histogram=_histogram(labels["focus_score"].dropna().to_numpy()),
        score_step=score_per_slice(labels),
        has_truth=(dataset / "truth.csv").exists(),
        parts=parts,
        leaks=leaks,
        problems=tuple(sorted(problems, key=lambda problem: SEVERITIES.index(problem.severity))),
    )


def describe(inspection: Inspection) -> str:
    """Write an inspection as plain text for a terminal, problems last, where they stay in sight."""
    found = inspection
    lines = [
        f"{found.dataset}: {found.n_stacks} stacks of {found.n_fields} fields, {found.n_images} images "
        f"({found.n_labelled} labelled, {found.n_unlabelled} unlabelled, {found.n_unreadable} unreadable)"
    ]
    if found.n_images:
        lines += [
            f"  slices a stack  {_range_text(found.slices_per_stack)}",
            f"  size in pixels  {_range_text(found.widths)} wide, {_range_text(found.heights)} high",
            f"  depth           {_join({f'{bits} bit': count for bits, count in found.depths.items()})}",
            f"  score a slice   {'unknown' if found.score_step is None else f'{found.score_step:g}'}",
            f"  truth.csv       {'yes' if found.has_truth else 'no'}",
            f"  split           {_join(found.parts) or 'impossible'}",
            f"  leaks           {len(found.leaks)} pairs of images shared by different fields",
        ]
    lines += _histogram_lines(found.histogram)
    lines += _problem_lines(found.problems)
    lines.append("usable for training" if found.usable else "NOT usable for training before the errors are corrected")
    return "\n".join(lines)


def _count(labels: pd.DataFrame, readable: np.ndarray) -> dict:
    labelled = int(labels["focus_score"].notna().sum())
    return {
        "n_stacks": labels["stack"].nunique(),
        "n_fields": labels["field"].nunique(),
        "n_images": len(labels),
        "n_labelled": labelled,
        "n_unlabelled": len(labels) - labelled,
        "n_unreadable": int((~readable).sum()),
        "slices_per_stack": _three(labels.groupby("stack").size().tolist()),
    }


def _measure(prints: list[Fingerprint]) -> dict:
    return {
        "heights": _three([print_.shape[0] for print_ in prints]),
        "widths": _three([print_.shape[1] for print_ in prints]),
        "depths": dict(Counter(print_.depth for print_ in prints)),
    }


def _three(values: list[int]) -> tuple[int, int, int]:
    """Return smallest, median and largest."""
    return (min(values), int(np.median(values)), max(values)) if values else (0, 0, 0)


def _histogram(scores: np.ndarray) -> tuple[tuple[float, float, int], ...]:
    """Count scores: each value by itself where labels are quantised, else in MAX_BARS equal bins."""
    if scores.size == 0:
        return ()
    values, counts = np.unique(np.round(scores, 6), return_counts=True)
    if len(values) > MAX_BARS:
        counts, edges = np.histogram(scores, bins=MAX_BARS)
        return tuple(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))
    return tuple(zip(values.tolist(), values.tolist(), counts.tolist(), strict=True))


def _try_split(labels: pd.DataFrame, leaks: pd.DataFrame) -> tuple[dict[str, int], list[Problem]]:
    """Split the readable images as training would; the reason why not is an error."""
    if not labels["focus_score"].notna().any():
        return {}, [Problem("error", "No image is both readable and labelled: there is nothing to train on.")]
    try:
        counts = split_fields(labels, linked=linked_fields(leaks)).value_counts()
    except InputError as error:
        return {}, [Problem("error", str(error))]
    return {part: int(counts.get(part, 0)) for part in PARTS}, []


def _truth_problems(dataset: Path, labels: pd.DataFrame) -> list[Problem]:
    try:
        truth = read_truth(dataset)
    except InputError as error:
        return [Problem("error", str(error))]
    if truth is None:
        return []
    lacking = int((~labels["image_path"].isin(truth["image_path"])).sum())
    return [Problem("warning", f"truth.csv lacks {lacking} of the {len(labels)} images.")] if lacking else []


def _leak_problems(leaks: pd.DataFrame) -> list[Problem]:
    """Write a sentence for each pair of fields that share images."""
    problems = []
    for (one, other), rows in leaks.groupby(["field_a", "field_b"], sort=True):
        first = rows.iloc[0]
        kinds = ", ".join(f"{count} {kind}" for kind, count in rows["kind"].value_counts().items())
        text = f"Fields {one} and {other} share images ({kinds}), such as {first.image_a} and {first.image_b}: "
        problems.append(Problem("warning", text + "they are kept on one side of the split; delete the copies."))
    return problems


def _score_problems(labels: pd.DataFrame) -> list[Problem]:
    """Compare the labels of the stacks with each other."""
    scores = labels["focus_score"].dropna()
    texts = []
    if len(scores) and ((scores > 0).all() or (scores < 0).all()):
        texts.append("All scores have one sign: a model cannot learn the direction of defocus.")
    try:
        step = training_step(labels)
    except InputError as error:
        return [*(Problem("warning", text) for text in texts), Problem("error", str(error))]
    if outliers := label_outliers(labels):
        texts.append(f"{_some(outliers, 'label')} more than two slices off the line of the stack: check for a slip.")
    steps = neighbour_steps(labels).groupby("stack")["step"].median()
    against = steps.index[steps * step < 0].tolist()
    if against:
        texts.append(
            f"{_some(against, 'stack')} scored in the opposite direction of z to the others: check their sign."
        )
    others = steps.index[~np.isclose(steps, step, rtol=0.05) & (steps * step >= 0)].tolist()
    if others:
        texts.append(f"{_some(others, 'stack')} scored in another step than {step:g} a slice.")
    return [Problem("warning", text) for text in texts]


def _image_problems(prints: list[Fingerprint], labels: pd.DataFrame) -> list[Problem]:
    """Report blank images, mixed depths and stacks whose slices differ in size."""
    readable = pd.DataFrame(
        [(stack, *print_.shape, print_.depth) for stack, print_ in zip(labels["stack"], prints, strict=True)
         if not print_.error],
        columns=["stack", "height", "width", "depth"],
    )  # fmt: skip
    problems = []
    blank = [print_.image_path for print_ in prints if print_.is_blank]
    if blank:
        problems.append(Problem("warning", f"{_some(blank, 'image')} blank (nothing but one grey level)."))
    if len(set(readable["depth"])) > 1:
        problems.append(Problem("warning", "Some images have 8 bits, some 16: check that they come from one camera."))
    sizes = readable.groupby("stack")[["height", "width"]].nunique().max(axis=1)
    uneven = sizes.index[sizes > 1].tolist()
    if uneven:
        text = f"{_some(uneven, 'stack')} made of slices that differ in size; size must not tell a model the score."
        problems.append(Problem("note", text))
    return problems


def _unlisted(dataset: Path, listed: set[str]) -> list[Problem]:
    """Report image files of the stacks that the labels do not list."""
    try:
        stacks = find_stacks(dataset)
    except InputError as error:
        return [Problem("warning", str(error))]
    on_disk = {Path(str(plane.path)) for stack in stacks for plane in stack.slices}
    files = sorted(path.relative_to(dataset).as_posix() for path in on_disk)
    missing = [file for file in files if file not in listed]
    return [Problem("warning", f"{_some(missing, 'image')} on disk but not in {LABELS_FILE}.")] if missing else []


def _some(names: list[str], what: str) -> str:
    """Say how many and name the first: '3 images (a, b, c) are'."""
    shown = ", ".join(str(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({shown}) {'is' if len(names) == 1 else 'are'}"


def _join(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {count}" for key, count in counts.items())


def _range_text(three: tuple[int, int, int]) -> str:
    low, middle, high = three
    return f"{low}" if low == high else f"{low} to {high} (median {middle})"


def _histogram_lines(histogram: tuple[tuple[float, float, int], ...]) -> list[str]:
    if not histogram:
        return []
    most = max(count for *_, count in histogram)
    lines = ["  scores"]
    for low, high, count in histogram:
        name = f"{low:+8.2f}" if low == high else f"{low:+8.2f} to {high:+.2f}"
        lines.append(f"  {name}  {'█' * max(round(40 * count / most), int(count > 0))} {count}")
    return lines


def _problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    lines = []
    for severity in SEVERITIES:
        texts = [problem.text for problem in problems if problem.severity == severity]
        lines += [f"  {severity}: {text}" for text in texts[:SHOWN_PROBLEMS]]
        if len(texts) > SHOWN_PROBLEMS:
            lines.append(f"  ... and {len(texts) - SHOWN_PROBLEMS} more of severity {severity}")
    return lines
