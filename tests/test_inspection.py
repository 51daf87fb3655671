"""Inspection reports everything it can; the contact sheet shows it."""

import math
import shutil

import numpy as np
import pytest
from PIL import Image

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.inspection import SEVERITIES, contact_sheet, describe, inspect_dataset
from focus_picker.dataset.labels import read_labels
from focus_picker.dataset.sheet import MAX_BYTES, SAVE_OPTIONS, TILE_SIDES, spread
from tests.made_cells import made_cell, make_dataset, save_image


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("good"))


@pytest.fixture
def dataset(good, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(good, tmp_path / "data")


def inspect(root):
    return inspect_dataset(root, jobs=1)


def edit_labels(root, old, new):
    file = root / "focus_labels.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_good_data_set(good):
    found = inspect(good)
    assert found.usable
    assert found.problems == ()
    assert (found.n_stacks, found.n_fields, found.n_images, found.n_labelled) == (8, 4, 40, 40)
    assert (found.n_unlabelled, found.n_unreadable, found.has_truth) == (0, 0, False)
    assert (found.slices_per_stack, found.heights, found.widths) == ((5, 5, 5), (150, 150, 150), (170, 170, 170))
    assert found.depths == {8: 40}
    assert found.score_step == 0.2
    assert found.histogram == tuple((score, score, 8) for score in (-0.4, -0.2, 0.0, 0.2, 0.4))
    assert sum(found.parts.values()) == 40
    assert found.leaks.empty
    text = describe(found)
    assert "8 stacks of 4 fields, 40 images (40 labelled, 0 unlabelled, 0 unreadable)" in text
    assert text.endswith("\nusable for training")


def keep_rows(root, wanted):
    file = root / "focus_labels.csv"
    file.write_text("\n".join(filter(wanted, file.read_text().split("\n"))))


def spoil_truncated(root):
    file = root / "cell_stacks/stack_001_cell_0/2.jpg"
    file.write_bytes(file.read_bytes()[:900])


def spoil_leak(root):
    image = np.asarray(Image.open(root / "cell_stacks/stack_001_cell_0/2.jpg"))
    save_image(root / "cell_stacks/stack_003_cell_1/2.jpg", image[2:-3, 1:-2], 70)


def spoil_blank(root):
    save_image(root / "cell_stacks/stack_002_cell_0/4.jpg", np.full((150, 170, 3), 220, np.uint8))


def spoil_depth(root):
    import imagecodecs

    deep = made_cell(5).astype(np.uint16) * 257
    (root / "cell_stacks/stack_002_cell_0/4.jpg").write_bytes(imagecodecs.png_encode(deep))


def spoil_direction(root):
    for old, new in (("0.4", "x"), ("-x", "0.4"), ("x", "-0.4"), ("-0.2", "y"), ("0.2", "-0.2"), ("y", "0.2")):
        lines = (root / "focus_labels.csv").read_text().split("\n")
        lines = [line.replace(old, new) if "stack_002_cell_1" in line else line for line in lines]
        (root / "focus_labels.csv").write_text("\n".join(lines))


def set_scores(root, score):
    """Label each image by a function of its stack's and its slice's number; None for no label."""
    lines = ["image_path,focus_score"]
    for file in sorted(root.glob("cell_stacks/*/*.jpg")):
        stack, cell = file.parent.name.removeprefix("stack_").split("_cell_")
        value = score(2 * int(stack) + int(cell), int(file.stem))
        lines.append(f"{file.relative_to(root).as_posix()},{'' if value is None else value}")
    (root / "focus_labels.csv").write_text("\n".join(lines) + "\n")


SPOILED = {
    "no labels file": (lambda root: (root / "focus_labels.csv").unlink(), "error", "focus_labels.csv does not exist"),
    "no column": (lambda root: edit_labels(root, "focus_score", "score"), "error", "no column focus_score"),
    "bad score": (lambda root: edit_labels(root, "2.jpg,0\n", "2.jpg,sharp\n"), "error", "row 4 has 'sharp'"),
    "listed, not there": (
        lambda root: (root / "cell_stacks/stack_001_cell_0/3.jpg").unlink(),
        "error",
        "row 5 lists cell_stacks/stack_001_cell_0/3.jpg, which does not exist",
    ),
    "two fields": (
        lambda root: keep_rows(root, lambda line: "stack_003" not in line and "stack_004" not in line),
        "error",
        "has 2 fields; 2 with labels can be told apart, and a split into training, validation and test needs at",
    ),
    "truncated": (spoil_truncated, "error", "2.jpg is truncated"),
    "leak": (spoil_leak, "warning", "Fields stack_001 and stack_003 share images (1 near-identical)"),
    "blank": (spoil_blank, "warning", "1 image (cell_stacks/stack_002_cell_0/4.jpg) is blank"),
    "depth": (spoil_depth, "warning", "Some images have 8 bits, some 16"),
    "direction": (spoil_direction, "warning", "1 stack (stack_002_cell_1) is scored in the opposite direction"),
    "step": (
        lambda root: [edit_labels(root, f"stack_001_cell_0/{k}.jpg,{s}", f"stack_001_cell_0/{k}.jpg,{s}5")
                      for k, s in ((0, "-0.4"), (1, "-0.2"), (3, "0.2"), (4, "0.4"))],
        "warning",
        "scored in another step than 0.2",
    ),
    "one sign": (
        lambda root: set_scores(root, lambda stack, k: 0.6 + k / 5),
        "warning",
        "All scores have one sign",
    ),
    "not listed": (
        lambda root: save_image(root / "cell_stacks/stack_001_cell_0/5.jpg", made_cell(7)),
        "warning",
        "1 image (cell_stacks/stack_001_cell_0/5.jpg) is on disk but not in focus_labels.csv",
    ),
    "sizes": (
        lambda root: save_image(root / "cell_stacks/stack_001_cell_0/4.jpg", made_cell(8, 160, 180)),
        "note",
        "1 stack (stack_001_cell_0) is made of slices that differ in size",
    ),
    "slip": (
        lambda root: edit_labels(root, "stack_001_cell_0/3.jpg,0.2", "stack_001_cell_0/3.jpg,-8"),
        "warning",
        "1 label (cell_stacks/stack_001_cell_0/3.jpg) is more than two slices off",
    ),
    "equal": (lambda root: set_scores(root, lambda stack, k: 0.2), "error", "one and the same score"),
    "half reversed": (
        lambda root: set_scores(root, lambda stack, k: (k - 2) / 5 * (-1 if stack % 2 else 1)),
        "error",
        "As many scores rise with the slice number as fall",
    ),
    "one slice a stack": (
        lambda root: set_scores(root, lambda stack, k: 0.2 if k == 3 else None), "error", "two labelled slices"
    ),
    "tiny": (
        lambda root: save_image(root / "cell_stacks/stack_001_cell_0/4.jpg", made_cell(8)[:5, :5]),
        "error",
        "has 5 x 5 pixels",
    ),
    "bad truth": (
        lambda root: (root / "truth.csv").write_text("image_path,defocus_um,best_z_slice\na.jpg,x,1\n"),
        "error",
        "truth.csv row 2",
    ),
    "short truth": (
        lambda root: (root / "truth.csv").write_text("image_path,defocus_um,best_z_slice\na.jpg,0,1\n"),
        "warning",
        "truth.csv lacks 40 of the 40 images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_problem_is_reported_with_its_severity(dataset, case):
    spoil, severity, message = SPOILED[case]
    spoil(dataset)
    found = inspect(dataset)
    texts = [problem.text for problem in found.problems if problem.severity == severity]
    assert any(message in text for text in texts), found.problems
    assert found.usable == (severity != "error")
    assert message in describe(found)
    severities = [SEVERITIES.index(problem.severity) for problem in found.problems]
    assert severities == sorted(severities)


def test_all_problems_are_reported_in_one_run(dataset):
    edit_labels(dataset, "stack_004_cell_0/2.jpg,0\n", "stack_004_cell_0/2.jpg,inf\n")
    spoil_leak(dataset)
    spoil_truncated(dataset)
    text = describe(inspect(dataset))
    for message in ("value inf, beyond", "2.jpg is truncated", "share images"):
        assert message in text
    assert "NOT usable" in text
    assert "not in focus_labels.csv" not in text  # the row with the bad score does list its file


def test_nothing_readable_is_unusable(dataset):
    for file in dataset.glob("cell_stacks/*/*.jpg"):
        file.write_bytes(b"")
    found = inspect(dataset)
    assert not found.usable
    assert found.n_unreadable == 40
    assert "nothing to train on" in describe(found)
    assert "more of severity error" in describe(found)  # 40 sentences are not all shown


def test_nothing_labelled_is_unusable(dataset):
    lines = (dataset / "focus_labels.csv").read_text().split("\n")
    (dataset / "focus_labels.csv").write_text("\n".join([lines[0], *(line.split(",")[0] + "," for line in lines[1:])]))
    found = inspect(dataset)
    assert (found.n_labelled, found.n_unlabelled, found.histogram, found.usable) == (0, 40, (), False)


def test_leak_shows_in_table_and_split(dataset):
    spoil_leak(dataset)
    found = inspect(dataset)
    assert found.leaks["field_b"].tolist() == ["stack_003"]
    assert found.parts


def test_many_different_scores_are_binned(dataset):
    scores = iter(np.linspace(-1, 1, 40))
    lines = (dataset / "focus_labels.csv").read_text().strip().split("\n")
    rows = [f"{line.split(',')[0]},{next(scores)}" for line in lines[1:]]
    (dataset / "focus_labels.csv").write_text("\n".join([lines[0], *rows]))
    histogram = inspect(dataset).histogram
    assert len(histogram) == 25
    assert sum(count for *_, count in histogram) == 40
    assert histogram[0][0] == pytest.approx(-1)
    assert histogram[-1][1] == pytest.approx(1)


def test_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        inspect(tmp_path / "none")


def test_empty_folder_is_a_report_not_a_crash(tmp_path):
    found = inspect(tmp_path)
    assert not found.usable
    assert "focus_labels.csv does not exist" in describe(found)


# contact sheet


@pytest.mark.parametrize("suffix", SAVE_OPTIONS)
def test_sheet_is_a_picture_of_limited_size(good, tmp_path, suffix):
    output = contact_sheet(good, read_labels(good), tmp_path / "out" / f"sheet{suffix}")
    assert output.stat().st_size <= MAX_BYTES
    with Image.open(output) as sheet:
        assert sheet.width > 5 * TILE_SIDES[0]
        assert sheet.height > 8 * 80


def test_sheet_frames_the_slice_closest_to_zero(good, tmp_path):
    labels = read_labels(good)
    plain = labels.assign(focus_score=math.nan)
    framed, unframed = (
        np.asarray(
            Image.open(contact_sheet(good, table, tmp_path / f"{name}.png", max_stacks=1)).convert("RGB")
        ).astype(int)
        for name, table in (("framed", labels), ("plain", plain))
    )
    green = np.abs(framed - [11, 59 * 2 + 4, 59]).sum(axis=2) < 30
    columns = np.flatnonzero(green.sum(axis=0) > 50)
    assert columns.size > 0
    position = (columns.mean() - (framed.shape[1] - 5 * (TILE_SIDES[0] + 4))) / (TILE_SIDES[0] + 4)
    assert 2 < position < 3  # the third of five slices
    assert not (np.abs(unframed - [11, 122, 59]).sum(axis=2) < 30).any()


def test_sheet_shows_unreadable_slices_and_goes_on(dataset, tmp_path):
    spoil_truncated(dataset)
    assert contact_sheet(dataset, read_labels(dataset), tmp_path / "sheet.jpg").exists()


def test_sheet_refuses_what_it_cannot_draw(good, tmp_path):
    labels = read_labels(good)
    with pytest.raises(InputError, match=r"sheet\.gif: use one of"):
        contact_sheet(good, labels, tmp_path / "sheet.gif")
    with pytest.raises(InputError, match="no labelled images"):
        contact_sheet(good, labels.iloc[:0], tmp_path / "sheet.png")


@pytest.mark.parametrize(("count", "wanted"), [(1, 5), (5, 5), (19, 13), (400, 8), (3, 1)])
def test_spread_has_both_ends(count, wanted):
    chosen = spread(count, wanted)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, wanted)
    assert chosen[0] == 0
    assert wanted == 1 or chosen[-1] == count - 1


def test_long_stacks_keep_ends_and_focus(tmp_path):
    root = make_dataset(tmp_path / "long", fields=1, cells=1, slices=31)
    from focus_picker.dataset.sheet import _pick_slices

    rows = _pick_slices(read_labels(root), "stack_001_cell_0", 6)
    assert len(rows) == 6
    assert rows["slice"].iloc[[0, -1]].tolist() == [0, 30]
    assert rows.loc[rows["is_focus"], "slice"].tolist() == [15]
