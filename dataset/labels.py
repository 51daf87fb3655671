"""Labels and truth of a data set: tolerant of how a table was typed, strict about what it says.

``focus_labels.csv`` has a row an image: ``image_path,focus_score``, the path relative to the data set. A byte order
mark, Windows line ends, spaces around cells, backslashes, columns in another order and further columns are accepted.
Whatever could train a model on the wrong thing is refused with the number of its row (the header is row 1).
"""

import csv
import math
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import refuse_passage
from focus_picker.dataset.stacks import STACKS_FOLDER, slice_numbers

LABELS_FILE = "focus_labels.csv"
TRUTH_FILE = "truth.csv"
UNLABELLED = ("", "na", "n/a", "nan")
"""Scores (in lower case) that mean: seen by nobody yet."""

LARGEST_NUMBER = 100_000
"""Of a score, a defocus or a slice; a larger one is a slip."""

OUTLIER_SLICES = 2.5
"""Farther off its stack's line than this a label is a slip; rounding moves it by half a slice."""

Row = tuple[int, list[str]]  # number in the file, one cell for each column asked for


@dataclass(frozen=True)
class RowFault:
    """What is wrong with one row: its number, its path in POSIX form ('' where that is the fault), and a sentence."""

    row: int
    image_path: str
    text: str


def read_labels(dataset: str | Path) -> pd.DataFrame:
    """Read ``focus_labels.csv`` of a data set.

    Returns
    -------
    pandas.DataFrame
        One row an image, in the order of the file: ``image_path`` (POSIX, relative to the data set), ``focus_score``
        (float64, NaN where unlabelled), ``stack`` (folder below ``cell_stacks``), ``field`` (the stack's name up to
        ``_cell_``: cells that were imaged together), ``slice`` (see ``dataset.stacks.slice_numbers``).

    Raises
    ------
    InputError
        No such file, not UTF-8, a missing column, no rows; or, with the row's number: a path that is empty, listed
        twice, absolute, leads out of the data set (``..`` or a symbolic link) or to no file; a score that is not a
        finite number.
    """
    labels, faults = check_labels(dataset)
    if faults:
        more = f" ({len(faults) - 1} more such rows: `cli.py inspect` lists them.)" if len(faults) > 1 else ""
        raise InputError(faults[0].text + more)
    return labels


def check_labels(dataset: str | Path) -> tuple[pd.DataFrame, list[RowFault]]:
    """Read the labels like :func:`read_labels`, but return the rows that are right and what is wrong with the others.

    Still raises InputError where there is no table to speak of (no file, missing column, no rows).
    """
    dataset = Path(dataset)
    file = dataset / LABELS_FILE
    rows = _read_rows(file, ("image_path", "focus_score"))
    table, faults = _check_rows(file, rows, _inside_check(dataset), _parse_score)
    labels = pd.DataFrame(table, columns=["image_path", "focus_score"])
    labels["focus_score"] = labels["focus_score"].astype(np.float64)
    return _add_groups(labels), faults


def read_truth(dataset: str | Path) -> pd.DataFrame | None:
    """Read ``truth.csv``, which simulated data have; None where there is none.

    Columns are ``image_path``, ``defocus_um`` and ``best_z_slice`` (both float64, in the file's order). Rows of
    images that are no longer in the data set are kept; the first malformed row raises InputError.
    """
    file = Path(dataset) / TRUTH_FILE
    if not file.exists():
        return None
    columns = ("image_path", "defocus_um", "best_z_slice")
    rows = _read_rows(file, columns)
    table, faults = _check_rows(file, rows, lambda path: "", _parse_finite, _parse_finite)
    if faults:
        raise InputError(faults[0].text)
    return pd.DataFrame(table, columns=list(columns)).astype({"defocus_um": float, "best_z_slice": float})


def score_per_slice(labels: pd.DataFrame) -> float | None:
    """Return the label step of one slice: the median over neighbouring labelled slices of all stacks.

    None where no stack has two labelled slices, or where the typical step is zero.
    """
    steps = neighbour_steps(labels)["step"]
    return (float(steps.median()) or None) if len(steps) else None


