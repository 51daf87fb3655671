"""Positions of a scan: read from and written to CSV, Micro-Manager's position lists, and useq's."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text


@dataclass(frozen=True)
class Position:
    """A place on the table in micrometres; ``z_um`` is NaN where none is known."""

    name: str
    x_um: float
    y_um: float
    z_um: float = math.nan

    def at(self, z_um: float) -> "Position":
        """The same place with another z."""
        return replace(self, z_um=z_um)


def read_positions(path: str | Path) -> list[Position]:
    """Read positions by the file's suffix.

    ``.csv`` has the columns ``name`` (may lack), ``x``, ``y`` and ``z`` (may lack); ``.pos`` and ``.json`` are
    Micro-Manager 2 position lists or lists of useq positions.

    Raises
    ------
    InputError
        No such file, another kind, or one that holds no positions.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"positions {path} cannot be read ({error}): give a .csv, .pos or .json file.") from None
    try:
        found = _from_csv(text) if path.suffix == ".csv" else _from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} holds no positions ({error}): give columns name, x, y, z, or a position list of Micro-Manager 2."
        ) from None
    if not found or not all(math.isfinite(place.x_um) and math.isfinite(place.y_um) for place in found):
        raise InputError(f"{path} holds no positions, or some without x and y: give at least one with both.")
    return found


def write_positions(positions: Sequence[Position], path: str | Path, *, table: str = "XY", drive: str = "Z") -> None:
    """Write positions by the suffix: ``.csv``, ``.pos`` for Micro-Manager 2, ``.json`` for useq's ``stage_positions``.

    Parameters
    ----------
    positions
        With or without z.
    path
        File to write.
    table, drive
        Labels of the devices, which Micro-Manager's lists name.
    """
    path = Path(path)
    writers = {".csv": _as_csv, ".pos": lambda found: _as_list(found, table, drive), ".json": _as_useq}
    if path.suffix not in writers:
        raise InputError(f"{path} has no suffix that positions are written in: take one of {', '.join(writers)}.")
    write_text(path, writers[path.suffix](positions))


def _from_csv(text: str) -> list[Position]:
    rows = csv.DictReader(text.splitlines())
    return [
        Position(row.get("name") or str(number), float(row["x"]), float(row["y"]), float(row.get("z") or "nan"))
        for number, row in enumerate(rows)
    ]


def _from_json(content: Any) -> list[Position]:
    if isinstance(content, list):
        return [
            Position(str(row.get("name") or number), float(row["x"]), float(row["y"]), _number(row.get("z")))
            for number, row in enumerate(content)
        ]
    return [_from_list(row, number) for number, row in enumerate(content["map"]["StagePositions"]["array"])]


def _from_list(row: dict[str, Any], number: int) -> Position:
    """One entry of a Micro-Manager 2 list: devices with one coordinate are drives, with two tables."""
    places = [device["Position_um"]["array"] for device in row["DevicePositions"]["array"]]
    x_um, y_um = next(place for place in places if len(place) == 2)
    z_um = next((place[0] for place in places if len(place) == 1), math.nan)
    return Position(str(row.get("Label", {}).get("scalar", number)), float(x_um), float(y_um), float(z_um))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _as_csv(positions: Sequence[Position]) -> str:
    rows = [
        ",".join([place.name, *(_text(value) for value in (place.x_um, place.y_um, place.z_um))]) for place in positions
    ]
    return "\n".join(["name,x,y,z", *rows]) + "\n"


def _text(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _as_useq(positions: Sequence[Position]) -> str:
    rows = [
        {"name": place.name, "x": place.x_um, "y": place.y_um, "z": place.z_um if math.isfinite(place.z_um) else None}
        for place in positions
    ]
    return json.dumps(rows, indent=1) + "\n"


def _as_list(positions: Sequence[Position], table: str, drive: str) -> str:
    entries = [_entry(place, table, drive) for place in positions]
    content = {
        "encoding": "UTF-8",
        "format": "Micro-Manager Property Map",
        "major_version": 2,
        "minor_version": 0,
        "map": {"StagePositions": {"type": "PROPERTY_MAP", "array": entries}},
    }
    return json.dumps(content, indent=1) + "\n"


def _entry(place: Position, table: str, drive: str) -> dict[str, Any]:
    def device(label: str, *coordinates: float) -> dict[str, Any]:
        return {
            "Device": {"type": "STRING", "scalar": label},
            "Position_um": {"type": "DOUBLE", "array": list(coordinates)},
        }

    drives = [device(drive, place.z_um)] if math.isfinite(place.z_um) else []
    return {
        "DefaultXYStage": {"type": "STRING", "scalar": table},
        "DefaultZStage": {"type": "STRING", "scalar": drive if drives else ""},
        "DevicePositions": {"type": "PROPERTY_MAP", "array": [*drives, device(table, place.x_um, place.y_um)]},
        "GridCol": {"type": "INTEGER", "scalar": 0},
        "GridRow": {"type": "INTEGER", "scalar": 0},
        "Label": {"type": "STRING", "scalar": place.name},
        "Properties": {"type": "PROPERTY_MAP", "scalar": {}},
    }
