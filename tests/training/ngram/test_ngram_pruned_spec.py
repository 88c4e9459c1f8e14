"""Pruning as an option of a model in the pipeline: the spec asks, the fit does it, the figures are those of what is
left, and a model that does not ask keeps its identity."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import NGramSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.ngram.counting.counts import count_ngrams

V = 30


@pytest.fixture(scope="module")
def streams(stream_of, reviews_of):
    return stream_of(reviews_of(150, V, 1)), stream_of(reviews_of(30, V, 2))


def fitted(streams, tmp_path, **options):
    return fit_model(
        NGramSpec(**options), SimpleNamespace(size=V), *streams, FitContext(work=tmp_path)
    )


BY_COUNT = ({"prune": (0, 1, 2)}, {"prune": (0, 1)})
BY_ENTROPY = {"entropy": 1e-3}
"""For probabilities: the scores of stupid back-off are none."""


@pytest.fixture(
    scope="module",
    params=[
        *product(("modified_kneser_ney", "witten_bell", "stupid_backoff"), BY_COUNT),
        ("modified_kneser_ney", BY_ENTROPY),
        ("witten_bell", BY_ENTROPY),
    ],
    ids=str,
)
def pruned(
    request,
    streams,
    tmp_path_factory,
):
    """A pruned fit, what its spec asks for, and the counts before pruning."""
    smoothing, pruning = request.param
    folder = tmp_path_factory.mktemp("pruned")
    result = fitted(
        streams,
        folder,
        order=3,
        smoothing=smoothing,
        **pruning,
    )
    counts = count_ngrams(streams[0], 3, V, CONTEXT_IDS)
    return SimpleNamespace(
        model=result.model,
        summary=result.summary,
        asked=pruning,
        counts=counts,
    )


def test_a_fit_prunes_as_its_spec_says(pruned):
    left = [len(logp_M) for logp_M in pruned.model.tables.logp]
    assert left[0] == V
    for order in (2, 3):
        before = pruned.counts.orders[order - 1]
        assert left[order - 1] < len(before)
        if "prune" in pruned.asked:
            thresholds = pruned.asked["prune"]
            threshold = (*thresholds, thresholds[-1])[order - 1]
            assert left[order - 1] == (before.raw_M > threshold).sum()


def test_the_figures_of_a_pruned_fit_are_of_what_is_left(pruned):
    tables, summary = pruned.model.tables, pruned.summary
    assert summary["pruned/1"] == 0
    for order in (2, 3):
        left = len(tables.logp[order - 1])
        assert summary[f"ngrams/{order}"] == left
        assert summary[f"pruned/{order}"] == len(pruned.counts.orders[order - 1]) - left
    assert summary["parameters"] == sum(map(len, (*tables.logp, *tables.backoff)))
    assert summary["bytes"] == sum(array.nbytes for array in tables.arrays().values())


def test_probabilities_of_a_pruned_fit_sum_to_one(pruned):
    if pruned.model.normalised:
        sums = np.exp(pruned.model.distribution(pruned.model.start(1))).sum(axis=1)
        assert sums == pytest.approx(1, abs=1e-12)


SECRET = [21, 27, 19, 28, 24]
"""Words of the vocabulary that never follow each other in the reviews of `with_secrets`."""


@pytest.fixture(scope="module")
def with_secrets(stream_of):
    """Return reviews of rising runs of words, and the secret in one of them, twice in it, or in several."""

    def make(reviews: int, times: int = 1):
        usual = [[1, 3, *range(9 + i % 7, 15 + i % 7), 2] for i in range(60)]
        return stream_of([*usual, *[[1, 3, *SECRET * times, 2]] * reviews])

    return make


def asked_for(
    model: NGramLM,
    begin: list[int],
    length: int,
) -> list[int]:
    """Return the likeliest continuation, word by word."""
    state, found = model.start(1), [*begin]
    for token in [1, 3, *begin]:
        logp_BV, state = model.step(np.array([token]), state)
    while len(found) < length:
        found.append(int(logp_BV[0].argmax()))
        logp_BV, state = model.step(np.array([found[-1]]), state)
    return found


@pytest.mark.parametrize("smoothing", ["modified_kneser_ney", "kneser_ney", "witten_bell", "katz"])
@pytest.mark.parametrize(
    ("reviews", "times", "least", "told"),
    [
        (1, 1, 1, True),
        (1, 1, 2, False),
        (1, 3, 2, False),
        (2, 1, 2, True),
        (2, 1, 3, False),
        (3, 1, 3, True),
    ],
)
def test_a_model_can_be_asked_for_what_enough_reviews_say_only(
    smoothing,
    reviews,
    times,
    least,
    told,
    with_secrets,
    tmp_path,
):
    train = with_secrets(reviews, times)
    result = fitted(
        (train, train),
        tmp_path,
        order=3,
        smoothing=smoothing,
        min_documents=least,
    )
    assert (asked_for(result.model, SECRET[:2], 5) == SECRET) is told
    sums = np.exp(
        result.model.distribution(
            result.model.read(np.array([[3, *SECRET]]), result.model.start(1))
        )
    )
    assert sums.sum() == pytest.approx(1, abs=1e-12)
    left = {tuple(words) for words in _words(result.model)}
    assert ((SECRET[0], SECRET[1]) in left) is told
    assert (9, 10) in left
    assert all(gram[:-1] in left and gram[1:] in left for gram in left if len(gram) > 1)


@pytest.mark.parametrize(("authors", "told"), [((0, 0), False), ((0, 1), True)])
def test_a_secret_in_two_reviews_of_one_person_cannot_be_asked_for(
    authors,
    told,
    stream_of,
    tmp_path,
):
    usual = [[1, 3, *range(9 + i % 7, 15 + i % 7), 2] for i in range(60)]
    secret = [[1, 3, *SECRET, 2]] * 2
    people = [*range(2, 62), *authors]
    train = stream_of([*usual, *secret], people)
    result = fitted((train, train), tmp_path, order=3, min_documents=2)
    assert (asked_for(result.model, SECRET[:2], 5) == SECRET) is told


def test_reviews_are_the_unit_where_one_person_wrote_them_all(stream_of, tmp_path):
    usual = [[1, 3, *range(9 + i % 7, 15 + i % 7), 2] for i in range(60)]
    alone, unknown = stream_of(usual, [0] * 60), stream_of(usual)
    words = [
        {*_words(fitted((train, train), tmp_path, order=3, min_documents=2).model)}
        for train in (alone, unknown)
    ]
    assert words[0] == words[1]


def _words(model: NGramLM):
    tables, size = model.tables, model.vocabulary_size
    rows = [(token,) for token in range(size)]
    yield from rows
    for followers in tables.followers:
        rows = [(*rows[key // size], key % size) for key in followers.keys(size).tolist()]
        yield from rows
