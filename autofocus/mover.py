"""Moves of the focus drive that cannot leave their limits, arrive from one side, settle, and can be cancelled."""

import math
from collections.abc import Callable

from focus_picker.autofocus.devices import Clock, ShouldCancel, Stage, Stopped
from focus_picker.autofocus.settings import Settings

POLL_S = 0.01  # between two looks at whether the drive still moves: a cancel is noticed within this

Report = Callable[[float, str], None]
"""Told every position that the drive is sent to, and why."""


class Mover:
    """The only one who moves the drive during a search.

    Parameters
    ----------
    stage, clock
        Of the microscope.
    settings
        Limits, settling, time-out.
    approach_um
        Positions are reached from this far below.
    report
        Told of every move before it starts.
    should_cancel
        Asked before each move and while the drive moves.
    """

    def __init__(
        self,
        stage: Stage,
        clock: Clock,
        settings: Settings,
        *,
        approach_um: float,
        report: Report,
        should_cancel: ShouldCancel,
    ) -> None:
        self._stage, self._clock, self._settings = stage, clock, settings
        self._approach_um, self._report, self._should_cancel = approach_um, report, should_cancel
        self.start_um = self.position_um()
        self.lowest_um, self.highest_um = settings.limits.about(self.start_um)
        if not settings.limits.lowest_um <= self.start_um <= settings.limits.highest_um:
            raise Stopped(
                "stage",
                f"the drive stands at {self.start_um:g} um, outside its limits of {settings.limits.lowest_um:g} to "
                f"{settings.limits.highest_um:g} um: move it inside by hand or correct the limits",
            )

    def position_um(self) -> float:
        """Where the drive says that it is; Stopped where it gives no number."""
        try:
            position = float(self._stage.position_um())
        except Exception as error:  # whatever a driver raises
            raise Stopped("stage", f"the drive does not tell its position: {error}") from error
        if not math.isfinite(position):
            raise Stopped("stage", f"the drive tells {position} as its position")
        return position

    def inside(self, z_um: float) -> float:
        """``z_um``, or the limit nearest to it."""
        return min(max(z_um, self.lowest_um), self.highest_um)

    def to(self, z_um: float, why: str) -> float:
        """Go to ``z_um``, drawn inside the limits, and settle; return where that is.

        Raises
        ------
        Stopped
            Cancelled, or the drive failed, timed out or is not where it was sent.
        """
        return self._arrive(self.inside(z_um), why, self._should_cancel)

    def put_back(self) -> None:
        """Return to the start, whatever the user has cancelled; Stopped where the drive does not at the second try."""
        try:
            self._arrive(self.start_um, "put back", _never)
        except Stopped:  # a drive that stuck once often goes when asked again
            self._arrive(self.start_um, "put back", _never)

    def _arrive(self, target: float, why: str, should_cancel: ShouldCancel) -> float:
        """Go there from below: a rise that is longer than the approach takes up the backlash by itself."""
        below = self.inside(target - self._approach_um)
        if target - self.position_um() < self._approach_um and target - below > 1e-9:
            self._way(below, f"{why}: from below", should_cancel)
        self._way(target, why, should_cancel)
        self._settle(target, should_cancel)
        return target

    def _way(self, target: float, why: str, should_cancel: ShouldCancel) -> None:
        """Go to a position inside the limits in moves no longer than allowed."""
        here = self.inside(self.position_um())
        legs = max(1, math.ceil(abs(target - here) / self._settings.limits.step_um - 1e-9))
        for leg in range(1, legs + 1):
            self._one_move(here + (target - here) * leg / legs if leg < legs else target, why, should_cancel)

    def _one_move(self, z_um: float, why: str, should_cancel: ShouldCancel) -> None:
        _check(should_cancel)
        self._report(z_um, why)
        started = self._clock.now_s()
        try:
            self._stage.start_move(z_um)
            while self._stage.is_busy():
                if should_cancel():
                    self._stage.stop()
                    raise Stopped("cancelled", "cancelled while the drive moved")
                if self._clock.now_s() - started > self._settings.move_timeout_s:
                    self._stage.stop()
                    raise Stopped("stage", f"the drive still moves after {self._settings.move_timeout_s:g} s")
                self._clock.sleep_s(POLL_S)
        except Stopped:
            raise
        except Exception as error:  # whatever a driver raises
            raise Stopped("stage", f"the drive refused to go to {z_um:.3f} um: {error}") from error

    def _settle(self, target: float, should_cancel: ShouldCancel) -> None:
        """Wait in short pieces, then hold the drive's own word against the target."""
        until = self._clock.now_s() + self._settings.settle_s
        while (left := until - self._clock.now_s()) > 0:
            _check(should_cancel)
            self._clock.sleep_s(min(left, 0.05))
        away = self.position_um() - target
        if abs(away) > self._settings.position_error_um:
            raise Stopped("stage", f"the drive says that it is {away:+.3f} um from {target:.3f} um, where it was sent")


def _check(should_cancel: ShouldCancel) -> None:
    if should_cancel():
        raise Stopped("cancelled", "cancelled")


def _never() -> bool:
    return False
