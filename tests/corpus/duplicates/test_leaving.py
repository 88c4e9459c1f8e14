"""Who leaves for whose sake: known cases, and the rule written out in plain Python."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.exact import COVERED, REASONS, ExactDuplicates, NameIndex, distinct, hash_texts
from corpus.splitting.split import SPLITS
from tests.examples import examples

RANK = {name: rank for rank, name in enumerate(SPLITS)}


def repeats(rows):
    """Of (split, text) in the order of the splits; text is any small number."""
    sides = [side for side, _ in rows]
    assert sides == sorted(sides, key=RANK.__getitem__)
    text = np.array([text for _, text in rows], dtype=np.uint64)
    bounds = (sides.count("test"), sides.count("test") + sides.count("validation"))
    return ExactDuplicates(text // np.uint64(3), text % np.uint64(3), bounds)


def reasons(found):
    return [None if code == 0 else REASONS[code - 1] for code in found.code]


def pairs(*numbers):
    return pl.DataFrame(list(numbers), schema={"a": pl.UInt64, "b": pl.UInt64}, orient="row")


def test_hashes_of_texts_are_the_first_16_bytes_of_sha_256():
    # printf 'great food' | sha256sum
    high, low = hash_texts(pl.Series(["great food", ""]))
    assert (high[0], low[0]) == (0x7FDD467CCFA46B3B, 0x5E9529B9B0129D57)
    assert (high[1], low[1]) == (0xE3B0C44298FC1C14, 0x9AFBF4C8996FB924)


NAMES = st.lists(st.sampled_from([0, 1, 2, 3, 1 << 32, 1 << 63, (1 << 64) - 1]) | st.integers(0, (1 << 64) - 1))


@examples(200)
@given(NAMES, NAMES)
def test_a_name_is_found_where_it_is_first(names, wanted):
    found = NameIndex(np.array(names, np.uint64)).find(np.array(wanted, np.uint64))
    assert found.tolist() == [names.index(name) if name in names else -1 for name in wanted]


@examples(200)
@given(NAMES)
def test_different_values_are_in_order(values):
    assert distinct(np.array(values, np.uint64)).tolist() == sorted(set(values))


def test_a_chain_of_near_texts_is_broken_at_its_first_link_only():
    found = repeats([("test", 1), ("train", 2), ("train", 3)])
    found.drop_near(pairs((0, 1), (1, 2)))
    assert reasons(found) == [None, "near_test", None]
    assert found.near_within() == {"test": 0, "validation": 0, "train": 0}


def test_the_nearest_to_the_test_counts_as_that_and_the_test_is_never_touched():
    found = repeats([("test", 1), ("test", 2), ("validation", 3), ("train", 4)])
    found.drop_near(pairs((0, 1), (0, 2), (0, 3), (2, 3)))
    assert reasons(found) == [None, None, "near_test", "near_test"]
    assert found.near_within() == {"test": 2, "validation": 0, "train": 0}
    assert found.kept() == {"test": 2, "validation": 0, "train": 0}


def test_copies_of_a_near_text_leave_with_it():
    found = repeats([("test", 1), ("validation", 2), ("validation", 2), ("train", 2), ("train", 3), ("train", 3)])
    found.drop_near(pairs((0, 1)))
    assert reasons(found) == [None, "near_test", "near_test", "of_validation", None, "of_train"]
    assert found.left() == {
        "test": {"covered": 0},
        "validation": {"of_test": 0, "near_test": 2, "covered": 0},
        "train": {"of_test": 0, "of_validation": 1, "of_train": 1, "near_test": 0, "near_validation": 0},
    }


def test_near_texts_of_one_split_stay_and_are_counted_with_their_copies():
    found = repeats([("validation", 1), ("validation", 1), ("validation", 2), ("train", 3), ("train", 4), ("train", 5)])
    found.drop_near(pairs((0, 2), (3, 4)))
    assert reasons(found) == [None] * 6
    assert found.near_within() == {"test": 0, "validation": 3, "train": 2}


def test_reviews_of_one_split_that_repeat_each_other_are_one_group_also_by_a_chain():
    # Numbers 0 to 7; 1 and 2 have one text, 2 is nearly 3; 6 leaves for the sake of 0; 4 and 5 are nearly the same.
    rows = [("test", 1), ("test", 2), ("test", 2), ("test", 3), ("validation", 4), ("validation", 5), ("train", 6),
            ("train", 7)]  # fmt: skip
    found = repeats(rows)
    found.drop_near(pairs((1, 3), (4, 5), (0, 6)))
    table = found.copies()
    assert table.select("split", "row").rows() == [("test", 1), ("test", 2), ("test", 3), ("validation", 4),
                                                   ("validation", 5)]  # fmt: skip
    group = table["group"].to_list()
    assert group[0] == group[1] == group[2] != group[3] == group[4]


def test_the_row_of_a_copy_counts_only_reviews_that_stay():
    found = repeats([("test", 1), ("validation", 1), ("validation", 2), ("validation", 2)])
    assert reasons(found) == [None, "of_test", None, None]
    assert found.copies().rows() == [("validation", 1, 0), ("validation", 2, 0)]


def test_without_repeats_there_are_no_copies():
    assert repeats([("test", 1), ("validation", 2), ("train", 3)]).copies().is_empty()


def test_a_covered_text_leaves_with_its_copies_and_is_in_no_group_of_copies():
    rows = [("test", 1), ("test", 1), ("test", 2), ("validation", 3), ("train", 4)]
    found = repeats(rows)
    found.drop_near(pairs((0, 2), (2, 4)))
    found.drop(np.array([0, 3]), COVERED)
    assert reasons(found) == ["covered", "covered", None, "covered", "near_test"]
    assert found.copies().is_empty()
    assert found.near_within() == {"test": 0, "validation": 0, "train": 0}
    assert found.left()["test"] == {"covered": 2}
    assert found.left()["validation"]["covered"] == found.dropped("validation", COVERED) == 1


def by_hand(rows, near):
    """The rule, row by row: exact first, then every near pair of texts on two sides."""
    left = []
    for number, (side, text) in enumerate(rows):
        others = {other for other, same in rows if same == text}
        if side != "test" and "test" in others:
            left.append("of_test")
        elif side == "train" and "validation" in others:
            left.append("of_validation")
        elif side == "train" and (side, text) in rows[:number]:
            left.append("of_train")
        else:
            left.append(None)
    best = {text: min((RANK[side] for side, same in rows if same == text)) for _, text in rows}
    gone = set()
    for sacred, reason in enumerate(("near_test", "near_validation")):
        leaving = {
            text for text in best for other in best if best[other] == sacred < best[text]
            and (text, other) in near and not {text, other} & gone
        }
        gone |= leaving
        left = [left[n] or (reason if text in leaving else None) for n, (_, text) in enumerate(rows)]
    return left


@st.composite
def tables(draw):
    rows = draw(st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(0, 6)), max_size=25))
    rows.sort(key=lambda row: RANK[row[0]])
    texts = sorted({text for _, text in rows})
    possible = [(one, two) for one in texts for two in texts if one < two]
    return rows, draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []


@given(tables())
@examples(300)
def test_reviews_leave_as_the_rule_says(table):
    rows, near = table
    found = repeats(rows)
    first = {text: number for number, (_, text) in reversed(list(enumerate(rows)))}
    assert found.first.tolist() == [first[text] for _, text in rows]
    assert np.flatnonzero(found.distinct(0, len(rows))).tolist() == sorted(first.values())
    found.drop_near(pairs(*[tuple(sorted((first[one], first[two]))) for one, two in near]))
    assert reasons(found) == by_hand(rows, {*near, *[pair[::-1] for pair in near]})
    kept = {text: side for (side, text), reason in zip(rows, reasons(found), strict=True) if reason is None}
    assert not [pair for pair in near if len({kept[text] for text in pair if text in kept}) > 1]
    assert sum(sum(counts.values()) for counts in found.left().values()) == len(rows) - sum(found.kept().values())
