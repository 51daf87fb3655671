"""What a search may do: limits of the drive, budgets, exposure and crop."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from focus_picker.dataset.declared import read_yaml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Limits(BaseModel):
    """Where the drive may go; Micro-Manager knows none, so these are the only ones there are.

    Attributes
    ----------
    lowest_um, highest_um
        Absolute, in the drive's own coordinate.
    travel_um
        Farthest from the start of a search, to either side.
    step_um
        Longest single move; a longer way is gone in several.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lowest_um: FiniteFloat
    highest_um: FiniteFloat
    travel_um: Positive = 15.0
    step_um: Positive = 10.0

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        if self.lowest_um >= self.highest_um:
            raise ValueError(f"lowest_um {self.lowest_um:g} is not below highest_um {self.highest_um:g}")
        return self

    def about(self, start_um: float) -> tuple[float, float]:
        """Lowest and highest position of a search from ``start_um``."""
        return max(self.lowest_um, start_um - self.travel_um), min(self.highest_um, start_um + self.travel_um)


class Settings(BaseModel):
    """Settings of a search; all but the limits have a default.

    Attributes
    ----------
    limits
        Of the drive.
    search_um
        How far to either side of the start the fallback sweep looks.
    approach_um
        A position is always reached from this far below it, so that backlash is always taken up on the same side;
        0 goes straight there. None takes twice the backlash that the calibration measured.
    settle_s
        Wait after the drive says that it is there, for ringing to die away.
    position_error_um
        How far the drive may report itself from where it was sent.
    move_timeout_s, max_seconds, max_frames
        Budgets: of one move, and of the whole search.
    exposure_ms
        Of the search frames; None leaves the camera's.
    channel
        Group and preset of the channel of the search frames; None leaves what there is.
    crop
        ``(x, y, width, height)`` in pixels of the region that is judged; None takes the whole frame.
    brightness
        Least and greatest mean of the first frame as shares of full scale; outside, the search ends at once.
    most_saturated
        Greatest share of saturated pixels of the first frame.
    depth_um
        Depth of field, for a microscope without calibration: it can only sweep. A calibration's own goes before it.
    dry_run
        Take one frame and say where the search would go; the drive does not move.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: Limits
    search_um: Positive = 10.0
    approach_um: NotNegative | None = None
    settle_s: NotNegative = 0.1
    position_error_um: Positive = 0.3
    move_timeout_s: Positive = 5.0
    max_seconds: Positive = 30.0
    max_frames: Annotated[int, Field(ge=2, le=1000)] = 60
    exposure_ms: Positive | None = None
    channel: tuple[str, str] | None = None
    crop: tuple[int, int, int, int] | None = None
    brightness: tuple[NotNegative, Annotated[float, Field(le=1)]] = (0.02, 0.98)
    most_saturated: Annotated[float, Field(ge=0, le=1)] = 0.5
    depth_um: Positive | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _crop_has_an_area(self) -> "Settings":
        if self.crop and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 16):
            raise ValueError(f"crop {self.crop} is no region; give x, y, width, height with at least 16 pixels a side")
        return self


def read_settings(path: str | Path) -> Settings:
    """Read settings from a YAML file; InputError where it holds something else."""
    return read_yaml(
        path, Settings, what="file of autofocus settings", fix="write the keys that docs/autofocus.md lists"
    )
