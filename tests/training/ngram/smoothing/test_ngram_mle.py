"""Maximum likelihood is exactly a ratio of counts, and says of most texts that they are impossible."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from reviewlm.course.maximum_likelihood import MaximumLikelihood, count_of
from reviewlm.models.base import ModelError
from reviewlm.models.specs import NGramSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams, ngrams_of

V = 20
STUDENTS, OPENED, THEIR, BOOKS, EXAMS, MINDS = range(9, 15)


def model_of(documents, order, stream_of) -> MaximumLikelihood:
    return MaximumLikelihood(count_ngrams(stream_of(documents), order, V, CONTEXT_IDS))


def test_the_worked_example_of_the_lecture_1000_400_100(stream_of):
    # "students opened their" 1000 times, followed by "books" 400 times and by "exams" 100 times
    followers = [BOOKS] * 400 + [EXAMS] * 100 + [MINDS] * 500
    model = model_of([[1, 3, STUDENTS, OPENED, THEIR, word, 2] for word in followers], 4, stream_of)
    context = (STUDENTS, OPENED, THEIR)
    assert count_of(model.counts, context) == 1000
    assert model.probability(BOOKS, context) == Fraction(4, 10)
    assert model.probability(EXAMS, context) == Fraction(1, 10)
    assert model.probability(STUDENTS, context) == 0


def test_a_trigram_is_the_ratio_of_its_count_and_its_context_s(stream_of, reviews_of):
    model = model_of(reviews_of(80, V, 5), 3, stream_of)
    words = ngrams_of(model.counts)[2]
    assert len(words) > 50
    for u, v, w in words:
        if u not in CONTEXT_IDS:
            assert model.probability(w, (u, v)) == Fraction(
                count_of(model.counts, (u, v, w)), count_of(model.counts, (u, v))
            )


def test_all_sentences_up_to_a_length_and_the_unfinished_mass_sum_to_one(stream_of):
    model = model_of(
        [[1, 3, 9, 2], [1, 3, 9, 10, 2], [1, 3, 10, 10, 9, 2], [1, 3, 2]], 2, stream_of
    )
    bodies = [body for n in range(5) for body in itertools.product((9, 10), repeat=n)]
    finished = sum(model.sequence_probability([3, *body, 2]) for body in bodies)
    unfinished = sum(
        model.sequence_probability([3, *body]) for body in itertools.product((9, 10), repeat=5)
    )
    assert finished + unfinished == 1
    assert 0 < unfinished < 1


def test_the_worked_example_as_a_language_model(stream_of):
    followers = [BOOKS] * 400 + [EXAMS] * 100 + [MINDS] * 500
    documents = [[1, 3, STUDENTS, OPENED, THEIR, word, 2] for word in followers]
    lm = estimate_ngrams(
        count_ngrams(stream_of(documents), 4, V, CONTEXT_IDS), "maximum_likelihood"
    )
    p_V = np.exp(
        lm.distribution(lm.read(np.array([[1, 3, STUDENTS, OPENED, THEIR]]), lm.start(1)))
    )[0]
    assert p_V[[BOOKS, EXAMS, MINDS]] == pytest.approx([0.4, 0.1, 0.5], rel=1e-14)
    assert p_V.sum() == pytest.approx(1, abs=1e-14)
    assert (p_V > 0).sum() == 3


def test_one_event_of_probability_zero_makes_perplexity_infinite_and_is_counted(
    stream_of, reviews_of, tmp_path
):
    train, validation = reviews_of(150, V, 4), reviews_of(30, V, 5)
    exact = model_of(train, 3, stream_of)
    tokens = [
        (document[1:i], document[i]) for document in validation for i in range(2, len(document))
    ]
    shares = {}
    for name in ("maximum_likelihood", "witten_bell"):
        spec, context = NGramSpec(order=3, smoothing=name), FitContext(tmp_path / name)
        summary = fit_model(
            spec, SimpleNamespace(size=V), stream_of(train), stream_of(validation), context
        ).summary
        shares[name] = (
            summary["validation/zero_probability_events"],
            summary["validation/perplexity"],
        )
        assert summary["validation/tokens"] == len(tokens)
        assert (
            0
            <= summary["unseen_share/1"]
            < summary["unseen_share/2"]
            < summary["unseen_share/3"]
            < 1
        )
    assert shares["maximum_likelihood"] == (
        sum(impossible(exact, h, w) for h, w in tokens),
        math.inf,
    )
    assert shares["maximum_likelihood"][0] > 0
    assert shares["witten_bell"][0] == 0
    assert math.isfinite(shares["witten_bell"][1])


def impossible(model: MaximumLikelihood, history: list[int], word: int) -> bool:
    """Whether the longest context that was ever continued was never continued by this word."""
    for start in range(max(0, len(history) - 2), len(history) + 1):
        try:
            return model.probability(word, history[start:]) == 0
        except ModelError:
            continue
    raise AssertionError("the empty context is always seen")
