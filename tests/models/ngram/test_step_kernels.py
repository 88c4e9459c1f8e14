"""The compiled look-ups of steps and short texts find what numpy's find, to the bit."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from reviewlm.models import compiled
from reviewlm.models import ngram as package
from reviewlm.models.base import ModelError
from reviewlm.models.ngram import lookup, step_kernels, tables
from reviewlm.models.ngram.lm import NGramLM, NGramState
from reviewlm.models.ngram.lookup import NONE
from reviewlm.models.ngram.tables import Tables
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams
from tests.training.ngram.smoothing.odd_corpora import V


def fitted(
    documents,
    order,
    stream_of,
    **options,
) -> NGramLM:
    return estimate_ngrams(count_ngrams(stream_of(documents), order, V, CONTEXT_IDS), **options)


def states(
    model,
    seed=1,
    streams=50,
):
    """States after random tokens and after none, with places without a token before a given one."""
    tokens_BT = np.random.default_rng(seed).integers(0, V, (streams, 6))
    read = model.read(tokens_BT, model.start(streams))
    return NGramState.join([read, model.start(2), model.read(tokens_BT[:3, :1], model.start(3))])


def plain_contexts(tables, state) -> list[np.ndarray]:
    """Return the contexts of 1, 2, … N − 1 tokens as numpy's look-ups find them."""
    if tables.order == 1:
        return []
    ids_BL = lookup.apart(state.context_BK)
    longer = lookup.follow(ids_BL.ravel(), tables.followers[: tables.order - 2])
    return [state.context_BK[:, -1], *(row_T.reshape(ids_BL.shape)[:, -1] for row_T in longer)]


def plain_distribution(tables, state) -> np.ndarray:
    """Return log p of every entry, written over by longer and longer contexts."""
    contexts = plain_contexts(tables, state)
    weights = [lookup.backoff_weights(c, b) for c, b in zip(contexts, tables.backoff, strict=True)]
    logp_BV = np.zeros((len(state.context_BK), tables.vocabulary_size), np.float32)
    np.add(
        tables.logp[0],
        sum(weights, np.zeros(len(logp_BV)))[:, None],
        out=logp_BV,
        casting="same_kind",
    )
    for k, (followers, context_B) in enumerate(
        zip(tables.followers, contexts, strict=True), start=1
    ):
        left_B = sum(weights[k:], np.zeros(len(logp_BV)))
        for b in np.flatnonzero(context_B != NONE):
            rows = followers.rows(int(context_B[b]))
            logp_BV[b, followers.word_M[rows]] = tables.logp[k][rows] + left_B[b]
    return logp_BV


ORDERS = pytest.mark.parametrize("order", [1, 2, 3, 5])
PRECISIONS = pytest.mark.parametrize("precision", ["single", "double"])


@ORDERS
@PRECISIONS
def test_contexts_are_the_same_to_the_bit(
    order,
    precision,
    stream_of,
    reviews_of,
):
    model = fitted(reviews_of(150, V, 4), order, stream_of)
    model = NGramLM(model.tables.to(precision))
    state = states(model)
    found = model.contexts(state)
    assert order == 1 or any((row_B >= 0).any() and (row_B < 0).any() for row_B in found)
    expected = plain_contexts(model.tables, state)
    assert [row_B.tolist() for row_B in found] == [row_B.tolist() for row_B in expected]


@ORDERS
@PRECISIONS
def test_distributions_are_the_same_to_the_bit(
    order,
    precision,
    stream_of,
    reviews_of,
):
    model = fitted(reviews_of(150, V, 4), order, stream_of)
    model = NGramLM(model.tables.to(precision))
    state = states(model)
    expected = plain_distribution(model.tables, state)
    assert model._next(state, np.float32).tolist() == expected.tolist()


@pytest.mark.parametrize("order", [2, 3])
def test_a_follower_outside_the_vocabulary_is_an_error_that_names_its_file(
    order,
    stream_of,
    reviews_of,
    tmp_path,
    monkeypatch,
):
    """Opening a model looks at few places of a long file. Only the first follower is right here."""
    fitted(reviews_of(150, V, 4), 3, stream_of).save(tmp_path)
    words = np.load(tmp_path / f"words_{order}.npy")
    words[1:] = V
    np.save(tmp_path / f"words_{order}.npy", words)
    monkeypatch.setattr("reviewlm.models.ngram.tables._SHORT", 10)
    monkeypatch.setattr("reviewlm.models.ngram.tables._PLACES", 1)
    model = NGramLM(Tables.load(tmp_path))
    file = re.escape(str(tmp_path / f"words_{order}.npy"))
    with pytest.raises(ModelError, match=f"^{file} is damaged: it holds ids from {V} on") as caught:
        model.step(np.zeros(55, np.int64), states(model))
    assert caught.value.kind == "bundle"


