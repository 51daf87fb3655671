"""Steps from one image or two: right size, right side, and no step where the side is open."""

import numpy as np
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.stack_inference.moves import defocus_from_two, move_from_one
from tests.made_models import MadeModel

IMAGE = np.zeros((8, 8, 3), np.uint8)


class Known(MadeModel):
    """Gives scores in the order asked for, 0.2 a slice, each within ``half`` a slice at 90 %."""

    def __init__(self, slices, half=0.3, status="ok", z_step_um=None):
        slices = list(slices)
        super().__init__(
            lambda images: 0.2 * np.array([slices.pop(0) for _ in images]), 0.2 * half, status, z_step_um=z_step_um
        )


@pytest.mark.parametrize(
    ("defocus", "way"), [(3.0, "towards the sample"), (-2.0, "away from the sample"), (0.3, "stay"), (-0.4, "stay")]
)
def test_one_image_gives_the_step_that_cures_its_defocus(defocus, way):
    move = move_from_one(IMAGE, Known([defocus]), z_step_um=0.5)
    assert move.slices == pytest.approx(-defocus)
    assert move.um == pytest.approx(-defocus / 2)
    assert move.standard_error == pytest.approx(0.3 / 1.645)
    assert move.standard_error_um == pytest.approx(0.15 / 1.645)
    assert way in move.advice


def test_micrometres_follow_the_models_own_step_and_slices_the_callers():
    """A model whose slices are 0.5 um apart, asked on a microscope whose slices are 0.25 um apart."""
    alone = move_from_one(IMAGE, Known([2.0], z_step_um=0.5))
    assert (alone.slices, alone.um) == (pytest.approx(-2), pytest.approx(-1))
    there = move_from_one(IMAGE, Known([2.0], z_step_um=0.5), z_step_um=0.25)
    assert (there.slices, there.um) == (pytest.approx(-4), pytest.approx(-1))
    assert there.standard_error == pytest.approx(4 * there.standard_error_um)


def test_an_open_side_is_no_step_and_an_unknown_step_no_micrometres():
    move = move_from_one(IMAGE, Known([2.0], status="unsure"))
    assert move.status == "unsure"
    assert np.isnan(move.um)
    assert move_from_one(IMAGE, Known([np.nan])).status == "unsure"


def test_a_model_that_was_not_calibrated_says_so_and_promises_no_error():
    move = move_from_one(IMAGE, Known([2.0], status="uncalibrated", z_step_um=0.5))
    assert (move.status, move.um) == ("uncalibrated", pytest.approx(-1))
    assert np.isnan(move.standard_error)
    assert np.isnan(move.standard_error_um)
    assert "record stacks and run adapt" in move.advice


@pytest.mark.parametrize("defocus", [-3.0, -0.4, 0.2, 2.5])
@pytest.mark.parametrize("distance", [1.0, -2.0])
@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_two_images_settle_size_and_side_even_where_a_side_was_guessed_wrong(defocus, distance, signs):
    scorer = Known([signs[0] * defocus, signs[1] * (defocus + distance)])
    found = defocus_from_two([IMAGE, IMAGE], distance, scorer)
    assert found
    assert found.slices == pytest.approx(defocus, abs=1e-4)
    assert 0 < found.standard_error < 0.3 / 1.645


def test_images_that_do_not_fit_their_distance_say_so():
    assert not defocus_from_two([IMAGE, IMAGE], 1.0, Known([2.0, 7.0]))
    assert not defocus_from_two([IMAGE, IMAGE], 1.0, Known([2.0, np.nan]))


def test_faulty_calls_are_refused():
    with pytest.raises(InputError, match="give two"):
        defocus_from_two([IMAGE], 1.0, Known([1]))
    for distance in (0.0, np.nan):
        with pytest.raises(InputError, match="not zero"):
            defocus_from_two([IMAGE, IMAGE], distance, Known([1, 2]))
    with pytest.raises(InputError, match="z step"):
        move_from_one(IMAGE, Known([1]), z_step_um=-1)
