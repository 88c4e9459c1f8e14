"""Reviews as classifiers read them: without special tokens, or between `<bos>` and `<eos>`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.classification.classifier import framed, text_rows, without_empty
from models.neural.labelling.rows import Rows
from models.tokens.special import BOS, EOS

streams = st.lists(st.lists(st.integers(0, 30), max_size=9), min_size=1, max_size=9)


def rows_of(rows):
    return [rows.ids_P[first:last].tolist() for first, last in zip(rows.offsets, rows.offsets[1:], strict=False)]


@given(streams)
def test_special_tokens_go_and_unknown_words_stay(reviews):
    expected = [[token for token in review if token == 0 or token >= 9] for review in reviews]
    texts = text_rows(Rows.of(reviews))
    assert rows_of(texts) == expected
    if any(expected):
        assert rows_of(without_empty(texts)) == [text for text in expected if text]


@given(streams, st.integers(0, 10))
def test_a_frame_surrounds_the_beginning_of_each_text(reviews, longest):
    texts = Rows.of([[token + 9 for token in review] for review in reviews])
    expected = [[token + 9 for token in review[:longest]] for review in reviews]
    assert rows_of(framed(texts, longest=longest)) == [[BOS, *text, EOS] for text in expected]
