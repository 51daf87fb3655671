"""What stacks with known focus teach about a model and an instrument, kept in ``stack_calibration.json``.

Sharpness and signed scores each have an offset from the labels' zero and an error; how they are to be weighed, and
from when on they contradict each other, is measured here and not guessed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from focus_picker.dataset.errors import InputError, first_fault
from focus_picker.dataset.files import write_text
from focus_picker.dataset.stacks import find_stacks
from focus_picker.stack_inference.evidence import Evidence, gather, signed_posterior
from focus_picker.stack_inference.scoring import Scorer, StackScores, score_stack
from focus_picker.stack_inference.signed import DEFAULT_TEMPERATURE, spacing_of

FILE_NAME = "stack_calibration.json"
FORMAT = "focus-picker stack calibration 1"
FEWEST_STACKS = 12

TEMPERATURES = tuple(float(round(value, 3)) for value in np.geomspace(0.5, 40, 16))
SIGMA_OF_90 = 1.645
LIMIT_QUANTILE, LIMIT_MARGIN = 0.99, 1.3
"""Limits of what counts as usual: a quantile over the calibration stacks, widened because these are few."""
LEAST_ERROR = 0.02  # slices; no calibration is believed beyond this


class EvidenceError(BaseModel):
    """Offset and error of one kind of evidence, in slices.

    Attributes
    ----------
    offset
        Median of position minus truth, along the direction of rising scores.
    error
        Standard error once the offset is taken off: the 90 % quantile of its magnitude by that of a normal variable.
    usual_error
        Median of the error that the fit itself reports; a stack that reports more is believed less in proportion.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset: float = Field(ge=-50, le=50)
    error: float = Field(gt=0, le=50)
    usual_error: float = Field(gt=0, le=50)


