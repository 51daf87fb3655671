"""Stacks that label themselves: known zeros, what is left out, the data set that is written, and the two checks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from focus_picker.adaptation.direction import direction_warning
from focus_picker.adaptation.examples import read_examples
from focus_picker.adaptation.labelled_dataset import check_dataset
from focus_picker.adaptation.labelling import label_stacks, labelled_by, slice_places
from focus_picker.cli import main
from focus_picker.dataset.labels import read_labels, read_truth
from focus_picker.dataset.stacks import find_stacks


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "simulated"
    assert main(["simulate", str(folder), "--stacks", "8", "--seed", "5", "--jobs", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def stacks(simulated):
    return find_stacks(simulated / "cell_stacks")


@pytest.fixture(scope="module")
def labelled(stacks):
    return label_stacks(stacks)


@pytest.fixture(scope="module")
def written(simulated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("label") / "written"
    assert main(["label", str(simulated / "cell_stacks"), "--output", str(folder), "--jobs", "1"]) == 0
    return folder


def test_labels_are_zero_where_the_stack_is_sharpest_and_rise_by_the_step(simulated, labelled):
    truth = read_truth(simulated).assign(stack=lambda table: table["image_path"].str.split("/").str[1])
    best = truth.groupby("stack")["best_z_slice"].first()
    kept = [one for one in labelled if not one.left_out]
    assert len(kept) >= 6
    for one in kept:
        assert np.diff(one.score) == pytest.approx(0.2)
        assert np.interp(0, one.score, np.arange(len(one.score))) == pytest.approx(best[one.stack.name], abs=0.5)


def test_reversed_stacks_get_the_opposite_sign(stacks, labelled):
    turned = label_stacks(stacks[:2], reverse=True)
    for one, other in zip(turned, labelled, strict=False):
        assert one.score == pytest.approx(-other.score, nan_ok=True)


def test_stacks_that_do_not_tell_are_left_out_and_counted(simulated, tmp_path, capsys):
    (tmp_path / "stacks").mkdir()
    first, second = sorted((simulated / "cell_stacks").iterdir())[:2]
    (tmp_path / "stacks" / "whole").symlink_to(first)
    for index in (8, 9, 10):  # far on one side of focus
        (tmp_path / "stacks" / "end").mkdir(exist_ok=True)
        (tmp_path / "stacks" / "end" / f"{index}.jpg").symlink_to(second / f"{index}.jpg")
    assert main(["label", str(tmp_path / "stacks"), "--output", str(tmp_path / "data"), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 stacks labelled" in said
    assert "left out: 1" in said
    table = pd.read_csv(tmp_path / "data" / "labelling.csv").set_index("stack")
    assert table.loc["end", "labelled_slices"] == 0
    assert pd.isna(table.loc["whole", "left_out"])


def test_the_picture_says_why_a_stack_is_left_out(stacks, labelled):
    vague = replace(labelled[0].pick, standard_error=0.5)
    assert labelled_by(stacks[0], vague, 0.2).shown.status == "uncertain"
    assert labelled[0].shown == labelled[0].pick


def test_the_written_data_set_is_complete_and_the_input_untouched(simulated, written):
    labels = read_labels(written)
    assert labels["focus_score"].notna().all()
    for path in labels["image_path"]:
        assert (written / path).read_bytes() == (simulated / path).read_bytes()
        assert not (written / path).is_symlink()
    assert (written / "labelling.png").stat().st_size < 300_000


def test_a_gap_in_the_slice_numbers_is_a_gap_in_the_labels(simulated, tmp_path):
    source = sorted((simulated / "cell_stacks").iterdir())[0]
    folder = tmp_path / "stack"
    folder.mkdir()
    for path in source.iterdir():
        if path.stem != "2":
            (folder / path.name).symlink_to(path)
    stack = find_stacks(folder)[0]
    assert list(slice_places(stack)) == [index for index in range(11) if index != 2]


def test_check_finds_what_people_mislabelled(written, tmp_path, capsys):
    assert main(["label", str(written), "--check", "--jobs", "1"]) == 0
    assert " 0 to look at" in capsys.readouterr().out
    labels = read_labels(written)
    names = labels["stack"].unique()
    score = labels["focus_score"].where(labels["stack"] != names[0], labels["focus_score"] + 0.6)
    score = score.where(labels["stack"] != names[1], -labels["focus_score"])
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "cell_stacks").mkdir()
    for name in names:
        (folder / "cell_stacks" / name).mkdir()
        for path in (written / "cell_stacks" / name).iterdir():
            (folder / "cell_stacks" / name / path.name).hardlink_to(path)
    labels.assign(focus_score=score)[["image_path", "focus_score"]].to_csv(folder / "focus_labels.csv", index=False)
    found = check_dataset(folder)
    assert [one.stack for one in found.disagreements] == [names[0]]
    assert found.turned == (names[1],)


def test_cells_warn_when_the_direction_is_the_wrong_way_round(stacks, labelled):
    assert direction_warning(read_examples(labelled, 0.2)) == ""
    turned = label_stacks(stacks, reverse=True)
    assert "--reversed" in direction_warning(read_examples(turned, 0.2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["STACKS"], "needs --output"),
        (["STACKS", "--output", "OUT", "--check"], "leave --output out"),
        (["STACKS", "STACKS", "--output", "OUT"], "have one name"),
        (["STACKS", "--output", "WRITTEN"], "is there already"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message, simulated, written, tmp_path, capsys):
    places = {"STACKS": simulated / "cell_stacks", "OUT": tmp_path / "out", "WRITTEN": written}
    assert main(["label", *(str(places.get(word, word)) for word in arguments), "--jobs", "1"]) == 2
    assert message in capsys.readouterr().err
