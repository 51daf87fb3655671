"""Measure on stacks with known focus how sharpness and a model's scores are to be weighed."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import find_stacks
from focus_picker.models.contract import Model
from focus_picker.models.intervals import SIGMA_OF_90, conformal_quantile
from focus_picker.models.stack_calibration import EvidenceError, StackCalibration
from focus_picker.stack_inference.evidence import Evidence, fit_sharpness, gather, signed_posterior
from focus_picker.stack_inference.fusion import combine
from focus_picker.stack_inference.scoring import StackScores, score_stack
from focus_picker.stack_inference.signed import spacing_of

FEWEST_STACKS = 12

TEMPERATURES = tuple(float(round(value, 3)) for value in np.geomspace(0.5, 40, 16))
LIMIT_QUANTILE, LIMIT_MARGIN = 0.99, 1.3
"""Limits of what counts as usual: a quantile over the calibration stacks, widened because these are few."""
LEAST_ERROR = 0.02  # slices; no calibration is believed beyond this


def calibrate(stacks: Sequence[StackScores], best_plane: Sequence[float]) -> StackCalibration:
    """Measure offsets, errors, their correlation, the temperature and the usual limits.

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
        If fewer than ``FEWEST_STACKS`` of them give both kinds of evidence.
    """
    usable = [
        (scores, truth, evidence)
        for scores, truth in zip(stacks, best_plane, strict=True)
        if np.isfinite(truth)
        and scores.distribution is not None
        and (evidence := gather(scores, fit_sharpness(scores))).complete
    ]
    if len(usable) < FEWEST_STACKS:
        raise InputError(
            f"{len(usable)} of {len(stacks)} stacks show a sharpness peak and a zero of the scores, "
            f"expected at least {FEWEST_STACKS}: calibrate on more stacks with labels, unseen in training"
        )
    temperature = _best_temperature(usable)
    found = [
        (gather(scores, before.sharpness, temperature), truth, spacing_of(scores.z)) for scores, truth, before in usable
    ]
    found = [row for row in found if row[0].complete]
    return _measured(found, temperature)


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


Known = tuple[Evidence, float, float]  # of one stack: its evidence, true plane and spacing


def _measured(found: list[Known], temperature: float) -> StackCalibration:
    """Errors of both kinds of evidence, then the error of their fusion on stacks that had no part in weighing them."""
    draft = _without_fusion(found, temperature)
    ratio, contradiction = [], []
    for index, (evidence, truth, spacing) in enumerate(found):
        others = _without_fusion(found[:index] + found[index + 1 :], temperature)
        combined = combine(evidence, others, spacing)
        ratio.append(abs(combined.position - truth) / combined.standard_error)
        contradiction.append(combined.contradiction)
    factor = conformal_quantile(np.array(ratio), 0.9) / SIGMA_OF_90
    return draft.model_copy(
        update={
            "error_factor": float(np.clip(factor, 0.2, 20)),
            "contradiction": max(3.0, float(np.quantile(contradiction, LIMIT_QUANTILE) * LIMIT_MARGIN)),
        }
    )


def _without_fusion(found: list[Known], temperature: float) -> StackCalibration:
    """Calibration but for the error of the fusion, which is left at what follows from the two kinds of evidence."""
    spacing = np.array([row[2] for row in found])
    side = np.array([np.sign(row[0].rate) for row in found])
    truth = np.array([row[1] for row in found])

    def deviations(kind: str) -> tuple[np.ndarray, np.ndarray]:
        fits = [getattr(row[0], kind) for row in found]
        away = (np.array([fit.position for fit in fits]) - truth) / spacing * side
        return away, np.array([fit.standard_error for fit in fits]) / spacing

    sharp, sharp_se = deviations("sharpness")
    signed, signed_se = deviations("signed")
    together = _correlation(_clipped(sharp), _clipped(signed))
    rates = np.abs([row[0].rate for row in found])
    low, high = np.quantile(rates, [1 - LIMIT_QUANTILE, LIMIT_QUANTILE])
    return StackCalibration(
        stacks=len(found),
        temperature=temperature,
        correlation=float(np.clip(together, -0.9, 0.9)),
        rate=(float(low / LIMIT_MARGIN), float(high * LIMIT_MARGIN)),
        scatter=float(np.quantile([row[0].scatter for row in found], LIMIT_QUANTILE) * LIMIT_MARGIN + LEAST_ERROR),
        sharpness=_error_of(sharp, sharp_se),
        signed=_error_of(signed, signed_se),
    )


def _error_of(deviation: np.ndarray, reported: np.ndarray) -> EvidenceError:
    offset = float(np.median(deviation))
    error = float(np.quantile(np.abs(deviation - offset), 0.9) / SIGMA_OF_90)
    return EvidenceError(
        offset=offset, error=max(error, LEAST_ERROR), usual_error=max(float(np.median(reported)), LEAST_ERROR / 10)
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation, 0 where one does not vary beyond rounding."""
    if min(np.ptp(a), np.ptp(b)) < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _clipped(deviation: np.ndarray) -> np.ndarray:
    """Deviations with the far ones drawn in, so that a single stack does not make the correlation."""
    return np.clip(deviation, *np.quantile(deviation, [0.05, 0.95]))


def _best_temperature(stacks: list[tuple[StackScores, float, Evidence]]) -> float:
    """Temperature at which the truths are most probable; the scores' own offset is taken off first."""
    likelihood = []
    for temperature in TEMPERATURES:
        posteriors = [
            (signed_posterior(scores, before.crossing, temperature), truth) for scores, truth, before in stacks
        ]
        known = [(posterior, truth) for posterior, truth in posteriors if posterior.fit]
        offset = float(np.median([posterior.fit.position - truth for posterior, truth in known])) if known else 0.0
        likelihood.append(
            sum(posterior.log_density_at(truth + offset) for posterior, truth in known) / max(len(known), 1)
        )
    return TEMPERATURES[int(np.argmax(likelihood))]
