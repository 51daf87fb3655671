"""Finding stacks: the right slices in the right order, without reading a pixel."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image

from focus_picker.dataset import images, stacks
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import Slice, find_stacks, natural_key, read_each, slice_numbers
from focus_picker.dataset.tiff import TiffPlanes
from focus_picker.dataset.tiff_directories import count_pages


def plane(value, height=12, width=16):
    return np.full((height, width), value, np.uint8)


def make_folder(folder, names):
    """Write an image per name; the grey level says which name it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for level, name in enumerate(names):
        Image.fromarray(plane(10 + level)).save(folder / name)
    return folder


def files(stack):
    return [one.file for one in stack.slices]


# folders


def test_slices_sort_by_number(tmp_path):
    make_folder(tmp_path / "s", ["10.png", "2.png", "0.png", "1.png"])
    (stack,) = find_stacks(tmp_path / "s")
    assert files(stack) == ["0.png", "1.png", "2.png", "10.png"]
    assert [int(image[0, 0, 0]) for image in read_each(stack.slices)] == [12, 13, 11, 10]
    assert (stack.name, stack.path, stack.z_um) == ("s", tmp_path / "s", None)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["5.jpg", "12.jpg"], [5, 12]),
        (["-2.jpg", "-10.jpg", "0.jpg", "+3.jpg"], [-2, -10, 0, 3]),
        (["cell3_z04.tif", "cell3_z11.tif"], [4, 11]),
        (["b.png", "a.png", "c.png"], [1, 0, 2]),
        (["sharp.png", "7.png"], [1, 0]),  # digits sort before letters
        (["0.5um.png", "1.5um.png", "10.5um.png"], [1, 3, 21]),
        (["z-5.png", "z-4.png", "z+0.png", "z+3.png"], [-5, -4, 0, 3]),
        (["z-1.png", "z0.png", "z1.png"], [-1, 0, 1]),
        (["slice_-5.png", "slice_-4.png"], [-5, -4]),
        (["z-1.png", "z-2.png"], [1, 2]),  # a dash that joins
        (["z-2.5.png", "z-2.png", "z0.5.png"], [-5, -4, 1]),
        (["z_0.3.png", "z_0.6.png", "z_1.2.png"], [1, 2, 4]),
        (["v1.9.png", "v1.10.png"], [9, 10]),
        (["a.001.png", "a.002.png"], [1, 2]),
        (["9" * 202 + ".png", "8" * 202 + ".png"], [1, 0]),
        (["z1_c0.png", "z10_c0.png", "z2_c0.png"], [0, 2, 1]),
        (["1.jpg", "1.png"], [0, 1]),
        ([], []),
    ],
)
def test_slice_numbers(names, numbers):
    assert slice_numbers(names) == numbers


def test_other_files_are_passed_over_and_damaged_ones_are_not(tmp_path):
    folder = make_folder(tmp_path / "s", ["0.png", "1.png"])
    for name in (".hidden.png", "._0.png", "Thumbs.db", "notes.txt", "0.json"):
        (folder / name).write_text("x")
    (folder / "2.png").write_bytes(b"")
    (folder / "3.JPG").write_bytes((folder / "0.png").read_bytes())
    (folder / "4.png").mkdir()
    (stack,) = find_stacks(folder)
    assert files(stack) == ["0.png", "1.png", "2.png", "3.JPG"]
    assert stack.slices[3].read()[0, 0, 0] == 10
    with pytest.raises(InputError, match=r"2\.png is empty"):
        stack.slices[2].read()


def test_folder_of_stacks_and_data_set_root(tmp_path):
    for name in ("stack_10_cell_0", "stack_2_cell_0", "stack_2_cell_1"):
        make_folder(tmp_path / "cell_stacks" / name, ["0.png"])
    (tmp_path / "cell_stacks" / "empty").mkdir()
    make_folder(tmp_path / "cell_stacks" / ".cache", ["0.png"])
    make_folder(tmp_path, ["contact_sheet.png"])
    names = ["stack_2_cell_0", "stack_2_cell_1", "stack_10_cell_0"]
    assert [stack.name for stack in find_stacks(tmp_path)] == names
    assert [stack.name for stack in find_stacks(tmp_path / "cell_stacks")] == names


def test_loose_images_beside_stacks_are_ambiguous(tmp_path):
    make_folder(tmp_path / "stack_1", ["0.png"])
    make_folder(tmp_path, ["overview.png"])
    with pytest.raises(InputError, match=r"overview\.png.*beside stacks \(stack_1"):
        find_stacks(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "empty", "no images", "single image", "single page"])
def test_nothing_to_find(tmp_path, kind):
    path = tmp_path / "x"
    if kind == "empty":
        path.mkdir()
    elif kind == "no images":
        path.mkdir()
        (path / "a.txt").touch()
    elif kind == "single image":
        path = make_folder(tmp_path, ["one.png"]) / "one.png"
    elif kind == "single page":
        path = tmp_path / "one.tif"
        tifffile.imwrite(path, plane(1))
    with pytest.raises(InputError, match=str(path)):
        find_stacks(path)


