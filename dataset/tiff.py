"""Planes of a TIFF file: plain pages, ImageJ hyperstacks and OME-TIFF, in z order.

tifffile decodes; what a plane is, which range its numbers have and whether the file is whole is decided here.
"""

import logging
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile

from focus_picker.dataset.depth import assumed_maximum, scale_to
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.limits import DEFAULT_MAX_PIXELS, check_size
from focus_picker.dataset.memory import ImageFile, MemoryFile, as_image_file
from focus_picker.dataset.tiff_directories import count_pages
from focus_picker.dataset.tiff_metadata import imagej_step_um, ome_planes, read_ome, shaped_values

# tifffile logs what it finds odd; whether a file is usable is decided below, in one sentence. With no handler at all
# Python would print those lines on stderr. A program that configures logging still receives them.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Z_AXES = "ZQI"
"""Axis letters that mean 'plane after plane': z, and tifffile's names for axes that the file does not name."""

MOST_SAMPLES = 16  # a pixel; what is not grey or RGB is refused later, by name
LARGEST_TILE = 4096 * 4096  # pixels; a small picture may lie in one tile of its format's usual size

JPEG_CODECS = ("JPEG", "OJPEG")

PHOTOMETRIC_REFUSED = {
    "SEPARATED": "CMYK, made for printing: export it as RGB",
    "CFA": "a raw colour mosaic: export it as RGB from the camera's software",
    "CIELAB": "in CIELAB colours: export it as RGB",
    "ICCLAB": "in ICC Lab colours: export it as RGB",
    "ITULAB": "in ITU Lab colours: export it as RGB",
    "LOGL": "in logarithmic luminance: export it as 16-bit grey",
    "LOGLUV": "in logarithmic colours: export it as RGB",
    "LINEAR_RAW": "raw camera data: export it as RGB",
}


