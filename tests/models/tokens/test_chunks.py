"""Chunks of a text have the pieces of the text, so that what is computed once per distinct chunk holds for the text."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokens import chunks as chunks_module
from models.tokens import pretokenizer, words
from models.tokens.chunks import Chunks
from models.tokens.words import cut, folded
from tests.examples import examples
from tests.models.small_vocabularies import TRAIN, train

PARTS = st.sampled_from([
    " ", "  ", " a", "b", "Dr", ".", ".com", "w/o", " :D", "!!", "12", ",5", "'", "’s", "_url_", "_", "é", " É", "İ",
    "A.İ.", "Σ", "K", "ſ", "\n", "\t", "\u00a0", "\u2003", "\0", "世", "😀", "-", "“", "http://", "İ.1",
])  # fmt: skip
TEXTS = st.lists(st.lists(PARTS, max_size=12).map("".join), max_size=6)


@pytest.fixture(scope="module", autouse=True, params=["compiled", "arrow"])
def way(request):
    """Texts of any size are split by the compiled loops, or with pyarrow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "COMPILED_BYTES", 0 if request.param == "compiled" else 1 << 60)
        yield


def joined(chunks, lists_M):
    """The lists of the distinct chunks as a list for each text."""
    lists_N = [lists_M[code] for code in chunks.code_N]
    return [[each for found in lists_N[start:stop] for each in found] for start, stop in pairwise(chunks.offsets)]


@pytest.mark.slow
@examples(300)
@given(texts=TEXTS)
def test_the_chunks_of_a_text_are_the_text_and_fold_and_cut_as_the_text_does(texts):
    series = pl.Series("text", texts, dtype=pl.String)
    chunks = Chunks.of(series)
    assert chunks.distinct.is_unique().all()
    assert ["".join(each) for each in joined(chunks, [[chunk] for chunk in chunks.distinct])] == texts
    for fold in (False, True):
        both = folded(chunks.distinct, fold), folded(series, fold)
        assert ["".join(each) for each in joined(chunks, [[chunk] for chunk in both[0]])] == both[1].to_list()
        for rule in (words.PATTERN, f" ?(?:{words.PATTERN})", pretokenizer.PATTERN):
            found, expected = (each.str.extract_all(rule).to_list() for each in both)
            assert joined(chunks, found) == expected


LONG = st.sampled_from([
    "x" * 7, "x" * 8, " " + "x" * 7, " " + "x" * 8, " longer than", " longerthaneight", " longerthaneighu", "~ ", " ~",
    "\x7f", " longerthaneightandsixteen!", " longerthaneightandsixteen?", "!\0", "\x80", " \x80",
])  # fmt: skip


def both_ways(texts, whole_D, monkeypatch):
    found = []
    for least in (0, 1 << 60):
        monkeypatch.setattr(chunks_module, "COMPILED_BYTES", least)
        found.append(Chunks.of(texts, whole_D))
    return found


def assert_equal(left, right):
    assert left.distinct.equals(right.distinct)
    for name in ("code_N", "offsets"):
        one, other = getattr(left, name), getattr(right, name)
        assert (one.tolist(), one.dtype) == (other.tolist(), other.dtype)


@examples(300)
@given(
    texts=st.lists(st.lists(PARTS | LONG, max_size=12).map("".join), max_size=6), first=st.integers(0, 2),
    data=st.data(),
)
def test_both_ways_split_into_the_same_chunks_with_the_same_numbers(texts, first, data):
    column = pl.Series("text", texts, dtype=pl.String)[first:]
    mask = data.draw(st.none() | st.lists(st.booleans(), min_size=len(column), max_size=len(column)))
    with pytest.MonkeyPatch.context() as patch:
        assert_equal(*both_ways(column, None if mask is None else np.array(mask, bool), patch))


def test_without_numba_texts_are_split_with_pyarrow(monkeypatch):
    texts = pl.Series("text", ["one two one", "two"])
    expected = Chunks.of(texts)
    monkeypatch.setitem(sys.modules, "models.text.chunk_kernels", None)
    monkeypatch.delattr("models.text.chunk_kernels", raising=False)
    monkeypatch.setattr(chunks_module, "COMPILED_BYTES", 0)
    chunks_module._kernels.cache_clear()
    try:
        assert chunks_module._kernels() is None
        assert_equal(Chunks.of(texts), expected)
    finally:
        chunks_module._kernels.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
@examples(100)
@given(texts=TEXTS)
def test_a_text_among_others_has_the_ids_and_the_price_of_the_text_as_one_chunk(lowercase, texts):
    unit = UNITS[lowercase]
    ids, lengths, unknown, surface = unit.encode_priced(texts)
    assert lengths.tolist() == [len(unit.encode(text)) for text in texts]
    assert ids.tolist() == [token for text in texts for token in unit.encode(text).tolist()]
    for text, nats in zip(texts, surface, strict=True):
        single = Chunks.single(pl.Series("text", [text]))
        straight, pieces = folded([text], False), cut(folded([text], lowercase))
        found = unit._read(single, straight, pieces, unit.surface.symbols)
        assert nats == unit.surface.nats(single.distinct, found)[0]
    spelt = [piece for text in texts for piece in cut(folded([text], lowercase))[0] if piece not in unit._ids]
    assert unknown.tolist() == unit.spelling.nats(spelt).tolist()


UNITS = {fold: train("word", TRAIN, lowercase=fold)._unit for fold in (True, False)}
