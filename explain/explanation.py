"""Why an image got its score: both models' verdicts, where the network looked, what moved the baseline.

All of ``cli.py explain`` but the picture. See docs/explain.md for what such explanations can and cannot tell.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import sha256_of
from focus_picker.dataset.images import read_image
from focus_picker.deep.quiet import quiet_stderr
from focus_picker.deep.runtime import Student
from focus_picker.deep.views import alone
from focus_picker.deep.window import native_window
from focus_picker.explain.attribution import Attribution, Region, attribute, expected_score, regions
from focus_picker.explain.contributions import Contributions, contributions
from focus_picker.features.baseline import MODEL_FILE as BASELINE_FILE
from focus_picker.features.baseline import Baseline, load_baseline
from focus_picker.models.contract import Judgement, ScoreDistribution
from focus_picker.models.focus_state import NOT_CALIBRATED, UNCALIBRATED
from focus_picker.models.side_file import StudentSide, read_model

if TYPE_CHECKING:
    import keras

WEIGHTS_FILE, SHIPPED_FILE = "best_model.h5", "focus_model.tflite"
TOP = 10  # features that are drawn and listed
NEUTRAL_SHARE = 0.5  # of the score; a reference that scores more is named to the reader
SAME_SCALE = 0.02  # models whose slices differ by more than this share are not compared


@dataclass(frozen=True)
class Verdict:
    """What a model says about an image, as ``cli.py score`` gives it.

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
        if self.status == UNCALIBRATED:
            return f"{self.score:.2f}, {NOT_CALIBRATED}"
        if self.status == "unsure":
            return f"unsure: {self.score:.2f} ({self.lower:.2f} to {self.upper:.2f}), do not move on this image alone"
        if self.score < 0:
            return f"pre-focal by {-self.score:.2f} ({-self.upper:.2f} to {-self.lower:.2f}): lens too close"
        return f"post-focal by {self.score:.2f} ({self.lower:.2f} to {self.upper:.2f}): lens too far"


