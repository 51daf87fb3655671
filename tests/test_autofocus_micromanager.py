"""Autofocus in sequences of a real Micro-Manager core: demo stages in C++, a camera in Python, no hardware."""

# ruff: noqa: E402 - what needs the extra is imported once it is known to be there

import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("pymmcore_plus", reason="needs the extra microscope")
adapters = pytest.importorskip("mm_test_adapters", reason="needs Micro-Manager's demo adapters, mm-test-adapters")

import useq

from focus_picker.autofocus import calibrate as calibrating
from focus_picker.autofocus.calibrate import Plan
from focus_picker.autofocus.devices import SystemClock
from focus_picker.autofocus.micromanager.autofocuser import Autofocuser, UpstreamRun
from focus_picker.autofocus.micromanager.commands import calibrate_core, load_core, run_core
from focus_picker.autofocus.micromanager.core import DEVICE, AutofocusCore
from focus_picker.autofocus.micromanager.devices import core_microscope, full_scale
from focus_picker.autofocus.micromanager.engine import AutofocusEngine, autofocus_action
from focus_picker.autofocus.micromanager.virtual_devices import (
    CAMERA,
    VirtualColourCamera,
    load_virtual_microscope,
)
from focus_picker.autofocus.positions import Position, read_positions
from focus_picker.autofocus.virtual.camera import CameraVices, VirtualCamera
from focus_picker.autofocus.virtual.stage import StageVices, VirtualStage
from focus_picker.dataset.errors import InputError
from tests.made_microscope import DEPTH_UM, SCENE, known_calibration, known_model, settings

FOCUS_UM = {0.0: 1.5, 100.0: -2.0, 200.0: 3.0}  # by x of the table
QUICK = settings(settle_s=0.0, position_error_um=1.0)


class CoreDrive(VirtualStage):
    """The C++ demo stage, seen as what the virtual camera stands on."""

    def __init__(self, core, direction=1):
        super().__init__(SystemClock(), StageVices(direction=direction))
        self.core = core

    @property
    def slide_um(self):
        return self.core.getPosition("Z")


def loaded(kind=AutofocusCore, table=True):
    core = kind()
    core.setDeviceAdapterSearchPaths([adapters.device_adapter_path()])
    if table:
        core.loadDevice("XY", "DemoCamera", "DXYStage")
        core.initializeDevice("XY")
        core.setXYStageDevice("XY")
    return core


def focus_here(core):
    return FOCUS_UM[min(FOCUS_UM, key=lambda x: abs(core.getXYPosition()[0] - x))]


@pytest.fixture
def core():
    """A core with Micro-Manager's own stages and the virtual camera."""
    made = loaded()
    made.loadDevice("Z", "DemoCamera", "DStage")
    made.initializeDevice("Z")
    made.setFocusDevice("Z")
    drive = CoreDrive(made)
    camera = VirtualCamera(drive, SystemClock(), lambda: (SCENE, focus_here(made)), CameraVices(right_exposure_ms=1.0))
    made.loadPyDevice(CAMERA, VirtualColourCamera(camera, SCENE.planes.shape[1:3]))
    made.initializeDevice(CAMERA)
    made.setCameraDevice(CAMERA)
    made.setAutoShutter(False)
    yield made
    made.reset()


def autofocuser(**options):
    return Autofocuser(
        options.pop("settings", QUICK), known_calibration(), options.pop("model", known_model()), **options
    )


def route_a(core, focuser):
    AutofocusEngine.install(core, focuser)


def route_b(core, focuser):
    core.use_autofocus(focuser)


ROUTES = pytest.mark.parametrize("route", [route_a, route_b])
AT_EACH_POSITION = useq.AxesBasedAF(axes=("p",), autofocus_motor_offset=None)


def plan(**options):
    positions = [useq.Position(x=x, y=0, z=0.0, name=f"at {x:g}") for x in FOCUS_UM]
    return useq.MDASequence(stage_positions=positions, autofocus_plan=AT_EACH_POSITION, **options)


def acquired(core, sequence):
    """Position of the table and of the drive of every image that entered the data."""
    found = []
    core.mda.events.frameReady.connect(
        lambda image, event, meta: found.append((event.index["p"], core.getPosition(core.getFocusDevice())))
    )
    core.mda.run(sequence)
    return found


