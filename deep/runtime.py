"""The light runtime: scores images with a ``.tflite`` file by LiteRT, NumPy and OpenCV; no TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from focus_picker.deep.competence import PROPERTIES, image_properties, outside_competence
from focus_picker.deep.intervals import conformal_interval
from focus_picker.deep.quiet import quiet_stderr
from focus_picker.deep.window import native_window
from focus_picker.models.bins import ScoreBins
from focus_picker.models.decision import decide
from focus_picker.models.sidecar import ModelFile, read_model_file

if TYPE_CHECKING:
    import pandas as pd

JUDGED = ("score", "lower", "upper", "status")


class FocusModel:
    """A student ready to score; learned state comes from the file alone.

    Parameters
    ----------
    file
        Verified model file.
    threads
        Threads of one inference.
    """

    def __init__(self, file: ModelFile, threads: int = 1) -> None:
        self.file = file
        self.threads = threads
        self.sidecar = file.sidecar
        self._runner: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the interpreter behind: worker processes build their own."""
        return {**self.__dict__, "_runner": None}

    @property
    def bins(self) -> ScoreBins:
        """Bins of the distributions."""
        return self.sidecar.score_bins

    def distributions(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Score distributions ``(N, bins)`` of images."""
        return self.predict(self._windows(images))["distribution"]

    def predict(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network.

        Parameters
        ----------
        windows
            ``(N, size, size, 3)`` uint8 RGB.

        Returns
        -------
        dict
            ``score`` ``(N,)``, ``spread`` ``(N,)``, ``distribution`` ``(N, bins)``.
        """
        outputs = self._signature()(image=np.ascontiguousarray(windows))
        return {
            "score": outputs["score"][:, 0],
            "spread": outputs["spread"][:, 0],
            "distribution": outputs["distribution"],
        }

    def judge(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Score images as ``dataset.images.read_image`` gives them.

        Returns
        -------
        dict
            ``score``, ``lower``, ``upper`` (90 % interval, score units) and ``status`` (see ``models.decision``; an
            image unlike anything seen in training is ``unsure`` whatever its score), and the properties that this was
            told by, ``PROPERTIES`` of ``deep.competence``; each ``(N,)``.
        """
        if not images:
            return {name: np.empty(0) for name in (*JUDGED, *PROPERTIES)}
        windows = self._windows(images)
        outputs = self.predict(windows)
        lower, upper = self.interval(outputs["distribution"])
        status = decide(outputs["score"], lower, upper, self.sidecar.score_per_slice)
        properties = image_properties(windows)
        strange = outside_competence(properties, outputs["spread"], self.sidecar.competence)
        judged = (outputs["score"].astype(float), lower, upper, np.where(strange, "unsure", status))
        return dict(zip(JUDGED, judged, strict=True)) | properties

    def score_images(self, images: Sequence[np.ndarray]) -> "pd.DataFrame":
        """Return what ``judge`` finds as a table, one row an image."""
        import pandas as pd  # a table is for training and reports; an instrument scores without it

        judged = self.judge(images)
        return pd.DataFrame({name: judged[name] for name in JUDGED})

    def _windows(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([native_window(image, self.sidecar.window_px) for image in images])

    def interval(self, distribution: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Conformal interval from the distributions ``(N, bins)``, score units."""
        intervals = self.sidecar.intervals
        return conformal_interval(self.bins, distribution, intervals.widening, intervals.coverage)

    def _signature(self) -> Any:
        """The network as a function of named inputs; its order of inputs and outputs differs between converters."""
        if self._runner is None:
            # LiteRT is imported at the first image, so that --help and error messages do not wait for it.
            from ai_edge_litert.interpreter import Interpreter

            with quiet_stderr():
                interpreter = Interpreter(model_content=self.file.content, num_threads=self.threads)
                interpreter.allocate_tensors()
            self._runner = interpreter.get_signature_runner()
        return self._runner


def load_model(path: str | Path, threads: int = 1) -> FocusModel:
    """Load a ``.tflite`` file with its side file; see :func:`models.sidecar.read_model_file` for what is refused."""
    return FocusModel(read_model_file(path), threads)
