"""The frozen split: a pure function of the id, and duplicates that leave the less sacred side."""

import hashlib

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.split import SPLITS, assign, duplicates, places
from reviewlm.config import SplitConfig

IDS = pl.Series([f"id-{number}" for number in range(20_000)])


def test_places_are_these_numbers_for_ever():
    # printf 'reviewlm\0KU_O5udG6zpxOg-VcAEodg' | sha256sum
    assert places(pl.Series(["KU_O5udG6zpxOg-VcAEodg"]), "reviewlm").to_list() == [0x42612C5870D1A49A]
    expected = [hashlib.sha256(b"salt\x00" + name.encode()).digest()[:8] for name in ("a", "é", "")]
    assert places(pl.Series(["a", "é", ""]), "salt").to_list() == [int.from_bytes(value, "big") for value in expected]


def test_known_reviews_stand_where_they_always_stood():
    sides = assign(pl.Series([f"r{number}" for number in range(24)]), SplitConfig())
    moved = {number: side for number, side in enumerate(sides) if side != "train"}
    assert moved == {5: "validation", 14: "test", 17: "validation", 20: "validation"}


def test_shares_are_kept():
    counts = assign(IDS, SplitConfig(validation=0.2, test=0.1)).value_counts().rows()
    shares = {name: count / len(IDS) for name, count in counts}
    assert shares == pytest.approx({"test": 0.1, "validation": 0.2, "train": 0.7}, abs=0.01)


def test_a_larger_validation_moves_nothing_into_or_out_of_the_test():
    one, two = assign(IDS, SplitConfig()), assign(IDS, SplitConfig(validation=0.3))
    assert ((one == "test") == (two == "test")).all()


def test_another_salt_draws_another_split():
    agree = (assign(IDS, SplitConfig()) == assign(IDS, SplitConfig(salt="other"))).mean()
    assert 0.6 < agree < 0.72  # independent draws agree with probability 0.8² + 2 · 0.1² = 0.66


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), unique=True, max_size=30), st.data())
@settings(max_examples=100, deadline=None)
def test_each_review_has_one_side_that_no_other_review_changes(ids, data):
    whole = dict(zip(ids, assign(pl.Series(ids, dtype=pl.String), SplitConfig()), strict=True))
    some = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    assert assign(pl.Series(some, dtype=pl.String), SplitConfig()).to_list() == [whole[name] for name in some]
    assert set(whole.values()) <= set(SPLITS)


def leaving(rows):
    """The rule, row by row, in plain Python."""
    result = []
    for place, name, side, text in rows:
        others = {other[2] for other in rows if other[3] == text}
        earlier = [r for r in rows if r[3] == text and r[2] == side == "train" and (r[0], r[1]) < (place, name)]
        if side != "test" and "test" in others:
            result.append("of_test")
        elif side == "train" and "validation" in others:
            result.append("of_validation")
        else:
            result.append("of_train" if earlier else None)
    return result


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(SPLITS), st.integers(0, 4)), max_size=25))
@settings(max_examples=200, deadline=None)
def test_duplicates_leave_as_the_rule_says(drawn):
    rows = [(place, f"r{number}", side, bytes([text])) for number, (place, side, text) in enumerate(drawn)]
    schema = {"place": pl.UInt64, "review_id": pl.String, "split": pl.String, "text_key": pl.Binary}
    keys = pl.DataFrame(rows, schema=schema, orient="row")
    assert duplicates(keys)["left"].to_list() == leaving(rows)
