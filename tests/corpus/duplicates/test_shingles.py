"""Texts become word forms, and these fingerprints of their shingles."""


import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.shingles import (
    Fingerprints,
    bytes_of,
    word_form,
)
from tests.corpus.duplicates.test_near_duplicates import some_words


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Great food!", "great food"),
        ("  Don't --\n\nDON\u2019T  miss it: 5/5 ", "dont dont miss it 5 5"),
        ("Crème brûlée, СУПЕР, 美味しい", "crème brûlée супер 美 味 し い"),
        ("在Vegas吃了3次", "在 vegas 吃 了 3 次"),
        ("\U0001f44d!!! ...", ""),
        ("", ""),
    ],
)
def test_words_are_letters_and_digits_in_lower_case(text, form):
    assert word_form(pl.Series([text])).to_list() == [form]


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


def fingerprint(shingle):
    """The definition in whole numbers: sum of value(byte) * base^place modulo 2^64, then SplitMix64's finaliser."""

    def mixed(value):
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    values = [mixed((byte + 1) * 0x9E3779B97F4A7C15 % 2**64) for byte in shingle]
    return mixed(sum(value * 0xD1342543DE82EF95**place for place, value in enumerate(values)) % 2**64)
