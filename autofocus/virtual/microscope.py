"""A whole virtual microscope in one call."""

from focus_picker.autofocus.search import Microscope
from focus_picker.autofocus.virtual.camera import CameraVices, VirtualCamera
from focus_picker.autofocus.virtual.clock import ManualClock
from focus_picker.autofocus.virtual.scene import Scene
from focus_picker.autofocus.virtual.stage import StageVices, VirtualStage


def virtual_microscope(
    scene: Scene,
    *,
    focus_um: float = 0.0,
    start_um: float = 0.0,
    stage: StageVices | None = None,
    camera: CameraVices | None = None,
    seed: int = 0,
) -> Microscope:
    """Put a scene under a virtual microscope, in focus where the slide is at ``focus_um``; time passes by itself."""
    clock = ManualClock()
    drive = VirtualStage(clock, stage, start_um, seed)
    return Microscope(drive, VirtualCamera(drive, clock, lambda: (scene, focus_um), camera, seed + 1), clock, "virtual")
