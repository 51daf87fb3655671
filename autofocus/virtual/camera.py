"""A camera that shows a scene at the slide's position, with exposure, noise, and faults on demand."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from focus_picker.autofocus.devices import Clock
from focus_picker.autofocus.virtual.scene import Scene
from focus_picker.autofocus.virtual.stage import VirtualStage


@dataclass(frozen=True)
class CameraVices:
    """What is wrong with a camera.

    Attributes
    ----------
    full_well_e
        Electrons at full scale: photon noise falls as this rises.
    flicker
        Relative standard deviation of the lamp from frame to frame.
    right_exposure_ms
        Exposure at which images are as bright as the planes are.
    raises_at, black_at
        Number of the frame, from 1, that raises an error or is black; 0 for none.
    """

    full_well_e: float = 10_000.0
    flicker: float = 0.004
    right_exposure_ms: float = 10.0
    raises_at: int = 0
    black_at: int = 0


class VirtualCamera:
    """A camera on a virtual stage.

    Parameters
    ----------
    stage, clock
        Of the same microscope.
    scene
        Gives the scene in view and where on the drive it is in focus: it may change with the position of a table.
    vices, seed
        What is wrong with it; of its noise.
    """

    def __init__(
        self,
        stage: VirtualStage,
        clock: Clock,
        scene: Callable[[], tuple[Scene, float]],
        vices: CameraVices | None = None,
        seed: int = 0,
    ) -> None:
        self.vices = vices or CameraVices()
        self.exposure_ms, self.live, self.snaps = self.vices.right_exposure_ms, False, 0
        self._stage, self._clock, self._scene = stage, clock, scene
        self._rng = np.random.default_rng(seed)

    def snap(self) -> np.ndarray:
        """Image ``(H, W, 3)`` uint8 of the scene at this moment."""
        self.snaps += 1
        self._clock.sleep_s(self.exposure_ms / 1000)
        if self.snaps == self.vices.raises_at:
            raise RuntimeError("virtual camera: no frame arrived")
        scene, focus_um = self._scene()
        image, lacking = scene.at(self._stage.vices.direction * (self._stage.slide_um - focus_um))
        if self.snaps == self.vices.black_at:
            image = image * 0
        return self._exposed(image, lacking)

    def prepare(self, exposure_ms: float | None, channel: tuple[str, str] | None) -> tuple[float, bool]:
        """Stop live mode and set the exposure; return both as they were. There is one channel only."""
        del channel
        found = self.exposure_ms, self.live
        self.live = False
        if exposure_ms is not None:
            self.exposure_ms = exposure_ms
        return found

    def put_back(self, remembered: tuple[float, bool]) -> None:
        """Restore exposure and live mode."""
        self.exposure_ms, self.live = remembered

    def _exposed(self, image: np.ndarray, lacking: float) -> np.ndarray:
        level = self.exposure_ms / self.vices.right_exposure_ms * (1 + self.vices.flicker * self._rng.standard_normal())
        grey = image * np.float32(level)
        variance = lacking + np.maximum(grey, 0) * np.float32(255 / self.vices.full_well_e)
        noise = self._rng.standard_normal(grey.shape, dtype=np.float32) * np.sqrt(variance)
        return np.clip(np.rint(grey + noise), 0, 255).astype(np.uint8)
