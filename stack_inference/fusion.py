"""Sharpness and signed scores as one position: the best linear unbiased estimate by their calibrated errors."""

from dataclasses import dataclass

import numpy as np

from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference.evidence import Evidence


@dataclass(frozen=True)
class Combined:
    """Both kinds of evidence as one position, in the units of z.

    ``contradiction`` is the difference of the two positions, offsets taken off, by its standard error.
    """

    position: float
    standard_error: float
    contradiction: float


def combine(evidence: Evidence, calibration: StackCalibration, spacing: float) -> Combined:
    """Weigh two correlated positions by their measured errors, the best linear unbiased estimate.

    Offsets are along rising scores, so that they turn round with a stack in reverse order.
    """
    side = np.sign(evidence.rate)
    place, error = [], []
    for fit, known in ((evidence.sharpness, calibration.sharpness), (evidence.signed, calibration.signed)):
        place.append(fit.position - side * known.offset * spacing)
        error.append(known.error * max(1.0, fit.standard_error / spacing / known.usual_error) * spacing)
    covariance = calibration.correlation * error[0] * error[1]
    variance = error[0] ** 2 + error[1] ** 2 - 2 * covariance  # of the difference
    share = float(np.clip((error[0] ** 2 - covariance) / variance, 0, 1))  # of the scores
    position = (1 - share) * place[0] + share * place[1]
    squared = ((1 - share) * error[0]) ** 2 + (share * error[1]) ** 2 + 2 * share * (1 - share) * covariance
    return Combined(
        float(position),
        float(np.sqrt(squared) * calibration.error_factor),
        float(abs(place[0] - place[1]) / np.sqrt(variance)),
    )
