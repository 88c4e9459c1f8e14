"""Maximum likelihood is exactly a ratio of counts, and says of most texts that they are impossible."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from reviewlm.course.words.maximum_likelihood import MaximumLikelihood, count_of
from reviewlm.models.base import ModelError
from reviewlm.models.specs import NGramSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.ngram.counting.counts import count_ngrams
from tests.estimated_ngrams import estimate_ngrams, ngrams_of

V = 20
STUDENTS, OPENED, THEIR, BOOKS, EXAMS, MINDS = range(9, 15)


def model_of(
    documents,
    order,
    stream_of,
) -> MaximumLikelihood:
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


def test_a_trigram_is_its_count_over_that_of_its_context(stream_of, reviews_of):
    model = model_of(reviews_of(80, V, 5), 3, stream_of)
    words = ngrams_of(model.counts)[2]
    assert len(words) > 50
    for u, v, w in words:
        if u not in CONTEXT_IDS:
            assert model.probability(w, (u, v)) == Fraction(
                count_of(model.counts, (u, v, w)), count_of(model.counts, (u, v))
            )


def test_the_mass_of_all_sentences_is_one(stream_of):
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


SMOOTHINGS = ("maximum_likelihood", "witten_bell")


@pytest.fixture(scope="module")
def summaries(
    stream_of,
    reviews_of,
    tmp_path_factory,
) -> dict[str, dict[str, float]]:
    """The summaries of fits with and without smoothing."""
    train, validation = stream_of(reviews_of(150, V, 4)), stream_of(reviews_of(30, V, 5))
    found = {}
    for name in SMOOTHINGS:
        spec, context = (
            NGramSpec(order=3, smoothing=name),
            FitContext(tmp_path_factory.mktemp(name)),
        )
        fit = fit_model(
            spec,
            SimpleNamespace(size=V),
            train,
            validation,
            context,
        )
        found[name] = fit.summary
    return found


@pytest.fixture(scope="module")
def validation_tokens(reviews_of) -> list[tuple[list[int], int]]:
    """Each token of the validation reviews after the tokens before it."""
    reviews = reviews_of(30, V, 5)
    return [(review[1:i], review[i]) for review in reviews for i in range(2, len(review))]


def test_events_of_probability_zero_are_counted(
    summaries,
    validation_tokens,
    stream_of,
    reviews_of,
):
    exact = model_of(reviews_of(150, V, 4), 3, stream_of)
    expected = sum(impossible(exact, h, w) for h, w in validation_tokens)
    name = "validation/zero_probability_events"
    assert summaries["maximum_likelihood"][name] == expected > 0
    assert summaries["witten_bell"][name] == 0


def test_an_event_of_probability_zero_makes_perplexity_infinite(summaries):
    assert summaries["maximum_likelihood"]["validation/perplexity"] == math.inf
    assert math.isfinite(summaries["witten_bell"]["validation/perplexity"])


@pytest.mark.parametrize("name", SMOOTHINGS)
def test_a_fit_says_which_share_of_the_validation_text_is_unseen(
    name,
    summaries,
    validation_tokens,
):
    summary = summaries[name]
    assert summary["validation/tokens"] == len(validation_tokens)
    shares = [summary[f"unseen_share/{order}"] for order in (1, 2, 3)]
    assert 0 <= shares[0] < shares[1] < shares[2] < 1


def impossible(
    model: MaximumLikelihood,
    history: list[int],
    word: int,
) -> bool:
    """Whether the longest context that was ever continued was never continued by this word."""
    for start in range(max(0, len(history) - 2), len(history) + 1):
        try:
            return model.probability(word, history[start:]) == 0
        except ModelError:
            continue
    raise AssertionError("the empty context is always seen")