class StackCalibration(BaseModel):
    """Declared content of ``stack_calibration.json``; the defaults hold for a model without calibration.

    Attributes
    ----------
    format
        Of this file.
    stacks
        Number of stacks it was measured on, 0 for the defaults.
    temperature
        Of the posterior, see ``signed.plane_posterior``.
    sharpness, signed
        Errors of the two kinds of evidence.
    correlation
        Of the two errors.
    error_factor
        Standard error of the fusion by the one that follows from the errors above, so that the 90 % interval holds:
        a conformal quantile over the calibration stacks, each weighed by what the others taught.
    contradiction
        Difference of the two positions by its standard error from which they contradict each other.
    rate
        Least and greatest score per slice by the model's own that is usual.
    scatter
        Greatest usual median distance of the scores from a straight line, in slices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = FORMAT
    stacks: int = Field(default=0, ge=0)
    temperature: float = Field(default=DEFAULT_TEMPERATURE, gt=0)
    # The sharpest plane lies up to a slice from the labels' zero, by the instrument's phase and aberration, and on a
    # side that is not known before it is measured; a model's scores have learned where the labels' zero is.
    sharpness: EvidenceError = EvidenceError(offset=0, error=1.0, usual_error=0.1)
    signed: EvidenceError = EvidenceError(offset=0, error=0.3, usual_error=0.2)
    correlation: float = Field(default=0.0, ge=-0.95, le=0.95)
    error_factor: float = Field(default=1.0, gt=0, le=20)
    contradiction: float = Field(default=1.4, gt=0)  # one and a half slices, by the errors above
    rate: tuple[float, float] = (0.5, 2.0)
    scatter: float = Field(default=0.7, gt=0)


UNCALIBRATED = StackCalibration()


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
        if np.isfinite(truth) and scores.distributions is not None and (evidence := gather(scores)).complete
    ]
    if len(usable) < FEWEST_STACKS:
        raise InputError(
            f"{len(usable)} of {len(stacks)} stacks show a sharpness peak and a zero of the scores, "
            f"expected at least {FEWEST_STACKS}: calibrate on more stacks with labels, unseen in training"
        )
    temperature = _best_temperature([(scores, truth) for scores, truth, _ in usable])
    found = [(gather(scores, temperature), truth, spacing_of(scores.z)) for scores, truth, _ in usable]
    found = [row for row in found if row[0].complete]
    return _measured(found, temperature)


def calibrate_dataset(
    dataset: str | Path, names: Collection[str], scorer: Scorer, *, measure: str = "tenengrad"
) -> StackCalibration:
    """Calibrate a model on stacks of a data set that it was not trained on.

    Parameters
    ----------
    dataset
        Folder with ``focus_labels.csv``; a ``truth.csv`` beside it goes before the labels, which are rounded to slices.
    names
        Names of the stacks, those of the validation fields.
    scorer
        The trained model.
    measure
        Sharpness measure.

    Raises
    ------
    InputError
        If too few stacks serve, see ``calibrate``.
    """
    planes = best_planes(dataset)
    stacks = [stack for stack in find_stacks(dataset) if stack.name in names and stack.name in planes]
    scores = [score_stack(stack, measure=measure, scorer=scorer) for stack in stacks]
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
    factor = _quantile_of_new(np.array(ratio), 0.9) / SIGMA_OF_90
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


def _error_of(deviation: np.ndarray, reported: np.ndarray) -> EvidenceError:
    offset = float(np.median(deviation))
    error = float(np.quantile(np.abs(deviation - offset), 0.9) / SIGMA_OF_90)
    return EvidenceError(
        offset=offset, error=max(error, LEAST_ERROR), usual_error=max(float(np.median(reported)), LEAST_ERROR / 10)
    )


def _quantile_of_new(values: np.ndarray, level: float) -> float:
    """Value that a new one stays below with this probability: of n old ones, the ``(n + 1) level``-th (conformal)."""
    return float(np.quantile(values, min(1.0, level * (len(values) + 1) / len(values)), method="higher"))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation, 0 where one does not vary beyond rounding."""
    if min(np.ptp(a), np.ptp(b)) < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _clipped(deviation: np.ndarray) -> np.ndarray:
    """Deviations with the far ones drawn in, so that a single stack does not make the correlation."""
    return np.clip(deviation, *np.quantile(deviation, [0.05, 0.95]))


def _best_temperature(stacks: list[tuple[StackScores, float]]) -> float:
    """Temperature at which the truths are most probable; the scores' own offset is taken off first."""
    likelihood = []
    for temperature in TEMPERATURES:
        posteriors = [(signed_posterior(scores, temperature), truth) for scores, truth in stacks]
        known = [(posterior, truth) for posterior, truth in posteriors if posterior.fit]
        offset = float(np.median([posterior.fit.position - truth for posterior, truth in known])) if known else 0.0
        likelihood.append(
            sum(posterior.log_density_at(truth + offset) for posterior, truth in known) / max(len(known), 1)
        )
    return TEMPERATURES[int(np.argmax(likelihood))]


def calibration_path(model: str | Path) -> Path:
    """Where the calibration of a model file, or of the run folder that holds it, lies."""
    model = Path(model)
    return (model if model.is_dir() else model.parent) / FILE_NAME


def save_calibration(calibration: StackCalibration, model: str | Path) -> Path:
    """Write the calibration beside its model and return the file."""
    path = calibration_path(model)
    write_text(path, calibration.model_dump_json(indent=1) + "\n")
    return path


def load_calibration(model: str | Path) -> StackCalibration:
    """Read the calibration beside a model; ``UNCALIBRATED`` where there is none.

    Raises
    ------
    InputError
        If the file is there but is no calibration of this version.
    """
    path = calibration_path(model)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return UNCALIBRATED
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from None
    try:
        calibration = StackCalibration.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{path} is no stack calibration ({first_fault(error)}): calibrate again") from None
    if calibration.format != FORMAT:
        raise InputError(f"{path} has the format '{calibration.format}', expected '{FORMAT}': calibrate again")
    return calibration
