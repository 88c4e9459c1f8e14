"""Texts become word forms, and these fingerprints of their shingles."""


import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.shingles import (
    Fingerprints,
    bytes_of,
)
from tests.corpus.duplicates.test_near_duplicates import some_words


@given(texts=st.lists(some_words, min_size=1, max_size=12), size=st.integers(1, 4))
def test_two_shingles_have_one_fingerprint_exactly_if_they_are_equal(texts, size):
    hashes, offsets = Fingerprints(size).of(*bytes_of(pl.Series(texts)))
    of_shingle, of_hash = {}, {}
    for number, text in enumerate(texts):
        found = text.split()
        expected = [tuple(found[i : i + size]) for i in range(max(1, len(found) - size + 1))] if found else []
        got = hashes[offsets[number] : offsets[number + 1]].tolist()
        assert len(got) == len(expected)
        for shingle, value in zip(expected, got, strict=True):
            assert of_shingle.setdefault(shingle, value) == value
            assert of_hash.setdefault(value, shingle) == shingle
