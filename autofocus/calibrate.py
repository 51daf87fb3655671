"""Calibrate a microscope: it records stacks by itself, a model learns from them, and what it can do is measured.

The model learns on two positions of three; what its scores and their errors are is measured on the third, which it has
not seen. Nothing moves by score before this folder exists.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focus_picker.autofocus.calibration import MODEL_FOLDER, Calibration
from focus_picker.autofocus.devices import ShouldCancel, Stopped
from focus_picker.autofocus.drive import measure_backlash, measure_noise
from focus_picker.autofocus.frames import score_of
from focus_picker.autofocus.record import GoTo, RecordedStack, record_stack, write_stack
from focus_picker.autofocus.response import (
    MeasuredStack,
    cell_error,
    measure_response,
    share_wrong,
    slope_near_focus,
    usable_range,
)
from focus_picker.autofocus.search import Log, Microscope, Search
from focus_picker.autofocus.settings import Settings
from focus_picker.dataset.arrays import array_stack
from focus_picker.dataset.errors import InputError
from focus_picker.models.contract import Model
from focus_picker.stack_inference import status
from focus_picker.stack_inference.loading import load_model
from focus_picker.stack_inference.pick import pick_focus

Train = Callable[[Path, Path], Any]
"""Trains a model on a folder of stacks and leaves it in another folder."""

STACKS_FOLDER, HELD_OUT_FOLDER = "stacks", "held_out"
HELD_OUT_EVERY = 3
FEWEST_POSITIONS = 9
STEP_DEPTHS = 0.6  # between slices, in depths of field: finer costs time, coarser blurs the peak that labels rest on


@dataclass(frozen=True)
class Plan:
    """What to record.

    Attributes
    ----------
    depth_um
        Depth of field, n lambda / NA^2.
    range_um
        Half of a stack; how far out of focus scores can be used at best.
    pixel_um
        Of the camera in the object plane, None where not known.
    """

    depth_um: float
    range_um: float = 10.0
    pixel_um: float | None = None

    @property
    def step_um(self) -> float:
        """Distance of slices."""
        return STEP_DEPTHS * self.depth_um


def calibrate(
    microscope: Microscope,
    settings: Settings,
    plan: Plan,
    positions: Sequence[tuple[float, float]],
    go_to: GoTo,
    output: Path,
    train: Train,
    *,
    should_cancel: ShouldCancel = lambda: False,
    log: Log = lambda step: None,
) -> Calibration:
    """Record, train, measure, and write ``output``: stacks, model and ``autofocus.json``.

    The drive starts near focus, and is put back there with the camera's settings whatever happens.

    Raises
    ------
    InputError
        Too few positions or stacks with a clear peak, a drive or camera that fails, or a model that does not tell
        sides.
    """
    if len(positions) < FEWEST_POSITIONS:
        raise InputError(f"{len(positions)} positions to calibrate on: give at least {FEWEST_POSITIONS}.")
    straight = settings.model_copy(update={"approach_um": settings.approach_um or 0.0, "depth_um": plan.depth_um})
    search = Search(microscope, straight, None, None, should_cancel, log)
    remembered = microscope.camera.prepare(settings.exposure_ms, settings.channel)
    try:
        stacks = list(_record(search, plan, positions, go_to))
        learned, held_out = _split(stacks)
        backlash, noise = _drive(search, plan.depth_um, stacks[-1])
    except Stopped as stop:
        raise InputError(f"The calibration stopped: {stop}.") from stop
    finally:
        microscope.camera.put_back(remembered)
        search.mover.put_back()
    model = _trained(learned, held_out, output, train)
    calibration = measure(held_out, model, plan).model_copy(update={"backlash_um": backlash, "frame_noise": noise})
    calibration.write(output)
    return calibration


def measure(stacks: Sequence[RecordedStack], model: Model, plan: Plan) -> Calibration:
    """Measure a model on recorded stacks that it has not seen.

    Raises
    ------
    InputError
        Too few stacks with a clear peak, or scores that do not change with z.
    """
    measured = [one for stack in stacks if (one := _measured(stack, model)) is not None]
    response = measure_response(measured, plan.depth_um)
    slope = slope_near_focus(response, plan.depth_um)
    if abs(slope) * plan.depth_um < 2 * float(np.median(response.score_error)) / 10:
        raise InputError("The model's scores do not change with z here: record more positions, with cells in view.")
    if slope < 0:
        measured = [_turned(stack) for stack in measured]
        response = measure_response(measured, plan.depth_um)
    return Calibration(
        direction=1 if slope > 0 else -1,
        depth_um=plan.depth_um,
        um_per_score=1 / abs(slope),
        usable_um=usable_range(response, plan.depth_um),
        cell_error_um=cell_error(measured, response, plan.depth_um),
        wrong=share_wrong(measured, response),
        response=response,
        stacks=len(measured),
        pixel_um=plan.pixel_um,
    )


def _record(
    search: Search, plan: Plan, positions: Sequence[tuple[float, float]], go_to: GoTo
) -> Iterator[RecordedStack]:
    """Stacks about where the last one was sharpest; those without a clear peak are left out."""
    centre = search.mover.start_um
    for number, (x_um, y_um) in enumerate(positions):
        go_to(x_um, y_um)
        name = f"stack_{number + 1:03d}_cell_0"
        stack = record_stack(search, centre, plan.range_um, plan.step_um, name)
        focus_um = best_plane(stack)
        search.note("stack", stack.sharpest_um, f"{name}: {'no clear peak' if focus_um is None else 'recorded'}")
        if focus_um is not None:
            centre = focus_um
            yield stack


def best_plane(stack: RecordedStack) -> float | None:
    """Sharpest plane of a stack in the drive's coordinate, None where it is not clear or too near an end."""
    pick = pick_focus(array_stack([frame.image for frame in stack.frames], stack.name))
    if pick.status != status.OK:
        return None
    return float(np.interp(pick.best_position, np.arange(len(stack.z_um)), stack.z_um))


