"""The virtual microscope as devices of a Micro-Manager core, written in Python: to try everything without hardware."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import DTypeLike
from pymmcore_plus.experimental.unicore import SimpleCameraDevice, StageDevice, UniMMCore

from focus_picker.autofocus.devices import SystemClock
from focus_picker.autofocus.virtual.camera import CameraVices, VirtualCamera
from focus_picker.autofocus.virtual.scene import Scene
from focus_picker.autofocus.virtual.stage import StageVices, VirtualStage

CAMERA, DRIVE = "VirtualCamera", "VirtualZ"

View = Callable[[], tuple[Scene, float]]
"""Scene in view, and where on the drive it is in focus."""


class VirtualDrive(StageDevice):
    """A focus drive with the vices of ``StageVices``."""

    def __init__(self, stage: VirtualStage) -> None:
        super().__init__()
        self.stage = stage

    def set_position_um(self, val: float) -> None:
        """Send the drive."""
        self.stage.start_move(val)

    def get_position_um(self) -> float:
        """Where the motor stands."""
        return self.stage.position_um()

    def busy(self) -> bool:
        """Whether it moves."""
        return self.stage.is_busy()

    def stop(self) -> None:
        """Stop."""
        self.stage.stop()

    def home(self) -> None:
        """Go to zero."""
        self.stage.start_move(0.0)

    def set_origin(self) -> None:
        """Refuse: a shifted origin would shift the limits."""
        raise NotImplementedError("the virtual drive keeps its origin")


class VirtualColourCamera(SimpleCameraDevice):
    """A camera that shows what the virtual camera sees: in colour, or grey with ``bits`` of depth, 8 to 16."""

    def __init__(self, camera: VirtualCamera, shape: tuple[int, int], bits: int = 0) -> None:
        super().__init__()
        self.camera, self._shape, self._bits = camera, shape, bits

    def sensor_shape(self) -> tuple[int, int] | tuple[int, int, int]:
        """Rows, columns, and three colours unless it is grey."""
        return self._shape if self._bits else (*self._shape, 3)

    def dtype(self) -> DTypeLike:
        """Type of the pixels."""
        return np.uint16 if self._bits > 8 else np.uint8

    def get_exposure(self) -> float:
        """Exposure in milliseconds."""
        return self.camera.exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in milliseconds."""
        self.camera.exposure_ms = exposure

    def snap(self, buffer: np.ndarray) -> Mapping:
        """Fill the buffer with an image."""
        image = self.camera.snap()
        if self._bits:
            grey = image.mean(axis=2)
            levels = np.rint(grey * ((2**self._bits - 1) / 255)).astype(buffer.dtype)
            # The core takes the depth of a Python camera's pixels from their type: its levels fill the upper bits.
            buffer[:] = levels << (8 * buffer.itemsize - self._bits)
        else:
            buffer[:] = image
        return {}


def load_virtual_microscope(
    core: UniMMCore,
    view: View,
    *,
    start_um: float = 0.0,
    stage: StageVices | None = None,
    camera: CameraVices | None = None,
    bits: int = 0,
    seed: int = 0,
) -> tuple[VirtualStage, VirtualCamera]:
    """Load drive and camera into a core and give them their roles; return what stands behind them.

    Parameters
    ----------
    core
        May hold other devices, for instance a table of Micro-Manager's own demo adapter.
    view
        Scene in view and its focus; it may ask the core where the table is.
    start_um, stage, camera, seed
        As ``virtual.microscope.virtual_microscope`` has them; time is the computer's.
    bits
        0 for a colour camera, or the depth of a grey one, 8 to 16.
    """
    clock = SystemClock()
    drive = VirtualStage(clock, stage, start_um, seed)
    eye = VirtualCamera(drive, clock, view, camera, seed + 1)
    rows, columns = view()[0].planes.shape[1:3]
    core.loadPyDevice(DRIVE, VirtualDrive(drive))
    core.loadPyDevice(CAMERA, VirtualColourCamera(eye, (rows, columns), bits))
    for label in (DRIVE, CAMERA):
        core.initializeDevice(label)
    core.setFocusDevice(DRIVE)
    core.setCameraDevice(CAMERA)
    core.setAutoShutter(False)
    return drive, eye
