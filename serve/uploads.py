"""From the body of a request to files in memory, and from these to a stack, under the settings' limits."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import SIGNATURES, image_format, image_size
from focus_picker.dataset.limits import check_size
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.stacks import TIFF_SUFFIXES, Stack, memory_stack
from focus_picker.serve.archives import is_zip, zip_images
from focus_picker.serve.refusals import CLOSE, Refusal
from focus_picker.serve.settings import Settings

FIELD = "files"
RAW_TYPES = ("image/", "application/zip", "application/octet-stream")
TIFF_CODECS = frozenset({"NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "ZSTD", "LZMA", "ZSTD_DEPRECATED"})
"""Those that unpack to the size that the directory states; the others have headers of their own that may state more."""

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
"""How OpenAPI describes what ``Intake.files`` reads; image/* and application/zip are taken like octets."""


class Intake:
    """Receives bodies: never more bytes, nor for longer, than the settings allow.

    One instance serves all requests, as ``max_buffered_bytes`` is about all of them; it lives on the event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.buffered = 0

    async def files(self, request: Request) -> AsyncIterator[list[MemoryFile]]:
        """Yield the files of a request; what they occupy is given back when the request is over.

        Raises
        ------
        Refusal
            400, 408, 413, 415, 422 or 503, see ``refusals.MEANINGS``.
        """
        received = 0
        limit, budget = self.settings.max_request_bytes, self.settings.max_buffered_bytes

        async def stream() -> AsyncIterator[bytes]:
            nonlocal received
            async for chunk in request.stream():
                received += len(chunk)
                self.buffered += len(chunk)
                if received > limit:
                    raise Refusal(413, f"The body is larger than {limit} bytes: send fewer or smaller images.", CLOSE)
                if self.buffered > budget:
                    raise Refusal(
                        503, "Too many bytes are being received: try again later.", {"Retry-After": "1", **CLOSE}
                    )
                yield chunk

        try:
            _check_announced(request, limit)
            yield await self._receive(request, stream())
        finally:
            self.buffered -= received

    async def _receive(self, request: Request, stream: AsyncIterator[bytes]) -> list[MemoryFile]:
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                return await self._parse(request, stream)
        except TimeoutError:
            seconds = self.settings.body_seconds
            raise Refusal(
                408, f"The body did not arrive within {seconds:g} s: send it faster, or less.", CLOSE
            ) from None
        except ClientDisconnect:
            raise Refusal(400, "The connection was closed before the body was complete: send it again.") from None

    async def _parse(self, request: Request, stream: AsyncIterator[bytes]) -> list[MemoryFile]:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await self._parse_form(request, stream)
        if not kind.startswith(RAW_TYPES):
            raise Refusal(
                415,
                f"The body is of type '{kind}': send multipart/form-data with the field 'files', "
                "or one file as image/jpeg, image/png, image/bmp, image/tiff or application/zip.",
            )
        content = b"".join([chunk async for chunk in stream])
        if not content:
            raise Refusal(422, "The body is empty: send an image.")
        return [MemoryFile(request.query_params.get("name", "image"), content)]

    async def _parse_form(self, request: Request, stream: AsyncIterator[bytes]) -> list[MemoryFile]:
        # One more than allowed is let through, so that the sentence below is given and not the parser's.
        parser = MultiPartParser(request.headers, stream, max_files=self.settings.max_files + 1, max_fields=8)  # type: ignore[arg-type]
        parser.spool_max_size = self.settings.max_request_bytes + 1  # never to disk: it may be read-only
        try:
            form = await parser.parse()
        except MultiPartException as error:
            status = 413 if "Too many files" in error.message else 400
            raise Refusal(status, f"The form cannot be read ({error.message.rstrip('.')}).") from None
        parts = [part for part in form.getlist(FIELD) if isinstance(part, UploadFile)]
        files = [MemoryFile(_name(part, place), await part.read()) for place, part in enumerate(parts)]
        await form.close()
        if not files:
            raise Refusal(422, "The form holds no file: send images in the field 'files'.")
        if len(files) > self.settings.max_files:
            raise Refusal(413, f"The form holds {len(files)} files or more: send at most {self.settings.max_files}.")
        return files


def images_of(files: Sequence[MemoryFile], settings: Settings) -> list[MemoryFile]:
    """Unpack zip files among ``files`` and hold all images against the limits of number and pixels.

    Raises
    ------
    Refusal
        413 for too many files or pixels; 415 where none of the files is an image, or a TIFF file's codec is not
        taken; whatever ``zip_images`` raises.
    """
    images = unpacked(files, settings)
    if len(images) > settings.max_files:
        raise Refusal(413, f"The request holds {len(images)} images: send at most {settings.max_files}.")
    if not any(_is_known(image) for image in images):
        raise Refusal(
            415,
            f"{images[0]} is not an image of a known format, whatever its name says: "
            "send JPEG, PNG, BMP or TIFF, or a zip of them.",
        )
    pixels = sum(declared_pixels(image, settings) for image in images)
    if pixels > settings.max_request_pixels:
        raise Refusal(
            413,
            f"The images have {pixels} pixels together, more than {settings.max_request_pixels}: "
            "crop them to the cell, or send fewer.",
        )
    return images


def unpacked(files: Sequence[MemoryFile], settings: Settings) -> list[MemoryFile]:
    """Put the images of zip files in their place; all zip files of a request share ``max_unpacked_bytes``."""
    images: list[MemoryFile] = []
    left = settings.max_unpacked_bytes
    for file in files:
        if not is_zip(file):
            images.append(file)
            continue
        found = zip_images(file, settings, left)
        left -= sum(len(image.content) for image in found)
        images += found
    return images


def declared_pixels(file: MemoryFile, settings: Settings) -> int:
    """Pixels that the headers of an image or TIFF stack declare; 0 for one that cannot be read anyway.

    Raises Refusal (413) for an image beyond the limit, and (415) for a TIFF codec that is not taken.
    """
    try:
        if image_format(file) == "TIFF":
            return _tiff_pixels(file, settings)
        width, height = image_size(file)
    except InputError:
        return 0
    _check_pixels(file, width, height, settings.max_image_pixels)
    return width * height


def _check_pixels(file: MemoryFile, width: int, height: int, limit: int) -> None:
    try:
        check_size(file, width, height, limit)
    except InputError as error:
        raise Refusal(413 if width * height > limit else 422, str(error)) from None


def _tiff_pixels(file: MemoryFile, settings: Settings) -> int:
    from focus_picker.dataset.tiff import TiffPlanes
    from focus_picker.dataset.tiff_directories import count_pages

    # Directories beyond the planes are thumbnails; a file of very many costs time before any is looked at.
    if count_pages(file, at_most=2 * settings.max_files + 1) > 2 * settings.max_files:
        raise Refusal(413, f"{file} holds more than {settings.max_files} planes: send fewer.")
    with TiffPlanes(file, max_pixels=2**62) as tiff:
        if len(tiff) > settings.max_files:
            raise Refusal(413, f"{file} holds {len(tiff)} planes: send at most {settings.max_files}.")
        if strange := tiff.compressions - TIFF_CODECS:
            raise Refusal(
                415,
                f"{file} is compressed as {', '.join(sorted(strange))}: save it uncompressed, as LZW or as deflate.",
            )
        for width, height in tiff.sizes:
            _check_pixels(file, width, height, settings.max_image_pixels)
        return sum(width * height for width, height in tiff.sizes)


def stack_of(files: Sequence[MemoryFile], name: str | None) -> Stack:
    """Make one stack of images: slices, or a single multi-page TIFF file.

    Raises InputError where they are not one stack: images of several folders, a TIFF stack among others, one image.
    """
    folders = sorted({str(PurePosixPath(file.name).parent) for file in files})
    if len(folders) > 1:
        raise InputError(
            f"The images lie in {len(folders)} folders ({folders[0]}, {folders[1]} ...): send one stack at a time."
        )
    named = [MemoryFile(_slice_name(file), file.content) for file in files]
    folder = PurePosixPath(folders[0]).name
    return memory_stack(name or folder or PurePosixPath(named[0].name).stem or "stack", named)


def _slice_name(file: MemoryFile) -> str:
    """Last part of the name; a TIFF file sent without its suffix gets one, as the suffix tells stacks from images."""
    name = PurePosixPath(file.name).name or "image"
    is_tiff = file.content[:4] in {head for head, kind in SIGNATURES.items() if kind == "TIFF"}
    return name if not is_tiff or PurePosixPath(name).suffix.lower() in TIFF_SUFFIXES else f"{name}.tif"


def _is_known(file: MemoryFile) -> bool:
    """Whether the first bytes announce a format with a reader."""
    try:
        return image_format(file) in ("JPEG", "PNG", "BMP", "TIFF")
    except InputError:
        return False


def _name(part: UploadFile, place: int) -> str:
    """Name of an uploaded file, without control characters; files without one are numbered."""
    name = "".join(letter for letter in (part.filename or "") if letter.isprintable()).replace("\\", "/")
    return name or str(place)


def _check_announced(request: Request, limit: int) -> None:
    """Refuse a body by the length it announces, before it is sent."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise Refusal(
            413,
            f"The body has {announced} bytes, more than the limit of {limit}: send fewer or smaller images.",
            CLOSE,
        )