@ROUTES
def test_every_position_is_in_focus(core, route):
    focuser = autofocuser()
    route(core, focuser)
    found = acquired(core, plan())
    assert [p for p, _ in found] == [0, 1, 2], "search frames stay out of the data"
    assert [z for _, z in found] == pytest.approx([*FOCUS_UM.values()], abs=DEPTH_UM / 2)
    assert [result.n_images for result in focuser.results.values()] == [2, 2, 2]


@ROUTES
def test_z_stacks_are_centred_on_the_found_plane(core, route):
    route(core, autofocuser())
    found = acquired(core, plan(z_plan=useq.ZRangeAround(range=2, step=1)))
    for position, focus_um in enumerate(FOCUS_UM.values()):
        z_um = [z for p, z in found if p == position]
        assert len(z_um) == 3
        assert np.mean(z_um) == pytest.approx(focus_um, abs=DEPTH_UM / 2)
        assert np.diff(z_um) == pytest.approx([1, 1])


@ROUTES
def test_a_time_series_starts_each_search_where_the_last_one_ended(core, route):
    told = []
    route(core, autofocuser(log=told.append))
    found = acquired(core, plan(time_plan=useq.TIntervalLoops(interval=0, loops=2), axis_order="tpcz"))
    assert [z for _, z in found] == pytest.approx([*FOCUS_UM.values()] * 2, abs=DEPTH_UM / 2)
    ends = [step for step in told if step.kind == "end"]
    assert len(ends) >= 3


@ROUTES
def test_a_position_without_focus_keeps_its_z_and_costs_one_search(core, route):
    focuser = autofocuser(settings=settings(settle_s=0.0, max_frames=3), model=known_model(status="unsure", half=0.01))
    route(core, focuser)
    found = acquired(core, plan())
    assert [z for _, z in found] == pytest.approx([0, 0, 0])
    assert len(focuser.failures) == 3
    assert all("max_frames" in message for message in focuser.failures.values())


def test_a_failure_is_remembered_through_the_engines_retries(core):
    searches = []
    focuser = autofocuser(
        settings=settings(settle_s=0.0, max_frames=3), model=known_model(status="unsure", half=0.01),
        log=lambda step: searches.append(step) if step.kind == "end" else None,
    )  # fmt: skip
    core.use_autofocus(focuser)
    core.mda.run(plan())
    assert len(searches) == 3


def test_a_custom_action_focuses_where_a_list_of_events_says(core):
    AutofocusEngine.install(core, autofocuser())
    found = []
    core.mda.events.frameReady.connect(lambda image, event, meta: found.append(core.getPosition()))
    index = {"p": 0}
    core.mda.run([
        useq.MDAEvent(index=index, x_pos=100, y_pos=0, z_pos=0, action=autofocus_action()),
        useq.MDAEvent(index=index, x_pos=100, y_pos=0, z_pos=0),
    ])  # fmt: skip
    assert found == pytest.approx([-2.0], abs=DEPTH_UM / 2)


@ROUTES
def test_a_cancel_ends_within_a_fifth_of_a_second(core, route):
    """Of the moment when it is asked for, in the middle of a long sweep; and z is put back."""
    focuser = autofocuser(settings=settings(settle_s=0.05), model=known_model(status="unsure", half=0.01))
    seen = threading.Event()
    focuser.log = lambda step: seen.set() if step.kind == "frame" else None
    route(core, focuser)
    runner = threading.Thread(target=core.mda.run, args=(plan(),))
    runner.start()
    assert seen.wait(20)
    asked = time.monotonic()
    core.mda.cancel()
    runner.join(20)
    # The machine may be busy with other things; a sweep of the rest would take many times this.
    assert time.monotonic() - asked < 1.0
    assert [result.reason for result in focuser.results.values()] == ["cancelled"]
    assert core.getPosition() == pytest.approx(0.0)


@pytest.mark.parametrize(("vices", "word"), [({"raises_at": 2}, "refused"), ({"hangs_at": 2}, "still moves")])
def test_a_stage_that_raises_or_hangs_ends_the_search_not_the_sequence(vices, word):
    core = loaded()
    try:
        load_virtual_microscope(
            core, lambda: (SCENE, 2.0), stage=StageVices(**vices), camera=CameraVices(right_exposure_ms=1.0)
        )
        focuser = autofocuser(settings=settings(settle_s=0.0, move_timeout_s=0.2), model=known_model(status="unsure"))
        result = focuser.run(core)
        assert result.reason == "stage"
        assert word in result.message
        assert core.getPosition() == pytest.approx(0.0)
    finally:
        core.reset()


