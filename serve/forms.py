"""From the body of a request to files in memory; runs in a worker, as parsing what strangers send is work too."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from focus_picker.dataset.memory import MemoryFile
from focus_picker.serve.refusals import Refusal

FIELD = "files"
RAW_TYPES = ("image/", "application/zip", "application/octet-stream")
LONGEST_NAME = 255  # letters, as on file systems: longer ones are made to do harm
PIECE = 2**16  # bytes given to the parser at a time

Result = TypeVar("Result")

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                            "description": "Images (JPEG, PNG, BMP, TIFF), or a zip of images.",
                        }
                    },
                }
            },
            "application/octet-stream": {
                "schema": {"type": "string", "contentMediaType": "application/octet-stream"},
            },
        },
    }
}
"""How OpenAPI describes what ``files_of`` reads; image/* and application/zip are taken like octets."""


def check_type(kind: str) -> None:
    """Refuse a body of a type that is not read, by the header Content-Type, before it is received."""
    media = kind.split(";")[0].strip().lower()
    if media != "multipart/form-data" and not media.startswith(RAW_TYPES):
        raise Refusal(
            "wrong_type",
            f"The body is of type '{printable(media)}': send multipart/form-data with the field 'files', "
            "or one file as image/jpeg, image/png, image/bmp, image/tiff or application/zip.",
        )


def files_of(kind: str, content: bytes, name: str, max_files: int) -> list[MemoryFile]:
    """Read the files of a body.

    Parameters
    ----------
    kind
        Content-Type.
    content
        The body.
    name
        Of the one file of a body that is no form.
    max_files
        Parts of a form.

    Raises
    ------
    Refusal
        ``bad_form``, ``too_many_files`` or ``not_usable``.
    """
    if not kind.strip().lower().startswith("multipart/form-data"):
        if not content:
            raise Refusal("not_usable", "The body is empty: send an image.")
        return [MemoryFile(_checked(name) or "image", content)]
    return _at_once(_parse_form(kind, content, max_files))


async def _parse_form(kind: str, content: bytes, max_files: int) -> list[MemoryFile]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    parser = MultiPartParser(Headers({"content-type": kind}), pieces(), max_files=max_files, max_fields=8)  # type: ignore[arg-type]
    parser.spool_max_size = len(content) + 1  # never to disk: it may be read-only
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise Refusal("too_many_files", f"The form holds too many files: send at most {max_files}.") from None
        raise Refusal("bad_form", f"The form cannot be read ({error.message.rstrip('.')}).") from None
    except (LookupError, ValueError) as error:  # a charset, a boundary or a length that does not exist
        raise Refusal("bad_form", f"The form cannot be read ({printable(str(error))}).") from None
    parts = [part for part in form.getlist(FIELD) if isinstance(part, UploadFile)]
    files = [MemoryFile(_name(part, place), await part.read()) for place, part in enumerate(parts)]
    await form.close()
    if not files:
        raise Refusal("not_usable", "The form holds no file: send images in the field 'files'.")
    return files


def _at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never waits, as everything is in memory, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a form in memory has been waited for")


def _name(part: UploadFile, place: int) -> str:
    """Name of an uploaded file, without control characters; files without one are numbered."""
    return _checked(part.filename or "").replace("\\", "/") or str(place)


def _checked(name: str) -> str:
    name = printable(name)
    if any(len(part) > LONGEST_NAME for part in name.split("/")):
        raise Refusal(
            "not_usable", f"The name {name[:40]}... has more than {LONGEST_NAME} letters: give the file a shorter one."
        )
    return name


def printable(text: str) -> str:
    """The text without control characters."""
    return "".join(letter for letter in text if letter.isprintable())