# Scores of short texts


def longest(tables, draw):
    """Return the tokens of a random n-gram of the highest order that has any."""
    order = max(k for k, logp_M in enumerate(tables.logp, start=1) if len(logp_M))
    row, tokens = draw.integers(len(tables.logp[order - 1])), []
    for k in range(order, 1, -1):
        tokens.append(tables.words(k)[row])
        row = tables.contexts(k)[row]
    return [row, *reversed(tokens)]


def read_both_ways(tables, seed=7):
    """Return log p of texts and the contexts after them, as numpy finds them and as compiled look-ups do.

    The texts are random tokens, with places without one; every second text ends with an n-gram of the highest order.
    """
    draw = np.random.default_rng(seed)
    common = [NONE, 0, 2, *range(3, 9), tables.vocabulary_size - 2, tables.vocabulary_size - 1]
    ids_BT = draw.choice(common, (20, step_kernels.BLOCK + 2))  # the last n-gram crosses a block
    for ids_T in ids_BT[::2]:
        ngram = longest(tables, draw)
        ids_T[len(ids_T) - len(ngram) :] = ngram
    ids_BL = lookup.apart(ids_BT)
    logp_T = lookup.log_probabilities(ids_BL.ravel(), tables.followers, tables.logp, tables.backoff)
    state = NGramState(ids_BT[:, ids_BT.shape[1] - (tables.order - 1) :].copy())
    plain = (
        logp_T.reshape(ids_BL.shape)[:, 1:].tolist(),
        [row_B.tolist() for row_B in plain_contexts(tables, state)],
    )
    contexts = [row_B.tolist() for row_B in NGramLM(tables).contexts(state)]
    return plain, (step_kernels.log_probabilities(ids_BT, tables.packed).tolist(), contexts)


def with_wide_offsets(tables):
    """The tables as they are where an order has more than 2³² n-grams."""
    wide = tuple(replace(one, first_C=one.first_C.astype(np.uint64)) for one in tables.followers)
    return replace(tables, followers=wide)


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("vocabulary_size", [40, 70_000])
def test_tables_of_any_form_are_read_to_the_bit(
    order,
    precision,
    vocabulary_size,
    random_tables,
):
    tables = random_tables(order, vocabulary_size, precision)
    word_types = {one.word_M.dtype for one in tables.followers}
    assert word_types == (
        set() if order == 1 else {np.dtype(np.uint16 if vocabulary_size == 40 else np.uint32)}
    )
    for one in tables, with_wide_offsets(tables):
        plain, compiled = read_both_ways(one)
        assert compiled == plain
        assert all(any(row >= 0 for row in row_B) for row_B in plain[1]), (
            "contexts of all lengths are found"
        )


def test_a_thread_that_reads_while_another_imports_the_kernels_waits_for_them(
    stream_of, monkeypatch
) -> None:
    model = fitted([[4, 5, 6, 4]], 2, stream_of)
    ids_BT = np.array([[4, 5, 6]])
    expected = model.tables.log_probabilities(ids_BT)
    half_imported = threading.Event()
    go_on = threading.Event()

    def pause_before_a_kernel(function, **options):
        half_imported.set()
        go_on.wait(60)
        return plain_kernel(function, **options)

    plain_kernel = compiled.kernel
    monkeypatch.setattr(compiled, "kernel", pause_before_a_kernel)
    monkeypatch.setattr(package, "step_kernels", step_kernels)
    monkeypatch.delitem(sys.modules, tables.STEP_KERNELS)
    tables._step_kernels.cache_clear()

    with ThreadPoolExecutor(2) as pool:
        importing = pool.submit(import_module, tables.STEP_KERNELS)
        assert half_imported.wait(60)
        reading = pool.submit(model.tables.log_probabilities, ids_BT)
        go_on.set()
        importing.result(60)
        assert np.array_equal(reading.result(60), expected)
