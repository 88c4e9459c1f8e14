"""The curve of a model by the tokens kept, and the length from which more context is idle."""

from math import log
from types import SimpleNamespace

import numpy as np
import pytest

from evaluation.probing.context_length import SCHEMA, context_curve, keeps_rating
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.streams import TokenStream, write_stream
from models.tokens.vocabulary import CONTEXT_IDS


def ngram(vocabulary, stream, order):
    model = NGramLM.from_counts(count_ngrams(stream, order, vocabulary.size, CONTEXT_IDS))
    return SimpleNamespace(vocabulary=vocabulary, model=model, spec=SimpleNamespace(kind="ngram"))


def test_a_trigram_model_needs_two_tokens(vocabulary, stream):
    curve, effective = context_curve(ngram(vocabulary, stream, 3), stream, (4, 1, 2), 100, seed=1)
    assert curve.schema == SCHEMA
    assert curve["kept"].to_list() == [1, 2, 4, None]
    one, two, four, full = curve["nats_per_token"].to_list()
    assert two == pytest.approx(full, abs=1e-9) == four
    assert one > full + log(1.01)
    assert effective == 2
    assert curve["rise"].to_list() == pytest.approx([one - full, 0, 0, 0], abs=1e-9)
    assert set(curve["tokens"]) == {100}


def test_a_uniform_model_needs_as_little_as_was_tried(uniform_bundle, stream):
    curve, effective = context_curve(uniform_bundle, stream, (2, 5), 50, seed=1)
    entries = uniform_bundle.vocabulary.size - len(CONTEXT_IDS)
    assert curve["nats_per_token"].to_list() == pytest.approx([log(entries)] * 3)
    assert effective == 2


def test_contexts_for_which_reviews_are_too_short_are_left_out(uniform_bundle, stream, reviews, vocabulary, tmp_path):
    longest = int(np.diff(stream.offsets).max())
    curve, _ = context_curve(uniform_bundle, stream, (1, 8, longest), 200, seed=1)
    assert curve["kept"].to_list() == [1, 8, None]
    curve, _ = context_curve(uniform_bundle, stream, (1, 8), 1_000_000, seed=1)
    assert curve["kept"].to_list() == [1, None], "too few targets for any: the shortest context with what there is"
    write_stream(tmp_path, vocabulary, [reviews.head(3).with_columns(text=reviews["text"].str.head(0).head(3))])
    curve, effective = context_curve(uniform_bundle, TokenStream.open(tmp_path), (1, 8), 10, seed=1)
    assert (len(curve), curve.schema, effective) == (0, SCHEMA, None)


def test_no_length_is_named_where_even_the_longest_is_too_short(vocabulary, stream):
    curve, effective = context_curve(ngram(vocabulary, stream, 5), stream, (1,), 100, seed=1)
    assert curve["rise"][0] > 0.01
    assert effective is None


@pytest.mark.parametrize(
    ("kind", "parts", "keeps"),
    [
        ("lstm", (), True), ("ngram", (), False), ("nplm", (), False), ("cache", ("ngram",), False),
        ("mixture", ("ngram", "lstm"), True), ("mixture", ("ngram", "nplm"), False),
    ],
)  # fmt: skip
def test_the_rating_is_kept_where_a_part_of_the_model_can_use_it(kind, parts, keeps):
    inner = tuple(SimpleNamespace(spec=SimpleNamespace(kind=part), model=object()) for part in parts)
    assert keeps_rating(SimpleNamespace(kind=kind), SimpleNamespace(parts=inner)) is keeps
