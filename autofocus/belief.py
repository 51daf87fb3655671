"""Where focus is believed to be after some frames: a probability over the drive's positions.

Bayes' rule over a grid, with what the calibration measured. A frame at z says, for focus at f, how far its score and
its sharpness are from those of its defocus. Scores of one cell share an error, so that their product is widened by it;
sharpness is only compared between frames, because the level of a cell is not known. What a single frame leaves open,
such as both sides far out, stays open until another frame settles it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from focus_picker.autofocus.calibration import Calibration
from focus_picker.autofocus.frames import Frame

POINTS_PER_DEPTH = 10
UNLIKELY = 0.01  # density of focus outside of where it is looked for, by that inside
DEGREES = 4  # of Student's t: sharpness curves of odd cells must not rule out the truth


@dataclass(frozen=True)
class Belief:
    """A probability over positions.

    Attributes
    ----------
    z_um
        ``(n,)`` grid, rising.
    probability
        ``(n,)``, sums to 1.
    """

    z_um: np.ndarray
    probability: np.ndarray

    def quantile(self, share: float) -> float:
        """Position below which focus lies with this probability."""
        return float(np.interp(share, np.cumsum(self.probability), self.z_um))

    @property
    def focus_um(self) -> float:
        """Median of the part of the belief that lies about its peak: of two sides, the middle between them is none."""
        peak = int(np.argmax(self.probability))
        near = np.abs(np.arange(len(self.z_um)) - peak) <= self._reach(peak)
        share = np.cumsum(self.probability * near)
        return float(np.interp(share[-1] / 2, share, self.z_um))

    def _reach(self, peak: int) -> int:
        """Grid points about the peak within which the probability stays above a hundredth of it."""
        low = np.flatnonzero(self.probability[: peak + 1] < 0.01 * self.probability[peak])
        high = np.flatnonzero(self.probability[peak:] < 0.01 * self.probability[peak])
        return max(peak - (low[-1] if len(low) else 0), high[0] if len(high) else len(self.z_um) - 1 - peak)

    @property
    def error_um(self) -> float:
        """Half of the middle 90 %."""
        return (self.quantile(0.95) - self.quantile(0.05)) / 2

    def within(self, z_um: float, distance_um: float) -> float:
        """Probability that focus is within a distance of ``z_um``."""
        return float(self.probability[np.abs(self.z_um - z_um) <= distance_um].sum())


def believe(
    frames: Sequence[Frame],
    calibration: Calibration,
    ends_um: tuple[float, float],
    likely_um: tuple[float, float] | None = None,
) -> Belief:
    """Return the belief after ``frames``.

    Parameters
    ----------
    frames, calibration
        What was seen, and what it means.
    ends_um
        Ends of the grid: outside focus is not looked for.
    likely_um
        Ends of where focus is looked for to begin with; outside it is ``UNLIKELY``. None takes ``ends_um``.
    """
    count = int(np.ceil((ends_um[1] - ends_um[0]) / calibration.depth_um * POINTS_PER_DEPTH)) + 1
    z = np.linspace(*ends_um, max(count, 3))
    defocus = calibration.direction * (np.array([frame.z_um for frame in frames])[:, None] - z[None])
    scores = _of_scores(np.array([frame.score for frame in frames]), defocus, calibration)
    spread = _widened(np.exp(scores - scores.max()), calibration.cell_error_um / (z[1] - z[0]))
    log_sharpness = _of_sharpness(np.array([frame.sharpness for frame in frames]), defocus, calibration)
    low, high = likely_um or ends_um
    prior = np.where((z >= low) & (z <= high), 1.0, UNLIKELY)
    log = np.log(np.maximum(spread, 1e-300)) + log_sharpness + np.log(prior)
    probability = np.exp(log - log.max())
    return Belief(z, probability / probability.sum())


def _of_scores(score: np.ndarray, defocus: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Log likelihood ``(n,)`` of focus at each grid point by the scores; a frame without one says nothing."""
    response = calibration.response
    known = np.isfinite(score)
    error = response.at("score_error", defocus[known])
    away = (score[known, None] - response.at("score", defocus[known])) / error
    # A score that says nothing may be any: evenly spread over what the model gives.
    span = max(np.ptp(response.score), 1e-6)
    likelihood = (1 - calibration.wrong) * np.exp(-(away**2) / 2) / (error * np.sqrt(2 * np.pi))
    return np.log(likelihood + calibration.wrong / span).sum(axis=0)


def _of_sharpness(sharpness: np.ndarray, defocus: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Log likelihood ``(n,)`` by the differences of log sharpness; the cell's own level is fitted for each point."""
    response = calibration.response
    error = np.hypot(response.at("sharpness_error", defocus), calibration.frame_noise)
    rest = sharpness[:, None] - response.at("sharpness", defocus)
    weight = 1 / error**2
    level = (rest * weight).sum(axis=0) / weight.sum(axis=0)
    away2 = ((rest - level) * np.sqrt(weight)) ** 2
    return -(DEGREES + 1) / 2 * np.log1p(away2 / DEGREES).sum(axis=0) - np.log(error).sum(axis=0) * (len(sharpness) > 1)


def _widened(likelihood: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve with a normal curve of ``sigma`` grid points."""
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-((np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2) / 2)
    return np.convolve(likelihood, kernel / kernel.sum(), mode="full")[reach : reach + len(likelihood)]
