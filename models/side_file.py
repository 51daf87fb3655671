"""The JSON file beside a model's weights: what they cannot say about themselves, written at export, checked at load.

``focus_model.tflite`` has ``focus_model.json``, ``baseline.txt`` has ``baseline.json``. The file states the SHA-256 of
the weights, so that nothing in it (intervals, stack calibration) can be taken for that of another model.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from focus_picker.dataset.errors import InputError, first_fault
from focus_picker.dataset.files import atomic_path, write_text
from focus_picker.dataset.version import VERSION
from focus_picker.models.bins import DEFAULT_BINS, ScoreBins
from focus_picker.models.feature_head import FeatureHead
from focus_picker.models.focus_state import focus_state
from focus_picker.models.intervals import COVERAGE, HalfWidths, Widening
from focus_picker.models.stack_calibration import StackCalibration

FORMAT: Final = "focus-picker model 2"  # rises when a reader of older files would misread it


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("the lower end is above the upper one")
    return ends


Range = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_rising)]


class SideFile(BaseModel):
    """What every model states.

    Attributes
    ----------
    format
        Of this file.
    version, versions
        Of the project that wrote it, and of the libraries that trained it, by name.
    sha256
        Of the weights.
    score_per_slice
        Score between neighbouring slices of the training stacks.
    pixel_um, z_step_um
        Pixel size and distance of neighbouring slices of the training stacks in micrometres, None where not known.
    calibrated
        Whether intervals and stack calibration were measured on stacks of the microscope that the model is for. A model
        that is used where it was never measured says no side and moves no pick.
    stack_calibration
        How sharpness and this model's scores are to be weighed in a stack, None where it was not measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["focus-picker model 2"] = FORMAT
    version: str = VERSION
    versions: dict[str, str] = {}
    sha256: str = ""
    score_per_slice: float = Field(gt=0, lt=100)
    pixel_um: float | None = Field(default=None, gt=0)
    z_step_um: float | None = Field(default=None, gt=0)
    calibrated: bool = False
    stack_calibration: StackCalibration | None = None


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
    other_side
        Greatest probability of the side of focus opposite to the score; one half where nothing was learnt about it.
    side_coverage
        Coverage of the interval that tells the side: unsure where it reaches beyond a slice on both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    contrast: Range
    brightness: Range
    chroma: Range
    saturated: FiniteFloat
    spread: FiniteFloat
    other_side: FiniteFloat = 0.5
    side_coverage: float = Field(default=COVERAGE, gt=0, lt=1)


class StudentSide(SideFile):
    """What a student states beside ``focus_model.tflite``.

    Attributes
    ----------
    variant
        ``fp32``, ``fp16``, ``weights8`` or ``int8``.
    window_px
        Side of the input window: uint8 RGB at native scale.
    bins
        Score bins of its distributions.
    intervals, competence
        Calibrated on fields that it was not fitted to.
    trained_sha256
        Of ``best_model.h5``, the network that it was converted from; empty where it is not stated.
    turns
        Whether it looks at an image several times, turned otherwise each time, and its answer is their mean; see
        :mod:`deep.views`.
    corners
        Whether it looks so at the corners too of an image that is larger than the window; the range of competence is
        asked about the central one.
    features
        What handcrafted features add to its answer; None for the network alone.
    """

    kind: Literal["student"] = "student"
    variant: str = "fp32"
    window_px: int = Field(ge=16, le=1024)
    bins: ScoreBins = DEFAULT_BINS
    intervals: Widening
    competence: Competence
    trained_sha256: str = ""
    turns: bool = False
    corners: bool = False
    features: FeatureHead | None = None

    def state(self, score: np.ndarray, distribution: np.ndarray) -> np.ndarray:
        """State of focus ``(N,)`` of scores ``(N,)`` with their distributions ``(N, bins)``."""
        lower, upper = self.intervals.interval(self.bins, distribution, self.competence.side_coverage)
        return focus_state(score, lower, upper, self.score_per_slice)

    @model_validator(mode="after")
    def _one_scale(self) -> "StudentSide":
        if self.bins.high - self.bins.low < 2 * self.score_per_slice:
            raise ValueError(f"its bins do not hold a slice of {self.score_per_slice:g} on both sides of focus")
        if abs(self.intervals.widening) > self.bins.high - self.bins.low:
            raise ValueError("its intervals are wider than its bins")
        return self


class FeatureRange(BaseModel):
    """One feature of a baseline: its range in training, and its value on a fixed picture.

    The last is a fingerprint: a feature that has changed its meaning under its old name is noticed. None stands for
    what is no number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float | None
    high: float | None
    fingerprint: float | None


class BaselineSide(SideFile):
    """What a baseline states beside ``baseline.txt``.

    Attributes
    ----------
    features
        By name, in the order of the trees' columns.
    novelty_limit
        Share of features outside their range above which an image is unlike anything seen.
    intervals
        Calibrated on fields that the predicting trees were not grown on.
    """

    kind: Literal["baseline"] = "baseline"
    features: dict[str, FeatureRange]
    novelty_limit: float = Field(ge=0, le=1)
    intervals: HalfWidths


Side = TypeVar("Side", bound=SideFile)


def side_path(weights: Path) -> Path:
    """``focus_model.tflite`` -> ``focus_model.json``."""
    return weights.with_suffix(".json")


def write_model(path: Path, weights: bytes, side: SideFile) -> None:
    """Write weights and their side file, which gets their SHA-256."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(weights)
    stated = side.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    write_text(side_path(path), stated.model_dump_json(indent=1) + "\n")


def read_model(path: Path, kind: type[Side]) -> tuple[bytes, Side]:
    """Read weights and their side file and hold them against each other.

    Parameters
    ----------
    path
        File of the weights.
    kind
        ``StudentSide`` or ``BaselineSide``.

    Raises
    ------
    InputError
        A file is missing, the side file is not one of this kind, or the SHA-256 of the weights is not what it states.
    """
    try:
        weights = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"model {path} cannot be read ({error.strerror}); give a model file or its run folder"
        ) from None
    side = read_side(path, kind)
    if hashlib.sha256(weights).hexdigest() != side.sha256:
        raise InputError(
            f"{path} is not the model that {side_path(path).name} describes (SHA-256 differs); "
            "keep the two files of one export together"
        )
    return weights, side


def read_side(path: Path, kind: type[Side]) -> Side:
    """Read the side file of the weights at ``path``; InputError where it is missing or not one of this kind."""
    beside = side_path(path)
    try:
        return kind.model_validate_json(beside.read_bytes())
    except OSError:
        raise InputError(f"{beside} is missing; keep it beside {path.name}, which cannot be read without it") from None
    except ValidationError as error:
        raise InputError(
            f"{beside} is no side file of this version's models ({first_fault(error)}); export the model again"
        ) from None
