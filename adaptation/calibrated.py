"""Intervals, competence and stack calibration of an adapted model, by what it says about groups that it never saw.

Cross-conformal prediction (Vovk 2015, Ann. Math. Artif. Intell. 74:9): each group is predicted by models fitted to the
others, and what those predictions miss their labels by is what the model of all groups will miss new ones by.
"""

import keras
import numpy as np
import tensorflow as tf

from focus_picker.adaptation.cross_validation import LeftOut
from focus_picker.adaptation.examples import Examples
from focus_picker.adaptation.feature_model import fit_kernel
from focus_picker.adaptation.labelling import LabelledStack
from focus_picker.dataset.errors import InputError
from focus_picker.deep.competence import image_properties, learn_competence, other_side, outside_competence
from focus_picker.deep.window import WINDOW_PX
from focus_picker.models.bins import ScoreBins
from focus_picker.models.contract import Judgement, ScoreDistribution
from focus_picker.models.focus_state import UNSURE, stated
from focus_picker.models.intervals import learn_widening
from focus_picker.models.side_file import StudentSide
from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference.calibration import calibrate
from focus_picker.stack_inference.scoring import StackScores, positions

MOST_WRONG = 0.003  # share of images that may be on the wrong side, far from focus and believed
DOUBTS = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05)
FEWEST_STACKS = 3  # below that nothing that is measured says anything about the next stack


def side_of(examples: Examples, left_out: LeftOut, bins: ScoreBins) -> StudentSide:
    """Side file of the model of all groups; without stack calibration, which needs it itself."""
    distribution = left_out.blend(bins)
    competence = learn_competence(examples.seen, bins.spread(distribution))
    limit = doubt_limit(distribution, examples.score, bins, 2 * examples.score_per_slice)
    head = fit_kernel(examples.features, examples.score).as_head(left_out.error, left_out.share)
    return StudentSide(
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
        variant="fp16",
        score_per_slice=examples.score_per_slice,
        window_px=WINDOW_PX,
        bins=bins,
        calibrated=len(examples.labelled) >= FEWEST_STACKS,
        intervals=learn_widening(bins, distribution, examples.score),
        competence=competence.model_copy(update={"other_side": limit}),
        turns=True,
        features=head if left_out.share else None,
    )


def doubt_limit(distribution: np.ndarray, truth: np.ndarray, bins: ScoreBins, far: float) -> float:
    """Largest probability of the other side up to which images ``far`` from focus are seldom on the wrong one.

    ``MOST_WRONG`` of all images; one half, which leaves every image its say, where the sides are told that well anyway.
    """
    wrong = (np.sign(bins.quantile(distribution, 0.5)) != np.sign(truth)) & (np.abs(truth) > far)
    doubt = other_side(bins, distribution)
    return next((limit for limit in DOUBTS if np.mean(wrong & (doubt <= limit)) <= MOST_WRONG), DOUBTS[-1])


def judged(examples: Examples, distribution: np.ndarray, side: StudentSide) -> Judgement:
    """What a model with this side file says about images, given its distributions ``(n, bins)`` of them."""
    score = side.bins.quantile(distribution, 0.5)
    lower, upper = side.intervals.interval(side.bins, distribution)
    properties = image_properties(examples.seen)
    doubt = other_side(side.bins, distribution)
    strange = outside_competence(properties, side.bins.spread(distribution), doubt, side.competence)
    state = np.where(strange, UNSURE, side.state(score, distribution))
    spread_out = ScoreDistribution(side.bins.centres, distribution)
    return Judgement(score, lower, upper, stated(state, side.calibrated), spread_out, properties)


def calibrate_left_out(examples: Examples, judgement: Judgement, side: StudentSide) -> StackCalibration | None:
    """Measure how left-out scores pass zero in their stacks; None where too few do."""
    scores, best = [], []
    for number, one in enumerate(examples.labelled):
        known, said = np.isfinite(one.score), judgement.score[examples.stack == number]
        if known.sum() == len(said):  # else a file has gone since it was labelled
            scores.append(_scores_of(one, known, said, side))
            z = scores[-1].z
            best.append(float(np.interp(_zero(one.score), np.arange(len(z)), z)))
    try:
        return calibrate(scores, best)
    except InputError:
        return None


def _scores_of(one: LabelledStack, known: np.ndarray, said: np.ndarray, side: StudentSide) -> StackScores:
    """A stack as its labelling measured it, with what was said about its labelled slices."""
    z, z_in_um = positions(one.stack)
    score = np.full(len(z), np.nan)
    score[known] = said
    return StackScores(
        stack=one.stack.name,
        files=tuple(part.file for part in one.stack.slices),
        z=z,
        z_in_um=z_in_um,
        sharpness=np.array([part.sharpness for part in one.pick.slices]),
        grey_spread=np.full(len(z), np.nan),
        score=score,
        problems=("",) * len(z),
        signed=True,
        score_per_slice=side.score_per_slice,
    )


def _zero(score: np.ndarray) -> float:
    """Position of a stack's labels' zero, in slices."""
    known = np.flatnonzero(np.isfinite(score))
    slope, start = np.polyfit(known, score[known], 1)
    return float(-start / slope)
