"""The closed loop beside searches by sharpness: frames, errors, silent failures, on virtual microscopes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.closed_loop_cells import Bench, benches, make_cells, real_scenes
from benchmarks.closed_loop_peers import PEERS
from benchmarks.closed_loop_plot import plot_runs
from benchmarks.report import Output, Report, Row, run
from focus_picker.autofocus.calibrate import Plan, calibrate
from focus_picker.autofocus.calibration import CALIBRATION_FILE, MODEL_FOLDER, Calibration, read_calibration
from focus_picker.autofocus.focus import focus
from focus_picker.autofocus.search import Microscope, Search
from focus_picker.autofocus.settings import Limits, Settings
from focus_picker.autofocus.virtual.camera import VirtualCamera
from focus_picker.autofocus.virtual.clock import ManualClock
from focus_picker.autofocus.virtual.microscope import virtual_microscope
from focus_picker.autofocus.virtual.scene import Scene
from focus_picker.autofocus.virtual.stage import StageVices, VirtualStage
from focus_picker.dataset.declared import read_json, write_json
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.files import write_text
from focus_picker.models.contract import Model
from focus_picker.stack_inference.loading import load_model

WITHIN_UM = (2.0, 4.0, 10.0)
VICES = StageVices(backlash_um=0.4, jitter_um=0.03, ringing_um=0.5)
OURS = "Focus Picker"
PEER_EVERY = 4  # searches of the others: they take ten times the frames, and differ little from start to start


@dataclass(frozen=True)
class Outcome:
    """One search: ``error`` is the slide's distance from the sharpest plane in depths of field, signed."""

    method: str
    frames: int
    confirmed: bool
    error: float
    seconds: float
    put_back: bool


@dataclass(frozen=True)
class Instrument:
    """A microscope with the scenes that it is calibrated on and those that it is tested on."""

    name: str
    depth_um: float
    range_um: float
    train: Sequence[Scene]
    test: Sequence[Scene]
    within_um: Sequence[float] = WITHIN_UM
    recorded: bool = False

    def focus_um(self, scene: Scene, free_um: float) -> float:
        """Where on the drive a scene is in focus: anywhere, but the planes of recorded ones begin at 0."""
        return -float(scene.defocus_um[0]) if self.recorded else free_um

    @property
    def limits(self) -> Limits:
        """Of the drive: beyond the planes of recorded scenes there is nothing to see."""
        if not self.recorded:
            return Limits(lowest_um=-60, highest_um=60, travel_um=20)
        return Limits(lowest_um=0, highest_um=float(np.ptp(self.train[0].defocus_um)), travel_um=20)


def train(stacks: Path, output: Path) -> None:
    """Train as ``autofocus calibrate`` does."""
    from focus_picker.adaptation.adapt import adapt

    adapt(stacks, output)


def own_calibration(instrument: Instrument, work: Path) -> tuple[Calibration, Model] | tuple[None, None]:
    """Let the virtual microscope calibrate itself on its training scenes; kept below ``work``.

    None where its scores do not tell the side of focus: a microscope that cannot be calibrated is swept.
    """
    folder, refusal = work / "calibrations" / instrument.name, refusal_of(instrument, work)
    if refusal.exists():
        return None, None
    if not (folder / CALIBRATION_FILE).exists():
        clock, number = ManualClock(), [0]
        free_um = np.random.default_rng(5).normal(0, 0.3, len(instrument.train))
        focus_um = [instrument.focus_um(*pair) for pair in zip(instrument.train, free_um, strict=True)]
        stage = VirtualStage(clock, VICES, float(np.median(focus_um)), seed=1)
        camera = VirtualCamera(stage, clock, lambda: (instrument.train[number[0]], focus_um[number[0]]), seed=2)
        places = [(float(index), 0.0) for index in range(len(instrument.train))]
        settings = Settings(limits=instrument.limits)
        plan = Plan(instrument.depth_um, instrument.range_um)
        go_to = partial(_choose, number)
        try:
            calibrate(Microscope(stage, camera, clock), settings, plan, places, go_to, folder, train)
        except InputError as error:
            write_text(refusal, f"{error}\n")
            return None, None
    return read_calibration(folder), load_model(folder / MODEL_FOLDER)


