"""Files appear whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from focus_picker.dataset.errors import InputError

LONGEST_STEM = 40  # characters of a temporary file's name: with its random part it stays below what a disk allows


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` only when the block ends without an exception.

    The temporary file lies in the same folder (so that the move is one rename) and keeps the suffix (so that writers
    that choose a format by suffix work). Missing parent folders are made, a link is followed. On any exception, Ctrl-C
    included, the temporary file is removed and an older file at ``path`` stays as it was. A device or a pipe (such as
    ``/dev/stdout``) is no file to be replaced: the result is written through it.

    Raises
    ------
    InputError
        The operating system refuses: a folder, no permission, a full disk, a name that is too long.
    """
    path = Path(path)
    try:
        through = is_passage(path)
        target = path if through else Path(os.path.realpath(path))
        if not through:
            target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:LONGEST_STEM]}-", suffix=path.suffix, dir=None if through else target.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            (_pass_on if through else _move)(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); give another place, or make room there"
        ) from error


def is_passage(path: Path) -> bool:
    """Whether what lies at ``path`` is passed on and not kept: a device, a pipe, an open file of this process."""
    # The name of an open file is a link to what lies on disk, and replacing the link would not reach the stream.
    if str(path).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def _pass_on(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def _move(temporary: Path, target: Path) -> None:
    # mkstemp makes files private; the result should have the permissions that any new file has here.
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    os.replace(temporary, target)


def refuse_passage(path: Path) -> None:
    """Raise InputError for a pipe or a device where a file is to be read: reading it might never end."""
    if is_passage(path):
        raise InputError(f"{path} is a pipe or a device, not a file: save it as a file first.")


@contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """Yield a file, open for writing UTF-8, that becomes ``path`` as :func:`atomic_path` has it.

    Line ends are written as they come, and names of files that are not text with escapes.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path``, see :func:`atomic_text`."""
    with atomic_text(path) as file:
        file.write(text)


def as_text(name: str) -> str:
    """A file's name with escapes for what is not text in it."""
    return name.encode("utf-8", "backslashreplace").decode()


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
