"""Grouped split: fields stay whole, draws stay put, no part is empty."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focus_picker.dataset.errors import InputError
from focus_picker.dataset.splits import PARTS, halve_fields, join_linked, split_fields

KNOWN_VALIDATION = ["stack_003"]
KNOWN_TEST = ["stack_006"]


def table(fields, images=4, unlabelled=()):
    rows = [(field, np.nan if field in unlabelled else k / 5) for field in fields for k in range(images)]
    return pd.DataFrame(rows, columns=["field", "focus_score"])


def names(count):
    return [f"stack_{number:03d}" for number in range(count)]


def part_of(labels, split):
    """Field -> its part, after checking that it has only one."""
    parts = pd.DataFrame({"field": labels["field"], "split": split}).groupby("field")["split"]
    assert all(len(set(values)) == 1 for _, values in parts)
    return parts.first().to_dict()


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=30), st.integers(0, 2**40))
def test_fields_stay_whole_and_every_part_has_some(fields, seed):
    labels = table(sorted(fields))
    split = split_fields(labels, seed)
    assert set(part_of(labels, split).values()) == set(PARTS)


def test_aligned_with_any_index_and_row_order():
    labels = table(names(12)).sample(frac=1, random_state=0)
    split = split_fields(labels)
    assert split.index.equals(labels.index)
    assert split.name == "split"
    expected = part_of(table(names(12)), split_fields(table(names(12))))
    assert part_of(labels, split) == expected


def test_shares_are_seventy_fifteen_fifteen():
    shares = pd.Series(part_of(table(names(4000), 1), split_fields(table(names(4000), 1)))).value_counts(normalize=True)
    for part, share in PARTS.items():
        assert shares[part] == pytest.approx(share, abs=0.02)
    assert sum(PARTS.values()) == pytest.approx(1)


def test_same_seed_same_split_other_seed_other_split():
    labels = table(names(40))
    assert split_fields(labels, 3).equals(split_fields(labels, 3))
    assert not split_fields(labels, 3).equals(split_fields(labels, 4))


def test_split_is_the_same_on_every_machine():
    """Known answer: were the draw to change, old runs could no longer be compared with new ones."""
    split = part_of(table(names(10)), split_fields(table(names(10))))
    assert [name for name in names(10) if split[name] == "validation"] == KNOWN_VALIDATION
    assert [name for name in names(10) if split[name] == "test"] == KNOWN_TEST


@pytest.mark.parametrize("count", [10, 20, 40, 100, 400])
def test_default_seed_divides_the_usual_names_evenly(count):
    usual = [f"stack_{number:03d}" for number in range(1, count + 1)]
    counts = split_fields(table(usual, 1)).value_counts()
    for part, share in PARTS.items():
        assert abs(counts[part] - share * count) <= max(1, 0.06 * count)


def test_fields_keep_their_part_when_fields_are_added():
    few, many = table(names(40)), table(names(60))
    before, after = part_of(few, split_fields(few)), part_of(many, split_fields(many))
    assert set(before.values()) == set(PARTS)
    assert all(after[field] == part for field, part in before.items())


def test_only_the_fields_that_filled_a_gap_may_move():
    for count in range(3, 30):
        few, many = table(names(count)), table(names(count + 1))
        before, after = part_of(few, split_fields(few)), part_of(many, split_fields(many))
        assert sum(after[field] != part for field, part in before.items()) <= 2


def test_linked_fields_share_a_part_through_chains():
    labels = table(names(30))
    chain = [("stack_001", "stack_007"), ("stack_020", "stack_007"), ("stack_029", "stack_020")]
    for seed in range(20):
        split = part_of(labels, split_fields(labels, seed, chain))
        assert len({split[name] for name in ("stack_001", "stack_007", "stack_020", "stack_029")}) == 1


def test_links_leave_other_fields_where_they_were():
    labels = table(names(30))
    alone, linked = split_fields(labels), split_fields(labels, linked=[("stack_003", "stack_004")])
    others = ~labels["field"].isin(["stack_003", "stack_004"])
    assert alone[others].equals(linked[others])


def test_links_to_unknown_fields_are_passed_over():
    labels = table(names(10))
    assert split_fields(labels, linked=[("stack_001", "elsewhere")]).equals(split_fields(labels))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_join_linked_finds_the_connected_sets(links):
    fields = [str(number) for number in range(10)]
    group = join_linked(fields, [(str(a), str(b)) for a, b in links])
    reach = {field: {field} for field in fields}
    for _ in fields:  # the slow way: grow sets until nothing changes
        for a, b in links:
            both = reach[str(a)] | reach[str(b)]
            for member in both:
                reach[member] = both
    assert group == {field: min(reach[field]) for field in fields}


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_fields(count):
    with pytest.raises(InputError, match=rf"has {count} fields?; {count} .* at least 3"):
        split_fields(table(names(count)))


def test_too_few_after_links_says_so():
    with pytest.raises(InputError, match="has 3 fields, 1 of them joined to others because they share images; 2 "):
        split_fields(table(names(3)), linked=[("stack_000", "stack_001")])


def test_unlabelled_fields_do_not_count():
    with pytest.raises(InputError, match="has 4 fields; 2 with labels"):
        split_fields(table(names(4), unlabelled=names(2)))


def test_every_part_has_a_labelled_field():
    for seed in range(40):
        labels = table(names(12), unlabelled=names(9))
        split = split_fields(labels, seed)
        assert set(split[labels["focus_score"].notna()]) == set(PARTS)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=6), max_size=30), st.integers(0, 2**40))
def test_halves_are_even_share_nothing_and_do_not_depend_on_order(fields, seed):
    choice, calibration = halve_fields(sorted(fields), seed)
    assert choice | calibration == fields
    assert not choice & calibration
    assert len(calibration) - len(choice) in (0, 1)
    assert halve_fields(sorted(fields, reverse=True), seed) == (choice, calibration)


def test_linked_fields_are_in_one_half():
    links = [(name, "stack_000") for name in names(10)[::2]]
    halves = halve_fields(names(10), 0, links)
    assert sorted(len(half & set(names(10)[::2])) for half in halves) == [0, 5]
