"""What stacks of a microscope taught about a model's scores there: part of the model's side file.

Sharpness finds the best plane by itself; scores have a say only where it cannot, and only if they behave in a stack as
they did in these. Measured by ``stack_inference.calibration``.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, le=50)]


class StackCalibration(BaseModel):
    """How a model's scores pass zero in stacks of its microscope; lengths in slices.

    Attributes
    ----------
    stacks
        Number of stacks it was measured on.
    offset
        Median of the scores' zero minus the true plane, along the direction of rising scores.
    error
        Standard error of the zero once the offset is taken off: the 90 % quantile of its magnitude by that of a normal
        variable.
    rate
        Least and greatest score per slice, by the model's own, that is usual.
    scatter
        Greatest usual median distance of the scores from a straight line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stacks: int = Field(ge=1)
    offset: float = Field(ge=-50, le=50)
    error: Positive
    rate: tuple[Positive, Positive]
    scatter: Positive
