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


SIZES = pytest.mark.parametrize("vocabulary_size", [12, 1 << 16, 1 << 20])


def followers_of(listed, vocabulary_size) -> tuple[list[int], Followers]:
    """Return the keys of the listed pairs in their order, and the table that is made of them."""
    keys = [context * vocabulary_size + word for context, word in sorted(listed)]
    return keys, Followers.from_keys(np.array(keys, np.int64), 7, vocabulary_size)


@SIZES
@examples(60)
@given(listed=LISTED)
def test_a_listed_ngram_is_found_at_its_row(listed, vocabulary_size):
    rows = {pair: row for row, pair in enumerate(sorted(listed))}
    _, followers = followers_of(listed, vocabulary_size)
    asked = np.array([(context, word) for context in range(7) for word in range(12)])
    expected = [rows.get(pair, NONE) for pair in map(tuple, asked.tolist())]
    assert followers.find(asked[:, 0], asked[:, 1]).tolist() == expected
    alone = [int(followers.find(pair[:1], pair[1:])[0]) for pair in asked]
    assert alone == expected


@SIZES
@examples(60)
@given(listed=LISTED)
def test_a_table_gives_its_ngrams_back_in_order(listed, vocabulary_size):
    keys, followers = followers_of(listed, vocabulary_size)
    contexts = [context for context, _ in sorted(listed)]
    assert followers.keys(vocabulary_size).tolist() == keys
    assert followers.contexts().tolist() == contexts
    assert followers.contexts(np.arange(len(keys))).tolist() == contexts


@pytest.mark.parametrize(
    ("precision", "kind", "tolerance"),
    [("double", np.float64, 0), ("single", np.float32, 1e-6 * math.log(10))],
)
def test_stored_tables_are_as_exact_as_their_precision(
    precision,
    kind,
    tolerance,
    tables,
    tmp_path,
):
    tables.save(tmp_path, precision)
    loaded = Tables.load(tmp_path)
    assert loaded.precision == precision
    assert {array.dtype for array in (*loaded.logp, *loaded.backoff)} == {np.dtype(kind)}
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
def test_facts_that_cannot_be_are_refused(
    facts,
    expected,
    tables,
    tmp_path,
):
    tables.save(tmp_path)
    path = tmp_path / "ngram.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    with pytest.raises(ModelError, match=expected) as caught:
        Tables.load(tmp_path)
    assert caught.value.kind == "bundle"


@pytest.mark.parametrize(
    ("name", "change"),
    [("first_3", lambda array: array[::-1]), ("words_3", lambda array: array + len(array))],
    ids=["offsets that do not ascend", "words that do not exist"],
)
def test_tables_that_contradict_themselves_are_refused(
    name,
    change,
    tables,
    tmp_path,
):
    tables.save(tmp_path)
    array = np.load(tmp_path / f"{name}.npy")
    array[1:-1] = change(array[1:-1])
    np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(ModelError, match=name) as caught:
        Tables.load(tmp_path)
    assert caught.value.kind == "bundle"
