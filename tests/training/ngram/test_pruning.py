"""Pruned models against the definitions: dictionaries and sums over the whole vocabulary, no arrays."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.ngram.tables import Tables
from reviewlm.models.specs import NGramSpec
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import fit_tables, packed_tables
from reviewlm.training.ngram.lines.text_corpus import GIVEN_OF_LINES, LineCorpus
from reviewlm.training.ngram.pruning import links, perplexity_change, prune_by_entropy
from reviewlm.training.ngram.smoothing.kneser_ney import estimate
from tests.examples import examples

LINES = st.lists(
    st.lists(st.sampled_from("aaabbcde"), max_size=6).map(" ".join), min_size=1, max_size=14
)
NORMALISED = ("modified_kneser_ney", "kneser_ney", "witten_bell", "absolute_discounting", "katz")


def counted(lines: list[str], order: int):
    text = LineCorpus.read(lines)
    return text, count_ngrams(text, order, len(text.words), GIVEN_OF_LINES)


def unpruned(lines: list[str], order: int) -> Tables:
    _, counts = counted(lines, order)
    # Its discounts are above 0, so all logs are finite.
    return packed_tables(counts, estimate(counts, kenlm_exact=False))


def chain_history(tables: Tables) -> list[np.ndarray]:
    """Return log p(h) of every n-gram as a context as in Stolcke's paper: the product of the model's predictions.

    As often as lines end (p of `</s>`), one begins.
    """
    logs = [tables.logp[0].copy()]
    logs[0][1] = tables.logp[0][2]
    for order in range(2, tables.order):
        logs.append(logs[-1][tables.contexts(order)] + tables.logp[order - 1])
    return logs


class Oracle:
    """A back-off model as a dictionary of n-grams, spelled out word by word."""

    def __init__(self, tables: Tables) -> None:
        size, rows = tables.vocabulary_size, [(token,) for token in range(tables.vocabulary_size)]
        self.words = [token for token in range(size) if token not in tables.given]
        self.p, self.weight = {}, {}
        for order in range(1, tables.order + 1):
            if order > 1:
                rows = [
                    (*rows[key // size], key % size)
                    for key in tables.followers[order - 2].keys(size).tolist()
                ]
            self.p |= {
                gram: exp(x) for gram, x in zip(rows, tables.logp[order - 1].tolist(), strict=True)
            }
            if order < tables.order:
                self.weight |= dict(
                    zip(rows, np.exp(tables.backoff[order - 1]).tolist(), strict=True)
                )

    def probability(self, gram: tuple[int, ...]) -> float:
        return (
            self.p[gram]
            if gram in self.p
            else self.weight.get(gram[:-1], 1.0) * self.probability(gram[1:])
        )

    def history(self, context: tuple[int, ...], begin: dict[int, float]) -> float:
        product = begin.get(context[0], self.p[context[:1]])
        for end in range(2, len(context) + 1):
            product *= self.p[context[:end]]
        return product

    def without(self, gram: tuple[int, ...]) -> dict[int, float]:
        """Return the distribution after the n-gram's context once that n-gram is gone."""
        context = gram[:-1]
        listed = [w for w in self.words if (*context, w) in self.p and (*context, w) != gram]
        below = {w: self.probability((*context[1:], w)) for w in self.words}
        left = 1 - sum(self.p[(*context, w)] for w in listed)
        weight = left / (1 - sum(below[w] for w in listed))
        return {w: self.p[(*context, w)] if w in listed else weight * below[w] for w in self.words}

    def divergence(self, gram: tuple[int, ...], begin: dict[int, float]) -> float:
        """Return Σ_w p(h, w) log p(w|h) / p'(w|h), all words counted."""
        context, after = gram[:-1], self.without(gram)
        before = {w: self.probability((*context, w)) for w in self.words}
        return self.history(context, begin) * sum(
            before[w] * log(before[w] / after[w]) for w in self.words
        )


@examples(40)
@given(lines=LINES, order=st.integers(2, 4))
def test_the_price_of_an_ngram_is_the_divergence_summed_over_all_words(lines, order):
    tables = unpruned(lines, order)
    oracle, begin = Oracle(tables), {1: exp(tables.logp[0][2])}
    history, suffix = chain_history(tables), links(tables)
    for k in range(2, order + 1):
        grams = [gram for gram in oracle.p if len(gram) == k]
        ours = perplexity_change(tables, k, suffix[k - 2], history[k - 2])
        theirs = [exp(oracle.divergence(gram, begin)) - 1 for gram in grams]
        assert ours.tolist() == pytest.approx(theirs, rel=1e-6, abs=1e-13)
        assert (ours > -1e-12).all()


