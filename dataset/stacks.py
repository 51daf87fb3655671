"""Finding z-stacks: folders of slices, folders of such folders, multi-page TIFF files."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import gcd
from pathlib import Path
from typing import TypeVar

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import IMAGE_SUFFIXES, image_format, image_size, read_image
from focus_picker.dataset.memory import ImageFile, MemoryFile

STACKS_FOLDER = "cell_stacks"
"""Where a data set keeps its stacks."""

TIFF_SUFFIXES = (".tif", ".tiff")

LARGEST_NUMBER = 2**53
"""Of a slice; larger ones are times or keys, and floating point would mix them up."""

File = TypeVar("File", Path, MemoryFile)


@dataclass(frozen=True)
class Slice:
    """One plane of a stack; knows where it is and reads itself on demand.

    Attributes
    ----------
    path
        The image file, or the TIFF file that holds the plane; it may lie in memory.
    page
        Number of the plane within that file counted from 0, or None for a file that is one image.
    """

    path: ImageFile
    page: int | None = None

    @property
    def file(self) -> str:
        """Name for people and tables: ``5.jpg``, or ``stack.tif[5]`` for a plane of a file."""
        return self.path.name if self.page is None else f"{self.path.name}[{self.page}]"

    def read(self) -> np.ndarray:
        """Read the pixels as ``dataset.images.read_image`` does: (H, W, 3) RGB, ``uint8`` or scaled ``uint16``."""
        if self.page is None:
            return read_image(self.path)
        from focus_picker.dataset.tiff import TiffPlanes

        with TiffPlanes(self.path) as tiff:
            return tiff.read(self.page)

    def shape(self) -> tuple[int, int] | None:
        """Height and width of a file that is one image, by its header; None where that cannot be read."""
        try:
            if image_format(self.path) != "TIFF":
                return image_size(self.path)[::-1]
            from focus_picker.dataset.tiff import TiffPlanes

            with TiffPlanes(self.path) as tiff:
                return tiff.sizes[0][::-1]
        except InputError:
            return None


@dataclass(frozen=True)
class Stack:
    """A z-stack of one cell; holds names only, no pixels.

    Attributes
    ----------
    name
        Folder name, or file name without its suffix.
    path
        The folder or the TIFF file, for messages where it lies in memory.
    slices
        Planes in z order.
    z_um
        Position of each plane in micrometres, from 0, where the file declares its z step; else None.
    """

    name: str
    path: ImageFile
    slices: tuple[Slice, ...]
    z_um: tuple[float, ...] | None = None


def find_stacks(path: str | Path) -> list[Stack]:
    """Find the stacks at ``path``; no pixels are read.

    Parameters
    ----------
    path
        A folder of slices; a folder of such folders or of multi-page TIFF files; a data set (its ``cell_stacks`` is
        used); or one multi-page TIFF, ImageJ or OME-TIFF file.

    Returns
    -------
    list of Stack
        In natural order of their names (``stack_2`` before ``stack_10``). Slices are in the order of
        :func:`slice_numbers`. Hidden files, ``Thumbs.db`` and whatever has no image suffix are passed over. A damaged
        image is not: it keeps its place, and reading it raises InputError.

    Raises
    ------
    InputError
        Nothing there, no images in it, loose images beside folders of images (which of them is the stack?), or a
        single file that is not a stack.
    """
    path = Path(path)
    if path.is_file():
        return [_tiff_stack(path)]
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give a folder of slices, a folder of such folders, or a TIFF stack.")
    root = path / STACKS_FOLDER if (path / STACKS_FOLDER).is_dir() else path
    images, tiff_stacks = _split_tiff_stacks(_list_images(root))
    folders = [(folder, names) for folder in _list_folders(root) if (names := _list_images(folder))]
    if images and (folders or tiff_stacks):
        other = folders[0][0] if folders else tiff_stacks[0]
        raise InputError(
            f"{root} holds loose images ({images[0].name} ...) beside stacks ({other.name} ...): "
            "give the folder of one stack, or move the loose images away."
        )
    if images:
        return [_folder_stack(root, images)]
    stacks = [_readable_tiff_stack(file) for file in tiff_stacks]
    for folder, files in folders:
        loose, nested = _split_tiff_stacks(files)
        stacks += [_readable_tiff_stack(file) for file in nested]
        stacks += [_folder_stack(folder, loose)] if loose else []
    if not stacks:
        raise InputError(f"{root} holds no images ({', '.join(IMAGE_SUFFIXES)}), nor folders of them: check the path.")
    return sorted(stacks, key=lambda stack: natural_key(stack.name))


def memory_stack(name: str, files: Sequence[MemoryFile]) -> Stack:
    """Make a stack of files in memory: slices, ordered as those of a folder are, or one multi-page TIFF file.

    Raises InputError for a TIFF stack among other files, and for a single file that is no stack.
    """
    tiff_stacks = _split_tiff_stacks(files)[1]
    if len(files) == 1:
        return replace(_tiff_stack(files[0]), name=name)
    if tiff_stacks:
        raise InputError(
            f"{tiff_stacks[0]} is a stack of its own among {len(files)} files: "
            "give one multi-page TIFF file, or the slices of one stack."
        )
    return Stack(name, MemoryFile(name, b""), _ordered_slices(files))


def read_each(slices: Sequence[Slice]) -> Iterator[np.ndarray | InputError]:
    """Yield the pixels of each slice, or why it cannot be read; neighbours in one TIFF file open it once."""
    for paged, group in groupby(slices, key=lambda plane: None if plane.page is None else plane.path):
        if paged is None:
            yield from (_pixels_or_reason(plane.read) for plane in group)
        else:
            yield from _read_planes(paged, [plane.page or 0 for plane in group])


def _read_planes(path: ImageFile, pages: Sequence[int]) -> Iterator[np.ndarray | InputError]:
    from focus_picker.dataset.tiff import TiffPlanes

    try:
        with TiffPlanes(path) as tiff:
            yield from (_pixels_or_reason(partial(tiff.read, page)) for page in pages)
    except InputError as error:
        yield from [error] * len(pages)


def _pixels_or_reason(read: Callable[[], np.ndarray]) -> np.ndarray | InputError:
    try:
        return read()
    except InputError as error:
        return error


def declared_shapes(slices: Sequence[Slice]) -> list[tuple[int, int] | None]:
    """Height and width of each slice by its file's header, None where that cannot be read; no pixel is unpacked."""
    shapes: list[tuple[int, int] | None] = []
    for file, group in groupby(slices, key=lambda plane: None if plane.page is None else plane.path):
        planes = list(group)
        try:
            if file is None:
                shapes += [plane.shape() for plane in planes]
            else:
                from focus_picker.dataset.tiff import TiffPlanes

                with TiffPlanes(file) as tiff:
                    sizes = tiff.sizes
                shapes += [sizes[plane.page or 0][::-1] for plane in planes]
        except (InputError, IndexError):
            shapes += [None] * len(planes)
    return shapes


