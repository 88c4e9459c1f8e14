"""Without a rating, a text is read with every rating of the training reviews, as often as each was there."""

from math import exp, log

import numpy as np
import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.models.table_lm import HistoryLM, TableSpec

TEXTS = ["so so it is so", "it is to so its"] * 2
PRIOR = (0, 0.1, 0.2, 0.3, 0.4, 0)
SEEN = [rating for rating, share in enumerate(PRIOR) if share]


def bundle_of(unit: str = "word", prior: tuple[float, ...] = PRIOR) -> Bundle:
    """A model whose every prediction depends on all tokens before it, the rating included."""
    vocabulary = learn_vocabulary(
        TEXTS,
        VocabularySpec(
            unit=unit,
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    names = [vocabulary.token(i) if i > 8 else "" for i in range(vocabulary.size)]
    usual = np.array([1.0 if name and set(name) <= set("soit ") else 1e-9 for name in names])
    usual[EOS], usual[[i for i, name in enumerate(names) if name == " "]] = (
        4.0,
        12.0,
    )  # short words, few spellings
    table = HistoryLM.random(vocabulary.size, 1, 1.5).p_VV * usual
    return Bundle(TableSpec(), vocabulary, HistoryLM.normalised(table), stars_prior=prior)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_of()


def test_the_probability_of_a_text_is_the_average_over_the_ratings(bundle: Bundle) -> None:
    for text in ("it is so", "so", ""):
        expected = sum(
            PRIOR[rating] * exp(-bundle.score_text(text, rating).nats) for rating in SEEN
        )
        found = bundle.score_text(text)
        assert exp(-found.nats) == pytest.approx(expected)
        assert found.nats == pytest.approx(sum(nats for _, nats in found.per_token))
        assert found.tokens == bundle.score_text(text, 2).tokens


def test_each_token_is_predicted_with_what_the_text_so_far_says_about_the_rating(
    bundle: Bundle,
) -> None:
    tokens = {rating: bundle.score_text("it is so", rating).per_token for rating in SEEN}
    before = {rating: PRIOR[rating] for rating in SEEN}
    for position, (_, nats) in enumerate(bundle.score_text("it is so").per_token):
        after = {rating: before[rating] * exp(-tokens[rating][position][1]) for rating in SEEN}
        assert nats == pytest.approx(-log(sum(after.values()) / sum(before.values())))
        before = after
