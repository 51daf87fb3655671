"""What a ``.tflite`` file cannot say about itself: the JSON file beside it, written at export, checked at load."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from focus_picker.dataset.errors import InputError, first_fault
from focus_picker.dataset.files import write_text
from focus_picker.models.bins import ScoreBins

FORMAT = "focus-picker student 1"  # rises when a reader of older files would misread it


class Intervals(BaseModel):
    """Conformalised quantiles: how far to move the distribution's own 5 % and 95 % points outwards, score units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    coverage: float = Field(gt=0, lt=1)
    widening: float


class Competence(BaseModel):
    """The range of simple properties seen in training; an image outside is unlike anything seen.

    Attributes
    ----------
    contrast
        Least and greatest standard deviation of luminance, grey levels.
    brightness
        Least and greatest mean luminance.
    chroma
        Least and greatest mean difference between an image's largest and smallest channel, grey levels: phase shows its
        sign in the colours, so that a grey image says little to a network that learned from coloured ones.
    saturated
        Greatest share of pixels at 0 or 255 in all channels.
    spread
        Greatest spread of the predicted distribution, score units.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    contrast: tuple[float, float]
    brightness: tuple[float, float]
    chroma: tuple[float, float]
    saturated: float
    spread: float


class Sidecar(BaseModel):
    """The declared content of ``focus_model.json``.

    Attributes
    ----------
    format, version
        Of this file, and of the project that wrote it.
    sha256
        Of the model file beside it.
    variant
        ``fp32``, ``fp16`` or ``int8``.
    window_px
        Side of the input window: uint8 RGB at native scale.
    pixel_um
        Pixel size of the training images in micrometres, None where it is not known.
    low, high, bins
        Score bins: outer edges and number.
    score_per_slice
        Score between neighbouring slices of the training stacks.
    intervals, competence
        Calibrated on validation fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = FORMAT
    version: str
    sha256: str
    variant: str
    window_px: int = Field(ge=16, le=1024)
    pixel_um: float | None = None
    low: float
    high: float
    bins: int = Field(ge=2, le=1000)
    score_per_slice: float = Field(gt=0)
    units: str = "score; 0 = in focus, positive = lens too far"
    intervals: Intervals
    competence: Competence

    @property
    def score_bins(self) -> ScoreBins:
        """The bins as an object."""
        return ScoreBins(self.low, self.high, self.bins)

    def write(self, model_path: Path) -> None:
        """Write the side file of ``model_path``."""
        write_text(sidecar_path(model_path), self.model_dump_json(indent=1) + "\n")


@dataclass(frozen=True)
class ModelFile:
    """A model's bytes, verified against its side file."""

    content: bytes
    sidecar: Sidecar


def sidecar_path(model_path: Path) -> Path:
    """``focus_model.tflite`` -> ``focus_model.json``."""
    return model_path.with_suffix(".json")


def read_model_file(path: str | Path) -> ModelFile:
    """Read a ``.tflite`` file and its side file and hold them against each other.

    Raises
    ------
    InputError
        A file is missing, the side file is not one, or the model's SHA-256 is not the one it states.
    """
    path = Path(path)
    side_path = sidecar_path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"model {path} cannot be read ({error.strerror}); give a focus_model.tflite") from None
    try:
        sidecar = Sidecar.model_validate_json(side_path.read_bytes())
    except OSError:
        raise InputError(
            f"{side_path} is missing; keep it beside {path.name}, which cannot be read without it"
        ) from None
    except ValidationError as error:
        raise InputError(f"{side_path} is no side file of a model ({first_fault(error)}); export it again") from None
    if sidecar.format != FORMAT:
        raise InputError(f"{side_path} has format '{sidecar.format}', expected '{FORMAT}'; export the model again")
    if hashlib.sha256(content).hexdigest() != sidecar.sha256:
        raise InputError(f"{path} is not the model that {side_path.name} describes (SHA-256 differs); get it again")
    return ModelFile(content, sidecar)
