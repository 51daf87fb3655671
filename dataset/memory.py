"""Files whose bytes are in memory: an upload, or an entry of an archive that is never unpacked to disk."""

import io
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, eq=False)
class MemoryFile:
    """A named piece of memory with the part of ``pathlib.Path`` that the image readers use.

    Attributes
    ----------
    name
        For messages and tables, and to order slices by; nothing is ever opened under it.
    content
        The bytes.
    """

    name: str
    content: bytes = field(repr=False)

    @property
    def suffix(self) -> str:
        """``.tif`` of ``stack.ome.tif``."""
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        """``stack.ome`` of ``stack.ome.tif``."""
        return PurePosixPath(self.name).stem

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Return a reader; there is no other ``mode``."""
        if mode != "rb":
            raise ValueError(f"mode is {mode!r}; a file in memory is only read, as 'rb'")
        return io.BytesIO(self.content)

    def read_bytes(self) -> bytes:
        """Return the bytes."""
        return self.content

    def __str__(self) -> str:
        """Return the name, as a path's text is its path."""
        return self.name


ImageFile = Path | MemoryFile
"""What the image readers take."""


def as_image_file(path: str | ImageFile) -> ImageFile:
    """Make a ``Path`` of text; a file that is in memory stays what it is."""
    return path if isinstance(path, MemoryFile) else Path(path)
