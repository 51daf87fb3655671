"""Scores of single images: files in, one row each out, one bad file never stops the others."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TextIO

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import IMAGE_SUFFIXES, read_image
from focus_picker.dataset.progress import track
from focus_picker.dataset.stacks import images_below
from focus_picker.models.contract import Judgement, Model
from focus_picker.models.focus_state import ADVICE, UNCALIBRATED

BATCH = 64  # images held in memory at a time


@dataclass(frozen=True)
class ImageScore:
    """The declared row of ``score``.

    Attributes
    ----------
    image_path
        As the user gave or the folder listed it.
    focus_score, lower, upper
        Score and its 90 % interval; None for an unreadable file, and no interval where none was measured.
    status
        ``in_focus``, ``pre_focal``, ``post_focal``, ``unsure``, ``unreadable``, or ``uncalibrated`` where the model
        would name a focus but was not calibrated on this microscope.
    problem
        Why an unreadable file could not be used; empty otherwise.
    """

    image_path: str
    focus_score: float | None
    lower: float | None
    upper: float | None
    status: str
    problem: str = ""

    @property
    def advice(self) -> str:
        """What to do about the status, for people; empty when there is nothing to say."""
        return ADVICE.get(self.status, "")

    def as_row(self) -> dict[str, object]:
        """The columns that others script against, without the problem."""
        return {key: value for key, value in asdict(self).items() if key in SCORE_COLUMNS}


SCORE_COLUMNS = tuple(field.name for field in fields(ImageScore) if field.name != "problem")


def find_images(paths: Sequence[Path]) -> list[Path]:
    """List the image files among and below ``paths``, each folder's in natural order.

    Raises
    ------
    InputError
        For a path that does not exist, and when nothing is left to score.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            images += images_below(path)
        elif path.exists():
            images.append(path)
        else:
            raise InputError(f"{path} does not exist; check the path")
    if not images:
        given = ", ".join(str(path) for path in paths)
        raise InputError(f"no image ({', '.join(IMAGE_SUFFIXES)}) in {given}; give image files or their folder")
    return images


def score_files(images: Sequence[Path], model: Model, progress: bool = True) -> Iterator[ImageScore]:
    """Score image files in bounded memory, in the given order.

    Parameters
    ----------
    images
        Files; an unreadable one becomes a row with status ``unreadable``.
    model
        From ``loading.load_model``.
    progress
        Draw a progress bar on a terminal.
    """
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    for batch in track(batches, "scoring images") if progress else batches:
        yield from _score_batch(batch, model)


def _score_batch(batch: Sequence[Path], model: Model) -> list[ImageScore]:
    """Rows of a batch; whatever the model itself refuses (a 4x4 image, say) is unreadable too."""
    rows: list[ImageScore] = []
    for path in batch:
        try:
            rows.append(row_of(str(path), model.judge([read_image(path)])))
        except InputError as error:
            rows.append(unreadable(str(path), error))
    return rows


def row_of(name: str, judged: Judgement) -> ImageScore:
    """Row of the first image that was judged."""
    score, lower, upper = (float(values[0]) for values in (judged.score, judged.lower, judged.upper))
    if judged.status[0] == UNCALIBRATED:  # its interval was measured elsewhere and would promise too much
        return ImageScore(name, score, None, None, UNCALIBRATED)
    return ImageScore(name, score, lower, upper, str(judged.status[0]))


def unreadable(name: str, error: InputError) -> ImageScore:
    """Row of an image that cannot be read or scored."""
    return ImageScore(name, None, None, None, "unreadable", str(error))


def write_scores(rows: Sequence[ImageScore], file: TextIO, digits: int | None = None) -> None:
    """Write rows as CSV with the columns of ``predictions.csv``, floats in full or with ``digits`` decimals."""
    writer = csv.DictWriter(file, SCORE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = row.as_row()
        if digits is not None:
            cells = {key: f"{cell:.{digits}f}" if isinstance(cell, float) else cell for key, cell in cells.items()}
        writer.writerow(cells)