def refusal_of(instrument: Instrument, work: Path) -> Path:
    """File that says why a microscope could not be calibrated, where it could not."""
    return work / "calibrations" / f"{instrument.name}.txt"


def _choose(number: list[int], x_um: float, _: float) -> None:
    number[0] = int(x_um)


def outcomes(
    instrument: Instrument, within_um: float, runs: int, calibration: Calibration | None, model: Model | None
) -> list[Outcome]:
    """Search from starts drawn evenly within a distance of focus, with every method from the same starts."""
    rng = np.random.default_rng(int(10 * within_um))
    found = []
    for number in range(runs):
        scene = instrument.test[number % len(instrument.test)]
        focus_um = instrument.focus_um(scene, float(rng.uniform(-2, 2)))
        limits = instrument.limits
        low, high = max(focus_um - within_um, limits.lowest_um), min(focus_um + within_um, limits.highest_um)
        start_um = float(rng.uniform(low, high))
        scope = partial(virtual_microscope, scene, focus_um=focus_um, start_um=start_um, stage=VICES, seed=number)
        approach_um = 2 * (calibration.backlash_um if calibration else VICES.backlash_um)
        settings = Settings(limits=limits, max_seconds=120, approach_um=approach_um, depth_um=instrument.depth_um)
        found.append(_ours(scope(), settings, calibration, model, focus_um))
        if number % PEER_EVERY == 0:
            found += [_peer(name, scope(), settings, focus_um) for name in PEERS]
    return found


def _ours(
    scope: Microscope, settings: Settings, calibration: Calibration | None, model: Model | None, focus_um: float
) -> Outcome:
    start_um = scope.stage.position_um()
    result = focus(scope, settings, calibration, model)
    back = result.succeeded or abs(scope.stage.position_um() - start_um) < 1e-6
    return Outcome(OURS, result.n_images, result.succeeded, _error(scope, focus_um, settings), result.seconds, back)


def _peer(name: str, scope: Microscope, settings: Settings, focus_um: float) -> Outcome:
    """Let a peer search within 10 um of its start; it calls whatever it finds focus."""
    without = settings.model_copy(update={"max_frames": 1000})
    search = Search(scope, without, None, None, lambda: False, lambda step: None)
    start_um = search.mover.start_um
    place = PEERS[name](search, search.mover.inside(start_um - 10), search.mover.inside(start_um + 10))
    search.mover.to(place, "peer")
    return Outcome(name, len(search.frames), True, _error(scope, focus_um, settings), search.seconds, True)


def _error(scope: Microscope, focus_um: float, settings: Settings) -> float:
    scope.clock.sleep_s(1.0)
    assert isinstance(scope.stage, VirtualStage)
    assert settings.depth_um
    return (scope.stage.slide_um - focus_um) / settings.depth_um


def row_of(instrument: str, within: str, method: str, found: Sequence[Outcome]) -> Row:
    """One row of the table."""
    frames = np.array([one.frames for one in found])
    confirmed = np.array([one.confirmed for one in found])
    away = np.abs([one.error for one in found])
    unconfirmed = [one.put_back for one in found if not one.confirmed]
    return {
        "instrument": instrument,
        "within": within,
        "method": method,
        "n": len(found),
        "frames median / p90": f"{np.median(frames):.0f} / {np.quantile(frames, 0.9):.0f}",
        "confirmed, within half a depth": f"{np.mean(confirmed & (away <= 0.5)):.1%}",
        "confirmed, over one off": int((confirmed & (away > 1)).sum()),
        "unconfirmed": len(unconfirmed),
        "of these z back": f"{np.mean(unconfirmed):.0%}" if unconfirmed else "",
        "error median, depths": float(np.median(away[confirmed])) if confirmed.any() else np.nan,
        "seconds median": float(np.median([one.seconds for one in found])),
    }


def simulated(bench: Bench, train: int, test: int, work: Path) -> Instrument:
    """Return a simulated instrument of the benchmark with its cells."""
    cells = {
        side: [Scene(cell.images, cell.defocus_um) for cell in make_cells(bench, side, count, work)]
        for side, count in (("train", train), ("test", test))
    }
    return Instrument(bench.name, bench.optics.depth_of_field_um, 10.0, cells["train"], cells["test"])


