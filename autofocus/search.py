"""The state of one search: frames so far, belief, budgets, and the log of every step."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from focus_picker.autofocus.belief import Belief, believe
from focus_picker.autofocus.calibration import Calibration
from focus_picker.autofocus.devices import Camera, Clock, ShouldCancel, Stage, Stopped
from focus_picker.autofocus.frames import Frame, check_brightness, take
from focus_picker.autofocus.mover import Mover
from focus_picker.autofocus.result import Step
from focus_picker.autofocus.settings import Settings
from focus_picker.models.contract import Model

Log = Callable[[Step], None]
"""Told every step as it happens."""


@dataclass(frozen=True)
class Microscope:
    """Devices of a microscope; ``name`` is that of its focus drive."""

    stage: Stage
    camera: Camera
    clock: Clock
    name: str = ""


@dataclass
class Search:
    """One search from where the drive stands.

    Parameters
    ----------
    microscope, settings
        What to search with, and within what.
    calibration, model
        Of this microscope; None where there is none, and then no score is asked for.
    should_cancel, log
        Asked before each move and frame; told each step.
    """

    microscope: Microscope
    settings: Settings
    calibration: Calibration | None
    model: Model | None
    should_cancel: ShouldCancel
    log: Log
    frames: list[Frame] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look where the drive stands; nothing moves."""
        self.began_s = self.microscope.clock.now_s()
        self.mover = Mover(
            self.microscope.stage,
            self.microscope.clock,
            self.settings,
            approach_um=self.approach_um,
            report=lambda z_um, why: self.note("move", z_um, why),
            should_cancel=self.should_cancel,
        )

    @property
    def depth_um(self) -> float:
        """Depth of field, of the calibration before that of the settings."""
        depth_um = self.calibration.depth_um if self.calibration else self.settings.depth_um
        assert depth_um is not None, "focus() checks it"
        return depth_um

    @property
    def approach_um(self) -> float:
        """How far below a position the drive turns to reach it."""
        if self.settings.approach_um is not None:
            return self.settings.approach_um
        return 2 * self.calibration.backlash_um if self.calibration else 0.0

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return self.microscope.clock.now_s() - self.began_s

    def note(self, kind: str, z_um: float, why: str = "", **figures: float) -> None:
        """Keep a step and tell it."""
        step = Step(kind, round(self.seconds, 4), z_um, why, **figures)
        self.steps.append(step)
        self.log(step)

    def look(self, z_um: float, why: str) -> Frame:
        """Go to ``z_um`` and take a frame there."""
        return self.frame(self.mover.to(z_um, why), why)

    def frame(self, z_um: float, why: str) -> Frame:
        """Take a frame where the drive stands; Stopped when cancelled or a budget is spent."""
        if self.should_cancel():
            raise Stopped("cancelled", "cancelled before a frame")
        if len(self.frames) >= self.settings.max_frames:
            raise Stopped("budget", f"no focus after {len(self.frames)} frames, as many as max_frames allows")
        if self.seconds > self.settings.max_seconds:
            raise Stopped(
                "budget", f"no focus after {self.seconds:.1f} s, max_seconds is {self.settings.max_seconds:g}"
            )
        frame = take(self.microscope.camera, z_um, self.settings, self.model)
        if not self.frames:
            check_brightness(frame.image, self.settings)
        self.frames.append(frame)
        belief = self.belief()
        figures = {"focus_um": belief.focus_um, "error_um": belief.error_um} if belief else {}
        self.note("frame", z_um, why, score=frame.score, sharpness=math.exp(frame.sharpness), **figures)
        return frame

    def belief(self) -> Belief | None:
        """Where focus is believed to be; None without a calibration or frames."""
        if self.calibration is None or not self.frames:
            return None
        # Focus may lie outside of where the drive may go, and must then not be found inside.
        beyond = self.calibration.response.defocus_um[-1]
        ends = self.mover.lowest_um - beyond, self.mover.highest_um + beyond
        start, search_um = self.mover.start_um, self.settings.search_um
        return believe(self.frames, self.calibration, ends, (start - search_um, start + search_um))
