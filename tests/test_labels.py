"""Labels: tolerant of typing, strict about meaning, with the row's number in every message."""

import math
import os

import numpy as np
import pandas as pd
import pytest

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.labels import check_labels, field_of, read_labels, read_truth, score_per_slice, true_scores

NAMES = [f"cell_stacks/stack_00{s}_cell_{c}/{k}.jpg" for s in (1, 2) for c in (0, 1) for k in (9, 10, 11)]


@pytest.fixture
def dataset(tmp_path):
    """Two fields of two cells of three slices; what is in the files does not matter to labels."""
    root = tmp_path / "data"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write(root, text, name="focus_labels.csv"):
    data = text if isinstance(text, bytes) else text.encode()
    (root / name).write_bytes(data)
    return root


def rows(*lines, header="image_path,focus_score"):
    return "\n".join([header, *lines]) + "\n"


def test_table_has_what_the_path_says(dataset):
    write(dataset, rows(*(f"{name},{k / 5 - 0.2}" for k, name in enumerate(NAMES))))
    labels = read_labels(dataset)
    assert labels.columns.tolist() == ["image_path", "focus_score", "stack", "field", "slice"]
    assert labels["image_path"].tolist() == NAMES
    assert labels["stack"].unique().tolist() == [f"stack_00{s}_cell_{c}" for s in (1, 2) for c in (0, 1)]
    assert labels["field"].unique().tolist() == ["stack_001", "stack_002"]
    assert labels["slice"].tolist() == [9, 10, 11] * 4
    assert labels["focus_score"].dtype == np.float64
    assert labels["slice"].dtype == np.int64


TYPED = {
    "plain": "image_path,focus_score\n{0},0.2\n{1},-0.4\n",
    "byte order mark": "\ufeffimage_path,focus_score\n{0},0.2\n{1},-0.4\n",
    "Windows lines": "image_path,focus_score\r\n{0},0.2\r\n{1},-0.4\r\n",
    "old Mac lines": "image_path,focus_score\r{0},0.2\r{1},-0.4\r",
    "no last line end": "image_path,focus_score\n{0},0.2\n{1},-0.4",
    "spaces": "image_path , focus_score\n {0} , 0.2 \n{1},\t-0.4\n",
    "blank lines": "image_path,focus_score\n\n{0},0.2\n , \n{1},-0.4\n\n",
    "other order": "focus_score,image_path\n0.2,{0}\n-0.4,{1}\n",
    "other columns": "id,image_path,note,focus_score\n1,{0},a,0.2\n2,{1},,-0.4\n",
    "quotes": 'image_path,focus_score\n"{0}","0.2"\n"{1}", "-0.4"\n',
    "capitals": "Image_Path,FOCUS_SCORE\n{0},0.2\n{1},-0.4\n",
    "dot": "image_path,focus_score\n./{0},+.2\n{1},-4e-1\n",
}


@pytest.mark.parametrize("typing", TYPED)
def test_typing_does_not_matter(dataset, typing):
    write(dataset, TYPED[typing].format(*NAMES))
    labels = read_labels(dataset)
    assert labels["image_path"].tolist() == NAMES[:2]
    assert labels["focus_score"].tolist() == [0.2, -0.4]


def test_backslashes(dataset):
    write(dataset, rows(NAMES[0].replace("/", "\\") + ",0.2"))
    assert read_labels(dataset)["image_path"].tolist() == NAMES[:1]


@pytest.mark.parametrize("score", ["", " ", "NA", "na", "N/A", "NaN"])
def test_unlabelled(dataset, score):
    write(dataset, rows(f"{NAMES[0]},{score}", f"{NAMES[1]},0"))
    scores = read_labels(dataset)["focus_score"]
    assert math.isnan(scores[0])
    assert scores[1] == 0


def test_row_that_ends_before_its_score_is_unlabelled(dataset):
    write(dataset, rows(NAMES[0]))
    assert read_labels(dataset)["focus_score"].isna().all()


