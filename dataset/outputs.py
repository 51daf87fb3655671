"""Results never take the place of something that is read."""

import os
from collections.abc import Iterable
from pathlib import Path

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import is_passage
from focus_picker.dataset.images import IMAGE_SUFFIXES
from focus_picker.dataset.stacks import STACKS_FOLDER


def check_output(output: Path, read: Iterable[Path], *, folder: bool = False) -> None:
    """Refuse a place that cannot be written, or where a result would replace or join what is read.

    Parameters
    ----------
    output
        File to be written, or folder if ``folder``.
    read
        Files and folders that the same command reads. Inside such a folder (of a data set: inside its stacks) a result
        must not replace a file, nor be a picture, which the next run would take for one of the images.

    Raises
    ------
    InputError
        One of these.
    """
    if is_passage(output):
        return
    place = Path(os.path.realpath(output))
    if place.exists() and place.is_dir() != folder:
        raise InputError(
            f"{output} is a {'file' if folder else 'folder'}; give a {'folder' if folder else 'file'} name"
        )
    ground = next(parent for parent in (place, *place.parents) if parent.exists())
    if not (ground.is_dir() or ground == place) or not os.access(ground, os.W_OK):
        raise InputError(f"{output} cannot be written ({ground} is a file or closed to you); give another place")
    for path in read:
        source = Path(os.path.realpath(path))
        if source == place or (place.exists() and source.exists() and source.samefile(place)):
            raise InputError(f"{output} is read and would be replaced by the result; give another name")
        stacks = source / STACKS_FOLDER
        inside = place.is_relative_to(stacks if stacks.is_dir() else source)
        if inside and (folder or place.exists() or place.suffix.lower() in IMAGE_SUFFIXES):
            raise InputError(f"{output} lies inside {path}, which is read; give a place outside")
