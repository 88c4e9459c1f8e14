"""Perplexity by the context kept: equal to scoring by hand, flat beyond what a model can see."""

import math
from pathlib import Path

import numpy as np
import pytest

from evaluation.probing.context_use import PREFIX, ContextUse, Kept, chosen_tokens, context_use
from models.base import ModelError
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.streams import TokenStream
from models.tokens.vocabulary import BOS, CONTEXT_IDS, EOS, STARS
from tests.models.table_lm import HistoryLM, TableLM

SIZE = 20


def stream_of(documents):
    parts = [np.array([BOS, STARS[row % 6], *document, EOS]) for row, document in enumerate(documents)]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    header = {
        "tokens": int(offsets[-1]) - 2 * len(parts), "vocabulary_digest": "made", "vocabulary_size": SIZE,
        "boundary_policy": "made",
    }
    return TokenStream(Path("made"), header, np.concatenate(parts).astype(np.uint16), offsets)


def random_stream(reviews=12, length=40, seed=1):
    draw = np.random.default_rng(seed)
    return stream_of([draw.integers(9, SIZE, draw.integers(length // 2, length)) for _ in range(reviews)])


def nats_by_hand(model, tokens, target):
    """Read one token at a time, then look the next one up."""
    state = model.start(1)
    for token in tokens:
        logp_BV, state = model.step(np.array([token]), state)
    return -float(logp_BV[0, target])


@pytest.mark.parametrize("keep_rating", [True, False])
def test_every_row_is_the_perplexity_of_the_same_tokens_after_their_last_words(keep_rating):
    model, stream = HistoryLM.random(SIZE), random_stream()
    review_N, place_N = chosen_tokens(stream, 7, 50, seed=1)
    found = context_use(model, stream, (3, 7), 50, keep_rating)
    assert (found.tokens, found.reviews) == (50, len(set(review_N.tolist())))
    for row in found.rows:
        nats = []
        for review, place in zip(review_N, place_N, strict=True):
            ids = stream.document(review).astype(int)
            begin = 0 if row.context is None else place - row.context
            rating = [ids[1]] if keep_rating and row.context is not None else []
            nats.append(nats_by_hand(model, [*rating, *ids[begin:place]], ids[place]))
        assert row.perplexity == pytest.approx(math.exp(np.mean(nats)), rel=1e-5)
    assert found.full == found.rows[-1].perplexity


def test_a_bigram_table_needs_one_token_and_says_the_same_from_any_context():
    found = context_use(TableLM.random(SIZE), random_stream(), (1, 2, 5), 60)
    assert found.effective == 1
    assert [row.perplexity for row in found.rows] == pytest.approx([found.full] * 4)
    assert [row.rise for row in found.rows] == pytest.approx([0.0] * 4)
    assert [row.error for row in found.rows] == pytest.approx([0.0] * 4)


def test_an_ngram_model_is_flat_from_its_order_on_without_torch_or_rating():
    stream = random_stream(60)
    model = NGramLM.from_counts(count_ngrams(stream, 3, SIZE, CONTEXT_IDS))
    one, two, five, full = context_use(model, stream, (1, 2, 5), 300, keep_rating=False).rows
    assert one.perplexity > 1.1 * two.perplexity
    assert two.perplexity == pytest.approx(five.perplexity) == pytest.approx(full.perplexity)
    assert context_use(model, stream, (1, 2, 5), 300, keep_rating=False).effective == 2


def test_the_effective_context_is_the_smallest_within_a_hundredth_of_the_full_perplexity():
    rows = tuple(Kept(k, p, 0.0, 0.0) for k, p in ((1, 120.0), (5, 101.1), (10, 100.9), (20, 100.0), (None, 100.0)))
    assert ContextUse(rows, 1, 1).effective == 10
    assert ContextUse((*rows[:2], rows[-1]), 1, 1).effective is None


def test_an_impossible_token_makes_the_row_infinite_and_no_context_close():
    table = np.ones((SIZE + 1, SIZE))
    table[:, 15] = 0
    found = context_use(TableLM.normalised(table), random_stream(), (2,), 60)
    assert [row.perplexity for row in found.rows] == [math.inf, math.inf]
    assert found.effective is None


def test_the_error_of_a_rise_takes_reviews_as_units():
    model, stream = HistoryLM.random(SIZE), random_stream()
    review_N, place_N = chosen_tokens(stream, 4, 80, seed=1)
    rises = []
    for review, place in zip(review_N, place_N, strict=True):
        ids = stream.document(review).astype(int)
        short, full = (nats_by_hand(model, ids[begin:place], ids[place]) for begin in (place - 4, 0))
        rises.append(short - full)
    sums = [sum(np.array(rises)[review_N == review] - np.mean(rises)) for review in set(review_N.tolist())]
    [row, _] = context_use(model, stream, (4,), 80, keep_rating=False).rows
    assert row.rise == pytest.approx(np.mean(rises), rel=1e-4)
    assert row.error == pytest.approx(math.sqrt(np.square(sums).sum()) / len(rises), rel=1e-3)


def test_chosen_tokens_have_more_words_before_them_than_the_longest_context():
    stream = random_stream(30)
    review_N, place_N = chosen_tokens(stream, 10, 200, seed=3)
    lengths = np.diff(stream.offsets)[review_N]
    assert len(place_N) == 200
    assert (place_N - PREFIX > 10).all()
    assert (place_N < lengths).all()
    assert len({*zip(review_N.tolist(), place_N.tolist(), strict=True)}) == 200, "no token twice"
    assert (np.bincount(review_N) <= 40).all()
    again, other = chosen_tokens(stream, 10, 200, seed=3), chosen_tokens(stream, 10, 200, seed=4)
    assert (again[0] == review_N).all()
    assert (other[0][:50] != review_N[:50]).any()


def test_fewer_tokens_than_asked_for_are_all_there_are():
    stream = stream_of([[9] * 12, [10] * 4])
    review_N, place_N = chosen_tokens(stream, 10, 1_000, seed=1)
    assert review_N.tolist() == [0, 0]
    assert place_N.tolist() == [13, 14]


@pytest.mark.parametrize(
    ("contexts", "tokens", "said"), [((), 5, "at least 1"), ((0, 2), 5, "at least 1"), ((2,), 0, "at least 1"),
                                     ((50,), 5, "longest has 38 words")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(contexts, tokens, said):
    with pytest.raises(ModelError, match=said):
        context_use(TableLM.random(SIZE), random_stream(), contexts, tokens)
