"""Zip files of images, read in memory under limits; nothing is unpacked to disk and no name in it is opened."""

import zipfile
from pathlib import PurePosixPath

from focus_picker.dataset.images import IMAGE_SUFFIXES
from focus_picker.dataset.memory import MemoryFile
from focus_picker.serve.forms import LONGEST_NAME, printable
from focus_picker.serve.refusals import Refusal
from focus_picker.serve.settings import Settings

ENCRYPTED = 0x1  # bit of a zip entry's flags
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
IGNORED_FOLDERS = "__MACOSX"
ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory


def is_zip(file: MemoryFile) -> bool:
    """Tell by the first bytes; an empty archive counts."""
    return file.content[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def zip_images(file: MemoryFile, settings: Settings, most_bytes: int, most_images: int) -> list[MemoryFile]:
    """Unpack the images of a zip file into memory.

    Other files, hidden ones and what macOS adds are passed over.

    Parameters
    ----------
    file
        The zip file.
    settings
        ``max_zip_ratio`` holds.
    most_bytes, most_images
        What the images may unpack to together, and how many they may be.

    Returns
    -------
    list of MemoryFile
        Named by their paths in the archive, in the archive's order.

    Raises
    ------
    Refusal
        ``too_many_files``; ``too_many_bytes``, also for a ratio that no image has; ``not_usable`` for a damaged,
        encrypted or oddly compressed archive, names that point out of it, or no image in it.
    """
    # Twice the images are let through, since a system may add a hidden file to each. Counted before zipfile makes an
    # object of each entry: a directory of 1.4 million takes it 700 MB.
    if file.content.count(ENTRY) > 2 * most_images + 100:
        raise Refusal("too_many_files", f"{file} holds too many files: send at most {most_images} images.")
    try:
        with zipfile.ZipFile(file.open()) as archive:
            entries = _image_entries(file, archive, settings, most_bytes, most_images)
            return [MemoryFile(printable(entry.filename), _unpack(file, archive, entry)) for entry in entries]
    except Refusal:
        raise
    except Exception as error:  # zipfile and zlib raise BadZipFile, zlib.error, struct.error, EOFError, ValueError ...
        raise Refusal("not_usable", f"{file} is a damaged zip file ({error}): make it again.") from error


def _image_entries(
    file: MemoryFile, archive: zipfile.ZipFile, settings: Settings, most_bytes: int, most_images: int
) -> list[zipfile.ZipInfo]:
    """Find the entries to unpack and judge them by what the archive's directory says, before anything is unpacked."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > 2 * most_images:
        raise Refusal("too_many_files", f"{file} holds {len(entries)} files: send at most {most_images} images.")
    for entry in entries:
        _check_name(file, entry)
    images = [entry for entry in entries if _is_image(entry.filename)]
    if not images:
        raise Refusal(
            "not_usable", f"{file} holds no image ({', '.join(IMAGE_SUFFIXES)}): put the slices of one stack into it."
        )
    if sum(entry.file_size for entry in images) > most_bytes:
        raise Refusal(
            "too_many_bytes", f"{file} unpacks to more than the {most_bytes} bytes left to it: send fewer images."
        )
    for entry in images:
        _check_entry(file, entry, settings)
    return images


def _check_name(file: MemoryFile, entry: zipfile.ZipInfo) -> None:
    """Refuse names that point out of the archive: harmless here, but made to do harm."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if any(len(part) > LONGEST_NAME for part in path.parts):
        raise Refusal(
            "not_usable", f"{file} holds a name of more than {LONGEST_NAME} letters: give the file a shorter one."
        )
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise Refusal(
            "not_usable", f"{file} holds the name '{entry.filename}', which points out of the archive: make it again."
        )


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == IGNORED_FOLDERS for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _check_entry(file: MemoryFile, entry: zipfile.ZipInfo, settings: Settings) -> None:
    if entry.flag_bits & ENCRYPTED:
        raise Refusal("not_usable", f"{file} is encrypted ({entry.filename}): make it again without a password.")
    if entry.compress_type not in METHODS:
        raise Refusal(
            "not_usable", f"{file} is compressed in an unusual way ({entry.filename}): make a plain zip (deflate)."
        )
    if entry.file_size > settings.max_zip_ratio * max(entry.compress_size, 1):
        raise Refusal(
            "too_many_bytes",
            f"{entry.filename} in {file} unpacks to {entry.file_size} bytes from {entry.compress_size}, "
            "more than images do: send the image itself.",
        )


def _unpack(file: MemoryFile, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack no more than the directory says, whatever the entry holds."""
    with archive.open(entry) as packed:
        content = packed.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise Refusal("not_usable", f"{file} is damaged ({entry.filename} ends early): make it again.")
    return content
