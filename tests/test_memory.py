"""Files in memory are read as files on disk are, and what their headers claim is judged before they are decoded."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import image_format, image_size, read_image
from focus_picker.dataset.memory import MemoryFile
from focus_picker.dataset.stacks import Stack, find_stacks, memory_stack, read_each
from focus_picker.dataset.tiff import TiffPlanes
from tests.made_cells import made_cell

CELL = made_cell(5)


def encoded(kind):
    buffer = io.BytesIO()
    if kind == "TIFF":
        tifffile.imwrite(buffer, CELL, photometric="rgb")
    else:
        Image.fromarray(CELL).save(buffer, kind)
    return buffer.getvalue()


def tiff_of(pages, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pages, photometric="rgb", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_memory_and_disk_read_alike(tmp_path, kind):
    content = encoded(kind)
    path = tmp_path / "cell.any"
    path.write_bytes(content)
    file = MemoryFile("cell.any", content)
    assert image_format(file) == image_format(path) == kind
    np.testing.assert_array_equal(read_image(file), read_image(path))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_damage_is_named_alike(tmp_path, kind):
    content = encoded(kind)[:600]
    path = tmp_path / "cell"
    path.write_bytes(content)
    messages = []
    for file in (path, MemoryFile(str(path), content)):
        with pytest.raises(InputError) as caught:
            read_image(file)
        messages.append(str(caught.value).replace(f" in {path.name!r}", ""))
    assert str(path) in messages[0]
    assert messages[0].split(":")[0] == messages[1].split(":")[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_the_header_tells_the_size(kind):
    assert image_size(MemoryFile("cell", encoded(kind))) == (CELL.shape[1], CELL.shape[0])


def test_a_header_that_is_none_is_refused():
    with pytest.raises(InputError, match="cell"):
        image_size(MemoryFile("cell", encoded("TIFF")))
    with pytest.raises(InputError, match="cell"):
        image_size(MemoryFile("cell", encoded("PNG")[:20]))


def test_slices_in_memory_are_a_stack_in_order():
    files = [MemoryFile(f"z{number}.png", encoded("PNG")) for number in (10, 2, 1)]
    stack = memory_stack("s", files)
    assert [part.file for part in stack.slices] == ["z1.png", "z2.png", "z10.png"]
    assert len(list(read_each(stack.slices))) == 3


def test_a_tiff_stack_in_memory_is_that_on_disk(tmp_path):
    content = tiff_of(np.stack([made_cell(number) for number in range(4)]))
    path = tmp_path / "z.tif"
    path.write_bytes(content)
    in_memory, on_disk = memory_stack("z", [MemoryFile("z.tif", content)]), find_stacks(path)[0]
    assert [part.file for part in in_memory.slices] == [part.file for part in on_disk.slices]
    for one, other in zip(read_each(in_memory.slices), read_each(on_disk.slices), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stack_among_slices_is_refused():
    stack = MemoryFile("z.tif", tiff_of(np.stack([CELL, CELL])))
    with pytest.raises(InputError, match=r"z\.tif"):
        memory_stack("s", [stack, MemoryFile("0.png", encoded("PNG"))])


def test_each_slice_is_pixels_or_a_reason(tmp_path):
    good, bad = MemoryFile("0.png", encoded("PNG")), MemoryFile("1.png", b"")
    stack = memory_stack("s", [good, bad])
    first, second = read_each(stack.slices)
    assert first.shape == CELL.shape
    assert isinstance(second, InputError)
    pages = tmp_path / "z.tif"
    pages.write_bytes(tiff_of(np.stack([CELL, CELL])))
    vanished: Stack = find_stacks(pages)[0]
    pages.unlink()
    assert [type(one) for one in read_each(vanished.slices)] == [InputError, InputError]


def test_a_tiff_says_what_it_would_unpack():
    content = tiff_of(np.zeros((3, 20, 30, 3), np.uint8), compression="zlib")
    with TiffPlanes(MemoryFile("z.tif", content)) as tiff:
        assert tiff.sizes == [(30, 20)] * 3
        assert tiff.compressions == {"ADOBE_DEFLATE"}


@pytest.mark.parametrize(("tag", "value", "words"), [(277, 60_000, "60000 samples"), (322, 2**20, "tiles of")])
def test_a_tiff_that_would_unpack_to_far_more_is_refused(tag, value, words):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((64, 64), np.uint8), tile=(32, 32) if tag == 322 else None, photometric=1)
    content = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as tiff:
        place = tiff.pages[0].tags[tag].valueoffset
        size = tiff.pages[0].tags[tag].dtype.name
    width = {"SHORT": 2, "LONG": 4}[size]
    if value >= 2 ** (8 * width):
        value = 2**15  # as large as the field allows; 32,768 x 32 pixels of a 64 x 64 picture
        tall = tifffile.TiffFile(io.BytesIO(bytes(content))).pages[0].tags[323].valueoffset
        content[tall : tall + width] = value.to_bytes(width, "little")
    content[place : place + width] = value.to_bytes(width, "little")
    with pytest.raises(InputError, match=words):
        read_image(MemoryFile("z.tif", bytes(content)))
