"""Encoding by distinct pieces gives the ids that the tokenizer gives for the whole text."""

from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

import models.tokens.subword_codecs
from models.tokens.subword_codecs import SPLIT
from models.tokens.words import FIRST
from tests.examples import examples
from tests.models.small_vocabularies import ANY_TEXT
from training.vocabularies.subwords import count_pieces

ODD = st.text("aB1é' \n\t\r\u00a0\u2028\u3000\u180e\u200b\u0301.,!?s…👍", max_size=80)
TEXTS = st.lists(st.one_of(ANY_TEXT, ODD), max_size=6)


def by_the_tokenizer(vocabulary, texts):
    encodings = vocabulary._unit._tokenizer.encode_batch(texts, add_special_tokens=False)
    return [[one + FIRST - 1 for one in encoding.ids] for encoding in encodings]


@pytest.mark.parametrize("unit", ["bpe", "unigram"])
@examples(200)
@given(texts=TEXTS)
@example(texts=["\n\n's  it's\n 're \n\n", "", "  ", "a \t b\n\n\nThe end. \n"])
@example(texts=["\u00a0\u00a0x \u3000y", " \u2028's", "word\u180e \u180eword", "'ſ 'S 's"])
def test_ids_are_those_of_the_tokenizer_for_any_text(unit, vocabularies, texts):
    with patch.object(models.tokens.subword_codecs, "FEW", -1):  # never the short way
        found = vocabularies[unit].encode_batch(texts)
    assert [ids.tolist() for ids in found] == by_the_tokenizer(vocabularies[unit], texts)


@examples(200)
@given(texts=TEXTS)
def test_pieces_are_counted_as_the_package_cuts_them(texts):
    cutter = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    expected = {}
    for text in texts:
        for piece, _ in cutter.pre_tokenize_str(text):
            expected[piece] = expected.get(piece, 0) + 1
    assert dict(count_pieces(texts).iter_rows()) == expected
