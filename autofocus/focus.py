"""Focus once: predict, move, verify, sweep where that fails, and put everything back unless focus was confirmed."""

import math
from typing import Any

from focus_picker.autofocus.calibration import Calibration
from focus_picker.autofocus.devices import ShouldCancel, Stopped
from focus_picker.autofocus.result import FocusResult, Step
from focus_picker.autofocus.search import Log, Microscope, Search
from focus_picker.autofocus.settings import Settings
from focus_picker.autofocus.sweep import by_sweep
from focus_picker.autofocus.verify import by_frames
from focus_picker.dataset.errors import InputError
from focus_picker.models.contract import Model


def focus(
    microscope: Microscope,
    settings: Settings,
    calibration: Calibration | None = None,
    model: Model | None = None,
    *,
    should_cancel: ShouldCancel = lambda: False,
    log: Log = lambda step: None,
) -> FocusResult:
    """Focus from where the drive stands.

    Parameters
    ----------
    microscope
        Stage, camera and clock.
    settings
        Limits and budgets.
    calibration, model
        Of this microscope, from ``calibrate``. Without them focus is found by sweeping, and ``settings.depth_um`` must
        say how finely.
    should_cancel
        Asked before every move and frame and while the drive moves.
    log
        Told every step as it happens.

    Returns
    -------
    FocusResult
        Confirmed, or with the reason why not; then the drive is back at its start. Camera settings are always put
        back. A defect of ours raises, after everything was put back.

    Raises
    ------
    InputError
        One of calibration and model without the other, or neither and no depth of field.
    """
    if (calibration is None) != (model is None):
        raise InputError("A calibration was given without its model, or the other way round: give both or neither.")
    if calibration is None and settings.depth_um is None:
        raise InputError("Without a calibration the settings must say depth_um, the depth of field in micrometres.")
    try:
        search = Search(microscope, settings, calibration, model, should_cancel, log)
    except Stopped as stop:  # the drive cannot even say where it stands
        return _result_without_search(microscope, stop)
    return _run(search)


def _run(search: Search) -> FocusResult:
    """Search between remembering and putting back."""
    method, focus_um = "", math.nan
    trouble: Stopped | None = Stopped("stage", "an error of the program's own")
    remembered = _prepare(search)
    try:
        if isinstance(remembered, Stopped):
            raise remembered
        method, focus_um = _find(search)
        search.mover.to(focus_um, "confirmed focus")
        trouble = None
    except Stopped as stop:
        trouble = stop
    finally:
        trouble = _put_back(search, trouble, remembered)
    return _result(search, method, focus_um, trouble)


def _prepare(search: Search) -> Any:
    """What the camera needs to be put back, or a Stopped that says why it could not be prepared."""
    try:
        return search.microscope.camera.prepare(search.settings.exposure_ms, search.settings.channel)
    except Exception as error:  # whatever a driver raises
        return Stopped("camera", f"the camera could not be prepared: {error}")


def _find(search: Search) -> tuple[str, float]:
    """Return how and where focus was confirmed; Stopped where it was not."""
    start_um = search.mover.start_um
    if search.settings.dry_run:
        search.frame(start_um, "first look, dry run")
        belief = search.belief()
        would = f"would go to {search.mover.inside(belief.focus_um):.2f} um" if belief else "would sweep"
        raise Stopped("dry_run", f"{would}; nothing was moved")
    if search.approach_um:  # the start may have been reached from above: this one look decides where the next is taken
        search.mover.to(start_um, "start, from below")
    search.frame(start_um, "first look")
    focus_um = by_frames(search)
    if focus_um is not None:
        return "two_frames", focus_um
    return "sweep", by_sweep(search)


def _put_back(search: Search, trouble: Stopped | None, remembered: Any) -> Stopped | None:
    """Undo what the search did; each part is tried although another failed. Return what there is to report."""
    if not isinstance(remembered, Stopped):
        try:
            search.microscope.camera.put_back(remembered)
        except Exception as error:  # whatever a driver raises
            trouble = Stopped("camera", f"{trouble or 'focus was found'}; camera settings were not put back: {error}")
    if trouble is not None and any(step.kind == "move" for step in search.steps):
        try:
            search.mover.put_back()
        except Stopped as stop:
            trouble = Stopped("stage", f"{trouble}; and the drive could not be put back: {stop}")
    return trouble


def _result(search: Search, method: str, focus_um: float, trouble: Stopped | None) -> FocusResult:
    belief = search.belief()
    z_after = _position(search)
    reason, message = (trouble.reason, str(trouble)) if trouble else ("confirmed", f"in focus at {z_after:.3f} um")
    search.note("end", z_after, message)
    return FocusResult(
        kind="autofocus",
        method=method,
        focus_device=search.microscope.name,
        z_before=search.mover.start_um,
        z_after=z_after,
        succeeded=trouble is None,
        reason=reason,
        message=message,
        focus_um=belief.focus_um if trouble and belief else focus_um,
        error_um=belief.error_um if belief else math.nan,
        scores=tuple(frame.score for frame in search.frames),
        n_images=len(search.frames),
        seconds=round(search.seconds, 4),
        steps=tuple(search.steps),
    )


def _position(search: Search) -> float:
    try:
        return search.mover.position_um()
    except Stopped:
        return math.nan


def _result_without_search(microscope: Microscope, stop: Stopped) -> FocusResult:
    nan, step = math.nan, Step("end", 0.0, math.nan, str(stop))
    name = microscope.name
    return FocusResult("autofocus", "", name, nan, nan, False, stop.reason, str(stop), nan, nan, (), 0, 0.0, (step,))
