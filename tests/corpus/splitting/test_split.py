"""The frozen split: a pure function of the id, and duplicates that leave the less sacred side."""

import hashlib

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from core.config.sections.data import SplitConfig
from corpus.splitting.split import SPLITS, assign, places
from tests.examples import examples


def test_places_are_these_numbers_for_ever():
    # printf 'reviewlm\0KU_O5udG6zpxOg-VcAEodg' | sha256sum
    assert places(pl.Series(["KU_O5udG6zpxOg-VcAEodg"]), "reviewlm").to_list() == [0x42612C5870D1A49A]
    expected = [hashlib.sha256(b"salt\x00" + name.encode()).digest()[:8] for name in ("a", "é", "")]
    assert places(pl.Series(["a", "é", ""]), "salt").to_list() == [int.from_bytes(value, "big") for value in expected]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), unique=True, max_size=30), st.data())
@examples(100)
def test_each_review_has_one_side_that_no_other_review_changes(ids, data):
    whole = dict(zip(ids, assign(pl.Series(ids, dtype=pl.String), SplitConfig()), strict=True))
    some = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    assert assign(pl.Series(some, dtype=pl.String), SplitConfig()).to_list() == [whole[name] for name in some]
    assert set(whole.values()) <= set(SPLITS)
