"""Grouped split of a data set into training, validation and test fields."""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pandas as pd

from focus_picker.dataset.errors import InputError

PARTS = {"train": 0.70, "validation": 0.15, "test": 0.15}
"""Part -> share of the fields, in the order in which they divide the interval 0..1."""

FIELD_DIGEST = partial(hashlib.blake2b, digest_size=8)
SALT = 5945
"""Makes the draws of seed 0 even: of the names stack_001, stack_002 ... the first 10 divide as 8, 1, 1, the first 40 as
28, 5, 7 and the first 100 as 70, 13, 17. Chosen by names alone among 6,000 salts; other seeds and names scatter."""


def split_fields(labels: pd.DataFrame, seed: int = 0, linked: Iterable[tuple[str, str]] = ()) -> pd.Series:
    """Assign every image to ``train``, ``validation`` or ``test``, whole fields at a time.

    Slices of one stack show the same cell, and cells of one field (``stack_001_cell_0``, ``stack_001_cell_1``) share
    smear, stain, light and optics. A split that separates them tests a model on what it has already seen: the error
    it reports is too small, and the larger the model the more so (Roberts et al. 2017, Ecography 40:913; Kapoor and
    Narayanan 2023, Patterns 4:100804). So the field is the unit that is drawn.

    Each field is drawn by a hash of the seed and its name, not by its place in a list: it keeps its part when fields
    are added or removed. The shares of 70/15/15 are therefore expected ones, not exact ones. Two exceptions:

    * a part that would hold no labelled field gets the one whose draw lies nearest to it, taken from the part with
      the most; with more fields this field may return to where its draw put it;
    * fields that are linked (they hold the same images) share the draw of the first of them by name, and so move
      together when a link is found.

    Parameters
    ----------
    labels
        Table of ``dataset.labels.read_labels``; ``field`` and ``focus_score`` are used.
    seed
        Another seed gives another split.
    linked
        Pairs of fields that must lie on one side, such as ``dataset.leaks.linked_fields`` finds. Names that are not
        in ``labels`` are passed over.

    Returns
    -------
    pandas.Series
        Part of each row, aligned with ``labels.index``.

    Raises
    ------
    InputError
        Fewer than three independent fields with labels: some part would be empty.
    """
    group = join_linked(labels["field"].unique().tolist(), linked)
    labelled = {group[field] for field in labels.loc[labels["focus_score"].notna(), "field"].unique()}
    if len(labelled) < len(PARTS):
        raise InputError(_too_few(len(labelled), labels["field"].nunique(), len(set(group.values()))))
    draws = {name: _draw(seed, name) for name in sorted(set(group.values()))}
    parts = {name: _part_at(draw) for name, draw in draws.items()}
    parts |= _fill_empty({name: parts[name] for name in sorted(labelled)}, draws)
    return labels["field"].map({field: parts[name] for field, name in group.items()}).rename("split")


def halve_fields(
    fields: Iterable[str], seed: int = 0, linked: Iterable[tuple[str, str]] = ()
) -> tuple[set[str], set[str]]:
    """Deal fields to two halves by the draws of :func:`split_fields`; linked ones stay together.

    For validation fields that have two questions to answer, such as which epoch is best and how far its scores are
    off: the answer to the first flatters the model on the fields that gave it.
    """
    group = join_linked(fields, linked)
    names = sorted(set(group.values()), key=lambda name: _draw(seed, name))
    first = set(names[: len(names) // 2])
    halves: tuple[set[str], set[str]] = (set(), set())
    for field, name in group.items():
        halves[name not in first].add(field)
    return halves


def _draw(seed: int, name: str) -> float:
    return place_of(f"{SALT}:{seed}:{name}", FIELD_DIGEST)


def place_of(name: str, digest: Callable[[bytes], Any] = hashlib.sha256) -> float:
    """Return a number in 0..1 that depends on a name alone: the place that decides on which side of a split it lies."""
    value = digest(name.encode()).digest()
    return int.from_bytes(value, "big") / 256 ** len(value)


def join_linked(fields: Iterable[str], linked: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Map each field to the first name, in order of text, among all fields that links connect it with."""
    parent = {field: field for field in fields}

    def root(field: str) -> str:
        while parent[field] != field:
            parent[field] = parent[parent[field]]
            field = parent[field]
        return field

    for one, other in linked:
        if one in parent and other in parent:
            first, second = sorted((root(one), root(other)))
            parent[second] = first
    return {field: root(field) for field in parent}


def _intervals() -> dict[str, tuple[float, float]]:
    """Return the part of 0..1 that belongs to each part."""
    edges, start = {}, 0.0
    for part, share in PARTS.items():
        edges[part] = (start, start + share)
        start += share
    return edges


def _part_at(draw: float) -> str:
    return next((part for part, (_, end) in _intervals().items() if draw < end), list(PARTS)[-1])


def _fill_empty(parts: dict[str, str], draws: dict[str, float]) -> dict[str, str]:
    """Move the nearest group out of the fullest part into each part that has none."""
    parts = dict(parts)
    for part, (start, end) in _intervals().items():
        if part in parts.values():
            continue
        counts = {other: sum(value == other for value in parts.values()) for other in PARTS}
        fullest = max(counts, key=counts.__getitem__)
        members = [name for name, value in parts.items() if value == fullest]
        nearest = min(members, key=lambda name: (max(start - draws[name], draws[name] - end), name))
        parts[nearest] = part
    return parts


def _too_few(labelled: int, fields: int, groups: int) -> str:
    """Say what is missing and why."""
    joined = f", {fields - groups} of them joined to others because they share images" if groups < fields else ""
    return (
        f"The data set has {fields} field{'' if fields == 1 else 's'}{joined}; {labelled} with labels can be told "
        "apart, and a split into training, validation and test needs at least 3: add stacks of other fields (named "
        "stack_002_cell_0 and so on)."
    )
