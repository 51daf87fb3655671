"""The light runtime: judges images with a ``.tflite`` file by LiteRT, NumPy and OpenCV; no TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from focus_picker.dataset.errors import InputError
from focus_picker.deep.competence import image_properties, other_side, outside_competence
from focus_picker.deep.quiet import quiet_stderr
from focus_picker.deep.views import ImageWindows, alone, windows_of
from focus_picker.deep.window import native_window
from focus_picker.features import measure
from focus_picker.models import DEFAULT_MODEL
from focus_picker.models.contract import Judgement, ScoreDistribution, unsure_of_small
from focus_picker.models.feature_head import pooled
from focus_picker.models.focus_state import UNSURE, stated
from focus_picker.models.side_file import StudentSide, read_model

MOST_AT_ONCE = 256


class Student:
    """A student ready to judge; all it has learned comes from its two files.

    Parameters
    ----------
    weights
        Content of a ``.tflite`` file.
    side
        Its side file.
    """

    def __init__(self, weights: bytes, side: StudentSide) -> None:
        self.weights = weights
        self.side = side
        self._runner: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the interpreter behind: worker processes build their own."""
        return {**self.__dict__, "_runner": None}

    def predict(self, cut: ImageWindows) -> dict[str, np.ndarray]:
        """Run the network on images, over several looks and with the features where the side file says so.

        Returns
        -------
        dict
            ``score`` ``(N,)``, ``spread`` ``(N,)``, ``distribution`` ``(N, bins)``.
        """
        bins, head = self.side.bins, self.side.features
        several = self.side.turns or self.side.corners
        if not several and head is None:
            outputs = self._outputs(cut.central)
            return {name: outputs[name][:, 0] for name in ("score", "spread")} | {
                "distribution": outputs["distribution"]
            }
        looks = cut.looks() if several else alone(cut.central)
        distribution = looks.pooled(self._outputs(looks.windows)["distribution"])
        if head is not None:
            rows = np.array([list(measure(window, head.names).values()) for window in cut.central], dtype=float)
            distribution = pooled(distribution, head.distribution(rows, bins), head.share)
        return {"score": bins.quantile(distribution, 0.5), "spread": bins.spread(distribution)} | {
            "distribution": distribution
        }

    def judge(self, images: Sequence[np.ndarray]) -> Judgement:
        """Judge images; see :class:`models.contract.Model`. The properties are those of ``deep.competence``."""
        size = self.side.window_px
        if not images:
            return self.judge_windows(np.empty((0, size, size, 3), np.uint8))
        if self.side.corners:
            cut = windows_of(images, size)
        else:
            cut = alone(np.stack([native_window(image, size) for image in images]))
        return unsure_of_small(self._judge(cut), images)

    def judge_windows(self, windows: np.ndarray) -> Judgement:
        """Judge windows ``(N, size, size, 3)`` uint8 RGB, each an image; there may be none."""
        return self._judge(alone(windows))

    def _judge(self, cut: ImageWindows) -> Judgement:
        outputs = self.predict(cut) if len(cut.first) else self._nothing()
        side, distribution = self.side, np.asarray(outputs["distribution"], dtype=float)
        properties = image_properties(cut.central)
        score = outputs["score"].astype(float)
        lower, upper = side.intervals.interval(side.bins, outputs["distribution"])
        doubt = other_side(side.bins, distribution)
        strange = outside_competence(properties, outputs["spread"], doubt, side.competence)
        state = np.where(strange, UNSURE, side.state(score, outputs["distribution"]))
        probability = distribution / distribution.sum(axis=1, keepdims=True)
        status = stated(state, side.calibrated)
        return Judgement(score, lower, upper, status, ScoreDistribution(side.bins.centres, probability), properties)

    def fault(self) -> str:
        """Say in what the network contradicts the side file, by its answer to a grey window; empty where in nothing."""
        side = self.side
        try:
            declared = int(self._signature().get_input_details()["image"]["shape"][1])
            if declared != side.window_px:
                return f"its window has {declared} pixels, not {side.window_px}"
            found = self._signature()(image=np.full((1, side.window_px, side.window_px, 3), 127, np.uint8))
            score, distribution = found["score"][:, 0], found["distribution"]
        except Exception as error:  # whatever LiteRT raises for a damaged file, other inputs or other outputs
            return " ".join(str(error).split())[:200]
        if distribution.shape != (1, side.bins.count):
            return f"it has {distribution.shape[-1]} bins, not {side.bins.count}"
        if not abs(score[0] - side.bins.quantile(distribution, 0.5)[0]) <= side.bins.width:
            return "its bins are others"
        return ""

    def _nothing(self) -> dict[str, np.ndarray]:
        return {"score": np.empty(0), "spread": np.empty(0), "distribution": np.empty((0, self.side.bins.count))}

    def _outputs(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Run the bare network, some windows at a time: what lies between its layers is a megabyte a window."""
        parts = [
            self._signature()(image=np.ascontiguousarray(windows[at : at + MOST_AT_ONCE]))
            for at in range(0, len(windows), MOST_AT_ONCE)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _signature(self) -> Any:
        """The network as a function of named inputs; its order of inputs and outputs differs between converters."""
        if self._runner is None:
            # LiteRT is imported at the first image, so that --help and error messages do not wait for it.
            from ai_edge_litert.interpreter import Interpreter

            with quiet_stderr():
                interpreter = Interpreter(model_content=self.weights, num_threads=1)
                interpreter.allocate_tensors()
            self._runner = interpreter.get_signature_runner()
        return self._runner


def load_student(path: str | Path) -> Student:
    """Load a ``.tflite`` file with its side file.

    Raises InputError for what :func:`models.side_file.read_model` refuses, and for a network that is damaged or not
    the one that its side file describes; the shipped one is known to be.
    """
    student = Student(*read_model(Path(path), StudentSide))
    if Path(path) != DEFAULT_MODEL and (fault := student.fault()):
        raise InputError(f"{path} is no network that its side file describes ({fault}); export the model again")
    return student
