"""The picture of a pick: written whole, small, for every status."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dataset.errors import InputError
from dataset.stacks import find_stacks
from stack_inference.decide import METHODS, NEEDS_SCORES
from stack_inference.pick import pick_focus
from stack_inference.plot import MOST_THUMBNAILS, plot_paths, plot_pick, plot_picks, thumbnail_indices


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
    plot_pick(pick_focus(stack, method=method, z_step_um=0.5), stack, tmp_path / "new" / "pick.png")
    assert cv2.imread(str(tmp_path / "new" / "pick.png")).shape[1] == 1000
    assert (tmp_path / "new" / "pick.png").stat().st_size < 300_000


@pytest.mark.parametrize(("best", "n", "status"), [(12, 9, "edge"), (100, 9, "flat"), (0, 1, "edge")])
def test_every_status_has_a_picture(tmp_path, best, n, status):
    stack = write_slices(tmp_path / "cell", best, n)
    pick = pick_focus(stack)
    assert pick.status == status
    plot_pick(pick, stack, tmp_path / "pick.png")
    plot_pick(replace(pick, status="unreadable", advice="no slice can be read"), stack, tmp_path / "other.png")
    assert (tmp_path / "other.png").stat().st_size > 1000


def test_many_large_noisy_slices_still_make_a_small_picture(tmp_path):
    stack = write_slices(tmp_path / "cell", 17, 40, (300, 310))
    plot_pick(pick_focus(stack), stack, tmp_path / "pick.png")
    assert (tmp_path / "pick.png").stat().st_size < 300_000


def test_signed_scores_add_a_panel(tmp_path):
    stack = write_slices(tmp_path / "cell", 4.3)
    pick = pick_focus(stack)
    plot_pick(pick, stack, tmp_path / "plain.png")
    signed = replace(pick, slices=tuple(replace(part, score=0.2 * (part.index - 4.3)) for part in pick.slices))
    plot_pick(signed, stack, tmp_path / "signed.png")
    heights = [cv2.imread(str(tmp_path / name)).shape[0] for name in ("plain.png", "signed.png")]
    assert heights[1] > heights[0] + 100


def test_thumbnails_hold_the_best_slice(tmp_path):
    stack = write_slices(tmp_path / "cell", 7, 30, (40, 40))
    pick = pick_focus(stack)
    for best in range(30):
        shown = thumbnail_indices(replace(pick, best_index=best))
        assert best in shown
        assert len(shown) <= MOST_THUMBNAILS
        assert shown == sorted(set(shown))


def test_a_format_nobody_knows_is_refused_and_leaves_nothing(tmp_path):
    stack = write_slices(tmp_path / "cell", 4.3)
    with pytest.raises(InputError, match=r"take \.png"):
        plot_pick(pick_focus(stack), stack, tmp_path / "pick.docx")
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_one_stack_goes_to_the_file_and_several_into_a_folder(tmp_path):
    stack = write_slices(tmp_path / "cell", 4, 3)
    assert plot_paths([stack], tmp_path / "x.png") == [tmp_path / "x.png"]
    several = plot_paths([stack, replace(stack, name="other"), stack], tmp_path / "x.png")
    assert [path.relative_to(tmp_path).as_posix() for path in several] == ["x/cell.png", "x/other.png", "x/cell_2.png"]


def test_several_picks_are_drawn_beside_their_stacks(tmp_path):
    stacks = [write_slices(tmp_path / name, 4, 5) for name in ("a", "b")]
    paths = plot_picks([pick_focus(stack) for stack in stacks], stacks, tmp_path / "pictures.png")
    assert [path.name for path in paths] == ["a.png", "b.png"]
    assert all(path.is_file() for path in paths)
