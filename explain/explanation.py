"""Why an image got its score: both models' verdicts, where the network looked, what moved the baseline.

All of ``cli.py explain`` but the picture. See docs/explain.md for what such explanations can and cannot tell.
"""

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.images import read_image
from focus_picker.deep.competence import image_properties
from focus_picker.deep.quiet import quiet_stderr
from focus_picker.deep.runtime import Student
from focus_picker.deep.window import native_window
from focus_picker.explain.attribution import Attribution, Region, attribute, expected_score, regions
from focus_picker.explain.contributions import Contributions, contributions
from focus_picker.features.baseline import MODEL_FILE as BASELINE_FILE
from focus_picker.features.baseline import Baseline, load_baseline
from focus_picker.models.contract import Model
from focus_picker.models.side_file import StudentSide, read_model

if TYPE_CHECKING:
    import keras

WEIGHTS_FILE, SHIPPED_FILE = "best_model.h5", "focus_model.tflite"
TOP = 10  # features that are drawn and listed
NEUTRAL_SHARE = 0.5  # of the score; a reference that scores more is named to the reader
SAME_SCALE = 0.02  # models whose slices differ by more than this share are not compared


@dataclass(frozen=True)
class Verdict:
    """A model's word on an image, as ``cli.py score`` gives it.

    ``doubt`` says why the image is ``unsure``; empty otherwise.
    """

    score: float
    lower: float
    upper: float
    status: str
    doubt: str = ""

    def in_words(self) -> str:
        """For example ``post-focal by 0.62 (0.51 to 0.73): lens too far``."""
        if self.status == "in_focus":
            return f"in focus: {self.score:.2f} ({self.lower:.2f} to {self.upper:.2f})"
        if self.status == "unsure":
            return f"unsure: {self.score:.2f} ({self.lower:.2f} to {self.upper:.2f}), do not move on this image alone"
        if self.score < 0:
            return f"pre-focal by {-self.score:.2f} ({-self.upper:.2f} to {-self.lower:.2f}): lens too close"
        return f"post-focal by {self.score:.2f} ({self.lower:.2f} to {self.upper:.2f}): lens too far"


@dataclass(frozen=True)
class NetworkPart:
    """The network's verdict, its distribution ``(bins,)`` at ``centres``, and where it looked in its ``window``."""

    verdict: Verdict
    centres: np.ndarray
    distribution: np.ndarray
    window: np.ndarray
    attribution: Attribution
    regions: Sequence[Region]


@dataclass(frozen=True)
class BaselinePart:
    """The baseline's verdict and what each feature added to it."""

    verdict: Verdict
    contributions: Contributions


@dataclass(frozen=True)
class Explanation:
    """One image explained by one or both models.

    Attributes
    ----------
    image_path, image
        The file as given, and what ``dataset.images.read_image`` read from it.
    network, baseline
        None for a model that was not asked.
    agree
        Whether the two intervals overlap; None where there is one model only, or two of different scales.
    notes
        Sentences for the reader: which model is missing, doubts, disagreement.
    """

    image_path: str
    image: np.ndarray
    network: NetworkPart | None
    baseline: BaselinePart | None
    agree: bool | None
    notes: tuple[str, ...]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Verdicts by the model's name, the network first."""
        parts = {"network": self.network, "baseline": self.baseline}
        return {name: part.verdict for name, part in parts.items() if part is not None}