class TiffPlanes:
    """An open TIFF file as a sequence of planes in z order; a context manager.

    A plane is one page, or three pages of channels R, G, B (in this order unless OME names them). Reduced copies
    (thumbnails, pyramid levels) are no planes.

    Parameters
    ----------
    path
        The file. Only its directories are read until :meth:`read` is called.
    max_pixels
        Largest width times height of a plane.

    Attributes
    ----------
    z_step_um
        Distance of neighbouring planes as the file declares it (OME PhysicalSizeZ, ImageJ spacing), or None.

    Raises
    ------
    InputError
        Truncated or damaged file, several time points, channels other than 1 or 3, several OME images in one file,
        a plane beyond ``max_pixels``.
    """

    def __init__(self, path: str | ImageFile, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self.path = as_image_file(path)
        self.max_pixels = max_pixels
        self._n_directories = count_pages(self.path)
        try:
            # A multi-file OME-TIFF names further files; only the one that was given is read.
            source = self.path.open() if isinstance(self.path, MemoryFile) else self.path
            self._tiff = tifffile.TiffFile(source, _multifile=False)
        except Exception as error:
            raise self._damaged(error) from error
        try:
            self._arrange()
        except InputError:
            self._tiff.close()
            raise
        except Exception as error:
            self._tiff.close()
            raise self._damaged(error) from error

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self._tiff.close()

    def __len__(self) -> int:
        """Count the planes."""
        return len(self._planes)

    def read(self, index: int) -> np.ndarray:
        """Read plane ``index`` as (H, W, 3) RGB, ``uint8`` or scaled ``uint16`` (see ``dataset.images.read_image``)."""
        if not 0 <= index < len(self):
            raise InputError(f"{self.path} has {len(self)} planes; number {index} (counted from 0) is not among them.")
        try:
            channels = [self._read_page(page) for page in self._planes[index]]
        except InputError:
            raise
        except Exception as error:
            raise self._damaged(error) from error
        if len(channels) == 1:
            return channels[0]
        return np.stack([channel[:, :, 0] for channel in channels], axis=2)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Width and height of each plane, as the directories declare them."""
        keys = [self._pages[plane[0]].keyframe for plane in self._planes]
        return [(key.imagewidth, key.imagelength) for key in keys]

    @property
    def compressions(self) -> set[str]:
        """Names of the codecs in use, as TIFF names them: ``NONE``, ``LZW``, ``ADOBE_DEFLATE``, ``JPEG`` ..."""
        keys = [self._pages[number].keyframe for plane in self._planes for number in plane]
        return {getattr(key.compression, "name", str(key.compression)) for key in keys}

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self.path} is truncated or damaged ({error}): its TIFF data cannot be decoded; "
                          "copy or export it again.")  # fmt: skip

    def _arrange(self) -> None:
        """Decide which pages make which plane, and check what the directories say about all of them."""
        self._check_declared()
        series = self._tiff.series
        if not series:
            raise InputError(f"{self.path} holds no image: export it again.")
        ome = read_ome(self._tiff.ome_metadata) if self._tiff.is_ome else {}
        self.z_step_um = ome.get("z_step_um") or imagej_step_um(self._tiff.imagej_metadata)
        self._significant_bits: int | None = ome.get("significant_bits")
        if self._tiff.is_ome and len(series) > 1:
            raise InputError(f"{self.path} holds {len(series)} OME images: save each stack as a file of its own.")
        if len(series) == 1 and series[0].kind not in ("generic", "uniform"):
            self._arrange_axes(series[0], ome.get("channels", ()))
        else:
            pages: Any = self._tiff.pages
            self._pages: Any = [page for page in pages if not page.is_reduced]
            self._planes = [(index,) for index in range(len(self._pages))]
        self._check_pages()

    def _check_declared(self) -> None:
        """Refuse metadata that declare more planes than the file can hold, before tifffile makes room for each."""
        first = self._tiff.pages.first
        values = max(1, first.size)
        shaped: Any = self._tiff.pages if self._tiff.is_shaped else ()
        claims = [0, *(shaped_values(page.description) for page in shaped)]
        if self._tiff.is_ome:
            claims.append(ome_planes(self._tiff.ome_metadata) // max(1, first.samplesperpixel) * values)
        # Planes have a directory each, or lie back to back behind one, not compressed.
        room = max(self._n_directories * values, 8 * self._tiff.filehandle.size // max(1, first.bitspersample))
        if max(claims) > room:
            raise InputError(
                f"{self.path} is truncated: it declares {max(claims) // values} planes and cannot hold them; "
                "export it again."
            )

    def _arrange_axes(self, series: Any, channel_names: tuple[str, ...]) -> None:
        """Order the pages of a file that names its axes."""
        depth = len(series.axes) - len(series.keyframe.axes)
        named = [(axis, size) for axis, size in zip(series.axes[:depth], series.shape[:depth], strict=True) if size > 1]
        axes = "".join(axis for axis, _ in named)
        if "T" in axes:
            raise InputError(f"{self.path} holds {dict(named)['T']} time points: save one time point as a z-stack.")
        z_axes = [axis for axis in axes if axis in Z_AXES]
        if len(z_axes) > 1 or set(axes) - {*z_axes, "C"}:
            raise InputError(
                f"{self.path} has axes {series.axes} {series.shape}: save it as one z-stack (ZYX or ZYXS)."
            )
        n_channels = dict(named).get("C", 1)
        if n_channels not in (1, 3) or (n_channels == 3 and series.keyframe.samplesperpixel > 1):
            raise InputError(
                f"{self.path} has {n_channels} channels: keep one or the three of a colour camera (RGB), "
                "or name the axis Z if they are planes."
            )
        numbers = np.arange(int(np.prod([size for _, size in named]))).reshape([size for _, size in named])
        if n_channels == 3:
            numbers = np.moveaxis(numbers, axes.index("C"), -1)[..., _channel_order(channel_names)]
        self._pages = _ContiguousPages(series) if len(series.pages) < numbers.size else series.pages
        self._planes = [tuple(plane) for plane in numbers.reshape(-1, n_channels).tolist()]

    def _check_pages(self) -> None:
        """Refuse missing or truncated pages and oversized planes before any pixel is read."""
        if not self._planes:
            raise InputError(f"{self.path} holds no full-size image: export it again.")
        for number in {page for plane in self._planes for page in plane}:
            page = self._pages[number]
            if page is None:
                raise InputError(f"{self.path} lacks page {number} that its metadata names: export it again.")
            key = page.keyframe
            check_size(self.path, key.imagewidth, key.imagelength, self.max_pixels)
            self._check_layout(key)
            self._check_whole(page)

    def _check_layout(self, key: Any) -> None:
        """Refuse samples or tiles that would take far more memory than the picture's own width times height."""
        tile = key.tilewidth * key.tilelength if key.is_tiled else 0
        if key.samplesperpixel > MOST_SAMPLES or tile > max(LARGEST_TILE, 4 * key.imagewidth * key.imagelength):
            raise InputError(
                f"{self.path} declares {key.samplesperpixel} samples a pixel in tiles of {tile} pixels, "
                "which no camera writes: export it again as grey or RGB."
            )

    def _read_page(self, number: int) -> np.ndarray:
        page = self._pages[number]
        key = page.keyframe
        _check_format(self.path, key)
        array = page.asarray()
        if array.size == 0:
            raise InputError(f"{self.path} is damaged: page {number} has no pixels; export it again.")
        return _to_rgb(self.path, array, key, self._significant_bits)

    def _check_whole(self, page: Any) -> None:
        """Refuse strips or tiles that are missing or reach beyond the file's end (some codecs decode them anyway)."""
        size = self._tiff.filehandle.size
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if count == 0 or offset + count > size:
                raise InputError(f"{self.path} is truncated (pixels are missing at its end): copy or export it again.")


class _ContiguousPages:
    """Pages of a file that stores many planes back to back behind a single directory (ImageJ, tifffile)."""

    def __init__(self, series: Any) -> None:
        self.series = series

    def __getitem__(self, number: int) -> "_ContiguousPage":
        return _ContiguousPage(self.series, number)


class _ContiguousPage:
    """One plane in such a file, with the part of tifffile's page interface that is used above."""

    def __init__(self, series: Any, number: int) -> None:
        if series.dataoffset is None:
            raise InputError(f"{series.parent.filename} declares more planes than it holds: export it again.")
        self.keyframe = series.keyframe
        self.handle = series.parent.filehandle
        self.dtype = np.dtype(series.dtype).newbyteorder(series.parent.byteorder)
        self.databytecounts = (int(np.prod(self.keyframe.shape)) * self.dtype.itemsize,)
        self.dataoffsets = (series.dataoffset + number * self.databytecounts[0],)

    def asarray(self) -> np.ndarray:
        self.handle.seek(self.dataoffsets[0])
        return np.frombuffer(self.handle.read(self.databytecounts[0]), self.dtype).reshape(self.keyframe.shape)


def _channel_order(names: tuple[str, ...]) -> list[int]:
    """Return where red, green and blue are, by name if the names say so, else in the order given."""
    initials = [name.strip().lower()[:1] for name in names]
    return [initials.index(letter) for letter in "rgb"] if sorted(initials) == ["b", "g", "r"] else [0, 1, 2]


def _check_format(path: ImageFile, page: Any) -> None:
    """Refuse colour models and number types that cannot be turned into RGB of a known range."""
    name = getattr(page.photometric, "name", str(page.photometric))
    if name == "YCBCR" and page.compression.name not in JPEG_CODECS:  # tifffile turns those of JPEG to RGB itself
        raise InputError(f"{path} is in YCbCr colours without being JPEG: export it as RGB.")
    if name in PHOTOMETRIC_REFUSED:
        raise InputError(f"{path} is {PHOTOMETRIC_REFUSED[name]}.")
    if page.axes not in ("YX", "YXS", "SYX"):
        raise InputError(f"{path} has pages of axes {page.axes}: save each plane as a page of its own.")
    kind = np.dtype(page.dtype)
    if kind.kind not in "ub" or kind.itemsize > 2:
        raise InputError(f"{path} holds {kind} numbers, which have no declared range: export it as 8 or 16 bit.")


def _to_rgb(path: ImageFile, array: np.ndarray, page: Any, significant_bits: int | None) -> np.ndarray:
    """Turn a decoded page into (H, W, 3) on its full scale."""
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    photometric = getattr(page.photometric, "name", "")
    if photometric == "PALETTE":
        return _apply_palette(array, np.asarray(page.colormap))
    premultiplied = "ASSOCALPHA" in [sample.name for sample in page.extrasamples] and array.ndim == 3
    if premultiplied and int(array[:, :, -1].min()) < np.iinfo(array.dtype).max:
        raise InputError(f"{path} has colours multiplied by their transparency: export it without alpha.")
    array = _scale(path, array, _declared_maximum(page, significant_bits) or assumed_maximum(array))
    if photometric == "MINISWHITE":
        array = np.iinfo(array.dtype).max - array
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    n_colours = 3 if photometric in ("RGB", "YCBCR") else array.shape[2] - len(page.extrasamples)
    if n_colours not in (1, 3) or array.shape[2] < n_colours:
        raise InputError(f"{path} has {array.shape[2]} samples a pixel: keep one, or red, green and blue.")
    return np.array(np.broadcast_to(array[:, :, :n_colours], (*array.shape[:2], 3)), order="C")


def _apply_palette(array: np.ndarray, colormap: np.ndarray) -> np.ndarray:
    """Look indices up in a (3, N) colour map.

    TIFF has 16-bit entries whose upper byte is the colour; some writers leave bytes in the lower one.
    """
    colours = colormap // 256 if colormap.max(initial=0) > 255 else colormap
    return np.moveaxis(colours.astype(np.uint8), 0, -1)[array]


def _declared_maximum(page: Any, significant_bits: int | None) -> int:
    """Return the number that the file declares to mean full scale, 0 where it says nothing beyond its container.

    TIFF 6.0 calls MaxSampleValue a statistic, and many writers store the brightest pixel there, which would scale
    every slice of a stack differently. It is believed only where it is a camera's full scale, 2^n - 1.
    """
    if significant_bits:
        return 2**significant_bits - 1
    if page.bitspersample not in (8, 16):
        return 2 ** int(page.bitspersample) - 1
    tag = page.tags.get("MaxSampleValue")
    value = int(np.max(tag.value)) if tag is not None and page.bitspersample > 8 else 0
    is_full_scale = value > 255 and (value & (value + 1)) == 0
    return value if is_full_scale else 0


def _scale(path: ImageFile, array: np.ndarray, maximum: int) -> np.ndarray:
    """Map 0..maximum to the full range of uint8 or uint16; a value above ``maximum`` raises InputError.

    It is refused rather than read on another scale, because one such slice would jump in brightness within its stack.
    """
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    full = int(np.iinfo(array.dtype).max)
    array = array.astype(array.dtype.newbyteorder("="))
    if maximum >= full:
        return array
    highest = int(array.max())
    if highest > maximum:
        raise InputError(
            f"{path} holds the value {highest}, above the full scale of {maximum} that it declares: "
            "correct its bit depth (SignificantBits, MaxSampleValue) or export it as plain 16 bit."
        )
    return scale_to(array, maximum)
