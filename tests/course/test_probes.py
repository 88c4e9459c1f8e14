"""Probes: preferences computed by hand, pairs that swap their answers, answers that the grammar proves."""

from __future__ import annotations

from collections import Counter

import pytest

from course.probes import ProbePair, english_pairs, pair, preferences
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tests.evaluation.bigram_tables import bundle_of, random_table

MOOD = pair("mood", 1, "the food was", "the place is", "great", "slow")


@pytest.fixture(scope="module")
def bundle():
    text = "the food was great place is slow never"
    vocabulary = Vocabulary.train([text] * 3, VocabularySpec(min_count=1), NormalForm())
    return bundle_of(vocabulary, random_table(vocabulary.size))


def test_the_preference_is_the_difference_of_log_probabilities_on_both_sides(bundle):
    was, place_is, great, slow = (int(bundle.vocabulary.encode(word)[0]) for word in ("was", "is", "great", "slow"))
    logp = bundle.model.logp_VV
    expected = logp[was, great] - logp[was, slow], logp[place_is, slow] - logp[place_is, great]
    assert preferences(bundle, MOOD) == pytest.approx(expected)


def swapped(one: ProbePair) -> bool:
    first, second = one.sides
    return (first.right, first.wrong) == (second.wrong, second.right) and first[:2] != second[:2]


def test_english_pairs_differ_before_the_choice_and_swap_their_answers():
    pairs = list(english_pairs())
    assert Counter(one.kind for one in pairs).keys() == {"number of the verb", "closing mark", "rating"}
    assert all(map(swapped, pairs))
    plural = {"windows", "bars", "doors", "plates"}
    for one in pairs:
        if one.kind == "number of the verb":  # attractors have the number that the subject has not
            words = one.sides[0].beginning.split()
            assert all(word in plural for word in words[2:] if word in plural or f"{word}s" in plural)
            assert one.distance == len(words) - 1
