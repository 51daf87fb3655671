"""The picture of a pick: written whole, small, for every status."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from focus_picker.dataset import stacks
from focus_picker.dataset.errors import InputError
from focus_picker.dataset.stacks import find_stacks
from focus_picker.stack_inference import decide
from focus_picker.stack_inference.decide import METHODS, NEEDS_SCORES
from focus_picker.stack_inference.pick import pick_focus
from focus_picker.stack_inference.plot import (
    MOST_THUMBNAILS,
    SHEET_FORMATS,
    THUMBNAIL_PX,
    picked_sheet,
    plot_paths,
    plot_pick,
    plot_picks,
    sheet_indices,
    thumbnail_indices,
)
from tests.made_models import MadeModel


def write_slices(folder, best, n=9, size=(90, 120)):
    """Colour noise textures, sharpest at ``best``; the first slice cannot be read."""
    folder.mkdir(parents=True)
    texture = np.random.default_rng(0).normal(0, 60, (*size, 3))
    for index in range(n):
        image = 128 + cv2.GaussianBlur(texture, (0, 0), 0.6 + abs(index - best))
        cv2.imwrite(str(folder / f"{index}.png"), np.clip(image, 0, 255).astype(np.uint8))
    if n > 1:
        (folder / "0.png").write_text("no image")
    return find_stacks(folder)[0]


@pytest.mark.parametrize("method", sorted(set(METHODS) - NEEDS_SCORES))
def test_picture_is_a_small_png(tmp_path, method):
    stack = write_slices(tmp_path / "cell", 4.3)
    plot_pick(pick_focus(stack, method=method, z_step_um=0.5, thumbnail_px=THUMBNAIL_PX), tmp_path / "new" / "pick.png")
    assert cv2.imread(str(tmp_path / "new" / "pick.png")).shape[1] == 1000
    assert (tmp_path / "new" / "pick.png").stat().st_size < 300_000


@pytest.mark.parametrize(("best", "n", "status"), [(12, 9, "edge"), (100, 9, "flat"), (0, 1, "edge")])
def test_every_status_has_a_picture(tmp_path, best, n, status):
    stack = write_slices(tmp_path / "cell", best, n)
    pick = pick_focus(stack, thumbnail_px=THUMBNAIL_PX)
    assert pick.status == status
    plot_pick(pick, tmp_path / "pick.png")
    plot_pick(replace(pick, status="unreadable", advice="no slice can be read"), tmp_path / "other.png")
    assert (tmp_path / "other.png").stat().st_size > 1000


def test_many_large_noisy_slices_still_make_a_small_picture(tmp_path):
    stack = write_slices(tmp_path / "cell", 17, 40, (300, 310))
    plot_pick(pick_focus(stack, thumbnail_px=THUMBNAIL_PX), tmp_path / "pick.png")
    assert (tmp_path / "pick.png").stat().st_size < 300_000


def test_signed_scores_add_a_panel(tmp_path):
    stack = write_slices(tmp_path / "cell", 4.3)
    pick = pick_focus(stack, thumbnail_px=THUMBNAIL_PX)
    plot_pick(pick, tmp_path / "plain.png")
    signed = replace(pick, slices=tuple(replace(part, score=0.2 * (part.index - 4.3)) for part in pick.slices))
    plot_pick(signed, tmp_path / "signed.png")
    heights = [cv2.imread(str(tmp_path / name)).shape[0] for name in ("plain.png", "signed.png")]
    assert heights[1] > heights[0] + 100


def test_thumbnails_hold_the_best_slice(tmp_path):
    stack = write_slices(tmp_path / "cell", 7, 30, (40, 40))
    pick = pick_focus(stack, thumbnail_px=THUMBNAIL_PX)
    for best in range(30):
        shown = thumbnail_indices(replace(pick, best_index=best))
        assert best in shown
        assert len(shown) <= MOST_THUMBNAILS
        assert shown == sorted(set(shown))


def test_a_format_nobody_knows_is_refused_and_leaves_nothing(tmp_path):
    stack = write_slices(tmp_path / "cell", 4.3)
    with pytest.raises(InputError, match=r"take \.png"):
        plot_pick(pick_focus(stack, thumbnail_px=THUMBNAIL_PX), tmp_path / "pick.docx")
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_one_stack_goes_to_the_file_and_several_into_a_folder(tmp_path):
    assert plot_paths(["cell"], tmp_path / "x.png") == [tmp_path / "x.png"]
    several = plot_paths(["cell", "other", "cell"], tmp_path / "x.png")
    assert [path.relative_to(tmp_path).as_posix() for path in several] == ["x/cell.png", "x/other.png", "x/cell_2.png"]


def test_several_picks_are_drawn_beside_their_stacks(tmp_path):
    made = [write_slices(tmp_path / name, 4, 5) for name in ("a", "b")]
    paths = plot_picks([pick_focus(stack) for stack in made], tmp_path / "pictures.png")
    assert [path.name for path in paths] == ["a.png", "b.png"]
    assert all(path.is_file() for path in paths)


def frames(path, colour):
    """How many tiles have a frame of a colour given as (R, G, B), by the frames' upper edges."""
    away = np.abs(cv2.imread(str(path))[..., ::-1].astype(int) - colour).max(axis=2)
    rows = (away < 6).astype(np.uint8)
    lines = cv2.morphologyEx(rows, cv2.MORPH_OPEN, np.ones((3, 25), np.uint8))
    return (cv2.connectedComponents(lines)[0] - 1) // 2  # upper and lower edge