@dataclass(frozen=True)
class NetworkPart:
    """The network's verdict and distribution, the ``window`` that it saw, and where it looked in it."""

    verdict: Verdict
    distribution: ScoreDistribution
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
        What each model says and why; None for a model that was not asked.
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

    def _outputs(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Run the Keras network; see ``Student._outputs``."""
        return {name: np.asarray(value) for name, value in self.network(windows, training=False).items()}


@dataclass(frozen=True)
class Models:
    """Files of the models that explain, None for one that is missing, and notes on why it is."""

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
        File or run folder that the user named for each model. Where only one is named, the other is looked for beside
        it and not taken from elsewhere: models of different data score on different scales.
    shipped
        What is taken where neither is named.

    Raises
    ------
    InputError
        A path that does not exist, a folder with neither model, or weights without TensorFlow to run them.
    """
    named = cnn or baseline
    if named is None:
        weights = shipped.weights if has_tensorflow() else None
        return _noted(weights, shipped.baseline, "TensorFlow is not installed")
    for path in (cnn, baseline):
        if path is not None and not path.exists():
            raise InputError(f"model {path} does not exist; give a run folder, {WEIGHTS_FILE} or {BASELINE_FILE}")
    weights, trees = _locate(cnn, baseline, WEIGHTS_FILE), _locate(baseline, cnn, BASELINE_FILE)
    if weights is None and trees is None:
        raise InputError(f"{named} holds neither {WEIGHTS_FILE} nor {BASELINE_FILE}; give a finished run")
    if weights is not None and not has_tensorflow():
        raise InputError(f"{weights} needs TensorFlow to be explained: pip install 'focus-picker[train]'")
    return _noted(weights, trees, f"{named} holds no {BASELINE_FILE if weights else WEIGHTS_FILE}")


def _locate(named: Path | None, other: Path | None, file: str) -> Path | None:
    """Find the model file: the one named, else the one in the named folder, else the one beside the other model."""
    if named is not None and named.is_file():
        return named
    folder = named or (other if other is None or other.is_dir() else other.parent)
    return folder / file if folder is not None and (folder / file).is_file() else None


def _noted(weights: Path | None, baseline: Path | None, reason: str) -> Models:
    """Put the models together, with a note on why one is missing where one is."""
    if weights is not None and baseline is not None:
        return Models(weights, baseline)
    left = "baseline" if weights is None else "network"
    return Models(weights, baseline, (f"{reason}: explained by the {left} alone",))


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
    of_one_run = side.trained_sha256 in ("", sha256_of(weights))
    if shapes != (side.window_px, side.bins.count) or not of_one_run:
        raise InputError(
            f"{weights} is not the network that {SHIPPED_FILE} beside it was made from; keep a run's files together"
        )
    # The map is of one window, and so is the score beside it.
    return KerasStudent(network, side.model_copy(update={"turns": False, "corners": False}))


def explain_network(student: KerasStudent, image: np.ndarray) -> NetworkPart:
    """Score an image with the network and divide the score among its pixels."""
    side, judged = student.side, student.judge([image])
    window = native_window(image, side.window_px)
    spread = float(student.predict(alone(window[np.newaxis]))["spread"][0])
    attribution = attribute(expected_score(student.network, side.bins), window, side.score_per_slice)
    verdict = verdict_of(judged, doubts_of_network(side, judged, spread))
    return NetworkPart(verdict, judged.distribution, window, attribution, regions(attribution, window))


def explain_baseline(baseline: Baseline, image: np.ndarray) -> BaselinePart:
    """Score an image with the baseline and divide the score among its features."""
    shares = contributions(baseline, image)
    many_outside = shares.n_outside > baseline.side.novelty_limit * len(shares.rows)
    doubt = f"{shares.n_outside} of {len(shares.rows)} features outside the range of training"
    return BaselinePart(verdict_of(baseline.judge([image]), [doubt] * many_outside), shares)


def verdict_of(judged: Judgement, doubts: Sequence[str]) -> Verdict:
    """Verdict on the one image that was judged; ``doubts`` say what makes a model unsure, if it is."""
    score, lower, upper = (float(values[0]) for values in (judged.score, judged.lower, judged.upper))
    unsure = judged.status[0] == "unsure"
    doubt = (", ".join(doubts) or "both sides of focus are possible") if unsure else ""
    return Verdict(score, lower, upper, str(judged.status[0]), doubt)


def doubts_of_network(side: StudentSide, judged: Judgement, spread: float) -> list[str]:
    """In what the one judged image is unlike those of training, by the limits of ``deep.competence``."""
    competence = side.competence
    limits = {name: getattr(competence, name) for name in ("contrast", "brightness", "chroma")}
    limits |= {"saturated": (0.0, competence.saturated), "spread": (0.0, competence.spread)}
    values = {name: float(value[0]) for name, value in judged.properties.items()} | {"spread": spread}
    return [
        f"{name} {values[name]:.3g}, {low:.3g} to {high:.3g} in training"
        for name, (low, high) in limits.items()
        if not low <= values[name] <= high
    ]


def overlap(one: Verdict, other: Verdict) -> bool:
    """Whether the two intervals have a score in common."""
    return one.lower <= other.upper and other.lower <= one.upper


def reservations(network: NetworkPart | None, baseline: BaselinePart | None, agree: bool | None) -> list[str]:
    """What the reader must know before believing the picture."""
    parts = {"network": network, "baseline": baseline}
    notes = [
        f"the {name} is unsure ({part.verdict.doubt}): this explains a score that is not to be trusted"
        for name, part in parts.items()
        if part is not None and part.verdict.status == "unsure"
    ]
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
        found = network.attribution
        record["network"] = asdict(network.verdict) | {
            "attribution": {
                "expected_score": found.expected_score,
                "reference_score": found.reference_score,
                "sum": float(found.pixels.sum()),
                "completeness_error": found.completeness_error,
                "gradients": found.gradients,
                "regions": [asdict(region) for region in network.regions],
            }
        }
    if (baseline := explanation.baseline) is not None:
        shares = baseline.contributions
        record["baseline"] = asdict(baseline.verdict) | {
            "bias": shares.bias,
            "contributions": [asdict(row) for row in shares.rows[:TOP]],
            "other_features": shares.others(TOP),
        }
    return record | {"agree": explanation.agree, "notes": list(explanation.notes)}
