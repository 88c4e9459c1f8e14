"""Chunks of a text have the pieces of the text, so that what is computed once per distinct chunk holds for the text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.tokens import subword_codecs, words
from reviewlm.models.tokens.word_pieces import Chunks
from reviewlm.models.tokens.words import cut, fold_texts
from tests.examples import examples
from tests.models.small_vocabularies import TRAIN, train

PARTS = st.sampled_from(
    [
        " ",
        "  ",
        " a",
        "b",
        "Dr",
        ".",
        ".com",
        "w/o",
        " :D",
        "!!",
        "12",
        ",5",
        "'",
        "’s",
        "_url_",
        "_",
        "é",
        " É",
        "İ",
        "A.İ.",
        "Σ",
        "K",
        "ſ",
        "\n",
        "\t",
        "\u00a0",
        "\u2003",
        "\0",
        "世",
        "😀",
        "-",
        "“",
        "http://",
        "İ.1",
    ]
)
TEXTS = st.lists(st.lists(PARTS, max_size=12).map("".join), max_size=6)


def joined(chunks, lists_M):
    """The lists of the distinct chunks as a list for each text."""
    lists_N = [lists_M[code] for code in chunks.code_N]
    return [
        [each for found in lists_N[start:stop] for each in found]
        for start, stop in pairwise(chunks.offsets)
    ]


@pytest.mark.slow
@examples(300)
@given(texts=TEXTS)
def test_the_chunks_of_a_text_make_up_the_text(texts):
    chunks = Chunks.of(pl.Series("text", texts, dtype=pl.String))
    assert chunks.distinct.is_unique().all()
    pieces = joined(chunks, [[chunk] for chunk in chunks.distinct])
    assert ["".join(each) for each in pieces] == texts


@pytest.mark.slow
@pytest.mark.parametrize("fold", [False, True])
@examples(300)
@given(texts=TEXTS)
def test_the_chunks_of_a_text_are_cut_as_the_text_is(fold, texts):
    series = pl.Series("text", texts, dtype=pl.String)
    chunks = Chunks.of(series)
    folded_chunks, folded_texts = fold_texts(chunks.distinct, fold), fold_texts(series, fold)
    pieces = joined(chunks, [[chunk] for chunk in folded_chunks])
    assert ["".join(each) for each in pieces] == folded_texts.to_list()
    for rule in (words.PATTERN, f" ?(?:{words.PATTERN})", subword_codecs.PATTERN):
        found = folded_chunks.str.extract_all(rule).to_list()
        assert joined(chunks, found) == folded_texts.str.extract_all(rule).to_list()


WAYS = pytest.mark.parametrize("way", ["encode_priced", "_encode_together"])
CASES = pytest.mark.parametrize("lowercase", [True, False])


@pytest.mark.slow
@WAYS
@CASES
@examples(100)
@given(texts=TEXTS)
def test_a_text_among_others_has_the_ids_of_the_text_alone(
    lowercase,
    way,
    texts,
):
    unit = UNITS[lowercase]
    ids, lengths, _, _ = getattr(unit, way)(texts, True)
    alone = [unit.encode(text) for text in texts]
    assert lengths.tolist() == [len(ids_of_text) for ids_of_text in alone]
    assert ids.tolist() == [token for ids_of_text in alone for token in ids_of_text.tolist()]


@pytest.mark.slow
@WAYS
@CASES
@examples(100)
@given(texts=TEXTS)
def test_the_surface_of_a_text_among_others_costs_what_it_costs_as_one_chunk(
    lowercase,
    way,
    texts,
):
    unit = UNITS[lowercase]
    _, _, _, surface = getattr(unit, way)(texts, True)
    for text, nats in zip(texts, surface, strict=True):
        single = Chunks.single(pl.Series("text", [text]))
        straight, pieces = fold_texts([text], False), cut(fold_texts([text], lowercase))
        found = unit.surface_pieces(single, straight, pieces, unit.surface.symbols)
        assert nats == unit.surface.nats(single.distinct, found)[0]


@pytest.mark.slow
@WAYS
@CASES
@examples(100)
@given(texts=TEXTS)
def test_the_unknown_words_of_a_text_among_others_cost_what_their_spelling_does(
    lowercase,
    way,
    texts,
):
    unit = UNITS[lowercase]
    _, _, unknown, _ = getattr(unit, way)(texts, True)
    expected = []
    for text in texts:
        pieces = cut(fold_texts([text], lowercase))[0]
        spelt = [piece for piece in pieces if piece not in unit._ids]
        expected += unit.spelling.nats_of_texts(spelt, np.zeros(len(spelt), int)).tolist()
    assert unknown.tolist() == expected


UNITS = {fold: train("word", TRAIN, lowercase=fold)._unit for fold in (True, False)}


def test_few_texts_are_encoded_without_columns_but_for_those_beyond_ascii(monkeypatch):
    unit = UNITS[True]
    texts = ["The soup was zorgy.", "Crème brûlée!", "Zorgy again, ma'am.", "Ça va, zorgy?"]
    seen = []
    together = unit._encode_together
    monkeypatch.setattr(
        unit, "_encode_together", lambda few, whole: seen.extend(few) or together(few, whole)
    )
    found = unit.encode_priced(texts)
    assert seen == [texts[1], texts[3]]
    for one, other in zip(found, together(texts, True), strict=True):
        assert one.tolist() == other.tolist()
