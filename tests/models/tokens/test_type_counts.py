"""Counts of distinct strings in bounded memory are exact. Oracle: `collections.Counter`."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.tokens.type_counts
from models.tokens.type_counts import CharacterCounts, TypeCounts
from tests.examples import examples
from tests.models.small_vocabularies import ANY_TEXT


@examples(60)
@given(st.lists(st.lists(st.text("abc", max_size=3), max_size=20), max_size=12), st.sampled_from([1, 4, 1000]))
def test_each_string_has_its_whole_count_in_one_row(batches, rows):
    with pytest.MonkeyPatch.context() as patch, TypeCounts("word", ["count"]) as counts:
        patch.setattr(models.tokens.type_counts, "ROWS", rows)
        for batch in batches:
            counts.add(pl.DataFrame({"word": batch}, {"word": pl.String}).with_columns(count=pl.lit(1, pl.Int64)))
        found = [row for part in counts.parts() for row in part.iter_rows()]
    assert len(dict(found)) == len(found)
    assert dict(found) == Counter(word for batch in batches for word in batch)


def test_many_long_strings_go_to_the_disk_too(monkeypatch, tmp_path):
    monkeypatch.setattr(models.tokens.type_counts, "BYTES", 10_000)
    with TypeCounts("word", ["count"], tmp_path) as counts:
        for letter in "abc":
            counts.add(pl.DataFrame({"word": [letter * 9_000, "short"], "count": [1, 2]}))
        assert counts.spills
        assert any(tmp_path.rglob("*.parquet"))
        assert {row[0][:5]: row[1] for part in counts.parts() for row in part.iter_rows()} == {
            "aaaaa": 1, "bbbbb": 1, "ccccc": 1, "short": 6
        }
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.lists(ANY_TEXT, max_size=8))
def test_characters_are_counted_as_often_as_their_text(texts):
    counts, weighted, expected = CharacterCounts(), CharacterCounts(), Counter()
    counts.add(texts)
    weighted.add(texts, np.arange(len(texts)))
    for times, text in enumerate(texts):
        expected.update(text * times)
    assert dict(counts.items()) == Counter("".join(texts))
    assert dict(weighted.items()) == expected
