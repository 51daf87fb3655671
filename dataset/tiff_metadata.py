"""What a TIFF file's metadata declare about its planes: z step, bit depth, channel names."""

import json
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np

UM_PER_UNIT = {
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "\\u00B5m": 1.0,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6,
}  # fmt: skip
"""Length units met in OME and ImageJ metadata: both micro signs, and ImageJ's escaped one."""


def read_ome(xml: str | None) -> dict[str, Any]:
    """Take z step, significant bits and channel names from OME-XML; what is not stated is left out."""
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return {}
    pixels = next((node for node in root.iter() if _is_pixels(node)), None)
    if pixels is None:
        return {}
    found: dict[str, Any] = {
        "channels": tuple(node.get("Name", "") for node in pixels if node.tag.rpartition("}")[2] == "Channel")
    }
    unit = UM_PER_UNIT.get(pixels.get("PhysicalSizeZUnit", "µm"))
    step = _number(pixels.get("PhysicalSizeZ"))
    if unit and step:
        found["z_step_um"] = step * unit
    bits = _number(pixels.get("SignificantBits"))
    if bits:
        found["significant_bits"] = int(bits)
    return found


def ome_planes(xml: str | None) -> int:
    """Count the planes (z, channel, time) that OME-XML declares for all its images; 0 where it declares none."""
    try:
        root = ElementTree.fromstring(xml or "")
    except ElementTree.ParseError:
        return 0
    sizes = [[node.get(name, "1") for name in ("SizeZ", "SizeC", "SizeT")] for node in root.iter() if _is_pixels(node)]
    return sum(math.prod(int(_number(size) or 1) for size in image) for image in sizes)


def shaped_values(description: str | None) -> int:
    """Count the samples that tifffile's JSON ``{"shape": [...]}`` declares; 0 for any other description."""
    try:
        shape = json.loads(description or "")["shape"]
        return math.prod(int(size) for size in shape)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return 0


def imagej_step_um(metadata: dict[str, Any] | None) -> float | None:
    """Return the spacing of ImageJ's metadata in micrometres, where its unit is a known length."""
    metadata = metadata or {}
    unit = UM_PER_UNIT.get(str(metadata.get("unit", "")))
    step = _number(metadata.get("spacing"))
    return step * unit if unit and step else None


def _is_pixels(node: ElementTree.Element) -> bool:
    return node.tag.rpartition("}")[2] == "Pixels"


def _number(value: object) -> float | None:
    """Return a positive finite number, or None for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None
