"""The two kinds of evidence of one stack side by side: where it is sharpest, and where its signed scores pass zero."""

from dataclasses import dataclass

import numpy as np

from focus_picker.models.contract import normal_distribution
from focus_picker.models.stack_calibration import DEFAULT_TEMPERATURE
from focus_picker.stack_inference.consensus import consensus
from focus_picker.stack_inference.curve_fit import CurveFit
from focus_picker.stack_inference.scoring import StackScores
from focus_picker.stack_inference.signed import (
    PlanePosterior,
    plane_posterior,
    spacing_of,
    zero_crossing,
)

SCATTER_REACH = 5.0  # slices; further out scores saturate


@dataclass(frozen=True)
class Evidence:
    """What sharpness and scores say about one stack.

    Parameters
    ----------
    sharpness
        Peak of the sharpness, in the units of z, nothing taken off.
    signed
        Posterior of the best plane by the scores, likewise; failed without a model.
    crossing
        Zero of the scores on a straight line.
    rate
        Score per slice by the model's own along that line; negative where scores fall with z, NaN where it failed.
    scatter
        Median distance of the scores from that line in slices.
    """

    sharpness: CurveFit
    signed: CurveFit
    crossing: CurveFit
    rate: float
    scatter: float

    @property
    def complete(self) -> bool:
        """Whether both kinds of evidence give a position and the scores a direction."""
        return bool(self.sharpness and self.signed and self.crossing)


def fit_sharpness(scores: StackScores) -> CurveFit:
    """Fit the sharpness of a stack by the consensus of the measures."""
    return consensus(scores.z, scores.curves)


def gather(scores: StackScores, sharpness: CurveFit, temperature: float = DEFAULT_TEMPERATURE) -> Evidence:
    """Fit the scores of a stack, and put them beside the fit of its sharpness."""
    spacing = spacing_of(scores.z)
    crossing = zero_crossing(scores.z, scores.score)
    slope = _slope(crossing, spacing)
    return Evidence(
        sharpness=sharpness,
        signed=signed_posterior(scores, crossing, temperature).fit,
        crossing=crossing,
        rate=slope / _score_per_slice(scores, slope),
        scatter=_scatter(scores, crossing, slope, spacing),
    )


def signed_posterior(
    scores: StackScores, crossing: CurveFit, temperature: float = DEFAULT_TEMPERATURE
) -> PlanePosterior:
    """Posterior of the best plane by the scores, in the direction of their line; a reason where there is none."""
    distributions = scores.distribution or normal_distribution(scores.score, scores.lower, scores.upper)
    slope = _slope(crossing, spacing_of(scores.z))
    direction = 0 if np.isnan(slope) else int(np.sign(slope))
    step = _score_per_slice(scores, slope)
    return plane_posterior(scores.z, distributions, step, temperature=temperature, direction=direction)


def _slope(crossing: CurveFit, spacing: float) -> float:
    """Score per slice along the line of the zero crossing, NaN where there is none."""
    return float(crossing.curve(np.array(crossing.position + spacing))) if crossing.curve else np.nan


def _score_per_slice(scores: StackScores, slope: float) -> float:
    """Of the model; where it does not say, that of this stack, so that its rate is 1."""
    if np.isfinite(scores.score_per_slice):
        return scores.score_per_slice
    return abs(slope) if np.isfinite(slope) and slope else 1.0


def _scatter(scores: StackScores, crossing: CurveFit, slope: float, spacing: float) -> float:
    """Median distance of the scores from their line in slices, up to ``SCATTER_REACH`` slices from its zero."""
    if not crossing:
        return np.nan
    away = (scores.z - crossing.position) / spacing
    distance = np.abs(scores.score / slope - away)[np.abs(away) <= SCATTER_REACH]
    return float(np.nanmedian(distance))
