"""LightGBM's text format, held against its own structure before LightGBM sees it.

LightGBM reads arrays without looking at their length and walks trees without looking where they lead: a damaged file
ends the process, or never ends. So what predictions need is looked at, and that alone is written anew and handed on.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

HEADER = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "objective": "regression_l1|huber",  # those that features.baseline trains by
    "feature_infos": r"(none|\[\S+\])( (none|\[\S+\]))*",
    "tree_sizes": r"[0-9]{1,9}( [0-9]{1,9})*",
}
"""Key -> pattern of its value."""

SPLITS = (
    *("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child"),
    *("internal_value", "internal_weight", "internal_count"),
)
LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
TREE = ("Tree", "num_leaves", "num_cat", *SPLITS, *LEAVES, "is_linear", "shrinkage")
WHOLE = frozenset(("split_feature", "decision_type", "left_child", "right_child", "internal_count", "leaf_count"))
WHOLE_SIGNS, SIGNS = re.compile("[-0-9 ]*"), re.compile("[-+.e0-9 ]*")
NOT_NUMBERS = np.empty((0, 0))
WITHOUT_CATEGORIES = (0, 2, 4, 6, 8, 10)  # decisions by a threshold; others need tables of their own
END = "end of trees\n"


def checked_trees(text: str, names: Sequence[str]) -> str:
    """Return the part of a model's text that predicts.

    Parameters
    ----------
    text
        Content of ``baseline.txt``.
    names
        Features in the order of the trees' columns.

    Raises
    ------
    ValueError
        It is damaged, or its features are others; the message says in what.
    """
    head, _, rest = text.partition("\n\n")
    header = _pairs(head)
    if wrong := [key for key, pattern in HEADER.items() if not re.fullmatch(pattern, header.get(key, ""))]:
        raise ValueError(f"{wrong[0]} of its header is damaged")
    columns = header.get("feature_names", "").split(" "), header.get("max_feature_idx")
    if columns != (list(names), str(len(names) - 1)) or header["feature_infos"].count(" ") != len(names) - 1:
        raise ValueError("its features are not those of its side file")
    start, trees = 0, []
    for number, size in enumerate(map(int, header["tree_sizes"].split(" "))):
        tree = _pairs(rest[start : start + size])
        if fault := _fault(tree, number, len(names)):
            raise ValueError(f"{fault} of tree {number} is damaged")
        trees.append(_lines(tree, TREE) + "\n\n")
        start += size
    if not rest[start:].startswith(END):
        raise ValueError("its trees do not end where they should")
    header["tree_sizes"] = " ".join(str(len(tree)) for tree in trees)
    stated = _lines(header, (*HEADER, "feature_names", "max_feature_idx"))
    return f"tree\n{stated}\n{''.join(trees)}{END}\npandas_categorical:null\n"


def _pairs(block: str) -> dict[str, str]:
    return {key: value for key, equals, value in (line.partition("=") for line in block.split("\n")) if equals}


def _lines(pairs: Mapping[str, str], keys: Sequence[str]) -> str:
    return "".join(f"{key}={pairs[key]}\n" for key in keys)


def _fault(tree: Mapping[str, str], number: int, n_features: int) -> str:
    """Key of a tree's text that is damaged; empty where none is."""
    told = {"Tree": str(number), "num_cat": "0", "is_linear": "0"}
    if wrong := [key for key, value in told.items() if tree.get(key) != value]:
        return wrong[0]
    if not re.fullmatch(r"[1-9][0-9]{0,5}", tree.get("num_leaves", "")):
        return "num_leaves"
    leaves = int(tree["num_leaves"])
    counts = dict.fromkeys(SPLITS, leaves - 1) | dict.fromkeys(LEAVES, leaves) | {"shrinkage": 1}
    counts["leaf_weight"] *= leaves > 1  # a tree of one leaf states none
    found = {key: _numbers(key, tree.get(key, "")) for key in counts}
    if wrong := [key for key, count in counts.items() if found[key].shape != (count,)]:
        return wrong[0]
    if not set(found["split_feature"]).issubset(range(n_features)):
        return "split_feature"
    if not set(found["decision_type"]).issubset(WITHOUT_CATEGORIES):
        return "decision_type"
    # Leaf i is written as -1 - i. Each node has one parent, which was split before it: no way leads in a circle.
    children = np.concatenate([found["left_child"], found["right_child"]])
    expected = np.array([*range(-leaves, 0), *range(1, leaves - 1)]) if leaves > 1 else np.empty(0)
    parents = np.tile(np.arange(leaves - 1), 2)
    one_parent = np.array_equal(np.sort(children), expected)
    return "" if one_parent and ((children < 0) | (children > parents)).all() else "left_child"


def _numbers(key: str, value: str) -> np.ndarray:
    """Finite numbers of a line ``(n,)``; an array of another shape where there is anything else."""
    # Characters of which LightGBM and Python read the same numbers, and no integer of which LightGBM reads but a part.
    signs, kind = (WHOLE_SIGNS, int) if key in WHOLE else (SIGNS, float)
    try:
        numbers = np.array([kind(word) for word in value.split(" ")] if value else [], dtype=float)
    except (ValueError, OverflowError):
        return NOT_NUMBERS
    return numbers if signs.fullmatch(value) and np.isfinite(numbers).all() else NOT_NUMBERS
