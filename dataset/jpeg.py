"""Is a JPEG whole? What a decoder does not tell: Pillow, OpenCV and imagecodecs all draw something for zeros on disk.

A sector that a disk or a copy has lost reads as zeros. Zeros are valid codes, so that decoders fill the rest of the
picture with flat, shifted blocks: edges where the cell has none.
"""

import struct
from collections.abc import Iterator

ZERO_RUN = bytes(48)
"""Zeros in a row that only a blank picture has: three blocks with all 63 coefficients at -1 would not fill them."""

START_OF_SCAN, HUFFMAN_TABLES, END = 0xDA, 0xC4, 0xD9
SEQUENTIAL = (0xC0, 0xC1)  # frames that hold each block whole, as cameras write them
FRAMES = {*range(0xC0, 0xD0)} - {HUFFMAN_TABLES, 0xC8, 0xCC}
END_OF_BLOCK, NO_CHANGE = 0, 0  # symbols of AC and DC tables


def is_damaged(data: bytes) -> bool:
    """Whether a JPEG file lacks its end, or zeros stand in its pixels where no encoder would have written them.

    A run of zeros is legal where the shortest codes mean "as the block before, nothing more" (the first symbol of a
    Huffman table is the one that zeros stand for), as an optimising encoder chooses for a blank slide. Only then, and
    in progressive files, the whole stream is decoded strictly, which takes some milliseconds.
    """
    # In a scan FF is always followed by 00 or a restart marker: an end marker must come after the last scan begins.
    scan = data.rfind(b"\xff\xda")
    if data.rfind(b"\xff\xd9") < scan:
        return True
    if data.find(ZERO_RUN, _first_scan(data)) < 0:
        return False
    return not _zeros_mean_blank(data) or not _decodes_strictly(data)


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place and content of each segment before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        yield marker, at, data[at + 4 : at + 2 + length]
        if marker == START_OF_SCAN:
            return
        at += 2 + length


def _first_scan(data: bytes) -> int:
    return next((at for marker, at, _ in _segments(data) if marker == START_OF_SCAN), 0)


def _zeros_mean_blank(data: bytes) -> bool:
    """Whether zeros say nothing in every table, or the frame is of a kind where that is not told so easily."""
    for marker, _, content in _segments(data):
        if marker in FRAMES and marker not in SEQUENTIAL:
            return True
        while marker == HUFFMAN_TABLES and len(content) > 17:
            is_ac, count = content[0] >> 4, sum(content[1:17])
            if content[17] != (END_OF_BLOCK if is_ac else NO_CHANGE):
                return False
            content = content[17 + count :]
    return True


def _decodes_strictly(data: bytes) -> bool:
    """Whether libjxl can repack the file without loss: it takes every bit into account, and raises for odd ones."""
    from imagecodecs import jpegxl_encode_jpeg

    try:
        jpegxl_encode_jpeg(data)
    except Exception:  # its own errors and those of memory
        return False
    return True