BAD_ROWS = {
    "no path": (",0.2", "no image path"),
    "word": ("{0},sharp", "'sharp' where a number is needed"),
    "decimal comma": ('{0},"0,2"', "'0,2' where a number is needed"),
    "underscore": ("{0},1_0", "'1_0' where a number is needed"),
    "infinity": ("{0},inf", "value inf"),
    "negative infinity": ("{0},-Infinity", "value -Infinity, beyond"),
    "overflow": ("{0},1e999", "value 1e999, beyond"),
    "twice": ("{1},0.2", "again, first in row 2"),
    "twice by another spelling": (".\\{1},0.2", "again, first in row 2"),
    "parent folder": ("../other/5.jpg,0.2", r"leaves the data set by '\.\.'"),
    "parent folder inside": ("cell_stacks/../../5.jpg,0.2", r"leaves the data set by '\.\.'"),
    "parent folder by backslash": ("..\\5.jpg,0.2", r"leaves the data set by '\.\.'"),
    "absolute": ("/etc/passwd,0.2", "absolute path"),
    "drive": ("C:\\data\\5.jpg,0.2", "absolute path"),
    "share": ("\\\\server\\5.jpg,0.2", "absolute path"),
    "symbolic link": ("cell_stacks/link.jpg,0.2", "leaves the data set by a symbolic link"),
    "symbolic link of a folder": ("cell_stacks/linked/5.jpg,0.2", "leaves the data set by a symbolic link"),
    "no such file": ("cell_stacks/stack_001_cell_0/99.jpg,0.2", "does not exist"),
    "folder": ("cell_stacks/stack_001_cell_0,0.2", "is no file"),
    "zero byte": ("cell_stacks/a\0b.jpg,0.2", "zero byte"),
}


@pytest.fixture
def linked_dataset(dataset):
    outside = dataset.parent / "outside"
    outside.mkdir()
    (outside / "5.jpg").touch()
    (dataset / "cell_stacks" / "link.jpg").symlink_to(outside / "5.jpg")
    (dataset / "cell_stacks" / "linked").symlink_to(outside)
    return dataset


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_refused_with_its_number(linked_dataset, case):
    line, message = BAD_ROWS[case]
    # The blank line counts: row numbers are those that an editor shows.
    write(linked_dataset, rows(f"{NAMES[1]},0.2", "", line.format(*NAMES), f"{NAMES[2]},0.4"))
    with pytest.raises(InputError, match=message) as raised:
        read_labels(linked_dataset)
    assert "focus_labels.csv row 4 " in str(raised.value)
    labels, problems = check_labels(linked_dataset)
    assert labels["image_path"].tolist() == NAMES[1:3]
    assert [problem.row for problem in problems] == [4]


def test_links_that_stay_inside_are_followed(dataset):
    (dataset / "cell_stacks" / "alias").symlink_to(dataset / "cell_stacks" / "stack_001_cell_0")
    write(dataset, rows("cell_stacks/alias/9.jpg,0"))
    assert len(read_labels(dataset)) == 1


def test_data_set_may_itself_be_a_link(dataset, tmp_path, monkeypatch):
    write(dataset, rows(f"{NAMES[0]},0"))
    (tmp_path / "shortcut").symlink_to(dataset)
    assert len(read_labels(tmp_path / "shortcut")) == 1
    monkeypatch.chdir(dataset)
    assert len(read_labels(".")) == 1


def test_first_of_many_bad_rows_is_named_and_the_others_counted(dataset):
    write(dataset, rows(*(f"{name},bad" for name in NAMES[:4])))
    with pytest.raises(InputError, match=r"row 2 .*3 more such rows"):
        read_labels(dataset)


