"""What can be expected of an adapted model on new stacks of its microscope, in figures and in plain words."""

from dataclasses import asdict, dataclass

import numpy as np

from focus_picker.adaptation.examples import Examples, deal
from focus_picker.adaptation.feature_model import fit_kernel
from focus_picker.evaluation.sides import side_figures
from focus_picker.models.focus_state import UNSURE

DRAWS = 8  # random subsets of stacks a size in the learning curve
FEWEST_SIGNS = 0.9  # share of right signs below which one image is not to be trusted with a move
WORTH_MORE = 0.08  # relative gain of twice the stacks that is worth recording them


@dataclass(frozen=True)
class Expectation:
    """Figures on images of groups that the predicting models had not seen.

    Attributes
    ----------
    stacks, groups
        Learned from.
    by_field
        Whether groups are fields; else they are stacks of one field, and another field may be harder.
    mae, mae_error
        Mean absolute error in score units and its standard error over stacks.
    sign
        Share of right signs beyond one slice; NaN without such images.
    unsure
        Share of images that the model calls unsure.
    confidently_wrong
        Share that is not unsure, on the wrong side, and more than two slices from focus.
    doubled
        Error by that of now, if there were twice the stacks; NaN where it cannot be told.
    score_per_slice
        Score between neighbouring slices.
    """

    stacks: int
    groups: int
    by_field: bool
    mae: float
    mae_error: float
    sign: float
    unsure: float
    confidently_wrong: float
    doubled: float
    score_per_slice: float

    @property
    def shows_sign(self) -> bool:
        """Whether one image of this microscope tells its side often enough to move by it."""
        return bool(self.sign >= FEWEST_SIGNS)

    def as_row(self) -> dict[str, float | int | bool]:
        """Figures for ``metrics.json``."""
        return asdict(self) | {"shows_sign": self.shows_sign}

    def in_words(self) -> str:
        """For the person who recorded the stacks."""
        if self.groups < 2:
            return "one stack says nothing about the next, so that the model is not calibrated: record ten or more"
        step, kind = self.score_per_slice, "field" if self.by_field else "stack"
        one_sided = "an unknown share (none lies on the other side of focus)"
        sides = f"{100 * self.sign:.1f} %" if np.isfinite(self.sign) else one_sided
        lines = [
            f"expected on a new {kind} of this microscope: error {self.mae:.3f} +- {self.mae_error:.3f} "
            f"({self.mae / step:.2f} slice); side right on {sides} of images beyond one slice"
        ]
        if self.unsure > 0:
            lines.append(f"it will say that it is unsure about {100 * self.unsure:.0f} % of images")
        if self.sign < FEWEST_SIGNS:
            lines.append(
                "this microscope shows too little of which side of focus an image lies on: use two frames a known "
                "distance apart (docs/autofocus.md), not one"
            )
        if np.isfinite(self.doubled):
            gain = 1 - self.doubled
            wanted = f"{2 * self.stacks} stacks instead of {self.stacks} would bring the error to about "
            lines.append(
                f"{wanted}{self.mae * self.doubled:.3f}"
                if gain > WORTH_MORE
                else f"more stacks would bring little: {wanted}{self.mae * self.doubled:.3f}"
            )
        if not self.by_field:
            lines.append("all stacks are of one field (or named so): record other fields too, new slides may be harder")
        return "\n".join(lines)


def expect(examples: Examples, score: np.ndarray, status: np.ndarray, *, seed: int) -> Expectation:
    """Figures from scores ``(n,)`` and states of focus ``(n,)`` of left-out images."""
    truth, step = examples.score, examples.score_per_slice
    error = np.abs(score - truth)
    stacks = np.unique(examples.stack)
    by_stack = np.array([error[examples.stack == stack].mean() for stack in stacks])
    figures = side_figures(score, truth, status != UNSURE, step)
    return Expectation(
        stacks=len(stacks),
        groups=len(np.unique(examples.group)),
        by_field=examples.by_field,
        mae=figures["mae"],
        mae_error=float(by_stack.std(ddof=1) / np.sqrt(len(stacks))) if len(stacks) > 1 else float("nan"),
        sign=figures["sign"],
        unsure=figures["unsure"],
        confidently_wrong=figures["confidently_wrong"],
        doubled=gain_of_doubling(examples, seed),
        score_per_slice=step,
    )


def gain_of_doubling(examples: Examples, seed: int) -> float:
    """Error with twice the stacks by that with the present ones, by the trend of smaller subsets; NaN for too few.

    The kernel regression stands for the model, since it is fitted in milliseconds: from each group's point of view,
    random subsets of the other groups' stacks are learned from, and the error falls as a power of their number.
    """
    fold = deal(examples.group, len(np.unique(examples.group)), seed)
    rng, rows = np.random.default_rng(seed), []
    for held in np.unique(fold):
        others = np.unique(examples.stack[fold != held])
        for size in {max(len(others) // 3, 2), max(len(others) // 2, 2), len(others)} if len(others) > 1 else ():
            for _ in range(DRAWS if size < len(others) else 1):
                chosen = np.isin(examples.stack, rng.choice(others, size, replace=False))
                model = fit_kernel(examples.features[chosen], examples.score[chosen])
                away = model.predict(examples.features[fold == held]) - examples.score[fold == held]
                rows.append((size, np.abs(away).mean()))
    sizes, errors = np.array(rows).T if rows else (np.empty(0), np.empty(0))
    if len(np.unique(sizes)) < 2:
        return float("nan")
    means = {size: errors[sizes == size].mean() for size in np.unique(sizes)}
    exponent = np.polyfit(np.log(list(means)), np.log(list(means.values())), 1)[0]
    return float(2 ** np.clip(exponent, -1.0, 0.0))
