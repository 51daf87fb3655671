"""A baseline's text predicts as LightGBM wrote it, or is refused before LightGBM sees it."""

import json
from collections.abc import Callable

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_picker.features.tree_text import checked_trees
from focus_picker.models import DEFAULT_BASELINE

NAMES = ["one", "two", "three"]
ROWS = np.random.default_rng(0).normal(size=(200, len(NAMES)))


def trained() -> str:
    parameters = {"objective": "huber", "num_leaves": 6, "min_child_samples": 5, "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(ROWS, ROWS[:, 0] + ROWS[:, 1] ** 2, feature_name=NAMES)
    return lightgbm.train(parameters, data, num_boost_round=4).model_to_string()


TEXT = trained()
LINES = TEXT.split("\n")
ARRAYS = [at for at, line in enumerate(LINES) if line.split("=")[0].endswith(("_child", "_value", "_count", "old"))]


def predictions(text: str, rows: np.ndarray = ROWS) -> np.ndarray:
    return np.asarray(lightgbm.Booster(model_str=text).predict(rows, num_threads=1))


def edited(key: str, change: Callable[[list[str]], list[str]]) -> str:
    """The text with the first line of ``key`` changed, and the trees' sizes as they then are."""
    at = next(number for number, line in enumerate(LINES) if line.startswith(f"{key}="))
    words = change(LINES[at].split("=")[1].split(" "))
    return sized("\n".join([*LINES[:at], f"{key}={' '.join(words)}", *LINES[at + 1 :]]))


def sized(text: str) -> str:
    """State the trees' sizes anew: damage then reaches past the sizes."""
    head, _, rest = text.partition("\n\n")
    trees, end, tail = rest.partition("end of trees")
    sizes = " ".join(str(len(tree) + len("Tree=")) for tree in trees.split("Tree=")[1:])
    stated = "\n".join(f"tree_sizes={sizes}" if line.startswith("tree_sizes=") else line for line in head.split("\n"))
    return f"{stated}\n\n{trees}{end}{tail}"


def test_a_whole_model_predicts_as_before():
    assert sized(TEXT) == TEXT
    np.testing.assert_array_equal(predictions(checked_trees(TEXT, NAMES)), predictions(TEXT))


def test_the_shipped_model_predicts_as_before():
    text = DEFAULT_BASELINE.read_text()
    features = json.loads(DEFAULT_BASELINE.with_suffix(".json").read_text())["features"]
    low, high = np.array([(feature["low"], feature["high"]) for feature in features.values()], dtype=float).T
    rows = np.random.default_rng(1).uniform(low, high, (50, len(low)))
    np.testing.assert_array_equal(predictions(checked_trees(text, list(features)), rows), predictions(text, rows))


def test_trees_of_one_leaf_predict_as_before():
    data = lightgbm.Dataset(ROWS, np.ones(len(ROWS)), feature_name=NAMES)
    text = lightgbm.train({"objective": "regression_l1", "verbosity": -1}, data, num_boost_round=2).model_to_string()
    assert set(predictions(checked_trees(text, NAMES))) == set(predictions(text))


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("left_child", lambda words: ["0", *words[1:]]),  # a circle of one
        ("left_child", lambda words: [*words[:-1], "1"]),  # a circle of several
        ("left_child", lambda words: words[::-1]),
        ("right_child", lambda words: [words[0]] * len(words)),  # two parents of one node
        ("right_child", lambda words: [*words[:-1], "99999999"]),
        ("left_child", lambda words: [f"{word}0e-1" for word in words]),  # LightGBM would read ten times as much
        ("leaf_value", lambda words: words * 2),
        ("threshold", lambda words: words[:-1]),
        ("leaf_value", lambda words: ["1e400", *words[1:]]),
        ("threshold", lambda words: ["nan", *words[1:]]),
        ("internal_value", lambda words: ["0x1", *words[1:]]),
        ("leaf_count", lambda words: ["1_0", *words[1:]]),
        ("split_feature", lambda words: ["3", *words[1:]]),
        ("decision_type", lambda words: ["1", *words[1:]]),
        ("num_leaves", lambda words: ["7"]),
        ("num_cat", lambda words: ["1"]),
        ("is_linear", lambda words: ["1"]),
        ("max_feature_idx", lambda words: ["1"]),
        ("feature_infos", lambda words: words[:-1]),
        ("tree_sizes", lambda words: words[:-1]),
        ("objective", lambda words: ["custom"]),
    ],
)
def test_what_leads_lightgbm_astray_is_refused(key, change):
    text = edited(key, change)
    if key == "tree_sizes":  # which `edited` has put right
        text = TEXT.replace("tree_sizes=", "tree_sizes=9")
    with pytest.raises(ValueError, match=r"damaged|not those|do not end"):
        checked_trees(text, NAMES)


def test_another_order_of_features_is_refused():
    with pytest.raises(ValueError, match="side file"):
        checked_trees(TEXT, NAMES[::-1])


@st.composite
def damage(draw: st.DrawFn) -> str:
    """The model's text cut, with characters changed, or with words of one line changed, exchanged or repeated."""
    how = draw(st.sampled_from(["cut", "characters", "word", "exchanged", "repeated"]))
    at = draw(st.integers(0, len(TEXT) - 1))
    if how == "cut":
        return TEXT[:at] + TEXT[at + draw(st.integers(1, len(TEXT))) :]
    if how == "characters":
        return TEXT[:at] + draw(st.text("0123456789-+.e =\n", min_size=1, max_size=3)) + TEXT[at + 1 :]
    line = draw(st.sampled_from(ARRAYS))
    key, _, value = LINES[line].partition("=")
    words = value.split(" ")
    one, other = draw(st.tuples(*[st.integers(0, len(words) - 1)] * 2))
    if how == "word":
        words[one] = draw(st.sampled_from(["", "-1", "0", "2", "-9", "99999999999", "inf", "1e400", "1.5", "1e1"]))
    elif how == "exchanged":
        words[one], words[other] = words[other], words[one]
    else:
        words = words[one:] + words[:other]
    return sized("\n".join([*LINES[:line], f"{key}={' '.join(words)}", *LINES[line + 1 :]]))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(damage())
def test_damage_is_refused_or_gives_numbers(text):
    try:
        checked = checked_trees(text, NAMES)
    except ValueError:
        return
    assert np.isfinite(predictions(checked)).all()
