"""A virtual microscope that calibrates itself, and what it then can do."""

import numpy as np
import pytest

from focus_picker.autofocus import calibrate as calibrating
from focus_picker.autofocus.calibrate import Plan, calibrate
from focus_picker.autofocus.calibration import read_calibration
from focus_picker.autofocus.focus import focus
from focus_picker.autofocus.record import spiral
from focus_picker.autofocus.response import MeasuredStack, measure_response, usable_range
from focus_picker.autofocus.virtual.camera import CameraVices
from focus_picker.autofocus.virtual.stage import StageVices
from focus_picker.dataset.errors import InputError
from tests.made_microscope import DEPTH_UM, known_model, microscope, settings

PLACES = [(float(number), 0.0) for number in range(9)]


def nowhere(x_um, y_um):
    pass


@pytest.fixture
def given_model(monkeypatch):
    """Training leaves nothing; the model that is loaded is the known one."""
    trained = []
    monkeypatch.setattr(calibrating, "load_model", lambda folder: known_model())
    return trained, lambda stacks, output: trained.append(sorted(path.name for path in stacks.rglob("*.png")))


@pytest.mark.parametrize("direction", [1, -1])
def test_side_scale_backlash_and_range_are_measured(tmp_path, given_model, direction):
    trained, train = given_model
    scope = microscope(focus_um=1.0, start_um=0.5, stage=StageVices(backlash_um=0.6, direction=direction))
    made = calibrate(scope, settings(), Plan(DEPTH_UM, 6.0), PLACES, nowhere, tmp_path, train)
    assert made.direction == direction
    assert made.um_per_score == pytest.approx(5, rel=0.1)
    assert made.backlash_um == pytest.approx(0.6, abs=0.1)
    assert made.usable_um > 4
    assert made.stacks == 3
    assert scope.stage.position_um() == 0.5
    assert len(trained[0]) == 6 * 21
    assert read_calibration(tmp_path) == made
    result = focus(microscope(focus_um=1.0, start_um=4.0, stage=StageVices(backlash_um=0.6, direction=direction)),
                   settings(), made, known_model())  # fmt: skip
    assert result
    assert result.n_images <= 3


def test_a_failure_while_recording_puts_everything_back(tmp_path, given_model):
    scope = microscope(start_um=0.5, camera=CameraVices(raises_at=30))
    with pytest.raises(InputError, match="no frame arrived"):
        calibrate(scope, settings(exposure_ms=12.0), Plan(DEPTH_UM, 6.0), PLACES, nowhere, tmp_path, given_model[1])
    assert (scope.stage.position_um(), scope.camera.exposure_ms) == (0.5, 10.0)
    assert not list(tmp_path.iterdir())


def test_without_a_clear_peak_or_enough_positions_there_is_no_calibration(tmp_path, given_model):
    with pytest.raises(InputError, match="at least 9"):
        calibrate(microscope(), settings(), Plan(DEPTH_UM), PLACES[:3], nowhere, tmp_path, given_model[1])
    far = microscope(focus_um=25.0)
    with pytest.raises(InputError, match="Only 0 positions show a clear peak"):
        calibrate(far, settings(), Plan(DEPTH_UM, 6.0), PLACES, nowhere, tmp_path, given_model[1])
    assert far.stage.position_um() == 0
    with pytest.raises(InputError, match="autofocus calibrate"):
        read_calibration(tmp_path)


def test_scores_that_turn_back_end_the_usable_range():
    places = np.arange(-8, 8.1, 0.5)
    score = np.where(np.abs(places) <= 4, places, 4 * np.sign(places) - (places - 4 * np.sign(places)))
    stacks = [MeasuredStack(places, score, -(places**2)) for _ in range(5)]
    assert usable_range(measure_response(stacks, 1.0), 1.0) == pytest.approx(4.0)


def test_where_the_model_abstains_nothing_is_known_and_where_it_always_does_there_is_no_response():
    places = np.arange(-6, 6.1, 0.5)
    score = np.where(np.abs(places) <= 3, places / 5, np.nan)
    response = measure_response([MeasuredStack(places, score, -(places**2))] * 4, DEPTH_UM)
    assert usable_range(response, DEPTH_UM) == 3
    far = np.abs(response.defocus_um) > 3
    assert (np.array(response.score_error)[far] >= 1).all()
    with pytest.raises(InputError, match="abstains"):
        measure_response([MeasuredStack(places, np.full(len(places), np.nan), -(places**2))] * 4, DEPTH_UM)


def test_a_spiral_visits_neighbours_once():
    places = np.array(spiral(25, 10.0))
    assert len({tuple(place) for place in places}) == 25
    assert np.linalg.norm(np.diff(places, axis=0), axis=1) == pytest.approx(10.0)
    assert np.abs(places).max() == 20.0
