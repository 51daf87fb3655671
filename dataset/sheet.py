"""Contact sheet: some stacks as rows, slices in order, their scores under them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import atomic_path
from focus_picker.dataset.images import read_image, to_uint8

MAX_BYTES = 300_000
TILE_SIDES = (112, 96, 80, 64, 48, 32)
"""Sides of a slice in pixels, tried in this order until the file is small enough."""

SAVE_OPTIONS: dict[str, dict] = {
    ".jpg": {"quality": 88},
    ".jpeg": {"quality": 88},
    ".png": {"optimize": True},
}
"""File suffix -> how Pillow writes it; JPEG shows the most slices in few bytes."""

PAPER, INK, FAINT, FOCUS, EMPTY = "#ffffff", "#1a1a1a", "#6b6b6b", "#0b7a3b", "#d8d8d8"
GAP = 4


def contact_sheet(
    dataset: str | Path, labels: pd.DataFrame, output: str | Path, *, max_stacks: int = 8, max_slices: int = 13
) -> Path:
    """Draw a contact sheet of a data set and write it, whole or not at all, in at most 300 KB.

    The slice of each row whose score is closest to zero is framed: one look down the frames says whether the labels
    mean what the pictures show. Slices of a stack share one scale; a slice that cannot be read is shown as such.

    Parameters
    ----------
    dataset, labels
        The data set and its table (``dataset.labels.read_labels``).
    output
        ``.jpg`` or ``.png`` file to write.
    max_stacks, max_slices
        How many rows, spread over the data set, and how many slices of each, spread over the stack (its ends and its
        focus always among them).

    Returns
    -------
    pathlib.Path
        ``output``.
    """
    dataset, output = Path(dataset), Path(output)
    suffix = output.suffix.lower()
    if suffix not in SAVE_OPTIONS:
        raise InputError(f"A contact sheet cannot be written as {output.name}: use one of {', '.join(SAVE_OPTIONS)}.")
    if labels.empty:
        raise InputError(f"{dataset} has no labelled images to draw a contact sheet of.")
    rows = [_pick_slices(labels, stack, max_slices) for stack in _pick_stacks(labels, max_stacks)]
    images = [[_read_or_none(dataset / path) for path in row["image_path"]] for row in rows]
    with atomic_path(output) as temporary:
        for side in TILE_SIDES:
            sheet = _draw_sheet(dataset.resolve().name, rows, images, side)
            if suffix == ".png":  # 256 colours: a third of the bytes, and thumbnails do not show it
                sheet = sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            sheet.save(temporary, **SAVE_OPTIONS[suffix])
            if temporary.stat().st_size <= MAX_BYTES:
                break
    return output


def spread(count: int, wanted: int) -> list[int]:
    """Choose ``wanted`` of ``count`` indices, evenly, first and last among them."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, wanted))})


def _pick_stacks(labels: pd.DataFrame, max_stacks: int) -> list[str]:
    stacks = labels["stack"].unique().tolist()
    return [stacks[index] for index in spread(len(stacks), max_stacks)]


def _pick_slices(labels: pd.DataFrame, stack: str, max_slices: int) -> pd.DataFrame:
    """Return the rows of some slices of a stack in z order; ``is_focus`` marks the one closest to score 0."""
    rows = labels[labels["stack"] == stack].sort_values("slice", kind="stable").reset_index(drop=True)
    chosen = spread(len(rows), max_slices)
    distance = rows["focus_score"].abs()
    focus = int(distance.idxmin()) if distance.notna().any() else None
    if focus is not None and focus not in chosen:
        nearest = min(chosen[1:-1] or chosen, key=lambda index: abs(index - focus))
        chosen = sorted({focus, *chosen} - {nearest})
    return rows.loc[chosen].assign(is_focus=[index == focus for index in chosen])


def _read_or_none(path: Path) -> np.ndarray | None:
    try:
        return to_uint8(read_image(path))
    except InputError:
        return None


def _draw_sheet(
    title: str, rows: Sequence[pd.DataFrame], images: Sequence[Sequence[np.ndarray | None]], side: int
) -> Image.Image:
    """Put title, rows and scores on one white page."""
    font, small = ImageFont.load_default(size=max(9, side // 7)), ImageFont.load_default(size=max(8, side // 9))
    line = max(12, side // 6)
    tiles = [_make_tiles(pictures, side, small) for pictures in images]
    row_heights = [max(tile.height for tile in row) + 2 * line + 3 * GAP for row in tiles]
    heading = f"{title}: score under each slice, framed: closest to 0"
    left = GAP * 3 + max(round(font.getlength(str(row["stack"].iloc[0]))) for row in rows)
    width = max(left + max(map(len, rows)) * (side + GAP), round(font.getlength(heading)) + 2 * GAP)
    page = Image.new("RGB", (width, 2 * line + sum(row_heights)), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), heading, fill=INK, font=font)
    top = 2 * line
    for row, row_tiles, row_height in zip(rows, tiles, row_heights, strict=True):
        bottom = top + max(tile.height for tile in row_tiles)
        draw.text((GAP, (top + bottom) // 2), str(row["stack"].iloc[0]), fill=INK, font=font, anchor="lm")
        for column, (entry, tile) in enumerate(zip(row.itertuples(), row_tiles, strict=True)):
            middle = left + column * (side + GAP) + side // 2
            _place_tile(page, tile, (middle, (top + bottom) // 2), bool(entry.is_focus))
            _draw_caption(draw, entry, (middle, bottom), side, line, (font, small))
        top += row_height
    return page


def _make_tiles(
    pictures: Sequence[np.ndarray | None], side: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> list[Image.Image]:
    """Scale the slices of a stack by one factor, which fits the largest; an unreadable one is a square that says so."""
    largest = max((max(picture.shape[:2]) for picture in pictures if picture is not None), default=side)
    tiles = []
    for picture in pictures:
        if picture is None:
            tile = Image.new("RGB", (side, side), EMPTY)
            ImageDraw.Draw(tile).text((side / 2, side / 2), "unreadable", fill=INK, font=font, anchor="mm")
        else:
            size = (max(1, picture.shape[1] * side // largest), max(1, picture.shape[0] * side // largest))
            tile = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
        tiles.append(tile)
    return tiles


def _place_tile(page: Image.Image, tile: Image.Image, centre: tuple[int, int], is_focus: bool) -> None:
    """Paste a tile around ``centre``; frame it where it is the focus."""
    left, top = centre[0] - tile.width // 2, centre[1] - tile.height // 2
    page.paste(tile, (left, top))
    if is_focus:
        frame = (left - 2, top - 2, left + tile.width + 1, top + tile.height + 1)
        ImageDraw.Draw(page).rectangle(frame, outline=FOCUS, width=3)


def _draw_caption(
    draw: ImageDraw.ImageDraw, entry: Any, at: tuple[int, int], side: int, line: int, fonts: tuple
) -> None:
    """Write score and file name below the point ``at``, the bottom middle of a slice."""
    middle, bottom = at
    score = float(entry.focus_score)
    text = "no label" if np.isnan(score) else f"{score:+.2f}" if round(score, 2) else "0"
    draw.text((middle, bottom + line * 0.7), text, fill=FOCUS if entry.is_focus else INK, font=fonts[0], anchor="mm")
    name = _shorten(Path(entry.image_path).name, fonts[1], side)
    draw.text((middle, bottom + line * 1.6), name, fill=FAINT, font=fonts[1], anchor="mm")


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """Cut the start of a text that is wider than ``width``: the end has the slice number."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(".." + text) > width:
        text = text[1:]
    return ".." + text
