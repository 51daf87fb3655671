"""A stack tests the model that scored it, before the scores have any say.

Slices are ordered: the scores of a model that understands these images rise along z at the rate that it was trained
at, close to a straight line, and pass zero where the stack is sharpest. One that was not calibrated on this microscope
is not even asked.
"""

from dataclasses import dataclass

import numpy as np

from focus_picker.models.focus_state import NOT_CALIBRATED
from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference.curve_fit import CurveFit
from focus_picker.stack_inference.scoring import StackScores
from focus_picker.stack_inference.signed import ONE_SIGN, end_trend, spacing_of, zero_crossing

MOST_UNSURE = 0.5
"""Share of slices of which the model itself is unsure, above which most of what it says is a guess."""

SCATTER_REACH = 5.0  # slices; further out scores saturate, as labels of more than a few depths of field are clipped

MOST_ERRORS = 3.0
"""Distance of zero and sharpest plane by its standard error from which they contradict each other: one in 370."""


@dataclass(frozen=True)
class Line:
    """The scores of a stack as a straight line.

    Attributes
    ----------
    zero
        Where they pass zero, in the units of z; failed where they do not.
    spacing
        Of the slices.
    rate
        Score per slice by the model's own; negative where scores fall with z, NaN where there is no line.
    scatter
        Median distance of the scores from the line in slices; NaN likewise.
    """

    zero: CurveFit
    spacing: float
    rate: float
    scatter: float


def line_of(scores: StackScores) -> Line:
    """Fit the scores of a stack."""
    spacing = spacing_of(scores.z)
    zero = zero_crossing(scores.z, scores.score)
    if zero.curve is None:
        return Line(zero, spacing, np.nan, np.nan)
    slope = float(zero.curve(np.array(zero.position + spacing)))
    away = (scores.z - zero.position) / spacing
    distance = np.abs(scores.score / slope - away)[np.abs(away) <= SCATTER_REACH]
    return Line(zero, spacing, slope / scores.score_per_slice, float(np.nanmedian(distance)))


def calibrated_zero(line: Line, calibration: StackCalibration) -> CurveFit:
    """Where the scores place the best plane: their zero without the offset that the calibration stacks showed."""
    place = line.zero.position - np.sign(line.rate) * calibration.offset * line.spacing
    error = max(calibration.error * line.spacing, line.zero.standard_error)
    return CurveFit(float(place), float(error), curve=line.zero.curve)


def doubt(scores: StackScores, line: Line, calibration: StackCalibration | None) -> str:
    """Why the scores of a stack have no say, as a clause; empty where they behave as on the calibration stacks."""
    if calibration is None:
        return NOT_CALIBRATED
    if scores.unsure > MOST_UNSURE:
        return "the model is unsure of most slices"
    if line.zero.reason == ONE_SIGN:
        rate = end_trend(scores.z, scores.score) * line.spacing / scores.score_per_slice
        return "" if np.isfinite(rate) else "they do not approach zero along the stack"
    if not line.zero:
        return line.zero.reason
    low, high = calibration.rate
    if not low <= abs(line.rate) <= high:
        return f"they change by {abs(line.rate):.2g} of the usual step a slice, as on another pixel size or z step"
    if line.scatter > calibration.scatter:
        return "they scatter about a straight line more than usual"
    return ""


def contradicts(sharpest: CurveFit, zero: CurveFit, spacing: float) -> bool:
    """Whether a clear peak of sharpness and the scores' zero cannot mean the same plane; never within a slice."""
    apart = abs(sharpest.position - zero.position)
    error = np.hypot(np.nan_to_num(sharpest.standard_error), zero.standard_error)
    return bool(apart > max(MOST_ERRORS * error, spacing))
