"""What ``cli.py autofocus calibrate`` and ``run`` do on a Micro-Manager configuration."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pymmcore_plus import CMMCorePlus

from focus_picker.autofocus.calibrate import Plan, Train, calibrate
from focus_picker.autofocus.calibration import Calibration
from focus_picker.autofocus.devices import Stopped
from focus_picker.autofocus.micromanager.autofocuser import Autofocuser
from focus_picker.autofocus.micromanager.devices import core_microscope
from focus_picker.autofocus.mover import Mover
from focus_picker.autofocus.pictures import draw_search, draw_surface
from focus_picker.autofocus.positions import Position, write_positions
from focus_picker.autofocus.record import GoTo, spiral
from focus_picker.autofocus.result import FocusResult, Step
from focus_picker.autofocus.scan import Scan, filled, focus_positions
from focus_picker.autofocus.settings import Settings
from focus_picker.autofocus.surface import fit_surface
from focus_picker.dataset.errors import InputError


def load_core(config: Path, adapters: Path | None) -> CMMCorePlus:
    """Load a configuration into a core.

    Raises
    ------
    InputError
        Micro-Manager cannot load it.
    """
    core = CMMCorePlus()
    if adapters is not None:
        core.setDeviceAdapterSearchPaths([str(adapters)])
    try:
        core.loadSystemConfiguration(str(config.resolve()))
    except Exception as error:
        raise InputError(f"{config} cannot be loaded by Micro-Manager ({error}): check the configuration.") from None
    return core


def table_of(core: CMMCorePlus) -> GoTo:
    """Return what moves the core's table and waits for it; without a table only where it stands can be visited."""

    def go_to(x_um: float, y_um: float) -> None:
        if core.getXYStageDevice():
            core.setXYPosition(x_um, y_um)
            core.waitForDevice(core.getXYStageDevice())

    return go_to


def calibrate_core(
    core: CMMCorePlus,
    settings: Settings,
    plan: Plan,
    places: list[tuple[float, float]] | int,
    output: Path,
    train: Train,
    *,
    spacing_um: float,
    log: Callable[[Step], None],
) -> Calibration:
    """Calibrate at given places, or at as many of a spiral about where the table stands; the table returns there."""
    here = core.getXYPosition() if core.getXYStageDevice() else (0.0, 0.0)
    if isinstance(places, int):
        places = [(here[0] + x, here[1] + y) for x, y in spiral(places, spacing_um)]
    go_to = table_of(core)
    try:
        return calibrate(core_microscope(core), settings, plan, places, go_to, output, train, log=log)
    finally:
        go_to(*here)


def run_core(
    core: CMMCorePlus,
    focuser: Autofocuser,
    positions: list[Position],
    output: Path,
    *,
    surface_kind: str = "plane",
    told: Callable[[Position, FocusResult], Any],
) -> list[Position]:
    """Focus at every position and write ``output``.

    It holds ``moves.jsonl`` (one line a step), ``results.jsonl``, a picture of each search, the picture of the surface
    where one can be fitted, and all positions with their z as ``positions.csv``, ``.pos`` and ``.json``:
    those without confirmed focus have the surface's.
    """
    output.mkdir(parents=True, exist_ok=True)
    found: list[Position] = []
    with (output / "moves.jsonl").open("w") as moves, (output / "results.jsonl").open("w") as results:

        def note(step: Step) -> None:
            moves.write(step.as_json() + "\n")
            moves.flush()

        focuser.log = note
        scan = Scan(
            table_of(core),
            lambda z_um: _start_at(core, focuser, z_um),
            lambda place: focuser.run(core, position=place.name, should_cancel=lambda: False),
        )
        for number, (place, result) in enumerate(focus_positions(positions, scan)):
            found.append(place)
            results.write(result.as_json() + "\n")
            results.flush()
            draw_search(result, output / f"search_{number:03d}.png")
            told(place, result)
    return _written(found, output, surface_kind, core)


def _start_at(core: CMMCorePlus, focuser: Autofocuser, z_um: float) -> None:
    """Go to where a search begins, inside the limits; a dry run moves nothing."""
    settings = focuser.settings
    if settings.dry_run:
        return
    scope = core_microscope(core)
    limits = settings.limits.model_copy(update={"travel_um": math.inf})
    free = settings.model_copy(update={"limits": limits})
    report, never = (lambda where, why: focuser.log(Step("move", 0.0, where, why))), (lambda: False)
    with suppress(Stopped):  # then the search begins where the drive stands, and says what is wrong with it
        Mover(scope.stage, scope.clock, free, approach_um=0.0, report=report, should_cancel=never).to(z_um, "surface")


def _written(found: list[Position], output: Path, kind: str, core: CMMCorePlus) -> list[Position]:
    """Fit, draw and write; without a surface, positions keep what they have."""
    with suppress(InputError):
        surface = fit_surface(found, kind)
        draw_surface(surface, output / "surface.png")
        found = filled(found, surface)
    labels = {"table": core.getXYStageDevice() or "XY", "drive": core.getFocusDevice() or "Z"}
    for suffix in (".csv", ".pos", ".json"):
        write_positions(found, output / f"positions{suffix}", **labels)
    return found