def images_below(folder: Path, *, into_datasets: bool = True) -> list[Path]:
    """Image files of a folder and its subfolders in natural order; hidden ones are passed over, links not followed.

    Without ``into_datasets`` the data sets among the subfolders are passed over too: their slices are no crops. A
    subfolder that cannot be listed raises InputError, since nobody would miss its images.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions.")

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        below = [name for name in folders if not name.startswith(".")]
        folders[:] = [name for name in below if into_datasets or not Path(place, name, STACKS_FOLDER).is_dir()]
        found += [Path(place, name) for name in names if _is_image_name(name)]
    return sorted((file for file in found if file.is_file()), key=lambda file: natural_key(file.as_posix()))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts text as people do: runs of digits by value, the rest without regard to case."""
    parts = re.findall(r"\d+|\D+", name)
    digits = [part.lstrip("0") for part in parts]  # of equal length they sort by value, and none is too long to be one
    key = tuple(
        (0, len(value), value) if part.isdecimal() else (1, 0, part.casefold())
        for part, value in zip(parts, digits, strict=True)
    )
    return (*key, (2, 0, name))  # names that differ in zeros or case only still have one order


def slice_numbers(names: Sequence[str]) -> list[int]:
    """Number the slices of one stack from their file names.

    The number is the last one in each name, with its sign (``-3.jpg``, ``z_-3.tif``) and decimals (``z_0.3.tif``, where
    all are counted in their largest common step). A dash between a word and a number joins them in ``z-1`` to ``z-9``;
    it is a sign where some number of the stack has none or a plus. Where some name has no number, two slices would
    share one, or numbers are too long to be positions, every slice gets its rank in natural order instead, from 0.
    """
    stems = [Path(name).stem for name in names]
    for read in (_decimals, _integers):
        numbers = read(stems)
        if numbers and len(set(numbers)) == len(names) and max(map(abs, numbers)) <= LARGEST_NUMBER:
            return numbers
    order = sorted(range(len(names)), key=lambda index: natural_key(names[index]))
    ranks = {index: rank for rank, index in enumerate(order)}
    return [ranks[index] for index in range(len(names))]