def _drive(search: Search, depth_um: float, stack: RecordedStack) -> tuple[float, float]:
    """Backlash and frame noise at the last position recorded."""
    focus_um = best_plane(stack)
    assert focus_um is not None, "stacks without a clear peak are not kept"
    backlash = measure_backlash(search, focus_um, depth_um)
    if not np.isfinite(backlash):
        raise Stopped("stage", "backlash cannot be measured: no clear peak both ways at the last position")
    return backlash, measure_noise(search, focus_um)


def _split(stacks: Sequence[RecordedStack]) -> tuple[list[RecordedStack], list[RecordedStack]]:
    if len(stacks) < FEWEST_POSITIONS:
        raise InputError(
            f"Only {len(stacks)} positions show a clear peak of sharpness, {FEWEST_POSITIONS} are needed: "
            "start nearer to focus, or give positions with cells in view."
        )
    learned = [stack for number, stack in enumerate(stacks, 1) if number % HELD_OUT_EVERY]
    return learned, list(stacks[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY])


def _trained(learned: Sequence[RecordedStack], held_out: Sequence[RecordedStack], output: Path, train: Train) -> Model:
    """Write the stacks, train on the first part, and load what was trained."""
    for folder, stacks in ((STACKS_FOLDER, learned), (HELD_OUT_FOLDER, held_out)):
        shutil.rmtree(output / folder, ignore_errors=True)
        for stack in stacks:
            write_stack(stack, output / folder)
    train(output / STACKS_FOLDER, output / MODEL_FOLDER)
    return load_model(output / MODEL_FOLDER)


def _measured(stack: RecordedStack, model: Model) -> MeasuredStack | None:
    focus_um = best_plane(stack)
    if focus_um is None:
        return None
    score = np.array([score_of(frame.image, model) for frame in stack.frames])
    return MeasuredStack(stack.z_um - focus_um, score, stack.sharpness)


def _turned(stack: MeasuredStack) -> MeasuredStack:
    """The same stack by defocus, where a rising drive brings the lens closer."""
    return MeasuredStack(-stack.defocus_um[::-1], stack.score[::-1], stack.sharpness[::-1])
