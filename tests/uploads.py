"""Files that the service is sent in tests: good ones, and ones made to do harm."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

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


def scan_bomb(side=1500, scans=20_000):
    """A progressive JPEG of one grey level whose last scan comes again and again; each goes over all blocks."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * scans + whole[-2:]


def declaring_tiff():
    """A TIFF of one plane whose OME-XML declares ten million."""
    buffer = io.BytesIO()
    pixels = '<Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="32" SizeY="32" SizeZ="10000000" SizeC="1" SizeT="1"/>'
    text = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{pixels}</Image></OME>'
    tifffile.imwrite(buffer, np.zeros((32, 32), np.uint8), description=text, metadata=None)
    return buffer.getvalue()


def overlapping_tiff(directories=300, entries=40_000):
    """A TIFF whose directories of many entries lie over each other, so that a small file is walked many times."""
    length = 12 * (entries + directories)
    head = b"II*\0" + struct.pack("<I", 8)
    body = bytearray(struct.pack("<HHII", 65000, 1, 1, 0) * (length // 12 + 1))
    for number in range(directories):
        at = 12 * number
        body[at : at + 2] = struct.pack("<H", entries)
        end = at + 2 + 12 * entries
        body[end : end + 4] = struct.pack("<I", 8 + 12 * (number + 1) if number < directories - 1 else 0)
    return head + bytes(body)


def crowded_zip(entries=300_000):
    """A zip whose directory names one empty file very many times."""
    local = zipped([("0", b"")])
    start = local.index(b"PK\x01\x02")
    end = local.index(b"PK\x05\x06")
    directory = local[start:end] * entries
    closing = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, len(directory), start, 0)
    return local[:start] + directory + closing
