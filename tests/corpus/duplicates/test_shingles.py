"""Texts become word forms, and these fingerprints of their shingles."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.shingles import (
    Fingerprints,
    bytes_of,
    mix,
    sets,
    simple_bytes,
    slices,
    word_bytes,
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


@given(st.lists(st.text(st.sampled_from("aZ9 '.,\n\t_\x7f\u2019é一ß\u0301İ\U0001f44d") | st.characters(codec="utf-8"))))
def test_word_forms_from_the_table_of_bytes_are_those_of_the_expressions(texts):
    series = pl.Series(texts, dtype=pl.String)
    forms = word_form(series)
    data, offsets, counts = word_bytes(*simple_bytes(series))
    assert series.to_list() == texts
    assert [data[a:b].tobytes().decode() for a, b in pairwise(offsets.tolist())] == forms.to_list()
    assert counts.tolist() == [len(form.split()) for form in forms]
    some, ends, _ = word_bytes(*simple_bytes(series), 2)
    assert [some[a:b].tobytes() for a, b in pairwise(ends.tolist())] == [
        form.encode() for form, count in zip(forms, counts, strict=True) if count > 1
    ]


def fingerprint(shingle):
    """The definition in whole numbers: sum of value(byte) * base^place modulo 2^64, then SplitMix64's finaliser."""

    def mixed(value):
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    values = [mixed((byte + 1) * 0x9E3779B97F4A7C15 % 2**64) for byte in shingle]
    return mixed(sum(value * 0xD1342543DE82EF95**place for place, value in enumerate(values)) % 2**64)


def test_a_fingerprint_does_not_depend_on_what_stands_before_it_nor_on_the_process():
    alone, _ = Fingerprints(3).of(*bytes_of(pl.Series(["the food was good"])))
    behind, offsets = Fingerprints(3).of(*bytes_of(pl.Series(["x " * 999 + "x", "", "the food was good"])))
    assert behind[offsets[2] :].tolist() == alone.tolist()
    assert alone.tolist() == [fingerprint(b"the food was"), fingerprint(b"food was good")]
    assert alone.tolist() == [17562438123284412657, 4919050775351902090]


def test_slices_keep_every_text_and_bound_their_bytes():
    texts = pl.Series(["aaaa", "bbbb", "", "c" * 50, "dd", "ee"])
    parts = [texts[part] for part in slices(bytes_of(texts)[1], 10)]
    assert pl.concat(parts).to_list() == texts.to_list()
    assert [part.to_list() for part in parts] == [["aaaa", "bbbb", ""], ["c" * 50], ["dd", "ee"]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=9))
def test_the_set_of_each_text_has_its_fingerprints_once_in_their_order(texts):
    values = [mix(np.array(text, np.uint64)) for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=int)])
    fingerprints = np.concatenate([np.zeros(0, np.uint64), *values])
    found, ends = sets(fingerprints, offsets)
    assert [found[a:b].tolist() for a, b in pairwise(ends.tolist())] == [
        list(dict.fromkeys(value.tolist())) for value in values
    ]
