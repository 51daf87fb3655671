"""Reading one image: right values, three channels, one clear sentence for every bad file."""

import io
import subprocess
import sys
import time

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import IMAGE_SUFFIXES, READERS, SIGNATURES, read_image, to_uint8

LOSSLESS = [".png", ".bmp", ".tif"]


def colour(height=40, width=50, seed=0):
    """Smooth colour picture with some noise: compresses, but not to nothing."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    base = np.stack([rows * 3, columns * 2, 200 - rows - columns], axis=2)
    return np.clip(base + rng.integers(0, 30, base.shape), 0, 255).astype(np.uint8)


def save(path, image, mode="RGB", **options):
    Image.fromarray(image).convert(mode).save(path, **options)
    return path


def write_deep(path, values, **options):
    """Write 16-bit grey or colour: PNG by imagecodecs, TIFF by tifffile."""
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(values))
    else:
        tifffile.imwrite(path, values, photometric="rgb" if values.ndim == 3 else "minisblack", **options)
    return path


# what is read


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_colour_comes_back_unchanged(tmp_path, suffix):
    image = colour()
    read = read_image(save(tmp_path / f"a{suffix}", image))
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert read.flags.writeable


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg"])
def test_grey_becomes_three_equal_channels(tmp_path, suffix):
    read = read_image(save(tmp_path / f"a{suffix}", colour(), "L"))
    assert read.shape == (40, 50, 3)
    assert (read == read[:, :, :1]).all()


def test_jpeg_is_close_and_named_by_content(tmp_path):
    image = np.repeat(np.repeat(colour(5, 6), 8, axis=0), 8, axis=1)
    path = save(tmp_path / "jpeg_inside.png", image, format="JPEG", quality=95, subsampling=0)
    assert np.abs(read_image(path).astype(int) - image).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("mode", "reference"), [("RGBA", "RGB"), ("LA", "L")])
def test_alpha_is_dropped_not_blended(tmp_path, suffix, mode, reference):
    image = Image.fromarray(colour()).convert(mode)
    image.putalpha(7)
    image.save(tmp_path / f"a{suffix}")
    expected = Image.fromarray(colour()).convert(reference).convert("RGB")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), np.asarray(expected))


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_palette_becomes_its_colours(tmp_path, suffix):
    image = Image.fromarray(colour()).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), np.asarray(image.convert("RGB")))


def test_transparent_palette_colour_stays_and_does_not_warn(tmp_path):
    image = Image.fromarray(colour()).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "a.png", transparency=bytes(range(200)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_one_bit_becomes_black_and_white(tmp_path, suffix):
    bits = colour()[:, :, 0] > 60
    Image.fromarray(bits).save(tmp_path / f"a{suffix}")
    read = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read[:, :, 0], bits * 255)
    assert read.dtype == np.uint8


def test_white_is_zero_tiff_is_inverted(tmp_path):
    grey = colour()[:, :, 0]
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[:, :, 0], 255 - grey)


def test_planar_colour_tiff(tmp_path):
    image = colour()
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), image)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "jpeg"])
def test_compressed_tiff(tmp_path, compression):
    image = np.repeat(np.repeat(colour(5, 6), 8, axis=0), 8, axis=1)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression=compression)
    difference = np.abs(read_image(tmp_path / "a.tif").astype(int) - image).mean()
    assert difference < 5 if compression == "jpeg" else difference == 0


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to view"
    image = np.repeat(np.repeat(colour(5, 7), 8, axis=0), 8, axis=1)
    save(tmp_path / "turned.jpg", image, exif=exif)
    save(tmp_path / "plain.jpg", image)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.jpg"), read_image(tmp_path / "plain.jpg"))


# 16 bit


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3)])
def test_sixteen_bit_keeps_every_level(tmp_path, suffix, shape):
    values = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    read = read_image(write_deep(tmp_path / f"a{suffix}", values))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2))


def test_sixteen_bit_png_drops_alpha(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 4)).astype(np.uint16)
    read = read_image(write_deep(tmp_path / "a.png", values))
    np.testing.assert_array_equal(read, values[:, :, :3])


def twelve_bit():
    values = np.random.default_rng(0).integers(0, 4096, (30, 40)).astype(np.uint16)
    values[0, :3] = 0, 4095, 2048
    return values


DECLARED = {
    "MaxSampleValue": ("a.tif", {"extratags": [("MaxSampleValue", "H", 1, 4095, True)], "metadata": None}),
    "SignificantBits": ("a.ome.tif", {"metadata": {"axes": "YX", "SignificantBits": 12}}),
    "BitsPerSample": ("a.tif", {"bitspersample": 12, "metadata": None}),
}


@pytest.mark.parametrize("how", DECLARED)
def test_declared_range_maps_to_full_scale(tmp_path, how):
    name, options = DECLARED[how]
    values = twelve_bit()
    if how == "BitsPerSample":  # packed 12-bit samples: tifffile decodes but does not write them
        path = packed_twelve_bit(tmp_path / name, values)
    else:
        path = write_deep(tmp_path / name, values, **options)
    read = read_image(path)[:, :, 0]
    assert read[0, :3].tolist() == [0, 65535, round(2048 * 65535 / 4095)]
    assert np.abs(read - values * (65535 / 4095)).max() <= 0.5


def packed_twelve_bit(path, values):
    """Write a TIFF of 12 bits a sample by hand: header, one directory, one strip."""
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    data = packed.astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, height),
            (279, len(data))]  # fmt: skip
    directory = len(tags).to_bytes(2, "little")
    for tag, value in tags:
        directory += tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little")
        directory += value.to_bytes(4, "little")
    path.write_bytes(b"II*\0" + (8).to_bytes(4, "little") + directory + bytes(4) + data)
    assert 8 + len(directory) + 4 == 122
    return path


def test_brightest_pixel_stored_as_maximum_is_a_statistic_not_a_range(tmp_path):
    values = twelve_bit() * 2
    options = {"extratags": [("MaxSampleValue", "H", 1, int(values.max()) - 7, True)], "metadata": None}
    np.testing.assert_array_equal(read_image(write_deep(tmp_path / "a.tif", values, **options))[:, :, 0], values)


@pytest.mark.parametrize("how", ["MaxSampleValue", "SignificantBits"])
def test_value_above_the_declared_range_is_refused_not_clipped(tmp_path, how):
    name, options = DECLARED[how]
    values = twelve_bit()
    values[3, 3] = 4096
    with pytest.raises(InputError, match=r"value 4096, above the full scale of 4095"):
        read_image(write_deep(tmp_path / name, values, **options))


def test_to_uint8_spans_the_scale_and_passes_bytes_through():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    small = to_uint8(levels)
    assert small.dtype == np.uint8
    assert (small.min(), small.max()) == (0, 255)
    assert np.abs(small - levels / 257).max() <= 0.5
    image = colour()
    assert to_uint8(image) is image
    with pytest.raises(InputError, match="float64"):
        to_uint8(np.zeros((2, 2)))


# what is refused


def jpeg_bytes(cut=None):
    buffer = io.BytesIO()
    Image.fromarray(colour(200, 200)).save(buffer, "JPEG")
    return buffer.getvalue()[:cut]


def png_bytes(**options):
    buffer = io.BytesIO()
    Image.fromarray(colour(60, 60)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def tiff_bytes(*args, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, *args, **options)
    return buffer.getvalue()


def saved(mode, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(colour()).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def animation(kind):
    frames = [Image.fromarray(colour(seed=seed)) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def flipped(data, at):
    damaged = bytearray(data)
    damaged[at] ^= 0x55
    return bytes(damaged)


BAD = {
    "zero bytes": ("a.jpg", lambda: b"", "is empty"),
    "text": ("a.jpg", lambda: b"image_path,focus_score\n", "not an image of a known format"),
    "text that starts like a bitmap": ("a.jpg", lambda: b"BMP files are large", "damaged|truncated"),
    "JPEG header only": ("a.jpg", lambda: jpeg_bytes(20), "truncated|damaged"),
    "JPEG cut at a third": ("a.jpg", lambda: jpeg_bytes(len(jpeg_bytes()) // 3), "truncated"),
    "JPEG cut at 95 %": ("a.jpg", lambda: jpeg_bytes(len(jpeg_bytes()) * 95 // 100), "truncated"),
    "JPEG without its last byte": ("a.jpg", lambda: jpeg_bytes(-1), "truncated"),
    "JPEG without its end marker": ("a.jpg", lambda: jpeg_bytes(-2), "truncated"),
    "PNG cut": ("a.png", lambda: png_bytes()[:2000], "truncated"),
    "PNG without its end": ("a.png", lambda: png_bytes()[:-12], "truncated"),
    "PNG damaged": ("a.png", lambda: flipped(png_bytes(), 1500), "damaged"),
    "16-bit PNG cut": ("a.png", lambda: imagecodecs.png_encode(twelve_bit())[:800], "truncated"),
    "BMP cut": ("a.bmp", lambda: saved("RGB", "BMP")[:2000], "truncated"),
    "TIFF cut": ("a.tif", lambda: tiff_bytes(colour(), photometric="rgb")[:2000], "truncated"),
    "TIFF cut in its directory": ("a.tif", lambda: saved("L", "TIFF")[:60], "truncated"),
    "compressed TIFF cut": ("a.tif", lambda: tiff_bytes(twelve_bit(), compression="zlib")[:-200], "truncated|damaged"),
    "TIFF header only": ("a.tif", lambda: b"II*\0", "truncated"),
    "animated GIF": ("a.gif", lambda: animation("GIF"), "animated \\(3 GIF frames\\)"),
    "animated PNG": ("a.png", lambda: animation("PNG"), "animated \\(3 frames\\)"),
    "animated WebP": ("a.webp", lambda: animation("WEBP"), "animated \\(3 WebP frames\\)"),
    "still GIF": ("a.gif", lambda: saved("P", "GIF"), "GIF image, which is not read"),
    "CMYK JPEG": ("a.jpg", lambda: saved("CMYK", "JPEG"), "CMYK"),
    "CMYK TIFF": ("a.tif", lambda: saved("CMYK", "TIFF"), "CMYK"),
    "TIFF of several pages": ("a.tif", lambda: tiff_bytes(np.zeros((5, 9, 9), np.uint8)), "holds 5 planes"),
    "float TIFF": ("a.tif", lambda: tiff_bytes(np.ones((9, 9), np.float32)), "float32 numbers"),
    "signed TIFF": ("a.tif", lambda: tiff_bytes(np.ones((9, 9), np.int16)), "int16 numbers"),
    "32-bit TIFF": ("a.tif", lambda: tiff_bytes(np.ones((9, 9), np.uint32)), "uint32 numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_gives_one_sentence_that_names_it(tmp_path, case, capfd):
    name, make, message = BAD[case]
    path = tmp_path / name
    path.write_bytes(make())
    with pytest.raises(InputError, match=message) as raised:
        read_image(path)
    text = str(raised.value)
    assert str(path) in text
    assert "\n" not in text
    assert text.endswith(".")
    assert capfd.readouterr() == ("", "")  # neither libraries' warnings nor their logs


def test_every_format_has_a_case_of_a_cut_file():
    assert all(any(kind in case and "cut" in case for case in BAD) for kind in READERS)
    assert set(READERS) < set(SIGNATURES.values())


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg"])
def test_pixel_limit_is_inclusive(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", colour())
    assert read_image(path, max_pixels=2000).shape == (40, 50, 3)
    with pytest.raises(InputError, match=r"50 x 40 pixels, more than the limit of 1999"):
        read_image(path, max_pixels=1999)


def test_decompression_bomb_is_refused_from_its_header(tmp_path):
    data = bytearray(png_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # IHDR: 3.6 gigapixels, 11 GB if decoded
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(InputError, match="60000 x 60000 pixels"):
        read_image(tmp_path / "bomb.png")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 50])
def test_no_truncated_jpeg_is_ever_half_decoded(tmp_path, cut):
    """Many pictures: whether a decoder notices that the last bytes are missing depends on where the last bits fall."""
    for seed in range(30):
        path = save(tmp_path / "a.jpg", colour(seed=seed))
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(InputError, match="truncated"):
            read_image(path)


def test_jpeg_with_bytes_behind_its_end_is_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg_bytes() + b"appended by a camera")
    assert read_image(tmp_path / "a.jpg").shape == (200, 200, 3)


def test_odd_exif_does_not_warn(tmp_path):
    save(tmp_path / "a.jpg", colour(), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x1a\x01\x05\0")
    assert read_image(tmp_path / "a.jpg").shape == (40, 50, 3)


def test_suffixes_are_lower_case_with_a_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_import_leaves_heavy_readers_alone():
    heavy = ("tifffile", "imagecodecs", "cv2")
    code = f"import sys, focus_picker.dataset.images; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
