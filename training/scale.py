"""How large a pixel and a slice of the training stacks are, where the data say so."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from focus_picker.dataset.declared import read_json
from focus_picker.dataset.stacks import TIFF_SUFFIXES

SAME = 0.01  # relative; sizes that differ by more from stack to stack are no one size


class _Processing(BaseModel):
    resize: float = 1.0


class _Camera(BaseModel):
    processing: _Processing | None = None


class _Scale(BaseModel):
    pixel_um: float
    camera: _Camera = _Camera()

    @property
    def written_pixel_um(self) -> float:
        """Pixel of the file: the camera's software may have resampled the sensor's."""
        return self.pixel_um / (self.camera.processing.resize if self.camera.processing else 1.0)


class _Simulated(BaseModel):
    """What ``simulation.json`` of a simulated data set says about its scale."""

    instruments: list[_Scale]
    vary: float


def pixel_um(dataset: Path) -> float | None:
    """Pixel size of a simulated data set in micrometres; None where its instruments differ, and for other data."""
    note = dataset / "simulation.json"
    if not note.is_file():
        return None
    simulated = read_json(note, _Simulated, what="note of a simulation", fix="remove it, or simulate again")
    return None if simulated.vary else _common(instrument.written_pixel_um for instrument in simulated.instruments)


def z_step_um(dataset: Path, labels: pd.DataFrame, truth: pd.DataFrame | None) -> float | None:
    """Distance of neighbouring slices in micrometres, from ``truth.csv`` or what TIFF slices declare; None if unknown.

    Parameters
    ----------
    dataset
        Folder of the data set.
    labels
        Columns ``image_path``, ``stack`` and ``slice``.
    truth
        Columns ``image_path`` and ``defocus_um``, None where there is none.
    """
    if truth is None:
        firsts = labels.drop_duplicates("stack")["image_path"]
        return _common(_declared_step_um(dataset / image_path) for image_path in firsts)
    defocus = labels["image_path"].map(truth.set_index("image_path")["defocus_um"])
    table = labels.assign(defocus_um=defocus).dropna(subset=["defocus_um"]).sort_values(["stack", "slice"])
    change = table.groupby("stack")[["defocus_um", "slice"]].diff().dropna()
    return _common((change["defocus_um"] / change["slice"]).abs())


def _declared_step_um(path: Path) -> float | None:
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    from focus_picker.dataset.tiff import TiffPlanes  # tifffile takes 0.2 s to import

    with TiffPlanes(path) as tiff:
        return tiff.z_step_um


def _common(sizes: Iterable[float | None]) -> float | None:
    """The one size that all have; None where one has none, or where they differ."""
    known = np.array([np.nan if size is None else size for size in sizes], dtype=float)
    if not len(known) or not np.ptp(known) <= SAME * abs(known.mean()) or not known.mean() > 0:
        return None
    return round(float(np.median(known)), 6)
