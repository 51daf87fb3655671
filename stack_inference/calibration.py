"""Measure on stacks with known focus how a model's scores pass zero there."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models.contract import Model
from focus_picker.models.intervals import SIGMA_OF_90, conformal_quantile
from focus_picker.models.stack_calibration import StackCalibration
from focus_picker.stack_inference.scoring import StackScores, score_stack
from focus_picker.stack_inference.trial import line_of

FEWEST_STACKS = 9  # the fewest among which a conformal quantile of 90 % lies

LIMIT_QUANTILE, LIMIT_MARGIN = 0.99, 1.3
"""Limits of what counts as usual: a quantile over the calibration stacks, widened because these are few."""
LEAST_ERROR = 0.02  # slices; no calibration is believed beyond this


def calibrate(stacks: Sequence[StackScores], best_plane: Sequence[float]) -> StackCalibration:
    """Measure the offset and the error of the scores' zero, and what is usual of their course.

    Parameters
    ----------
    stacks
        From ``scoring.score_stack`` with the model. They must not be the ones it was trained on: there its errors are
        too small. Validation fields serve.
    best_plane
        Their true best planes, or the labels' zeros, in the units of each stack's z.

    Raises
    ------
    InputError
        If the scores of fewer than ``FEWEST_STACKS`` of them pass zero.
    """
    lines = [
        (line, truth)
        for scores, truth in zip(stacks, best_plane, strict=True)
        if np.isfinite(truth) and (line := line_of(scores)).zero
    ]
    if len(lines) < FEWEST_STACKS:
        raise InputError(
            f"the scores of {len(lines)} of {len(stacks)} stacks pass zero, expected at least {FEWEST_STACKS}: "
            "calibrate on more stacks with labels, unseen in training"
        )
    away = np.array([(line.zero.position - truth) / line.spacing * np.sign(line.rate) for line, truth in lines])
    rates, scatter = np.abs([line.rate for line, _ in lines]), [line.scatter for line, _ in lines]
    offset = float(np.median(away))
    low, high = np.quantile(rates, [1 - LIMIT_QUANTILE, LIMIT_QUANTILE])
    return StackCalibration(
        stacks=len(lines),
        offset=offset,
        error=max(conformal_quantile(np.abs(away - offset), 0.9) / SIGMA_OF_90, LEAST_ERROR),
        rate=(float(low / LIMIT_MARGIN), float(high * LIMIT_MARGIN)),
        scatter=float(np.quantile(scatter, LIMIT_QUANTILE) * LIMIT_MARGIN + LEAST_ERROR),
    )


def calibrate_dataset(
    dataset: str | Path, names: Collection[str], model: Model, *, measure: str = "tenengrad"
) -> StackCalibration:
    """Calibrate a model on stacks of a data set that it was not trained on.

    Parameters
    ----------
    dataset
        Folder with ``focus_labels.csv``; a ``truth.csv`` beside it goes before the labels, which are rounded to slices.
    names
        Names of the stacks, those of the validation fields.
    model
        That is to be calibrated.
    measure
        Sharpness measure.

    Raises
    ------
    InputError
        If too few stacks serve, see ``calibrate``.
    """
    planes = best_planes(dataset)
    stacks = [stack for stack in find_stacks(dataset) if stack.name in names and stack.name in planes]
    scores = [score_stack(stack, measure=measure, model=model) for stack in stacks]
    return calibrate(scores, [planes[part.stack] for part in scores])


def best_planes(dataset: str | Path) -> dict[str, float]:
    """True best plane of each stack in slices, or the zero of its labels by interpolation; stacks without are left out.

    Labels that never reach zero say nothing about where it lies.
    """
    from focus_picker.dataset.labels import read_labels, read_truth  # pandas: not for those who only pick

    labels = read_labels(dataset)
    truth = read_truth(dataset)
    if truth is not None:
        stack = labels.set_index("image_path")["stack"].reindex(truth["image_path"]).to_numpy()
        known = truth["best_z_slice"].groupby(stack).first().dropna()
        return {str(name): float(plane) for name, plane in known.items()}
    planes = {}
    for name, part in labels.dropna(subset=["focus_score"]).sort_values("slice").groupby("stack"):
        score, index = part["focus_score"].to_numpy(), part["slice"].to_numpy(dtype=float) - part["slice"].min()
        if len(score) and score.min() <= 0 <= score.max():
            order = np.argsort(score, kind="stable")
            planes[str(name)] = float(np.interp(0.0, score[order], index[order]))
    return planes
