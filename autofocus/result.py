"""What came of a search, and the line that every step of it leaves."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

REASONS = {
    "confirmed": "a second frame bore the first out",
    "in_limits_no_peak": "no focus within the search range",
    "brightness": "the first frame is too dark, too bright or saturated",
    "budget": "frames or time ran out",
    "cancelled": "stopped by the user",
    "stage": "the drive did not do what it was told",
    "camera": "the camera gave no usable image",
    "dry_run": "nothing was moved",
}
"""Why a search ended."""


@dataclass(frozen=True)
class Step:
    """One move or one frame; written as one JSON line.

    Attributes
    ----------
    kind
        ``move``, ``frame``, ``belief``, ``put_back`` or ``end``.
    seconds
        Since the search began.
    z_um
        Where the drive was sent, or where it was.
    why
        In words.
    score, sharpness
        Of a frame; NaN otherwise. Sharpness is Tenengrad.
    focus_um, error_um
        Where focus is believed to be after it, and how wide that belief is (half of the middle 90 %).
    """

    kind: str
    seconds: float
    z_um: float
    why: str = ""
    score: float = math.nan
    sharpness: float = math.nan
    focus_um: float = math.nan
    error_um: float = math.nan

    def as_json(self) -> str:
        """Return one line of strict JSON; what is not known is left out."""
        return json.dumps({key: value for key, value in _rounded(asdict(self)).items() if value not in (None, "")})


@dataclass(frozen=True)
class FocusResult:
    """Outcome of a search.

    Attributes
    ----------
    kind, method
        ``autofocus``, and which way found it: ``two_frames`` (scores and sharpness of single frames) or ``sweep``.
    focus_device
        Name of the drive, empty where it has none.
    z_before, z_after
        Position at the start and now, micrometres. They are equal unless ``succeeded``, but for drives that failed.
    succeeded
        Whether focus was confirmed. Only then has the drive moved.
    reason, message
        Key of ``REASONS``, and one sentence for people.
    focus_um, error_um
        Where focus is believed to be, even where it was not confirmed, and half of the middle 90 % of that belief.
    scores
        Of the frames, in order; NaN where the model abstained.
    n_images, seconds
        What it cost.
    steps
        All that happened.
    """

    kind: str
    method: str
    focus_device: str
    z_before: float
    z_after: float
    succeeded: bool
    reason: str
    message: str
    focus_um: float
    error_um: float
    scores: tuple[float, ...]
    n_images: int
    seconds: float
    steps: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        """Whether focus was confirmed."""
        return self.succeeded

    def as_row(self) -> dict[str, Any]:
        """Return everything but the steps, None for what is not known."""
        row = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "steps"}
        return _rounded(row) | {"scores": [_plain(score) for score in self.scores]}

    def as_json(self) -> str:
        """Return one line of strict JSON."""
        return json.dumps(self.as_row(), allow_nan=False)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