BAD_TABLES = {
    "missing": (None, "does not exist"),
    "empty": ("", "row 1 has no column image_path"),
    "no score column": ("image_path,score\na,1\n", "row 1 has no column focus_score"),
    "no header": ("cell_stacks/a.jpg,0.2\n", "row 1 has no column image_path"),
    "column twice": ("image_path,focus_score,focus_score\n", "has the column focus_score twice"),
    "semicolons": ("image_path;focus_score\na;1\n", "separated by semicolons"),
    "no rows": ("image_path,focus_score\n\n", "no rows"),
    "UTF-16": ("image_path,focus_score\na,1\n".encode("utf-16"), "not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_table_is_refused(dataset, case):
    content, message = BAD_TABLES[case]
    if content is not None:
        write(dataset, content)
    with pytest.raises(InputError, match=message) as raised:
        read_labels(dataset)
    assert "focus_labels.csv" in str(raised.value)


def test_labels_folder_in_place_of_the_file(dataset):
    (dataset / "focus_labels.csv").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(dataset)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_unreadable_table(dataset):
    write(dataset, rows(f"{NAMES[0]},0"))
    (dataset / "focus_labels.csv").chmod(0)
    with pytest.raises(InputError, match="permissions"):
        read_labels(dataset)


def test_slices_without_numbers_are_ranked_within_their_stack(dataset):
    for name in ("sharp", "above", "below"):
        (dataset / "cell_stacks" / f"{name}.png").touch()
    write(
        dataset, rows("cell_stacks/sharp.png,0", f"{NAMES[1]},0", "cell_stacks/above.png,1", "cell_stacks/below.png,")
    )
    labels = read_labels(dataset)
    assert labels["slice"].tolist() == [2, 10, 0, 1]


@pytest.mark.parametrize(
    ("stack", "field"),
    [
        ("stack_001_cell_0", "stack_001"),
        ("stack_001_cell_12", "stack_001"),
        ("smear7", "smear7"),
        ("day1/stack_001_cell_0", "day1/stack_001"),
        ("_cell_0", "_cell_0"),
    ],
)
def test_field_of(stack, field):
    assert field_of(stack) == field


def test_stacks_of_one_name_in_two_folders_stay_apart(dataset):
    names = [f"cell_stacks/{day}/stack_001_cell_0/5.jpg" for day in ("monday", "tuesday")]
    for name in names:
        (dataset / name).parent.mkdir(parents=True)
        (dataset / name).touch()
    write(dataset, rows(*(f"{name},0" for name in names)))
    assert read_labels(dataset)["field"].tolist() == ["monday/stack_001", "tuesday/stack_001"]


# truth


TRUTH = "image_path,defocus_um,best_z_slice"


def test_truth_is_optional_and_read(dataset):
    assert read_truth(dataset) is None
    write(dataset, rows(f"{NAMES[0]},-0.35,9.7", header=TRUTH), "truth.csv")
    truth = read_truth(dataset)
    assert truth.to_dict("records") == [{"image_path": NAMES[0], "defocus_um": -0.35, "best_z_slice": 9.7}]


@pytest.mark.parametrize("line", ["{0},,1", "{0},0.1,NA", "{0},0.1,inf", "{0},x,1", "../5.jpg,0.1,1", "{1},0.1,1"])
def test_malformed_truth_is_refused(dataset, line):
    write(dataset, rows(f"{NAMES[1]},0,1", line.format(*NAMES), header=TRUTH), "truth.csv")
    with pytest.raises(InputError, match=r"truth\.csv row 3 "):
        read_truth(dataset)


def table(scores, stack="s", slices=None):
    count = len(scores)
    return pd.DataFrame(
        {
            "image_path": [f"{stack}/{k}" for k in range(count)],
            "focus_score": np.array(scores, float),
            "stack": stack,
            "slice": list(range(count)) if slices is None else slices,
        }
    )


@pytest.mark.parametrize(
    ("scores", "slices", "step"),
    [
        ([-0.4, -0.2, 0.0, 0.2], None, 0.2),
        ([0.4, 0.2, 0.0], None, -0.2),
        ([-0.4, 0.0, 0.4], [0, 2, 4], 0.2),
        ([-0.4, np.nan, 0.0, 0.2], None, 0.2),
        ([0.2, -0.4, 0.0, -0.2], [3, 0, 2, 1], 0.2),
        ([1.0], None, None),
        ([np.nan, np.nan], None, None),
        ([0.5, 0.5, 0.5], None, None),
    ],
)
def test_score_per_slice(scores, slices, step):
    assert score_per_slice(table(scores, slices=slices)) == step


def test_score_per_slice_does_not_step_from_stack_to_stack():
    labels = pd.concat([table([0.0, 0.2], "a"), table([5.0, 5.2], "b"), table([9.0], "c")], ignore_index=True)
    assert score_per_slice(labels) == 0.2


def test_true_scores_are_continuous_and_aligned():
    labels = table([-0.4, -0.2, 0.0, 0.2]).set_index(pd.Index([7, 3, 9, 1]))
    truth = pd.DataFrame({"image_path": ["s/3", "s/0", "s/1"], "best_z_slice": 2.25})
    true = true_scores(labels, truth)
    assert true.index.tolist() == [7, 3, 9, 1]
    np.testing.assert_allclose(true, [-0.45, -0.25, np.nan, 0.15])
    assert (true - labels["focus_score"]).abs().max() <= 0.1 + 1e-12  # half a slice: the labels' rounding
    assert true_scores(labels, None).isna().all()
