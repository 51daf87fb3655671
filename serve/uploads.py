"""From files in memory to images and stacks, under the settings' limits; runs in a worker."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import SIGNATURES, image_format, image_size
from focus_picker.dataset.limits import check_size
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.stacks import TIFF_SUFFIXES, Stack, memory_stack, natural_key
from focus_picker.dataset.tiff_directories import count_pages
from focus_picker.serve.archives import is_zip, zip_images
from focus_picker.serve.refusals import Refusal
from focus_picker.serve.settings import Settings

TIFF_CODECS = frozenset({"NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "ZSTD", "LZMA", "ZSTD_DEPRECATED"})
"""Those that unpack to the size that the directory states; the others have headers of their own that may state more."""


@dataclass(frozen=True)
class Part:
    """One image of an upload, and the name of the zip file it came in, empty where it came by itself."""

    file: MemoryFile
    archive: str = ""

    @property
    def folder(self) -> tuple[str, str]:
        """What the slices of one stack share: archive and folder."""
        return self.archive, str(PurePosixPath(self.file.name).parent)


def parts_of(files: Sequence[MemoryFile], settings: Settings, most: int) -> list[Part]:
    """Put the images of zip files in their place; all zip files of a request share ``max_unpacked_bytes``.

    Raises
    ------
    Refusal
        ``too_many_files`` for more than ``most`` images; ``wrong_type`` where none of the files is an image; whatever
        ``zip_images`` raises.
    """
    parts: list[Part] = []
    left = settings.max_unpacked_bytes
    for file in files:
        if not is_zip(file):
            parts.append(Part(file))
            continue
        found = zip_images(file, settings, left, most)
        left -= sum(len(image.content) for image in found)
        parts += [Part(image, file.name) for image in found]
    if len(parts) > most:
        raise Refusal("too_many_files", f"The request holds {len(parts)} images: send at most {most}.")
    if not any(_is_known(part.file) for part in parts):
        raise Refusal(
            "wrong_type",
            f"{parts[0].file} is not an image of a known format, whatever its name says: "
            "send JPEG, PNG, BMP or TIFF, or a zip of them.",
        )
    return parts


def declared_sizes(files: Sequence[MemoryFile], settings: Settings) -> list[tuple[int, int]]:
    """Width and height that the headers of images, and of the planes of TIFF stacks, declare; (0, 0) for a damaged one.

    Raises
    ------
    Refusal
        ``too_many_pixels`` for one image or all together, ``too_many_files`` for a TIFF file of too many planes,
        ``wrong_type`` for a TIFF codec that is not taken.
    """
    sizes = [size for file in files for size in _sizes(file, settings)]
    pixels = sum(width * height for width, height in sizes)
    if pixels > settings.max_request_pixels:
        raise Refusal(
            "too_many_pixels",
            f"The images have {pixels} pixels together, more than {settings.max_request_pixels}: "
            "crop them to the cell, or send fewer.",
        )
    return sizes


def _sizes(file: MemoryFile, settings: Settings) -> list[tuple[int, int]]:
    try:
        sizes = _tiff_sizes(file, settings) if image_format(file) == "TIFF" else [image_size(file)]
    except InputError:
        return [(0, 0)]
    for width, height in sizes:
        try:
            check_size(file, width, height, settings.max_image_pixels)
        except InputError as error:
            too_many = width * height > settings.max_image_pixels
            raise Refusal("too_many_pixels" if too_many else "not_usable", str(error)) from None
    return sizes


def _tiff_sizes(file: MemoryFile, settings: Settings) -> list[tuple[int, int]]:
    from focus_picker.dataset.tiff import TiffPlanes

    # Directories beyond the planes are thumbnails; a file of very many costs time before any is looked at.
    if count_pages(file, at_most=2 * settings.max_files + 1) > 2 * settings.max_files:
        raise Refusal("too_many_files", f"{file} holds more than {settings.max_files} planes: send fewer.")
    with TiffPlanes(file, max_pixels=2**62) as tiff:
        if len(tiff) > settings.max_files:
            raise Refusal("too_many_files", f"{file} holds {len(tiff)} planes: send at most {settings.max_files}.")
        if strange := tiff.compressions - TIFF_CODECS:
            raise Refusal(
                "wrong_type",
                f"{file} is compressed as {', '.join(sorted(strange))}: save it uncompressed, as LZW or as deflate.",
            )
        return tiff.sizes


def groups_of(parts: Sequence[Part]) -> list[tuple[str, list[MemoryFile]]]:
    """Sort an upload into stacks: one of each folder of each archive, and one of each multi-page TIFF file.

    Returns
    -------
    list of (name, files)
        By archive, then in natural order of the folders. The name is that of the folder; where several share one, it is
        their whole path.
    """
    ordered = sorted(parts, key=lambda part: (part.archive, natural_key(part.folder[1])))
    groups: list[tuple[str, str, list[MemoryFile]]] = []
    for (archive, folder), group in groupby(ordered, key=lambda part: part.folder):
        files = [MemoryFile(_slice_name(part.file), part.file.content) for part in group]
        path = "/".join(part for part in (_stem(archive), folder) if part not in ("", "."))
        paged = [file for file in files if _has_pages(file)]
        groups += [(_stem(file.name), f"{path}/{_stem(file.name)}".lstrip("/"), [file]) for file in paged]
        loose = [file for file in files if file not in paged]
        if loose:
            groups.append((PurePosixPath(folder).name or _stem(archive) or _stem(loose[0].name), path, loose))
    count = Counter(name for name, _, _ in groups)
    return [(name if count[name] == 1 else path or name, files) for name, path, files in groups]


def only_group(parts: Sequence[Part]) -> tuple[str, list[MemoryFile]]:
    """Give the one stack of an upload; Refusal (``several_stacks``) where there are more."""
    groups = groups_of(parts)
    if len(groups) > 1:
        names = ", ".join(name for name, _ in groups[:3])
        raise Refusal(
            "several_stacks",
            f"The upload holds {len(groups)} stacks or folders ({names} ...): send one, or all to /pick-focus-batch.",
        )
    return groups[0]


def stack_of(name: str, files: Sequence[MemoryFile]) -> Stack:
    """Make a stack of one group of files.

    Raises
    ------
    Refusal
        ``several_stacks`` where two slices have the same name.
    InputError
        For one image, which is no stack.
    """
    twice = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if twice:
        raise Refusal(
            "several_stacks", f"Two slices have the name {twice[0]}: send one stack, or each in a folder of its own."
        )
    return memory_stack(name or "stack", files)


def _has_pages(file: MemoryFile) -> bool:
    try:
        return image_format(file) == "TIFF" and count_pages(file, at_most=2) > 1
    except InputError:
        return False


def _slice_name(file: MemoryFile) -> str:
    """Last part of the name; a TIFF file sent without its suffix gets one, as the suffix tells stacks from images."""
    name = PurePosixPath(file.name).name or "image"
    is_tiff = file.content[:4] in {head for head, kind in SIGNATURES.items() if kind == "TIFF"}
    return name if not is_tiff or PurePosixPath(name).suffix.lower() in TIFF_SUFFIXES else f"{name}.tif"


def _stem(name: str) -> str:
    """``cell`` of ``cell.ome.tif`` and ``cell.zip``."""
    return PurePosixPath(name).stem.removesuffix(".ome")


def _is_known(file: MemoryFile) -> bool:
    """Whether the first bytes announce a format with a reader."""
    try:
        return image_format(file) in ("JPEG", "PNG", "BMP", "TIFF")
    except InputError:
        return False
