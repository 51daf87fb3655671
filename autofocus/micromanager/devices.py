"""A Micro-Manager core's focus drive and camera as the loop needs them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from pymmcore_plus import CMMCorePlus

from focus_picker.autofocus.devices import SystemClock
from focus_picker.autofocus.search import Microscope
from focus_picker.dataset.errors import InputError


def core_microscope(core: CMMCorePlus, focus_device: str = "") -> Microscope:
    """Return a core's microscope.

    Parameters
    ----------
    core
        With a loaded configuration.
    focus_device
        Label of the focus drive; empty takes the core's.

    Raises
    ------
    InputError
        There is no camera or no such drive: Micro-Manager itself lets a wrong name pass without a word.
    """
    label = focus_device or core.getFocusDevice()
    if not label or label not in core.getLoadedDevices():
        known = ", ".join(core.getLoadedDevices())
        raise InputError(f"The configuration has no focus drive '{label}': name one of its devices ({known}).")
    if not core.getCameraDevice():
        raise InputError("The configuration has no camera: set the camera role in Micro-Manager's configuration.")
    return Microscope(CoreStage(core, label), CoreCamera(core), SystemClock(), label)


@dataclass(frozen=True)
class CoreStage:
    """A focus drive by its label: never the core's default, which somebody may change in between."""

    core: CMMCorePlus
    label: str

    def position_um(self) -> float:
        """Where the drive says that it is."""
        return float(self.core.getPosition(self.label))

    def start_move(self, z_um: float) -> None:
        """Send the drive."""
        self.core.setPosition(self.label, z_um)

    def is_busy(self) -> bool:
        """Whether it moves; polled here and not waited for in the core, so that a cancel is noticed."""
        return bool(self.core.deviceBusy(self.label))

    def stop(self) -> None:
        """Stop; some drives cannot, and then there is nothing else to do."""
        with suppress(Exception):
            self.core.stop(self.label)


Undo = Callable[[], object]


@dataclass(frozen=True)
class CoreCamera:
    """The core's camera, grey or colour, 8 to 16 bit."""

    core: CMMCorePlus

    def snap(self) -> np.ndarray:
        """Take an image, 16-bit ones scaled from the camera's depth to full scale 65535."""
        self.core.snapImage()
        return full_scale(self.core.getImage(), self.core.getImageBitDepth())

    def prepare(self, exposure_ms: float | None, channel: tuple[str, str] | None) -> list[Undo]:
        """Stop live mode and continuous focus, open the shutter, set channel and exposure; return what undoes it."""
        undo: list[Undo] = []
        try:
            for part in (self._still, self._without_continuous_focus, self._shutter):
                part(undo)
            if channel is not None:
                self._in_channel(undo, *channel)
            if exposure_ms is not None:
                undo.append(_call(self.core.setExposure, self.core.getExposure()))
                self.core.setExposure(exposure_ms)
        except Exception:
            self.put_back(undo)
            raise
        return undo

    def put_back(self, remembered: list[Undo]) -> None:
        """Undo in reverse order; each part is tried although another failed, whose error is raised at the end."""
        failed: list[Exception] = []
        for undo in reversed(remembered):
            try:
                undo()
            except Exception as error:  # whatever a driver raises
                failed.append(error)
        if failed:
            raise failed[0]

    def _still(self, undo: list[Undo]) -> None:
        if self.core.isSequenceRunning():
            self.core.stopSequenceAcquisition()
            undo.append(_call(self.core.startContinuousSequenceAcquisition, 0))

    def _without_continuous_focus(self, undo: list[Undo]) -> None:
        if self.core.isContinuousFocusEnabled():
            self.core.enableContinuousFocus(False)
            undo.append(_call(self.core.enableContinuousFocus, True))

    def _shutter(self, undo: list[Undo]) -> None:
        """Keep the shutter open, frames need not wait for it; without one the core must not look for it."""
        if not self.core.getAutoShutter():
            return
        undo.append(_call(self.core.setAutoShutter, True))
        self.core.setAutoShutter(False)
        if self.core.getShutterDevice():
            undo.append(_call(self.core.setShutterOpen, bool(self.core.getShutterOpen())))
            self.core.setShutterOpen(True)

    def _in_channel(self, undo: list[Undo], group: str, preset: str) -> None:
        before = self.core.getCurrentConfig(group)
        if before:
            undo.append(_call(self.core.setConfig, group, before))
        self.core.setConfig(group, preset)
        self.core.waitForConfig(group, preset)


def full_scale(image: np.ndarray, bits: int) -> np.ndarray:
    """Scale an image of ``bits`` per pixel so that ``uint8`` means 255 and ``uint16`` 65535."""
    if image.dtype != np.uint16 or not 8 <= bits < 16:
        return image
    scaled = image.astype(np.float32) * (65535 / (2**bits - 1))
    return np.clip(np.rint(scaled), 0, 65535).astype(np.uint16)


def _call(function: Callable[..., object], *arguments: object) -> Undo:
    return lambda: function(*arguments)
