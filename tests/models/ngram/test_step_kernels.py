"""The compiled look-ups of steps and short texts find what numpy's find, to the bit."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from models.base import ModelError
from models.ngram import lookup
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM, NGramState
from models.ngram.lookup import NONE
from models.ngram.tables import Tables
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


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("order", [2, 3])
def test_a_follower_outside_the_vocabulary_is_an_error_that_names_its_file(
    compiled, order, stream_of, reviews_of, tmp_path, monkeypatch
):
    """Opening a model looks at few places of a long file. Only the first follower is right here."""
    fitted(reviews_of(150, V, 4), 3, stream_of).save(tmp_path)
    words = np.load(tmp_path / f"words_{order}.npy")
    words[1:] = V
    np.save(tmp_path / f"words_{order}.npy", words)
    monkeypatch.setattr("models.ngram.tables._SHORT", 10)
    monkeypatch.setattr("models.ngram.tables._PLACES", 1)
    model, kernels = NGramLM(Tables.load(tmp_path)), lookup.step_kernels() if compiled else None
    file = re.escape(str(tmp_path / f"words_{order}.npy"))
    with pytest.raises(ModelError, match=f"^{file} is damaged: it holds ids from {V} on") as caught:
        model._next(states(model), np.float32, kernels)
    assert caught.value.kind == "bundle"


@pytest.mark.parametrize("compiled", [True, False])
def test_followers_are_written_up_to_the_end_of_their_rows_and_words_outside_are_refused(compiled):
    """Of V = 4. The offsets of a damaged file may lie outside the three rows."""
    write = (lookup.step_kernels() if compiled else lookup).write_followers
    first_C, logp_M, out_UV = np.array([0, 1, 99], np.uint32), np.array([-1.0, -2.0, -3.0]), np.zeros((3, 4))
    contexts = np.array([1, NONE, 0]), first_C
    assert write(out_UV, *contexts, np.array([3, 0, 2], np.uint16), logp_M, np.array([-0.5, 0, 0]))
    assert out_UV.tolist() == [[-2.5, 0, -3.5, 0], [0, 0, 0, 0], [0, 0, 0, -1]]
    assert not write(np.zeros((3, 4)), *contexts, np.array([3, 0, 4], np.uint16), logp_M, np.zeros(3))


# Scores of short texts


def scored(model, ids_BT, kernels, monkeypatch):
    """Return nats of a text that is read in two parts, the second from the state after the first."""
    monkeypatch.setattr("models.ngram.tables.short_kernels", lambda tokens: kernels)
    first_BT, state = model.score(ids_BT[:, :3], model.start(len(ids_BT)))
    return np.concatenate([first_BT, model.score(ids_BT[:, 3:], state)[0]], axis=1).tolist()


@pytest.mark.parametrize("order", [1, 2, 4, 6])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_a_score_of_a_short_text_is_the_same_to_the_bit(order, precision, stream_of, reviews_of, monkeypatch):
    model = fitted(reviews_of(150, V, 4), order, stream_of)
    model = NGramLM(model.tables.to(precision))
    ids_BT = np.random.default_rng(5).integers(0, V, (7, 30))
    plain = scored(model, ids_BT, None, monkeypatch)
    assert scored(model, ids_BT, lookup.step_kernels(), monkeypatch) == plain
    assert scored(model, np.asfortranarray(ids_BT), lookup.step_kernels(), monkeypatch) == plain
    assert scored(model, ids_BT[:, :3], lookup.step_kernels(), monkeypatch) == [row[:3] for row in plain]


@pytest.mark.parametrize("corpus", ODD)
def test_scores_after_odd_corpora_make_no_difference(corpus, stream_of, monkeypatch):
    model = fitted(ODD[corpus], 4, stream_of)
    ids_BT = np.random.default_rng(6).integers(0, V, (3, 20))
    plain = scored(model, ids_BT, None, monkeypatch)
    assert scored(model, ids_BT, lookup.step_kernels(), monkeypatch) == plain


def test_tables_with_arrays_of_several_types_are_read_by_numpy(stream_of, reviews_of, monkeypatch):
    tables = fitted(reviews_of(150, V, 4), 4, stream_of).tables
    *others, last = tables.followers
    mixed = replace(tables, followers=(*others, replace(last, first_C=last.first_C.astype(np.uint64))))
    assert tables.packed
    assert mixed.packed is None
    ids_BT = np.random.default_rng(7).integers(0, V, (3, 20))
    kernels = lookup.step_kernels()
    assert scored(NGramLM(mixed), ids_BT, kernels, monkeypatch) == scored(NGramLM(tables), ids_BT, None, monkeypatch)
    state = states(NGramLM(mixed))
    rows, expected = NGramLM(mixed).contexts(state, kernels), NGramLM(tables).contexts(state)
    assert [row_B.tolist() for row_B in rows] == [row_B.tolist() for row_B in expected]


def test_offsets_of_a_damaged_file_that_lie_outside_the_rows_lead_to_no_n_gram(stream_of, reviews_of):
    tables = fitted(reviews_of(150, V, 4), 2, stream_of).tables
    [bigrams] = tables.followers
    beyond = replace(tables, followers=(replace(bigrams, first_C=bigrams.first_C + np.uint32(1 << 31)),))
    ids_BT = np.random.default_rng(8).integers(0, V, (3, 20))
    kernels = lookup.step_kernels()
    unigrams = replace(tables, followers=(replace(bigrams, first_C=np.zeros_like(bigrams.first_C)),))
    expected = kernels.log_probabilities(ids_BT, 2, unigrams.packed)
    assert kernels.log_probabilities(ids_BT, 2, beyond.packed).tolist() == expected.tolist()


def test_many_short_texts_load_the_compiled_look_ups_and_few_do_not(monkeypatch):
    monkeypatch.setattr(lookup, "_SHORT_CALLS", 3)
    monkeypatch.setattr(lookup, "_short_calls", count(1))
    loaded = lookup.step_kernels()
    lookup.step_kernels.cache_clear()
    assert [lookup.short_kernels(10) for _ in range(3)] == [None] * 3
    assert lookup.short_kernels(lookup.SHORT + 1) is None
    assert lookup.short_kernels(10) is loaded
    monkeypatch.setattr(lookup, "_short_calls", count(1))
    assert lookup.short_kernels(lookup.SHORT) is loaded, "once they are loaded, they are used"
    assert lookup.short_kernels(lookup.SHORT + 1) is None
