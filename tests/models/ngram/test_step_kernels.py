"""The compiled look-ups of a step find what numpy's find, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from models.ngram import lookup
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM, NGramState
from models.tokens.vocabulary import CONTEXT_IDS
from tests.models.ngram.smoothing.odd_corpora import ODD, V


def fitted(documents, order, stream_of, **options) -> NGramLM:
    return NGramLM.from_counts(count_ngrams(stream_of(documents), order, V, CONTEXT_IDS), **options)


def states(model, seed=1, streams=50):
    """States after random tokens and after none, with places without a token before a given one."""
    tokens_BT = np.random.default_rng(seed).integers(0, V, (streams, 6))
    read = model.read(tokens_BT, model.start(streams))
    return NGramState.join([read, model.start(2), model.read(tokens_BT[:3, :1], model.start(3))])


def both_ways(model, state):
    """Return contexts and distributions, first by the plain way, then by the compiled look-ups."""
    found = []
    for kernels in (), (lookup.step_kernels(),):
        model._looked_up = None
        contexts = [row_B.tolist() for row_B in model.contexts(state, *kernels)]
        model._looked_up = None
        found.append((contexts, model._next(state, np.float32, *kernels).tolist()))
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_contexts_and_distributions_are_the_same_to_the_bit(order, precision, stream_of, reviews_of):
    model = fitted(reviews_of(150, V, 4), order, stream_of)
    model = NGramLM(model.tables.to(precision))
    state = states(model)
    assert order == 1 or any((row_B >= 0).any() and (row_B < 0).any() for row_B in model.contexts(state))
    plain, compiled = both_ways(model, state)
    assert compiled == plain


@pytest.mark.parametrize("corpus", ODD)
def test_odd_corpora_make_no_difference(corpus, stream_of):
    model = fitted(ODD[corpus], 4, stream_of)
    plain, compiled = both_ways(model, states(model))
    assert compiled == plain


def test_a_pruned_model_makes_no_difference(stream_of, reviews_of):
    model = fitted(reviews_of(150, V, 4), 4, stream_of, prune=(0, 1, 2))
    plain, compiled = both_ways(model, states(model))
    assert compiled == plain


def test_a_step_uses_them_and_needs_none(stream_of, reviews_of, monkeypatch):
    model, used = fitted(reviews_of(150, V, 4), 3, stream_of), []
    kernels = lookup.step_kernels()
    contexts_of = kernels.contexts_of
    monkeypatch.setattr(kernels, "contexts_of", lambda *given: used.append(1) or contexts_of(*given))
    logp_BV, _ = model.step(np.array([9, 10]), model.start(2))
    assert used
    monkeypatch.setattr("models.ngram.lm.step_kernels", lambda: None)
    model._looked_up = None
    assert model.step(np.array([9, 10]), model.start(2))[0].equal(logp_BV)
    assert len(used) == 1
