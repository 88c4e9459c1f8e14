"""Probes: preferences computed by hand, pairs that swap their answers, answers that the grammar proves."""

from __future__ import annotations

from collections import Counter

import pytest

from course.probes import ProbePair, english_pairs, grammar_pairs, pair, preferences
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


def test_a_model_that_does_not_see_the_deciding_word_is_at_half_with_a_shift_of_nothing(bundle):
    answers = preferences(bundle, pair("mood", 2, "the food was", "the place was", "great", "slow"))
    assert sum(answer > 0 for answer in answers) == 1
    assert sum(answers) == pytest.approx(0.0, abs=1e-6)


def test_what_the_vocabulary_lacks_is_not_asked(bundle):
    assert preferences(bundle, pair("mood", 1, "the food was", "the place is", "great", "zebra")) is None
    assert preferences(bundle, pair("mood", 2, "the zebra was", "the tiger was", "great", "slow")) is None, "alike"


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


@pytest.mark.slow
def test_pairs_of_the_grammar_swap_their_answers_and_stop_right_before_them():
    pairs = list(grammar_pairs(40, seed=4))
    assert {"dish again"} < {one.kind for one in pairs} <= {"number", "gender", "dish again"}
    for one in pairs:
        assert swapped(one)
        assert one.distance >= 1
        for side in one.sides:
            assert side.beginning == side.beginning.rstrip()
            assert side.right in side.beginning or one.kind != "dish again", "it was named before"
    assert list(grammar_pairs(4, seed=4)) == list(grammar_pairs(4, seed=4))