def training_step(labels: pd.DataFrame) -> float:
    """Return :func:`score_per_slice` where a model can be trained on the labels; InputError with the reason if not."""
    step = score_per_slice(labels)
    if step is not None:
        return step
    steps = neighbour_steps(labels)["step"]
    if not len(steps):
        raise InputError("No stack has two labelled slices: label whole stacks, slice by slice.")
    if (steps > 0).any() and (steps < 0).any():
        raise InputError(
            "As many scores rise with the slice number as fall: some stacks were numbered or labelled the other way "
            "round; turn their signs."
        )
    raise InputError("The slices of each stack have one and the same score: give each its distance from focus.")


def label_outliers(labels: pd.DataFrame) -> list[str]:
    """Images whose label lies more than ``OUTLIER_SLICES`` off the line that its stack's other labels make."""
    step = score_per_slice(labels)
    known = labels[labels["focus_score"].notna()]
    if step is None:
        return []
    offset = known["focus_score"] - step * known["slice"]
    typical = offset.groupby(known["stack"]).transform("median")
    # A stack labelled in another step or direction is one finding, not one an image.
    off = (offset - typical).abs() > OUTLIER_SLICES * abs(step)
    few = off.groupby(known["stack"]).transform("mean") <= 0.25
    return known.loc[off & few, "image_path"].tolist()


def neighbour_steps(labels: pd.DataFrame) -> pd.DataFrame:
    """Return ``stack`` and ``step`` of each two labelled neighbours: the score's change for one slice."""
    known = labels[labels["focus_score"].notna()].sort_values(["stack", "slice"], kind="stable")
    change = known.groupby("stack")[["focus_score", "slice"]].diff().dropna()
    change = change[change["slice"] > 0]
    # Labels are decimals with few digits; rounding takes the binary residue of 0.6 - 0.4 away.
    step = (change["focus_score"] / change["slice"]).round(9)
    return pd.DataFrame({"stack": known.loc[change.index, "stack"], "step": step})


def true_scores(labels: pd.DataFrame, truth: pd.DataFrame | None) -> pd.Series:
    """Return the continuous score of each image, ``(slice - best_z_slice) * score_per_slice``; NaN where unknown.

    Labels are rounded to the nearest slice, so that even a perfect model differs from them by a quarter of a step on
    average; this is what the model should say.
    """
    step = score_per_slice(labels)
    if truth is None or step is None:
        return pd.Series(np.nan, index=labels.index, name="true_score", dtype=np.float64)
    best = labels["image_path"].map(truth.set_index("image_path")["best_z_slice"])
    return ((labels["slice"] - best) * step).astype(np.float64).rename("true_score")


def field_of(stack: str) -> str:
    """Return a stack's field: ``stack_001`` of ``stack_001_cell_0``; a name without ``_cell_`` is its own field."""
    return stack.partition("_cell_")[0] or stack


def _add_groups(labels: pd.DataFrame) -> pd.DataFrame:
    """Add the columns ``stack``, ``field`` and ``slice``, which all follow from the path."""
    parents = labels["image_path"].map(lambda path: PurePosixPath(path).parent.as_posix()).astype(str)
    labels["stack"] = parents.str.removeprefix(f"{STACKS_FOLDER}/")
    labels["field"] = labels["stack"].map(field_of).astype(str)
    labels["slice"] = 0
    names = labels["image_path"].map(lambda path: PurePosixPath(path).name)
    for rows in labels.groupby("stack").indices.values():
        labels.iloc[rows, labels.columns.get_loc("slice")] = slice_numbers(names.iloc[rows].tolist())
    return labels


def _read_rows(file: Path, columns: tuple[str, ...]) -> list[Row]:
    """Read the named columns of a CSV file, whatever their order; blank lines are passed over."""
    try:
        refuse_passage(file)
        # "utf-8-sig" drops the byte order mark that spreadsheets write.
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, skipinitialspace=True)
            header = next(reader, [])
            positions = _find_columns(file, header, columns)
            rows = []
            for cells in reader:
                if any(cell.strip() for cell in cells[len(header) :]):
                    raise InputError(
                        f"{file} row {reader.line_num} has {len(cells)} cells under {len(header)} headings (a decimal "
                        "comma?): write decimals with a point, and texts that hold a comma in quotes."
                    )
                if any(cell.strip() for cell in cells):
                    rows.append((reader.line_num, [cells[at].strip() if at < len(cells) else "" for at in positions]))
    except FileNotFoundError:
        raise InputError(f"{file} does not exist: a data set needs one, with columns {','.join(columns)}.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check its permissions.") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8 text: save it as 'CSV UTF-8'.") from None
    except csv.Error as error:
        raise InputError(f"{file} is not a CSV table ({error}): save it as 'CSV UTF-8'.") from None
    if not rows:
        raise InputError(f"{file} has no rows below its header: add one for each image.")
    return rows


