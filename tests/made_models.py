"""Models for tests: they meet the contract, and what they answer is given."""

from collections.abc import Callable, Sequence

import numpy as np

from focus_picker.models.contract import Judgement, normal_distribution
from focus_picker.models.intervals import HalfWidths
from focus_picker.models.side_file import BaselineSide
from focus_picker.models.stack_calibration import StackCalibration


class MadeModel:
    """Scores images by a function of the list of them, each within ``half`` at 90 %; all are ``status``."""

    def __init__(
        self,
        score: Callable[[Sequence[np.ndarray]], np.ndarray],
        half: float = 0.1,
        status: str = "ok",
        score_per_slice: float = 0.2,
        stack_calibration: StackCalibration | None = None,
        z_step_um: float | None = None,
    ):
        self.score, self.half, self.status = score, half, status
        self.side = BaselineSide(
            score_per_slice=score_per_slice, features={}, novelty_limit=1, intervals=HalfWidths(half_widths=(half,)),
            stack_calibration=stack_calibration, z_step_um=z_step_um, calibrated=True,
        )  # fmt: skip

    def judge(self, images):
        score = np.asarray(self.score(images), dtype=float)
        lower, upper = score - self.half, score + self.half
        status = np.broadcast_to(np.array(self.status), score.shape)
        return Judgement(score, lower, upper, status, normal_distribution(score, lower, upper))
