"""What ``metrics.json`` of a run holds: declared where code reads it, open for what else a training notes."""

from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


Figure = Annotated[Annotated[float, Field(ge=-1e12, le=1e12)] | None, BeforeValidator(_known)]
"""A number, None where it is not known: JSON has no NaN. None is near the limits, beyond which products overflow."""


class ScoreBin(BaseModel):
    """Figures of the images whose ``|label|`` lies in one bin; its ends in slices, None for no end."""

    model_config = ConfigDict(extra="allow", frozen=True)

    from_slices: FiniteFloat
    to_slices: Figure
    mae: Figure = None
    sign_accuracy: Figure = None


class Figures(BaseModel):
    """What ``evaluation.metrics.evaluate`` found; further metrics are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    n_images: int = Field(ge=0)
    n_fields: int | None = None
    mae: Figure
    mae_rounded: Figure = None
    median_error: Figure = None
    p90_error: Figure = None
    label_grid: Figure = None
    label_floor: Figure = None
    mae_truth: Figure = None
    mae_unsigned: Figure = None
    rmse: Figure = None
    spearman: Figure = None
    sign_accuracy: Figure = None
    coverage: Figure = None
    interval_width: Figure = None
    by_score: list[ScoreBin] = []


class RunMetrics(BaseModel):
    """One run's ``metrics.json``.

    Attributes
    ----------
    score_per_slice
        Score between neighbouring slices of the training stacks.
    test, validation
        Figures of the images of each split.
    controls
        Figures on the test images of predictors given for comparison, by name.
    training_seconds
        Time of the training alone.
    latency_ms
        Time of scoring one image.
    model_bytes
        Size of the model file.
    predictions_sha256
        Of ``predictions.csv``, from which the figures were computed.
    files_sha256
        Of the other files that the training left, by name.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    score_per_slice: float = Field(gt=0, le=100_000, allow_inf_nan=False)
    test: Figures
    validation: Figures | None = None
    controls: dict[str, Figures] = {}
    training_seconds: Figure = None
    latency_ms: Figure = None
    model_bytes: int | None = None
    predictions_sha256: str = ""
    files_sha256: dict[str, str] = {}