class KerasStudent(Student):
    """The student before conversion: scores by the very graph that is differentiated, calibrated by the side file."""

    def __init__(self, network: "keras.Model", side: StudentSide) -> None:
        super().__init__(b"", side)
        self.network = network

    def predict(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Run the Keras network; see ``Student.predict``."""
        outputs = {name: np.asarray(value) for name, value in self.network(windows, training=False).items()}
        return {**outputs, "score": outputs["score"][:, 0], "spread": outputs["spread"][:, 0]}


@dataclass(frozen=True)
class Models:
    """Files to explain with, None for a model that there is not, and notes on what is missing."""

    weights: Path | None
    baseline: Path | None
    notes: tuple[str, ...] = ()


def explain(image_path: str | Path, models: Models) -> Explanation:
    """Explain the score of one image file.

    Raises
    ------
    InputError
        An image or a model that cannot be read, or an image that a model refuses.
    """
    image = read_image(image_path)
    baseline = load_baseline(models.baseline) if models.baseline else None
    student = load_student(models.weights) if models.weights else None
    by_trees = explain_baseline(baseline, image) if baseline else None
    by_network = explain_network(student, image) if student else None
    agree, notes = None, list(models.notes)
    if student and baseline and by_network and by_trees:
        steps = student.side.score_per_slice, baseline.side.score_per_slice
        if np.isclose(*steps, rtol=SAME_SCALE):
            agree = overlap(by_network.verdict, by_trees.verdict)
        else:
            notes.append(f"the models count a slice as {steps[0]:g} and {steps[1]:g}: do not compare their scores")
    notes += reservations(by_network, by_trees, agree)
    return Explanation(str(image_path), image, by_network, by_trees, agree, tuple(notes))


def find_models(cnn: Path | None, baseline: Path | None, shipped: Models) -> Models:
    """Decide which files explain.

    Parameters
    ----------
    cnn, baseline
        What the user named: a file, or a run folder. Where only one is named, the other is looked for beside it and
        not taken from elsewhere: models of different data score on different scales.
    shipped
        Taken where neither is named.

    Raises
    ------
    InputError
        A path that does not exist, a folder with neither model, or weights without TensorFlow to run them.
    """
    if cnn is None and baseline is None:
        return shipped if has_tensorflow() else _alone(Models(None, shipped.baseline), "TensorFlow is not installed")
    for path in (cnn, baseline):
        if path is not None and not path.exists():
            raise InputError(f"model {path} does not exist; give a run folder, {WEIGHTS_FILE} or {BASELINE_FILE}")
    found = Models(_locate(cnn, baseline, WEIGHTS_FILE), _locate(baseline, cnn, BASELINE_FILE))
    if found.weights is None and found.baseline is None:
        raise InputError(f"{cnn or baseline} holds neither {WEIGHTS_FILE} nor {BASELINE_FILE}; give a finished run")
    if found.weights is not None and not has_tensorflow():
        raise InputError(f"{found.weights} needs TensorFlow to be explained: pip install 'focus-picker[train]'")
    missing = WEIGHTS_FILE if found.weights is None else BASELINE_FILE
    return _alone(found, f"{cnn or baseline} holds no {missing}")


def _locate(named: Path | None, other: Path | None, file: str) -> Path | None:
    """Find the model file: the one named, else the one in the named folder, else the one beside the other model."""
    if named is not None and named.is_file():
        return named
    folder = named or (other if other is None or other.is_dir() else other.parent)
    return folder / file if folder is not None and (folder / file).is_file() else None


def _alone(models: Models, reason: str) -> Models:
    """Note why one of the models is missing; the models as they are where none is."""
    if models.weights is not None and models.baseline is not None:
        return models
    left = "baseline" if models.weights is None else "network"
    return Models(models.weights, models.baseline, (f"{reason}: explained by the {left} alone",))


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; it is not imported."""
    return importlib.util.find_spec("tensorflow") is not None


def load_student(weights: str | Path) -> KerasStudent:
    """Load ``best_model.h5`` with the side file of the model that was shipped from it.

    Raises
    ------
    InputError
        Weights or side file are missing or damaged, or they do not belong together.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():  # TensorFlow greets from C++ before its log level counts
        from focus_picker.deep.student import load_trained

        network = load_trained(weights)
    _, side = read_model(Path(weights).parent / SHIPPED_FILE, StudentSide)
    shapes = network.input.shape[1], network.output["distribution"].shape[1]
    if shapes != (side.window_px, side.bins.count):
        raise InputError(
            f"{weights} is not the network that {SHIPPED_FILE} beside it was made from; keep a run's files together"
        )
    return KerasStudent(network, side)


def explain_network(student: KerasStudent, image: np.ndarray) -> NetworkPart:
    """Score an image with the network and share the score out to its pixels."""
    bins, step = student.side.bins, student.side.score_per_slice
    window = native_window(image, student.side.window_px)
    attribution = attribute(expected_score(student.network, bins), window, step)
    return NetworkPart(
        verdict=verdict_of(student, image, lambda: doubts_of_network(student, window)),
        centres=bins.centres,
        distribution=student.predict(window[np.newaxis])["distribution"][0],
        window=window,
        attribution=attribution,
        regions=regions(attribution, window),
    )


def explain_baseline(baseline: Baseline, image: np.ndarray) -> BaselinePart:
    """Score an image with the baseline and share the score out to its features."""
    shares = contributions(baseline, image)
    return BaselinePart(verdict_of(baseline, image, lambda: doubts_of_baseline(baseline, shares)), shares)


def verdict_of(model: Model, image: np.ndarray, doubts: Callable[[], list[str]]) -> Verdict:
    """Score an image as ``cli.py score`` does; ``doubts`` is asked why where the model is unsure."""
    judged = model.judge([image])
    score, lower, upper = (float(values[0]) for values in (judged.score, judged.lower, judged.upper))
    if judged.status[0] != "unsure":
        return Verdict(score, lower, upper, str(judged.status[0]))
    return Verdict(score, lower, upper, "unsure", ", ".join(doubts()) or "both sides of focus are possible")


def doubts_of_network(student: KerasStudent, window: np.ndarray) -> list[str]:
    """In what the window is unlike those of training, by the limits of ``deep.competence``."""
    competence = student.side.competence
    limits = {name: getattr(competence, name) for name in ("contrast", "brightness", "chroma")}
    limits |= {"saturated": (0.0, competence.saturated), "spread": (0.0, competence.spread)}
    values = {name: float(value[0]) for name, value in image_properties(window[np.newaxis]).items()}
    values["spread"] = float(student.predict(window[np.newaxis])["spread"][0])
    return [
        f"{name} {values[name]:.3g}, {low:.3g} to {high:.3g} in training"
        for name, (low, high) in limits.items()
        if not low <= values[name] <= high
    ]


def doubts_of_baseline(baseline: Baseline, shares: Contributions) -> list[str]:
    """How many features no training image had, where these are more than usual."""
    if shares.n_outside <= baseline.side.novelty_limit * len(shares.rows):
        return []
    return [f"{shares.n_outside} of {len(shares.rows)} features outside the range of training"]


def overlap(one: Verdict, other: Verdict) -> bool:
    """Whether the two intervals have a score in common."""
    return one.lower <= other.upper and other.lower <= one.upper


def reservations(network: NetworkPart | None, baseline: BaselinePart | None, agree: bool | None) -> list[str]:
    """What the reader must know before believing the picture."""
    notes = []
    for name, part in (("network", network), ("baseline", baseline)):
        if part is not None and part.verdict.status == "unsure":
            notes.append(
                f"the {name} is unsure ({part.verdict.doubt}): this explains a score that is not to be trusted"
            )
    if agree is False:
        notes.append("network and baseline disagree: their 90 % intervals do not overlap")
    return notes + (reservations_about(network.attribution) if network is not None else [])


def reservations_about(attribution: Attribution) -> list[str]:
    """What the map leaves out: a reference that is far from neutral itself, and a sum that does not hold."""
    notes, reference = [], attribution.reference_score
    if abs(reference) > max(abs(attribution.expected_score) * NEUTRAL_SHARE, attribution.scale):
        rest = attribution.expected_score - reference
        notes.append(
            f"without its detail the image scores {reference:+.2f}: the map explains the other {rest:+.2f} only"
        )
    if not attribution.complete:
        notes.append(f"the map's sum is {attribution.completeness_error:.0%} off what it should add up to")
    return notes


def as_record(explanation: Explanation) -> dict[str, Any]:
    """The explanation as plain numbers and text, for ``--json``; numbers in score units."""
    record: dict[str, Any] = {"image": explanation.image_path}
    if (network := explanation.network) is not None:
        record["network"] = {**asdict(network.verdict), "attribution": _attribution_record(network)}
    if (baseline := explanation.baseline) is not None:
        record["baseline"] = {**asdict(baseline.verdict), **_contributions_record(baseline.contributions)}
    return record | {"agree": explanation.agree, "notes": list(explanation.notes)}


def _attribution_record(network: NetworkPart) -> dict[str, Any]:
    found = network.attribution
    return {
        "expected_score": found.expected_score,
        "reference_score": found.reference_score,
        "sum": float(found.pixels.sum()),
        "completeness_error": found.completeness_error,
        "gradients": found.gradients,
        "regions": [asdict(region) for region in network.regions],
    }


def _contributions_record(found: Contributions) -> dict[str, Any]:
    return {
        "bias": found.bias,
        "contributions": [asdict(row) for row in found.rows[:TOP]],
        "other_features": found.others(TOP),
    }