def sums(tables: Tables, rng: np.random.Generator) -> np.ndarray:
    model = NGramLM(tables)
    contexts = rng.integers(0, tables.vocabulary_size, (60, tables.order + 1))
    contexts[:30, 0] = 1
    return np.exp(model.distribution(model.read(contexts, model.start(60)))).sum(axis=1)


pruning_by_entropy = given(
    lines=LINES,
    order=st.integers(1, 4),
    threshold=st.sampled_from([1e-6, 1e-3, 1e-2, 1e9]),
)


def pruned_by_entropy(
    lines,
    order,
    threshold,
):
    """Fit a model of the given lines; give its tables before and after pruning by entropy."""
    tables = unpruned(lines, order)
    return tables, prune_by_entropy(tables, threshold, chain_history(tables))


@examples(40)
@pruning_by_entropy
def test_a_model_pruned_by_entropy_still_sums_to_1(
    lines,
    order,
    threshold,
):
    _, pruned = pruned_by_entropy(lines, order, threshold)

    assert np.abs(sums(pruned, np.random.default_rng(1)) - 1).max() < 1e-12


@examples(40)
@pruning_by_entropy
def test_pruning_by_entropy_changes_no_probability_that_it_keeps(
    lines,
    order,
    threshold,
):
    tables, pruned = pruned_by_entropy(lines, order, threshold)

    assert Oracle(pruned).p.items() <= Oracle(tables).p.items()


@examples(40)
@pruning_by_entropy
def test_pruning_by_entropy_keeps_what_a_kept_ngram_needs(
    lines,
    order,
    threshold,
):
    """Its context, to be found, and its suffix, to be backed off to."""
    _, pruned = pruned_by_entropy(lines, order, threshold)

    left = Oracle(pruned).p
    assert all(gram[:-1] in left and gram[1:] in left for gram in left if len(gram) > 1)


@examples(40)
@given(lines=LINES, order=st.integers(1, 4))
def test_pruning_without_limit_leaves_the_unigrams(lines, order):
    tables, pruned = pruned_by_entropy(lines, order, 1e9)

    assert [len(logp) for logp in pruned.logp] == [tables.vocabulary_size] + [0] * (order - 1)


@examples(30)
@given(
    lines=LINES,
    order=st.integers(2, 4),
    threshold=st.sampled_from([1e-4, 1e-3, 3e-3, 1e-2]),
)
def test_what_is_dropped_costs_less_than_the_threshold_or_leads_to_nothing_that_is_kept(
    lines,
    order,
    threshold,
):
    tables = unpruned(lines, order)
    oracle, pruned = (
        Oracle(tables),
        Oracle(prune_by_entropy(tables, threshold, chain_history(tables))),
    )
    begin = {1: exp(tables.logp[0][2])}
    price = {gram: exp(oracle.divergence(gram, begin)) - 1 for gram in oracle.p if len(gram) > 1}
    assume(all(abs(value / threshold - 1) > 1e-6 for value in price.values()))
    dear = [gram for gram, value in price.items() if value >= threshold]
    needed = {gram[a:b] for gram in dear for a in range(4) for b in range(a + 2, 5)}
    assert {gram for gram in pruned.p if len(gram) > 1} == {
        gram for gram in needed if len(gram) > 1
    }


@pytest.mark.parametrize("smoothing", NORMALISED)
@pytest.mark.parametrize("way", ["count", "entropy"])
def test_pruned_models_of_every_method_sum_to_1(
    way,
    smoothing,
    golden_text,
):
    text = golden_text("train")
    counts = count_ngrams(text, 3, len(text.words), GIVEN_OF_LINES)
    spec = NGramSpec(order=3, smoothing=smoothing)
    whole = fit_tables(counts, spec)[0]
    by_count = fit_tables(counts, replace(spec, prune=(0, 1, 2)))[0]
    pruned = by_count if way == "count" else prune_by_entropy(whole, 1e-4, chain_history(whole))
    assert len(pruned.logp[2]) < 0.8 * len(whole.logp[2])
    assert np.abs(sums(pruned, np.random.default_rng(3)) - 1).max() < 1e-9
