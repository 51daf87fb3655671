"""Stacks of any length in bounded memory, and slices that are no slices of the stack."""

import gc
import weakref

import numpy as np
import pytest
import tifffile

from focus_picker.dataset.arrays import array_stack
from focus_picker.dataset.stacks import Slice, find_stacks
from focus_picker.stack_inference import scoring
from focus_picker.stack_inference.pick import pick_focus
from focus_picker.stack_inference.scoring import score_stack
from tests.made_cells import made_cell, photographed, save_image
from tests.made_models import MadeModel


def blurred(count: int = 9, best: int = 4) -> list[np.ndarray]:
    cell = made_cell(1)
    return [photographed(cell, 1.2 * abs(index - best), index) for index in range(count)]


def write_slices(folder, images) -> None:
    for index, image in enumerate(images):
        save_image(folder / f"{index}.png", image)


def test_batches_change_no_number(monkeypatch):
    model = MadeModel(lambda images: np.array([image.mean() / 255 for image in images]))
    whole = score_stack(array_stack(blurred()), model=model, thumbnail_px=40)
    monkeypatch.setattr(scoring, "MOST_IN_BATCH", 2)
    parts = score_stack(array_stack(blurred()), model=model, thumbnail_px=40)
    np.testing.assert_array_equal(parts.panel, whole.panel)
    np.testing.assert_array_equal(parts.score, whole.score)
    np.testing.assert_array_equal(parts.thumbnails, whole.thumbnails)


def test_a_long_stack_is_never_in_memory_whole(tmp_path, monkeypatch):
    write_slices(tmp_path / "s", blurred(12, 6))
    alive: list[weakref.ref] = []
    most, read = [0], scoring.read_each

    def watched(slices: list[Slice]):
        for image in read(slices):
            alive.append(weakref.ref(image))
            gc.collect()
            most[0] = max(most[0], sum(reference() is not None for reference in alive))
            yield image

    monkeypatch.setattr(scoring, "read_each", watched)
    monkeypatch.setattr(scoring, "MOST_IN_BATCH", 2)
    assert np.isfinite(score_stack(find_stacks(tmp_path / "s")[0]).sharpness).all()
    assert most[0] <= 5


@pytest.mark.parametrize(("height", "width"), [(20, 20), (6, 6), (3, 170), (150, 8)])
def test_a_slice_much_smaller_than_the_rest_is_left_out_and_named(tmp_path, height, width):
    images = blurred()
    whole = pick_focus(array_stack(images))
    images[0] = images[0][:height, :width]
    write_slices(tmp_path / "s", images)
    pick = pick_focus(find_stacks(tmp_path / "s")[0])
    assert pick.best_position == pytest.approx(whole.best_position, abs=0.1)
    assert pick.status == whole.status
    assert "0.png (much smaller than the rest" in pick.advice


def test_a_preview_as_first_page_is_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        writer.write(made_cell(1)[::10, ::10], photometric="rgb")
        for image in blurred():
            writer.write(image, photometric="rgb")
    pick = pick_focus(find_stacks(tmp_path / "s.tif")[0])
    assert pick.best_position == pytest.approx(5, abs=0.3)
    assert "much smaller" in pick.advice
