"""Files that the service is sent in tests: good ones, and ones made to do harm."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tifffile

from focus_picker.dataset.images import read_image
from focus_picker.dataset.stacks import natural_key

EXAMPLE = Path(__file__).parents[1] / "serve" / "page" / "example"


def example_slices():
    """The page's example stack as (name, bytes), in z order."""
    paths = sorted(EXAMPLE.glob("*.jpg"), key=lambda path: natural_key(path.name))
    return [(path.name, path.read_bytes()) for path in paths]


def example_tiff(**options):
    """The same as one multi-page TIFF file, cut to a common size; lossless from here on."""
    images = [read_image(EXAMPLE / name) for name, _ in example_slices()]
    height, width = np.min([image.shape[:2] for image in images], axis=0)
    buffer = io.BytesIO()
    pages = np.stack([image[:height, :width] for image in images])
    tifffile.imwrite(buffer, pages, photometric="rgb", **options)
    return buffer.getvalue()


def zipped(files, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def form(files):
    """What httpx sends as multipart/form-data."""
    return [("files", file) for file in files]


def huge_png(side=20_000):
    """A whole, valid PNG of side x side one-bit pixels, a few kilobytes long."""
    rows = zlib.compress(bytes(side * (side // 8 + 1)), 9)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deflate_bomb_tiff(unpacked=2**28):
    """A TIFF of 64 x 64 grey pixels whose one strip unpacks to far more."""
    strip = zlib.compress(bytes(unpacked), 9)
    entries = [(256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    entries += [(278, 4, 64), (279, 4, len(strip))]
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHI", tag, kind, 1) + (
            struct.pack("<HH", value, 0) if kind == 3 else struct.pack("<I", value)
        )
    head = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + strip


def lying_zip(claimed=100):
    """A zip whose directory says that an entry is small while it unpacks to 64 MB."""
    content = zipped([("0.jpg", bytes(2**26))], zipfile.ZIP_DEFLATED)
    return content.replace(struct.pack("<I", 2**26), struct.pack("<I", claimed))
