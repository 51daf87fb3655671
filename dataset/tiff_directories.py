"""Is a TIFF file whole? A walk along its image directories, which reads a few hundred bytes a page.

tifffile stops silently where the chain of directories is cut off and drops tags whose values lie beyond the file's
end: a truncated stack then looks like a shorter one, or loses its bit depth. Here both are refused.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import refuse_passage
from focus_picker.dataset.memory import ImageFile, as_image_file

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""TIFF 6.0 and BigTIFF field types -> bytes of one value."""


@dataclass(frozen=True)
class Layout:
    """Struct formats of a directory: number of entries, one entry (tag, type, count, value), offset of the next."""

    count: str
    entry: str
    offset: str


def count_pages(path: str | ImageFile, at_most: int | None = None) -> int:
    """Count the image directories of a TIFF file, thumbnails among them; ``at_most`` ends the walk early.

    Raises InputError where the file cannot be opened, or where a directory or a tag's value lies beyond its end.
    """
    path = as_image_file(path)
    with _open(path) as file:
        size = file.seek(0, os.SEEK_END)
        return sum(1 for _ in _walk(path, file, size, at_most))


def _open(path: ImageFile) -> BinaryIO:
    try:
        if isinstance(path, Path):
            refuse_passage(path)
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check the path and its permissions.") from None


def _walk(path: ImageFile, file: BinaryIO, size: int, at_most: int | None) -> Iterator[int]:
    """Yield the offset of each directory after its tags have been checked."""
    layout, offset = _read_header(path, file)
    seen: set[int] = set()
    while offset and (at_most is None or len(seen) < at_most):
        if offset in seen:
            raise InputError(f"{path} is damaged: its TIFF directories form a circle; export it again.")
        seen.add(offset)
        entries = _read(path, file, layout.count, offset, size)[0]
        start = offset + struct.calcsize(layout.count)
        for number in range(entries):
            _check_entry(path, file, layout, start + number * struct.calcsize(layout.entry), size)
        yield offset
        offset = _read(path, file, layout.offset, start + entries * struct.calcsize(layout.entry), size)[0]


def _read_header(path: ImageFile, file: BinaryIO) -> tuple[Layout, int]:
    """Return how directories are stored, and the offset of the first."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise InputError(f"{path} is truncated or no TIFF file: copy or export it again.")
    if struct.unpack(order + "H", head[2:4])[0] != 43:
        return Layout(order + "H", order + "HHII", order + "I"), struct.unpack(order + "I", head[4:8])[0]
    if len(head) < 16:
        raise InputError(f"{path} is truncated: copy or export it again.")
    return Layout(order + "Q", order + "HHQQ", order + "Q"), struct.unpack(order + "Q", head[8:16])[0]


def _check_entry(path: ImageFile, file: BinaryIO, layout: Layout, at: int, size: int) -> None:
    """Refuse a tag whose value should lie beyond the file's end."""
    _, kind, count, value = _read(path, file, layout.entry, at, size)
    length = count * TYPE_BYTES.get(kind, 0)
    if length > struct.calcsize(layout.offset) and value + length > size:
        raise InputError(f"{path} is truncated (its metadata lie beyond its end): copy or export it again.")


def _read(path: ImageFile, file: BinaryIO, form: str, offset: int, size: int) -> tuple[int, ...]:
    length = struct.calcsize(form)
    if offset + length > size:
        raise InputError(f"{path} is truncated (a TIFF directory lies beyond its end): copy or export it again.")
    file.seek(offset)
    return struct.unpack(form, file.read(length))
