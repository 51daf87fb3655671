"""What stacks with known focus taught about a model and an instrument: part of the model's side file.

Sharpness and signed scores each have an offset from the labels' zero and an error; how they are to be weighed, and
from when on they contradict each other, is measured by ``stack_inference.calibration`` and not guessed.
"""

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_TEMPERATURE = 4.0
"""Without calibration: errors of slices of one cell are alike, so that n slices count as n / 4."""


class EvidenceError(BaseModel):
    """Offset and error of one kind of evidence, in slices.

    Attributes
    ----------
    offset
        Median of position minus truth, along the direction of rising scores.
    error
        Standard error once the offset is taken off: the 90 % quantile of its magnitude by that of a normal variable.
    usual_error
        Median of the error that the fit itself reports; a stack that reports more is believed less in proportion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: float = Field(ge=-50, le=50)
    error: float = Field(gt=0, le=50)
    usual_error: float = Field(gt=0, le=50)


class StackCalibration(BaseModel):
    """How sharpness and a model's scores are to be weighed; the defaults hold for a model that was not calibrated.

    Attributes
    ----------
    stacks
        Number of stacks it was measured on, 0 for the defaults.
    temperature
        Of the posterior, see ``signed.plane_posterior``.
    sharpness, signed
        Errors of the two kinds of evidence.
    correlation
        Of the two errors.
    error_factor
        Standard error of the fusion by the one that follows from the errors above, so that the 90 % interval holds:
        a conformal quantile over the calibration stacks, each weighed by what the others taught.
    contradiction
        Difference of the two positions by its standard error from which they contradict each other.
    rate
        Least and greatest score per slice by the model's own that is usual.
    scatter
        Greatest usual median distance of the scores from a straight line, in slices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stacks: int = Field(default=0, ge=0)
    temperature: float = Field(default=DEFAULT_TEMPERATURE, gt=0)
    # The sharpest plane lies up to a slice from the labels' zero, by the instrument's phase and aberration, and on a
    # side that is not known before it is measured; a model's scores have learned where the labels' zero is.
    sharpness: EvidenceError = EvidenceError(offset=0, error=1.0, usual_error=0.1)
    signed: EvidenceError = EvidenceError(offset=0, error=0.3, usual_error=0.2)
    correlation: float = Field(default=0.0, ge=-0.95, le=0.95)
    error_factor: float = Field(default=1.0, gt=0, le=20)
    contradiction: float = Field(default=1.4, gt=0)  # one and a half slices, by the errors above
    rate: tuple[float, float] = (0.5, 2.0)
    scatter: float = Field(default=0.7, gt=0)


UNCALIBRATED = StackCalibration()
