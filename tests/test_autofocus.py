"""The closed loop on a virtual microscope: two frames, no silent failure, and everything put back."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from focus_picker.autofocus.focus import focus
from focus_picker.autofocus.settings import Limits, Settings, read_settings
from focus_picker.autofocus.virtual.camera import CameraVices
from focus_picker.autofocus.virtual.stage import StageVices
from focus_picker.dataset.errors import InputError
from tests.made_microscope import DEPTH_UM, known_calibration, known_model, microscope, settings, written

CALIBRATION = known_calibration()


def focused(scope, made=None, calibration=CALIBRATION, model=None, **options):
    return focus(scope, made or settings(), calibration, model or known_model(), **options)


def steps_of(result, kind):
    return [step for step in result.steps if step.kind == kind]


@pytest.mark.parametrize("start_um", [-6.0, -2.5, -0.7, 0.9, 3.0, 8.0])
@pytest.mark.parametrize("direction", [1, -1])
def test_two_frames_bring_it_into_focus(start_um, direction):
    scope = microscope(focus_um=1.0, start_um=1.0 + start_um, stage=StageVices(direction=direction))
    result = focused(scope, calibration=known_calibration(direction))
    assert result
    assert result.n_images == 2
    assert result.method == "two_frames"
    assert result.z_after == pytest.approx(1.0, abs=DEPTH_UM / 4)
    assert scope.stage.position_um() == result.z_after
    assert result.error_um < DEPTH_UM / 2


def test_a_start_in_focus_is_put_to_the_test_and_kept():
    scope = microscope(focus_um=1.0, start_um=1.05)
    result = focused(scope)
    assert result
    assert result.n_images == 2
    assert abs(result.z_after - 1.0) < DEPTH_UM / 4


def test_backlash_is_taken_up_from_below():
    """Approached at random, half of the moves would end a backlash away."""
    vices = StageVices(backlash_um=0.8, jitter_um=0.02)
    calibration = CALIBRATION.model_copy(update={"backlash_um": 0.8})
    for seed, start_um in enumerate(np.linspace(-5, 5, 11)):
        scope = microscope(start_um=float(start_um), stage=vices, seed=seed)
        assert focused(scope, calibration=calibration)
        assert abs(scope.stage.slide_um) < DEPTH_UM / 2
        last = steps_of(focused(scope, calibration=calibration), "move")[-1]
        assert scope.stage.sent_to[-1] == last.z_um > scope.stage.sent_to[-2]


@pytest.mark.parametrize("start_um", [-4.0, -0.2, 3.0])
def test_a_model_that_abstains_in_focus_confirms_it_from_both_sides(start_um):
    def abstaining(images):
        score = written(images)
        return np.where(np.abs(score) < 0.1, np.nan, score)

    result = focused(microscope(start_um=start_um), model=known_model(abstaining))
    assert result.method == "two_frames"
    assert abs(result.z_after) < DEPTH_UM / 2
    scored = [step for step in result.steps if step.score == step.score]
    assert min(step.z_um for step in scored) < 0 < max(step.z_um for step in scored)


def test_a_wrong_side_is_found_out_and_nothing_but_focus_is_confirmed():
    """Scores with the side turned round lead away; more frames say so, and sharpness decides where focus is."""
    result = focused(microscope(start_um=2.5), model=known_model(lambda images: -written(images)))
    assert result.n_images > 2
    assert abs(result.z_after) < DEPTH_UM / 2 or (result.z_after == 2.5 and not result)


def test_scores_that_always_say_in_focus_confirm_nothing():
    scope = microscope(start_um=3.0)
    result = focused(scope, model=known_model(lambda images: np.zeros(len(images))))
    assert not result or abs(result.z_after) < DEPTH_UM


def test_a_model_that_abstains_makes_it_sweep():
    result = focused(microscope(start_um=2.0), model=known_model(status="unsure"))
    assert result
    assert result.method == "sweep"
    assert abs(result.z_after) < DEPTH_UM / 4
    assert all(math.isnan(score) for score in result.scores)


def test_without_a_calibration_it_sweeps_and_asks_for_the_depth_of_field():
    result = focus(microscope(start_um=2.0), settings(depth_um=DEPTH_UM))
    assert result
    assert result.method == "sweep"
    with pytest.raises(InputError, match="depth_um"):
        focus(microscope(), settings())
    with pytest.raises(InputError, match="both or neither"):
        focus(microscope(), settings(), CALIBRATION, None)


def test_focus_outside_the_limits_is_said_and_z_put_back():
    limits = Limits(lowest_um=-2, highest_um=4)
    result = focused(microscope(focus_um=9.0, start_um=1.0), settings(limits=limits))
    assert not result
    assert result.reason == "in_limits_no_peak"
    assert result.z_after == 1.0
    assert result.focus_um > limits.highest_um


def test_a_start_outside_the_limits_moves_nothing():
    scope = microscope(start_um=40.0)
    result = focused(scope)
    assert result.reason == "stage"
    assert "outside its limits" in result.message
    assert scope.stage.sent_to == []


@pytest.mark.parametrize(("exposure_ms", "word"), [(0.05, "dark"), (500.0, "saturated|bright")])
def test_a_wrong_exposure_ends_at_the_first_frame(exposure_ms, word):
    scope = microscope(start_um=2.0)
    result = focused(scope, settings(exposure_ms=exposure_ms))
    assert result.reason == "brightness"
    assert result.n_images == 0 or len(steps_of(result, "frame")) == 0
    assert scope.stage.sent_to == []
    assert scope.camera.exposure_ms == 10.0
    assert any(part in result.message for part in word.split("|"))


def test_a_dry_run_says_where_it_would_go_and_moves_nothing():
    scope = microscope(focus_um=1.0, start_um=4.0)
    result = focused(scope, settings(dry_run=True))
    assert result.reason == "dry_run"
    assert scope.stage.sent_to == []
    assert result.focus_um == pytest.approx(1.0, abs=0.5)
    assert "would go to" in result.message


def test_ringing_is_waited_for():
    vices = StageVices(ringing_um=3.0, ringing_s=0.03)
    hasty = [focused(microscope(start_um=4.0, stage=vices), settings(settle_s=0.0)).n_images for _ in range(3)]
    waited = [focused(microscope(start_um=4.0, stage=vices), settings(settle_s=0.3)).n_images for _ in range(3)]
    assert max(waited) == 2 <= min(hasty)


def test_the_long_way_is_gone_in_steps():
    scope = microscope(start_um=8.0)
    assert focused(scope, settings(limits=Limits(lowest_um=-30, highest_um=30, step_um=3)))
    assert np.abs(np.diff([8.0, *scope.stage.sent_to])).max() <= 3 + 1e-9


def test_budgets_end_a_search():
    blind = known_model(status="unsure")
    result = focused(microscope(start_um=2.0), settings(max_frames=5), model=blind)
    assert (result.reason, result.n_images, result.z_after) == ("budget", 5, 2.0)
    result = focused(microscope(start_um=2.0), settings(max_seconds=1.0), model=blind)
    assert result.reason == "budget"
    assert result.seconds < 2.0


def test_every_step_is_a_json_line_as_it_happens():
    told = []
    result = focused(microscope(start_um=3.0), log=told.append)
    assert tuple(told) == result.steps
    for step in told:
        line = json.loads(step.as_json())
        assert line["kind"] in {"move", "frame", "end"}
        assert math.isfinite(line["z_um"])
    assert json.loads(result.as_json())["succeeded"] is True


def test_the_judged_region_is_cropped_and_must_lie_inside():
    scope = microscope(start_um=2.0)
    assert focused(scope, settings(crop=(2, 4, 20, 20)))
    result = focused(microscope(start_um=2.0), settings(crop=(2, 4, 20, 200)))
    assert result.reason == "camera"
    assert "crop" in result.message


def test_settings_are_read_from_yaml(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("limits: {lowest_um: -5, highest_um: 5}\nsettle_s: 0.2\n")
    assert read_settings(path) == Settings(limits=Limits(lowest_um=-5, highest_um=5), settle_s=0.2)
    path.write_text("limits: {lowest_um: 5, highest_um: -5}\n")
    with pytest.raises(InputError, match="not below"):
        read_settings(path)


# whatever happens: inside the limits, and everything put back


class Cancel:
    """Cancels at the n-th time it is asked."""

    def __init__(self, at):
        self.left = at

    def __call__(self):
        self.left -= 1
        return self.left < 0


FAULTS = st.one_of(
    st.builds(lambda n: {"stage": {"raises_at": n}}, st.integers(0, 25)),
    st.builds(lambda n: {"stage": {"hangs_at": n}}, st.integers(0, 25)),
    st.builds(lambda n: {"camera": {"raises_at": n}}, st.integers(0, 25)),
    st.builds(lambda n: {"camera": {"black_at": n}}, st.integers(0, 25)),
    st.builds(lambda n: {"cancel": n}, st.integers(0, 120)),
)
MODELS = st.sampled_from([
    known_model(), known_model(status="unsure"), known_model(lambda images: -written(images)),
    known_model(lambda images: np.full(len(images), 3.0)), known_model(lambda images: np.full(len(images), np.nan)),
])  # fmt: skip


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    start_um=st.floats(-12, 12), low=st.floats(-15, -12), high=st.floats(12, 15), travel=st.floats(0.5, 20),
    backlash=st.sampled_from([0.0, 0.7]), fault=FAULTS, model=MODELS,
)  # fmt: skip
def test_never_outside_limits_and_everything_put_back(start_um, low, high, travel, backlash, fault, model):
    limits = Limits(lowest_um=low, highest_um=high, travel_um=travel, step_um=4)
    scope = microscope(
        start_um=start_um,
        stage=StageVices(backlash_um=backlash, **fault.get("stage", {})),
        camera=CameraVices(**fault.get("camera", {})),
    )
    scope.camera.live = True
    made = settings(limits=limits, exposure_ms=12.0, max_seconds=120)
    calibration = CALIBRATION.model_copy(update={"backlash_um": backlash})
    cancel = Cancel(fault["cancel"]) if "cancel" in fault else lambda: False
    result = focus(scope, made, calibration, model, should_cancel=cancel)
    assert all(max(low, start_um - travel) <= z <= min(high, start_um + travel) for z in scope.stage.sent_to), (
        scope.stage.sent_to
    )
    assert (scope.camera.exposure_ms, scope.camera.live) == (10.0, True)
    if result.succeeded:
        assert abs(scope.stage.slide_um) <= DEPTH_UM
    else:
        assert scope.stage.position_um() == pytest.approx(start_um)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 8, 13, 21, 34])
def test_a_cancel_at_any_moment_puts_z_back(at):
    scope = microscope(start_um=5.0)
    result = focused(scope, should_cancel=Cancel(at))
    assert result.reason in {"cancelled", "confirmed"}
    assert result or scope.stage.position_um() == 5.0


def test_an_error_of_the_programs_own_is_raised_after_all_was_put_back():
    def broken(images):
        raise KeyboardInterrupt

    scope = microscope(start_um=5.0)
    with pytest.raises(KeyboardInterrupt):
        focused(scope, settings(exposure_ms=12.0), model=known_model(broken))
    assert (scope.stage.position_um(), scope.camera.exposure_ms) == (5.0, 10.0)
