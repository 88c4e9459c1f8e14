"""Counts of distinct strings in bounded memory are exact. Oracle: `collections.Counter`."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reviewlm.training.vocabularies.type_counts
from reviewlm.training.vocabularies.type_counts import TypeCounts
from tests.examples import examples


@examples(60)
@given(
    st.lists(st.lists(st.text("abc", max_size=3), max_size=20), max_size=12),
    st.sampled_from([1, 4, 1000]),
)
def test_each_string_has_its_whole_count_in_one_row(batches, rows):
    with pytest.MonkeyPatch.context() as patch, TypeCounts("word", ["count"]) as counts:
        patch.setattr(reviewlm.training.vocabularies.type_counts, "ROWS", rows)
        for batch in batches:
            counts.add(
                pl.DataFrame({"word": batch}, {"word": pl.String}).with_columns(
                    count=pl.lit(1, pl.Int64)
                )
            )
        found = [row for part in counts.parts() for row in part.iter_rows()]
    assert len(dict(found)) == len(found)
    assert dict(found) == Counter(word for batch in batches for word in batch)