GREEN, VERMILION = (0, 158, 115), (213, 94, 0)


def test_sheet_shows_every_pick_framed_by_its_status(tmp_path):
    made = [write_slices(tmp_path / name, best) for name, best in (("a", 4.3), ("b", 5), ("edge", 12), ("flat", 100))]
    picks = [pick_focus(stack, thumbnail_px=THUMBNAIL_PX) for stack in made]
    assert [pick.status for pick in picks] == ["ok", "ok", "edge", "flat"]
    output = tmp_path / "new" / "sheet.png"
    picked_sheet(picks, output)
    assert [frames(output, colour) for colour in (GREEN, VERMILION)] == [2, 1]


@pytest.mark.parametrize("suffix", SHEET_FORMATS)
def test_a_full_sheet_of_large_noisy_slices_is_small(tmp_path, suffix):
    stack = write_slices(tmp_path / "cell", 3, 5, (300, 310))
    pick = pick_focus(stack, thumbnail_px=THUMBNAIL_PX)
    picked_sheet([pick] * 60, tmp_path / f"sheet.{suffix}")
    if suffix == "png":  # a JPEG's colours run
        assert frames(tmp_path / f"sheet.{suffix}", GREEN) == 48
    assert (tmp_path / f"sheet.{suffix}").stat().st_size < 300_000


def test_more_stacks_than_fit_show_those_that_need_a_look(tmp_path):
    pick = pick_focus(write_slices(tmp_path / "cell", 4.3))
    picks = [replace(pick, standard_error=error) for error in (0.1, 0.3, np.nan, 0.2)]
    picks.append(replace(pick, status="edge", standard_error=0.01))
    assert sheet_indices(picks, 5) == [0, 1, 2, 3, 4]
    assert sheet_indices(picks, 3) == [4, 2, 1]


def test_sheet_without_pictures_and_what_is_refused(tmp_path):
    stack = write_slices(tmp_path / "cell", 4.3)
    pick = pick_focus(stack, thumbnail_px=THUMBNAIL_PX)
    picked_sheet([pick], tmp_path / "shown.png", max_stacks=1)
    picked_sheet([pick_focus(stack)], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size < (tmp_path / "shown.png").stat().st_size
    for picks, name, most in (([], "x.png", 48), ([pick], "x.docx", 48), ([pick], "x.png", 0)):
        with pytest.raises(InputError):
            picked_sheet(picks, tmp_path / name, most)
    assert not list(tmp_path.glob("x.*"))


def test_scores_without_a_say_are_greyed_out_and_what_was_weighed_is_outlined(tmp_path):
    stack = write_slices(tmp_path / "cell", 4.3)
    pick = pick_focus(stack, thumbnail_px=THUMBNAIL_PX)
    signed = replace(pick, slices=tuple(replace(part, score=0.2 * (part.index - 4.3)) for part in pick.slices))
    orange = []
    for used in (True, False):
        plot_pick(replace(signed, scores_used=used), tmp_path / "pick.png")
        away = np.abs(cv2.imread(str(tmp_path / "pick.png"))[..., ::-1].astype(int) - (230, 159, 0)).max(axis=2)
        orange.append((away < 40).sum())
    assert orange[0] > orange[1] + 300
    plot_pick(replace(signed, scores_used=False, weighed=0.0), tmp_path / "pick.png")
    away = np.abs(cv2.imread(str(tmp_path / "pick.png"))[..., ::-1].astype(int) - (230, 159, 0)).max(axis=2)
    assert (away < 40).sum() < orange[1] - 50


def test_a_stack_is_read_and_fitted_once(tmp_path, monkeypatch):
    """With a model, thumbnails and a fitted curve to show: one decode a slice, one consensus, one zero."""
    stack = write_slices(tmp_path / "cell", 4.3)
    calls = Counter()

    def counted(name, call):
        return lambda *given, **options: (calls.update([name]), call(*given, **options))[1]

    monkeypatch.setattr(stacks, "read_image", counted("decode", stacks.read_image))
    monkeypatch.setattr(decide, "consensus", counted("fit", decide.consensus))
    monkeypatch.setattr(decide, "line_of", counted("crossing", decide.line_of))
    model = MadeModel(lambda images: 0.2 * (np.arange(len(images)) - 3.3))
    pick = pick_focus(stack, model=model, thumbnail_px=THUMBNAIL_PX)
    plot_pick(pick, tmp_path / "pick.png")
    assert pick.fitted is not None
    assert calls == {"decode": 9, "fit": 1, "crossing": 1}