def benchmark(
    output: Output = None,
    work: Annotated[Path, typer.Option(help="Folder for cells and calibrations, kept between runs.")] = Path(
        "build/closed_loop"
    ),
    learn: Annotated[int, typer.Option(min=9, help="Cells that each instrument is calibrated on.")] = 24,
    test: Annotated[int, typer.Option(min=1, help="Cells that each instrument is tested on.")] = 12,
    runs: Annotated[int, typer.Option(min=1, help="Searches for each instrument and distance.")] = 135,
    only: Annotated[list[str] | None, typer.Option(help="Instruments, by name.", show_default="all")] = None,
) -> Report:
    """Calibrate, search and tabulate."""
    chosen = [bench for bench in benches() if only is None or bench.name in only]
    made = [partial(simulated, bench, learn, test, work) for bench in chosen]
    if only is None or "real_blood" in only:
        made += [partial(lambda found: found, found) for found in _recorded()]
    rows, kept, calibrations = [], [], []
    for make in made:
        instrument = make()
        calibration, model = own_calibration(instrument, work)
        calibrations.append(_calibrated(instrument, calibration, work))
        for within_um in instrument.within_um:
            found = _kept(work, instrument, within_um, runs, calibration, model)
            kept.append((instrument.name, within_um, found))
            rows += _rows(instrument.name, f"{within_um:g} um", found)
    if output:
        plot_runs([(within, found) for _, within, found in kept], output.with_suffix(".png"))
    return Report(
        "Closed loop",
        {"Calibrations": calibrations, "All instruments": _summary(kept), "Each instrument": rows},
        output,
        NOTE,
    )


def _calibrated(instrument: Instrument, calibration: Calibration | None, work: Path) -> Row:
    """What the calibration found, or that it was refused."""
    known: Row = {"instrument": instrument.name, "depth of field, um": instrument.depth_um}
    if calibration is None:
        why = refusal_of(instrument, work).read_text().strip().rstrip(".")
        return known | {"usable, um": f"refused, swept ({why})"}
    return known | {"usable, um": calibration.usable_um, "um a score": calibration.um_per_score}


def _kept(work: Path, instrument: Instrument, within_um: float, runs: int, *own: Any) -> list[Outcome]:
    """Take outcomes from an earlier run with the same work folder, or make and keep them."""
    file = work / "outcomes" / f"{instrument.name}_{within_um:g}um_{runs}.json"
    if not file.exists():
        write_json(file, outcomes(instrument, within_um, runs, *own))
    return read_json(file, list[Outcome], what="list of outcomes", fix="remove it")


def _recorded() -> list[Instrument]:
    """The recorded real stacks, where they are: fields of the left half calibrate, fields of the right half test."""
    scenes = real_scenes()
    if scenes is None:
        return []
    return [Instrument("real_blood", 0.8, 1.8, *scenes, within_um=(2.0,), recorded=True)]


def _rows(instrument: str, within: str, found: Sequence[Outcome]) -> list[Row]:
    return [row_of(instrument, within, name, [one for one in found if one.method == name]) for name in (OURS, *PEERS)]


def _summary(kept: Sequence[tuple[str, float, Sequence[Outcome]]]) -> list[Row]:
    rows = []
    for within_um in WITHIN_UM:
        found = [one for name, within, part in kept if within == within_um and name != "real_blood" for one in part]
        if found:
            rows += _rows("simulated", f"{within_um:g} um", found)
    recorded = [one for name, _, part in kept if name == "real_blood" for one in part]
    return rows + (_rows("real_blood", "2 um", recorded) if recorded else [])


NOTE = """Virtual microscopes with 0.4 um backlash, 0.03 um jitter of each move, 0.5 um ringing, photon noise and lamp
flicker. Each calibrates itself first, as `autofocus calibrate` does (recorded stacks, `adapt` on two thirds of them,
response on the rest); cells of calibration and test are different ones. Errors are distances of the slide from the
plane where the noise-free cell looks sharpest, in depths of field. Every method starts at the same places (the others
at every fourth), has the same limits and approaches from below; the others call whatever they find focus. `real_blood`:
recorded planes of one sample, 0.4 um apart, blended in between; left fields calibrate, right fields test; its depth of
field of 0.8 um is an estimate."""

main = partial(run, benchmark)

if __name__ == "__main__":
    raise SystemExit(main())