@pytest.mark.parametrize("bits", [0, 8, 12, 16])
def test_colour_and_grey_cameras_of_8_to_16_bit(bits):
    core = loaded()
    try:
        load_virtual_microscope(core, lambda: (SCENE, 2.0), bits=bits, camera=CameraVices(right_exposure_ms=1.0))
        image = core_microscope(core).camera.snap()
        assert image.dtype == (np.uint16 if bits > 8 else np.uint8)
        assert image.mean() / np.iinfo(image.dtype).max == pytest.approx(SCENE.at(-2.0)[0].mean() / 255, abs=0.01)
    finally:
        core.reset()


def test_scaling_reaches_full_scale():
    assert full_scale(np.array([0, 4095], np.uint16), 12).tolist() == [0, 65535]
    assert full_scale(np.array([255], np.uint8), 8).tolist() == [255]


def test_live_mode_exposure_and_shutter_are_put_back(core):
    core.loadDevice("Shutter", "DemoCamera", "DShutter")
    core.initializeDevice("Shutter")
    core.setShutterDevice("Shutter")
    core.setAutoShutter(True)
    core.setExposure(3.0)
    core.startContinuousSequenceAcquisition(0)
    assert autofocuser(settings=settings(settle_s=0.0, exposure_ms=1.0)).run(core, should_cancel=lambda: False)
    assert core.isSequenceRunning()
    core.stopSequenceAcquisition()
    assert (core.getExposure(), core.getAutoShutter(), core.getShutterOpen()) == (3.0, True, False)


def test_a_wrong_drive_is_refused_by_name(core):
    with pytest.raises(InputError, match="no focus drive 'Zed'"):
        core_microscope(core, "Zed")
    assert core_microscope(core, "Z").name == "Z"


def test_the_core_is_any_core_until_it_is_given_an_autofocus(core):
    assert core.getAutoFocusDevice() == ""
    core.use_autofocus(autofocuser())
    assert core.getAutoFocusDevice() == DEVICE
    core.setXYPosition(200, 0)
    core.waitForDevice("XY")
    core.fullFocus()
    assert core.getPosition() == pytest.approx(3.0, abs=DEPTH_UM / 2)


def test_the_interface_that_upstream_plans_is_met(core):
    result = UpstreamRun(autofocuser())(core, "Z", {"settle_s": 0.0}, should_cancel=lambda: False)
    assert (result.kind, result.focus_device, result.succeeded) == ("autofocus", "Z", True)
    assert result.z_before == 0.0


# the two commands, short of loading a configuration


def places():
    return [Position(f"at {x:g}", x, 0.0, 0.0) for x in FOCUS_UM]


def test_a_run_writes_log_pictures_and_positions_in_focus(core, tmp_path):
    told = []
    run_core(
        core, autofocuser(), places(), tmp_path, told=lambda place, result: told.append((place.name, bool(result)))
    )
    assert told == [(f"at {x:g}", True) for x in FOCUS_UM]
    back = read_positions(tmp_path / "positions.csv")
    assert [place.z_um for place in back] == pytest.approx([*FOCUS_UM.values()], abs=DEPTH_UM / 2)
    lines = [json.loads(line) for line in (tmp_path / "moves.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("end") == 3
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3
    assert len(list(tmp_path.glob("search_*.png"))) == 3


def test_a_dry_run_leaves_the_drive_where_it_is(core, tmp_path):
    focuser = autofocuser(settings=settings(settle_s=0.0, dry_run=True))
    core.setPosition(0.5)
    run_core(core, focuser, places(), tmp_path, told=lambda place, result: None)
    assert core.getPosition() == pytest.approx(0.5)
    assert {result.reason for result in focuser.results.values()} == {"dry_run"}


def test_a_core_calibrates_itself_over_a_spiral_and_returns(core, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "load_model", lambda folder: known_model())
    made = calibrate_core(
        core, QUICK, Plan(DEPTH_UM, 4.0), 9, tmp_path, lambda stacks, output: None, spacing_um=5, log=lambda step: None
    )
    assert made.direction == 1
    assert made.um_per_score == pytest.approx(5, rel=0.1)
    assert core.getXYPosition() == pytest.approx((0, 0), abs=0.1)
    assert core.getPosition() == pytest.approx(0.0)


def test_a_configuration_that_cannot_be_loaded_is_told(tmp_path):
    (tmp_path / "scope.cfg").write_text("Device,Camera,NoSuchAdapter,Camera\n")
    with pytest.raises(InputError, match="cannot be loaded by Micro-Manager"):
        load_core(tmp_path / "scope.cfg", None)
