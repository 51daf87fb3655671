"""What was measured of a microscope before it may focus by scores: one file, ``autofocus.json``, beside its model."""

from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from focus_picker.autofocus.settings import NotNegative, Positive
from focus_picker.dataset.declared import read_json, write_json

FORMAT: Final = "focus-picker autofocus 1"
CALIBRATION_FILE, MODEL_FOLDER = "autofocus.json", "model"
Curve = tuple[FiniteFloat, ...]


class Response(BaseModel):
    """What a frame shows by its defocus: medians and spreads over stacks that the model was not trained on.

    Attributes
    ----------
    defocus_um
        ``(n,)`` rising; positive where the lens is too far, whichever way the drive counts.
    score, score_error
        Median score and its robust standard deviation about it.
    sharpness, sharpness_error
        Median logarithm of sharpness by that of the cell's sharpest plane, and its robust standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    defocus_um: Curve
    score: Curve
    score_error: Curve
    sharpness: Curve
    sharpness_error: Curve

    @model_validator(mode="after")
    def _of_one_length(self) -> "Response":
        lengths = {len(values) for values in self.__dict__.values()}
        if len(lengths) != 1 or min(lengths) < 3 or not (np.diff(self.defocus_um) > 0).all():
            raise ValueError("the curves differ in length, are shorter than three points, or defocus_um does not rise")
        return self

    def at(self, name: str, defocus_um: np.ndarray) -> np.ndarray:
        """Interpolate a curve; beyond its ends it stays at the last value."""
        return np.interp(defocus_um, self.defocus_um, getattr(self, name))


class Calibration(BaseModel):
    """A microscope as a search needs to know it.

    Attributes
    ----------
    direction
        1 where a rising drive raises the score (the lens goes away), -1 where it lowers it. Measured, never guessed.
    depth_um
        Depth of field: focus within half of it is what a search promises.
    um_per_score
        Micrometres of defocus for one unit of score, near focus.
    usable_um
        Defocus up to which a single frame tells side and distance; beyond it nothing rests on one score.
    cell_error_um
        Standard deviation over cells of the plane in which their score is zero about their sharpest plane: frames of
        one cell share it.
    wrong
        Share of frames whose score says nothing of their defocus.
    backlash_um, frame_noise
        Of the drive; standard deviation of log sharpness of frames at one place.
    response
        Scores and sharpness by defocus.
    stacks
        Number of stacks behind ``response``.
    pixel_um
        Of the camera in the object plane, None where it was not told.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["focus-picker autofocus 1"] = FORMAT
    direction: Literal[-1, 1]
    depth_um: Positive
    um_per_score: Positive
    usable_um: NotNegative
    cell_error_um: Positive
    wrong: Annotated[float, Field(gt=0, lt=1)]
    backlash_um: NotNegative = 0.0
    frame_noise: NotNegative = 0.0
    response: Response
    stacks: Annotated[int, Field(ge=1)]
    pixel_um: Positive | None = None

    def write(self, folder: Path) -> None:
        """Write ``autofocus.json`` into ``folder``."""
        write_json(folder / CALIBRATION_FILE, self.model_dump())


def read_calibration(folder: str | Path) -> Calibration:
    """Read the calibration of a folder; InputError where there is none."""
    fix = "run `autofocus calibrate` on this microscope first, nothing moves by score before that"
    return read_json(Path(folder) / CALIBRATION_FILE, Calibration, what="autofocus calibration", fix=fix)