def _integers(stems: Sequence[str]) -> list[int]:
    """Last whole number of each stem with its sign; empty where one has none."""
    found = [re.search(r"([+-]?)([0-9]+)[^0-9]*$", stem) for stem in stems]
    return _signed([(match, match[2]) for match in found if match], len(stems))


def _decimals(stems: Sequence[str]) -> list[int]:
    """Last number of each stem in steps that divide all; empty where none has decimals, or ``1.10`` follows ``1.9``."""
    found = [re.search(r"([+-]?)([0-9]+)(?:\.([0-9]+))?[^0-9.]*$", stem) for stem in stems]
    fractions = [match[3] or "" for match in found if match]
    places = max(map(len, fractions), default=0)
    counts_on = any(part.endswith("0") and len(part) > min(map(len, filter(None, fractions))) for part in fractions)
    if not places or counts_on:
        return []
    parts = [(match, match[2] + (match[3] or "").ljust(places, "0")) for match in found if match]
    numbers = _signed(parts, len(stems))
    step = gcd(*numbers) or 1
    return [number // step for number in numbers]


def _signed(parts: Sequence[tuple[re.Match[str], str]], wanted: int) -> list[int]:
    """Whole numbers of the digits of each match with its sign; empty unless as many as ``wanted``."""
    joined = all(match[1] == "-" and match.string[: match.start()][-1:].isalnum() for match, _ in parts)
    numbers = [int(digits[:300]) * (-1 if match[1] == "-" and not joined else 1) for match, digits in parts]
    return numbers if len(numbers) == wanted else []


def _list_images(folder: Path) -> list[Path]:
    """List image files of a folder, hidden ones left out."""
    return sorted(entry for entry in folder.iterdir() if _is_image_name(entry.name) and entry.is_file())


def _is_image_name(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _list_folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _split_tiff_stacks(files: Sequence[File]) -> tuple[list[File], list[File]]:
    """Separate single images from multi-page TIFF files; a broken TIFF goes where its neighbours are."""
    pages = {file: _pages_up_to_two(file) for file in files if file.suffix.lower() in TIFF_SUFFIXES}
    if 2 not in pages.values():
        return list(files), []
    stacks = [file for file, count in pages.items() if count != 1]
    return [file for file in files if file not in stacks], stacks


def _pages_up_to_two(file: ImageFile) -> int:
    """Count the pages of a TIFF file up to 2; 0 where its header cannot be read."""
    from focus_picker.dataset.tiff_directories import count_pages

    try:
        return count_pages(file, at_most=2)
    except (InputError, OSError):
        return 0


def _folder_stack(folder: Path, files: list[Path]) -> Stack:
    return Stack(folder.name or folder.resolve().name, folder, _ordered_slices(files))


def _ordered_slices(files: Sequence[ImageFile]) -> tuple[Slice, ...]:
    numbers = slice_numbers([file.name for file in files])
    order = sorted(range(len(files)), key=lambda index: numbers[index])
    return tuple(Slice(files[index]) for index in order)


def _tiff_stack(path: ImageFile) -> Stack:
    """Describe one multi-page TIFF file; InputError where it is not a readable stack."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(f"{path} is a single file: give a folder of slices or a multi-page TIFF file.")
    from focus_picker.dataset.tiff import TiffPlanes

    with TiffPlanes(path) as tiff:
        n_planes, step_um = len(tiff), tiff.z_step_um
    if n_planes == 1:
        raise InputError(f"{path} has one page, which is no stack: give a multi-page TIFF or a folder of slices.")
    z_um = tuple(index * step_um for index in range(n_planes)) if step_um else None
    return Stack(_tiff_name(path), path, tuple(Slice(path, index) for index in range(n_planes)), z_um)


def _readable_tiff_stack(path: Path) -> Stack:
    """Describe a TIFF file among others; an unreadable one becomes one slice that raises when it is read."""
    try:
        return _tiff_stack(path)
    except InputError:
        return Stack(_tiff_name(path), path, (Slice(path),))


def _tiff_name(path: ImageFile) -> str:
    """File name without ``.tif`` or ``.ome.tif``."""
    return re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE)