def test_natural_order_ignores_case_and_zeros_but_is_total():
    names = ["b10", "B2", "a", "b02", "b2"]
    assert sorted(names, key=natural_key) == ["a", "B2", "b02", "b2", "b10"]
    assert len({natural_key(name) for name in names}) == len(names)


def test_finding_reads_no_pixel(tmp_path, monkeypatch):
    make_folder(tmp_path / "a", ["0.png", "1.png"])
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((7, 8, 9), np.uint8))

    def fail(*args, **options):
        raise AssertionError("a pixel was read")

    monkeypatch.setattr(images, "read_image", fail)
    monkeypatch.setattr(stacks, "read_image", fail)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    assert [len(stack.slices) for stack in find_stacks(tmp_path)] == [2, 7]


# TIFF stacks: name -> (array, how it is written, z step); each is five planes of which plane k has the level 10 + k

PLANES = np.stack([plane(10 + k) for k in range(5)])
COLOUR = np.stack([PLANES, PLANES + 50, PLANES + 100], axis=-1)
TIFF_STACKS = {
    "plain pages": (PLANES, {"photometric": "minisblack", "metadata": None}, None),
    "tifffile's own": (PLANES, {"photometric": "minisblack"}, None),
    "behind one directory": (PLANES, {"photometric": "minisblack", "truncate": True}, None),
    "big endian": (PLANES, {"photometric": "minisblack", "metadata": None, "byteorder": ">"}, None),
    "BigTIFF": (PLANES, {"photometric": "minisblack", "metadata": None, "bigtiff": True}, None),
    "compressed": (PLANES, {"photometric": "minisblack", "compression": "zlib", "metadata": None}, None),
    "colour pages": (COLOUR, {"photometric": "rgb", "metadata": None}, None),
    "ImageJ": (PLANES, {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 0.4, "unit": "um"}}, 0.4),
    "ImageJ without unit": (PLANES, {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 0.4}}, None),
    "ImageJ colour": (COLOUR, {"imagej": True, "metadata": {"axes": "ZYXS"}}, None),
    "OME ZYX": (PLANES, {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeZ": 0.5}}, 0.5),
    "OME in nm": (
        PLANES,
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeZ": 250, "PhysicalSizeZUnit": "nm"}},
        0.25,
    ),
    "OME ZYXS": (COLOUR, {"ome": True, "photometric": "rgb", "metadata": {"axes": "ZYXS"}}, None),
    "OME ZCYX": (COLOUR.transpose(0, 3, 1, 2), {"ome": True, "metadata": {"axes": "ZCYX"}}, None),
    "OME CZYX": (COLOUR.transpose(3, 0, 1, 2), {"ome": True, "metadata": {"axes": "CZYX"}}, None),
    "OME channels named blue first": (
        COLOUR[..., ::-1].transpose(0, 3, 1, 2),
        {"ome": True, "metadata": {"axes": "ZCYX", "Channel": {"Name": ["Blue", "Green", "Red"]}}},
        None,
    ),
    "OME one channel, one time": (
        PLANES[np.newaxis, :, np.newaxis],
        {"ome": True, "metadata": {"axes": "TZCYX"}},
        None,
    ),
}


def write_tiff(path, array, photometric="minisblack", truncate=False, **options):
    """Write with the photometric given, so that three or four planes are not taken for RGB."""
    imagej_colour = options.get("imagej") and array.shape[-1] == 3
    options["photometric"] = "rgb" if imagej_colour else photometric
    head = {key: options.pop(key) for key in ("imagej", "ome", "bigtiff", "byteorder") if key in options}
    with tifffile.TiffWriter(path, **head) as writer:
        writer.write(array, contiguous=truncate or None, **({"truncate": True} if truncate else {}), **options)
    return path


@pytest.mark.parametrize("kind", TIFF_STACKS)
def test_tiff_stack_is_read_in_z_order(tmp_path, kind):
    array, options, step_um = TIFF_STACKS[kind]
    name = "smear.ome.tif" if "OME" in kind else "smear.tif"
    path = write_tiff(tmp_path / name, array, **options)
    (stack,) = find_stacks(path)
    assert stack.name == "smear"
    assert files(stack) == [f"{name}[{k}]" for k in range(5)]
    assert stack.z_um == (None if step_um is None else pytest.approx([k * step_um for k in range(5)]))
    offset = np.array([0, 50, 100]) if array.ndim == 4 else np.zeros(3)  # red, green, blue
    for k, image in enumerate(read_each(stack.slices)):
        assert image.shape == (12, 16, 3)
        assert image.dtype == np.uint8
        assert (image == 10 + k + offset).all()
        np.testing.assert_array_equal(image, stack.slices[k].read())


def test_pages_of_different_size_are_one_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for k in range(4):
            writer.write(plane(k, 12 + k), metadata=None)
    (stack,) = find_stacks(tmp_path / "a.tif")
    assert [image.shape[0] for image in read_each(stack.slices)] == [12, 13, 14, 15]


def test_thumbnails_are_no_slices(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for k in range(3):
            writer.write(plane(k), metadata=None)
            writer.write(plane(k)[::4, ::4], metadata=None, subfiletype=1)
    (stack,) = find_stacks(tmp_path / "a.tif")
    assert [image[0, 0, 0] for image in read_each(stack.slices)] == [0, 1, 2]


def test_sixteen_bit_stack_keeps_its_declared_scale_in_every_slice(tmp_path):
    values = np.stack([np.full((8, 9), 1000 * k, np.uint16) for k in range(1, 5)])
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata={"axes": "ZYX", "SignificantBits": 12})
    (stack,) = find_stacks(tmp_path / "a.ome.tif")
    levels = [int(image[0, 0, 0]) for image in read_each(stack.slices)]
    assert levels == [round(1000 * k * 65535 / 4095) for k in range(1, 5)]


REFUSED = {
    "time series": ((3, 5, 8, 9), "TZYX", "3 time points"),
    "two channels": ((5, 2, 8, 9), "ZCYX", "2 channels"),
    "four channels": ((5, 4, 8, 9), "ZCYX", "4 channels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_z_stack_is_refused(tmp_path, case):
    shape, axes, message = REFUSED[case]
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack", metadata={"axes": axes})
    with pytest.raises(InputError, match=message):
        find_stacks(path)


@pytest.mark.parametrize("kind", ["plain pages", "compressed", "behind one directory", "OME ZYX"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_stack_is_never_a_shorter_one(tmp_path, kind, share, capfd):
    array, options, _ = TIFF_STACKS[kind]
    noise = np.random.default_rng(0).integers(0, 255, (5, 40, 50)).astype(np.uint8)
    path = write_tiff(tmp_path / "a.tif", noise if array.ndim == 3 else array, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"a\.tif is truncated"):
        assert [image.shape for image in read_each(find_stacks(path)[0].slices)] == []
    assert capfd.readouterr() == ("", "")


def test_directories_in_a_circle_are_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", PLANES, metadata=None)
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    data[first + 2 + 12 * entries : first + 6 + 12 * entries] = data[4:8]
    path.write_bytes(data)
    with pytest.raises(InputError, match="circle"):
        count_pages(path)


OME = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0"
DimensionOrder="XYZCT" Type="uint8" SizeX="32" SizeY="32" SizeZ="10000000" SizeC="1" SizeT="1"><TiffData/></Pixels>
</Image></OME>"""


@pytest.mark.parametrize("text", [OME, '{"shape": [10000000, 32, 32]}'], ids=["ome", "tifffile"])
@pytest.mark.parametrize("honest", [0, 3], ids=["first page", "later page"])
def test_a_small_file_that_declares_millions_of_planes_is_refused_before_room_is_made(tmp_path, text, honest):
    path, plane = tmp_path / "a.tif", np.zeros((32, 32), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for _ in range(honest if text != OME else 0):
            writer.write(plane, contiguous=False)
        writer.write(plane, description=text, metadata=None, contiguous=False)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="declares 10000000 planes"):
            TiffPlanes(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_page_count_may_stop_early(tmp_path):
    path = write_tiff(tmp_path / "a.tif", PLANES, metadata=None)
    assert [count_pages(path), count_pages(path, at_most=2)] == [5, 2]


def test_folder_of_tiff_stacks_where_one_is_cut(tmp_path):
    for name in ("s2.tif", "s10.tif", "s1.tif"):
        write_tiff(tmp_path / name, PLANES, metadata=None)
    (tmp_path / "s2.tif").write_bytes((tmp_path / "s2.tif").read_bytes()[:700])
    found = find_stacks(tmp_path)
    assert [(stack.name, len(stack.slices)) for stack in found] == [("s1", 5), ("s2", 1), ("s10", 5)]
    with pytest.raises(InputError, match="truncated"):
        found[1].slices[0].read()


def test_folder_of_single_page_tiffs_is_one_stack(tmp_path):
    for k in range(3):
        tifffile.imwrite(tmp_path / f"z{k}.tif", plane(k))
    (stack,) = find_stacks(tmp_path)
    assert files(stack) == ["z0.tif", "z1.tif", "z2.tif"]


def test_plane_that_is_not_there(tmp_path):
    path = write_tiff(tmp_path / "a.tif", PLANES, metadata=None)
    with pytest.raises(InputError, match="has 5 planes; number 5"):
        Slice(path, 5).read()
    with pytest.raises(InputError, match="cannot be opened"):
        Slice(tmp_path / "gone.tif", 0).read()


def test_pixel_limit_holds_for_stacks(tmp_path):
    path = write_tiff(tmp_path / "a.tif", PLANES, metadata=None)
    with pytest.raises(InputError, match="more than the limit"):
        TiffPlanes(path, max_pixels=100)
