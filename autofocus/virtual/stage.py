"""A focus drive with backlash, jitter, ringing, drift, end stops, a direction, and faults on demand."""

import math
from dataclasses import dataclass

import numpy as np

from focus_picker.autofocus.devices import Clock


@dataclass(frozen=True)
class StageVices:
    """What is wrong with a drive; the defaults are a perfect one.

    Attributes
    ----------
    backlash_um
        Play between motor and slide: after a rise the slide hangs back by this much, after a fall not at all.
    jitter_um
        Standard deviation of where a move ends.
    ringing_um, ringing_s
        Amplitude just after a move, while ``is_busy`` already says False, and its time constant.
    drift_um_per_s
        How the slide creeps although nobody moves it.
    speed_um_per_s
        Of a move.
    lowest_um, highest_um
        End stops: a move beyond ends there, without a word.
    direction
        1 where a rising position takes the lens away from the cell, -1 where it brings it closer.
    raises_at, hangs_at
        Number of the move, from 1, that raises an error or never ends; 0 for none.
    """

    backlash_um: float = 0.0
    jitter_um: float = 0.0
    ringing_um: float = 0.0
    ringing_s: float = 0.03
    drift_um_per_s: float = 0.0
    speed_um_per_s: float = 200.0
    lowest_um: float = -1000.0
    highest_um: float = 1000.0
    direction: int = 1
    raises_at: int = 0
    hangs_at: int = 0


class VirtualStage:
    """A focus drive; ``slide_um`` is where the slide really is.

    Parameters
    ----------
    clock
        Moves take time by it.
    vices
        What is wrong with it.
    start_um, seed
        Where it stands, and of its jitter.
    """

    def __init__(self, clock: Clock, vices: StageVices | None = None, start_um: float = 0.0, seed: int = 0) -> None:
        self.vices = vices or StageVices()
        self.sent_to: list[float] = []
        self._clock, self._rng = clock, np.random.default_rng(seed)
        self._motor_um = self._slide_um = start_um
        self._arrives_s = -math.inf
        self._began_s = clock.now_s()

    @property
    def slide_um(self) -> float:
        """Position of the slide at this moment, in the drive's coordinate."""
        vices, since = self.vices, self._clock.now_s() - self._arrives_s
        ringing = 0.0
        if vices.ringing_um and 0 <= since < 20 * vices.ringing_s:
            ringing = vices.ringing_um * math.exp(-since / vices.ringing_s) * math.cos(40 * math.pi * since)
        return self._slide_um + ringing + vices.drift_um_per_s * (self._clock.now_s() - self._began_s)

    def position_um(self) -> float:
        """Where the motor stands."""
        return self._motor_um

    def start_move(self, z_um: float) -> None:
        """Send the motor to ``z_um``, or to the end stop before it."""
        self.sent_to.append(z_um)
        if len(self.sent_to) == self.vices.raises_at:
            raise RuntimeError("virtual stage: serial port timed out")
        if len(self.sent_to) == self.vices.hangs_at:
            self._arrives_s = math.inf
            return
        target = min(max(z_um, self.vices.lowest_um), self.vices.highest_um)
        self._arrives_s = self._clock.now_s() + abs(target - self._motor_um) / self.vices.speed_um_per_s
        self._motor_um = target
        hanging = min(max(self._slide_um, target - self.vices.backlash_um), target)
        self._slide_um = hanging + self.vices.jitter_um * float(self._rng.standard_normal())

    def is_busy(self) -> bool:
        """Whether the motor still runs."""
        return self._clock.now_s() < self._arrives_s

    def stop(self) -> None:
        """Stop; a move that hung has ended where it began."""
        self._arrives_s = min(self._arrives_s, self._clock.now_s())
