"""The arrays of a model: how n-grams are found in them, what their files hold, and old files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import NONE, Followers
from reviewlm.models.ngram.tables import Tables
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import packed_tables
from reviewlm.training.ngram.smoothing.kneser_ney import estimate
from tests.examples import examples

LISTED = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 11)), max_size=50)


@pytest.fixture(scope="module")
def tables(golden_text) -> Tables:
    text = golden_text("train")
    counts = count_ngrams(text, 4, len(text.words), (1,))
    return packed_tables(counts, estimate(counts))


@pytest.mark.parametrize("vocabulary_size", [12, 1 << 16, 1 << 20])
@examples(60)
@given(listed=LISTED)
def test_every_listed_ngram_is_found_at_its_row_and_no_other_however_many_are_asked(
    listed, vocabulary_size
):
    rows = {pair: row for row, pair in enumerate(sorted(listed))}
    keys = np.array([context * vocabulary_size + word for context, word in rows], np.int64)
    followers = Followers.from_keys(keys, 7, vocabulary_size)
    asked = np.array([(context, word) for context in range(7) for word in range(12)])
    expected = [rows.get(pair, NONE) for pair in map(tuple, asked.tolist())]
    assert followers.find(asked[:, 0], asked[:, 1]).tolist() == expected
    alone = [int(followers.find(pair[:1], pair[1:])[0]) for pair in asked]
    assert alone == expected
    assert followers.keys(vocabulary_size).tolist() == keys.tolist()
    assert followers.contexts().tolist() == [context for context, _ in rows]
    assert followers.contexts(np.arange(len(rows))).tolist() == [context for context, _ in rows]


def test_double_precision_keeps_every_bit_and_single_every_log10_within_1e_6(tables, tmp_path):
    for precision, kind in (("double", np.float64), ("single", np.float32)):
        tables.save(tmp_path / precision, precision)
        loaded = Tables.load(tmp_path / precision)
        assert loaded.precision == precision
        assert {array.dtype for array in (*loaded.logp, *loaded.backoff)} == {np.dtype(kind)}
        tolerance = 0 if precision == "double" else 1e-6 * math.log(10)
        for ours, theirs in zip(
            (*tables.logp, *tables.backoff), (*loaded.logp, *loaded.backoff), strict=True
        ):
            finite = np.isfinite(ours)
            assert np.array_equal(finite, np.isfinite(theirs))
            assert np.abs(ours[finite] - theirs[finite]).max(initial=0) <= tolerance


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"precision": "half"}, "precision"),
        ({"ngrams": [3]}, "contradict"),
        ({"order": "3"}, "contradict"),
        ({"given": [999]}, "999"),
        ({"given": [-1]}, "0 or more"),
        ({"given": ["1"]}, "whole numbers"),
        ({"given": 1}, "cannot be read"),
        ({"vocabulary_size": 12}, "for V 12"),
        ({"vocabulary_size": "x"}, "whole"),
    ],
)
def test_facts_that_cannot_be_are_refused(facts, expected, tables, tmp_path):
    tables.save(tmp_path)
    path = tmp_path / "ngram.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    with pytest.raises(ModelError, match=expected) as caught:
        Tables.load(tmp_path)
    assert caught.value.kind == "bundle"


def test_offsets_that_do_not_ascend_and_words_that_do_not_exist_are_refused(tables, tmp_path):
    for name, change in (
        ("first_3", lambda array: array[::-1]),
        ("words_3", lambda array: array + len(array)),
    ):
        tables.save(tmp_path)
        array = np.load(tmp_path / f"{name}.npy")
        array[1:-1] = change(array[1:-1])
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(ModelError, match=name) as caught:
            Tables.load(tmp_path)
        assert caught.value.kind == "bundle"