def _find_columns(file: Path, header: list[str], columns: tuple[str, ...]) -> list[int]:
    names = [name.strip().lower() for name in header]
    for column in columns:
        if names.count(column) == 1:
            continue
        fault = f"has the column {column} twice" if column in names else f"has no column {column}"
        hint = " (its columns are separated by semicolons: save it with commas)" if ";" in "".join(header) else ""
        raise InputError(f"{file} row 1 {fault}{hint}: the header must be {','.join(columns)}, in any order.")
    return [names.index(column) for column in columns]


def _check_rows(
    file: Path, rows: Iterable[Row], check_path: Callable[[str], str], *parsers: Callable[[str], float]
) -> tuple[list[list[str | float]], list[RowFault]]:
    """Parse each row to ``[path, number, ...]``; return the good rows, and what is wrong with the others."""
    table: list[list[str | float]] = []
    faults: list[RowFault] = []
    first_seen: dict[str, int] = {}
    for number, (text, *values) in rows:
        path = ""
        try:
            path = _parse_path(text)
            if path in first_seen:
                raise ValueError(f"lists {path} again, first in row {first_seen[path]}: keep one of them")
            first_seen[path] = number
            fault = check_path(path)
            if fault:
                raise ValueError(fault)
            table.append([path, *(parse(value) for parse, value in zip(parsers, values, strict=True))])
        except ValueError as error:
            faults.append(RowFault(number, path, f"{file} row {number} {error}."))
    return table, faults


def _parse_path(text: str) -> str:
    """Normalise a path to POSIX form; ValueError for one that is empty or could lead out of the data set."""
    path = text.replace("\\", "/")
    if not path:
        raise ValueError("has no image path: fill it in or delete the row")
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"has the absolute path {text}: paths are relative to the data set")
    if ".." in path.split("/"):
        raise ValueError(f"has the path {text}, which leaves the data set by '..': paths start in its folder")
    if "\0" in path:
        raise ValueError("has a path with a zero byte: type it again")
    return PurePosixPath(path).as_posix()


def _inside_check(dataset: Path) -> Callable[[str], str]:
    """Make a function that says what is wrong with a relative path on disk, or '' if nothing is.

    Folders are resolved once each, so that tens of thousands of rows cost one ``lstat`` a row.
    """
    root = dataset.resolve()
    folders: dict[str, Path] = {}

    def check(path: str) -> str:
        parent, name = os.path.split(path)
        if parent not in folders:
            folders[parent] = (root / parent).resolve()
        target = folders[parent] / name
        if not target.parent.is_relative_to(root):
            return f"has the path {path}, which leaves the data set by a symbolic link: copy the images into it"
        try:
            mode = os.lstat(target).st_mode
            if stat.S_ISLNK(mode):
                target = target.resolve()
                mode = os.stat(target).st_mode
        except (OSError, RuntimeError):
            return f"lists {path}, which does not exist: restore the file or delete the row"
        if not target.is_relative_to(root):
            return f"has the path {path}, which leaves the data set by a symbolic link: copy the image into it"
        return "" if stat.S_ISREG(mode) else f"lists {path}, which is no file: give the path of an image"

    return check


def _parse_score(text: str) -> float:
    return math.nan if text.lower() in UNLABELLED else _parse_finite(text)


def _parse_finite(text: str) -> float:
    try:
        number = float(text) if "_" not in text else math.nan  # Python would read 1_0 as ten
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"has {text!r} where a number is needed: correct it, or leave it empty if unknown")
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"has the value {text}, beyond {LARGEST_NUMBER}: correct it, or leave it empty if unknown")
    return number
