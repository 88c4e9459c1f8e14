"""The comparison's rows are what each model says on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.base import ModelError
from models.ngram.comparison import ALL, TextPart, compare
from models.ngram.counting.counts import count_ngrams, unseen_share
from models.ngram.lm import NGramLM
from models.ngram.measure import score_chunks
from models.tokens.vocabulary import CONTEXT_IDS

V = 40


@pytest.fixture(scope="module")
def streams(stream_of, reviews_of):
    return [stream_of(reviews_of(number, V, seed)) for number, seed in ((160, 1), (30, 2), (30, 3))]


def test_there_is_a_row_for_every_amount_order_and_method_with_that_model_s_figures(streams):
    train, validation, test = streams
    reported = []
    rows = compare(train, validation, test, V, CONTEXT_IDS, orders=(1, 3), every=(4, 1), report=reported.append)
    wanted = [(every, order, method) for every in (4, 1) for order in (1, 3) for method in ALL]
    assert [(row.every, row.order, row.method) for row in rows] == wanted
    assert rows == reported
    scored = ~np.isin(test.ids, sorted(CONTEXT_IDS))
    for row in rows:
        counts = count_ngrams(TextPart.of(train, row.every), row.order, V, CONTEXT_IDS)
        assert row.tokens == counts.orders[0].raw_M.sum()
        assert row.ngrams == sum((entry.raw_M > 0).sum() for entry in counts.orders)
        assert row.unseen_share == unseen_share(counts, test)[row.order]
        assert (row.measured_on, row.seconds > 0) == ("test", True)
        if row.method == "stupid_backoff":
            assert row.perplexity is row.zero_probability_events is None
            continue
        model = NGramLM.from_counts(counts, row.method, held_out=validation)
        nats = np.concatenate(list(score_chunks(model, test.ids)))
        assert row.perplexity == pytest.approx(math.exp(nats.sum() / scored.sum()))
        assert row.zero_probability_events == np.isinf(nats).sum()
        if row.method != "maximum_likelihood":
            assert math.isfinite(row.perplexity)
    assert any(row.perplexity == math.inf for row in rows)


def test_parts_are_documents_spread_over_the_stream_and_part_of_larger_parts(stream_of):
    stream = stream_of([[1, 3, word, 2] for word in range(9, 19)])
    words = {every: TextPart.of(stream, every).ids[2::4].tolist() for every in (1, 2, 4, 16)}
    assert words == {1: list(range(9, 19)), 2: [9, 11, 13, 15, 17], 4: [9, 13, 17], 16: [9]}
    assert TextPart.of(stream, 4).offsets.tolist() == [0, 4, 8, 12]
    assert TextPart.of(stream_of([]), 2).offsets.tolist() == [0]


def test_without_a_test_stream_the_rows_say_that_they_were_measured_on_validation(streams):
    [row] = compare(streams[0], streams[1], None, V, CONTEXT_IDS, methods=["witten_bell"], orders=[2])
    assert row.measured_on == "validation"


@pytest.mark.parametrize("wrong", [{"methods": ["good_turing"]}, {"orders": [7]}, {"every": [0]}])
def test_what_does_not_exist_is_refused_before_any_work(wrong, streams):
    with pytest.raises(ModelError, match=r"good_turing|order is 7|every is") as caught:
        compare(*streams, V, CONTEXT_IDS, **wrong)
    assert caught.value.kind == "input"
