"""Probes: preferences computed by hand, pairs that cancel out, answers that the grammar proves."""

import math
from collections import Counter, defaultdict
from random import Random

import numpy as np
import polars as pl
import pytest

from core.errors import EmptyInput
from corpus.synthetic.grammar import automaton, log_probability, write_review
from evaluation.probing.grammar_probes import grammar_probes, proven, swaps, twin
from evaluation.probing.probe_sentences import english_probes
from evaluation.probing.probes import ANSWERS, Probe, probe, table_of, totals_of
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tests.evaluation.bigram_tables import bundle_of, random_table

PAIR = (
    Probe("mood", "the food was", " great", " slow", 1, stars=5, pair="a"),
    Probe("mood", "the service was", " slow", " great", 2, stars=1, pair="a"),
)


@pytest.fixture
def model(vocabulary):
    return bundle_of(vocabulary, random_table(vocabulary.size))


def test_the_preference_is_the_difference_of_log_probabilities(model, vocabulary):
    was, great, slow = (int(vocabulary.encode(word)[0]) for word in ("was", "great", "slow"))
    found = probe(model, PAIR)["preference"].to_list()
    expected = model.model.logp_VV[was, great] - model.model.logp_VV[was, slow]
    assert found == pytest.approx([expected, -expected])


def test_texts_of_any_length_are_scored_side_by_side_as_alone(model):
    probes = [Probe("mood", "the food " * n + "was", " great", " slow", n) for n in (9, 1, 4)] * 30
    together = probe(model, probes)["preference"].to_list()
    assert together == pytest.approx([probe(model, [one])["preference"].item() for one in probes])


def test_a_right_word_of_several_tokens_costs_them_all(model, vocabulary):
    was, great, slow, never = (int(vocabulary.encode(word)[0]) for word in ("was", "great", "slow", "never"))
    logp = model.model.logp_VV
    found = probe(model, [Probe("mood", "the food was", " never great", " slow", 1)])["preference"].item()
    assert found == pytest.approx(logp[was, never] + logp[never, great] - logp[was, slow])


def test_a_word_that_is_unknown_skips_its_whole_pair_and_is_counted(model):
    torn = (
        Probe("mood", "the zebra was", " great", " slow", 1, pair="b"),
        Probe("mood", "the food was", " slow", " great", 1, pair="b"),
        Probe("mood", "the food was", " great", " zebra", 1),
        Probe("mood", "the food was", " great", " great", 1),
    )
    found = probe(model, [*PAIR, *torn])
    assert found["preference"].is_null().to_list() == [False, False, True, True, True, True]
    totals = totals_of(found)
    assert (totals["probes"], totals["skipped"], totals["accuracy/mood"]) == (2.0, 4.0, 0.5)
    assert totals["shift/mood"] == pytest.approx(0.0)
    assert found["nats"].is_null().to_list() == found["preference"].is_null().to_list()


def test_the_probability_of_the_right_word_is_that_of_its_tokens_after_the_beginning(model, vocabulary):
    was, great, slow, never = (int(vocabulary.encode(word)[0]) for word in ("was", "great", "slow", "never"))
    logp = model.model.logp_VV
    found = probe(model, [*PAIR, Probe("mood", "the food was", " never great", " slow", 3)])
    two, one_slow, one_great = logp[was, never] + logp[never, great], logp[was, slow], logp[was, great]
    assert found["nats"].to_list() == pytest.approx([-one_great, -one_slow, -two])
    assert totals_of(found)["nats/mood/from_3"] == pytest.approx(-two)
    assert totals_of(found)["probability/mood/from_1"] == pytest.approx(math.exp(one_great))
    assert totals_of(found)["probability/mood/from_2"] == pytest.approx(math.exp(one_slow))


def test_letters_that_both_words_begin_with_count_for_the_probability_of_the_right_one():
    spelled = Vocabulary.train(
        ["my cat and my cot"] * 3, VocabularySpec(unit="char", size=300, min_count=1), NormalForm()
    )
    model = bundle_of(spelled, random_table(spelled.size))
    y, space, c, a, t = (int(spelled.encode(letter)[0]) for letter in "y cat")
    logp = model.model.logp_VV
    found = probe(model, [Probe("pet", "my", " cat", " cot", 1)])
    assert found["nats"].item() == pytest.approx(-(logp[y, space] + logp[space, c] + logp[c, a] + logp[a, t]))


def test_a_model_that_does_not_see_the_cue_is_at_half_and_its_shift_is_nothing(model):
    table = table_of(probe(model, PAIR), bins=(1, 5))
    [row] = table.to_dicts()
    assert (row["distance"], row["to"], row["probes"], row["accuracy"]) == (1, 4, 2, 0.5)
    assert row["shift"] == pytest.approx(0.0)


def test_impossible_words_have_infinite_preferences_and_no_shift(vocabulary):
    logp = random_table(vocabulary.size)
    great, slow = (int(vocabulary.encode(word)[0]) for word in ("great", "slow"))
    logp[:, great] = -np.inf
    one = probe(bundle_of(vocabulary, logp), PAIR)
    assert one["preference"].to_list() == [-math.inf, math.inf]
    logp[:, slow] = -np.inf
    both = probe(bundle_of(vocabulary, logp), PAIR)
    assert both["preference"].to_list() == [0.0, 0.0]
    assert table_of(one)["shift"].null_count() == 2
    assert not {"shift/mood"} & set(totals_of(one))
    assert one["nats"].to_list()[0] == math.inf
    assert table_of(one)["nats"].to_list()[0] == math.inf
    assert table_of(one)["probability"].to_list()[0] == 0.0


def answers(rows):
    """(kind, distance, pair, preference) in the columns of `probe`; the right word costs 4 nats less the preference."""
    full = [
        (kind, distance, pair, "", "", "", preference, None if preference is None else 4 - preference)
        for kind, distance, pair, preference in rows
    ]
    return pl.DataFrame(full, ANSWERS, orient="row")


def test_tables_have_a_row_per_bin_with_errors_over_pairs():
    table = table_of(
        answers([
            ("a", 1, "p", 3.0), ("a", 1, "p", -1.0), ("a", 2, "q", 4.0), ("a", 2, "q", 2.0),
            ("a", 7, "r", None), ("a", 7, "r", None), ("b", 60, "s", 0.0),
        ]), bins=(1, 3, 50),
    )  # fmt: skip
    first, none, last = table.to_dicts()
    assert (first["kind"], first["distance"], first["to"], first["probes"], first["skipped"]) == ("a", 1, 2, 4, 0)
    assert (first["accuracy"], first["shift"]) == (0.75, 2.0)
    assert first["shift_error"] == pytest.approx(np.std([1.0, 3.0], ddof=1) / math.sqrt(2))
    assert first["accuracy_error"] == pytest.approx(np.std([0.5, 1.0], ddof=1) / math.sqrt(2))
    costs = np.array([[1.0, 5.0], [0.0, 2.0]])
    assert first["nats"] == pytest.approx(costs.mean())
    assert first["nats_error"] == pytest.approx(np.std(costs.mean(1), ddof=1) / math.sqrt(2))
    assert first["probability"] == pytest.approx(np.exp(-costs).mean())
    assert first["probability_error"] == pytest.approx(np.std(np.exp(-costs).mean(1), ddof=1) / math.sqrt(2))
    assert (none["probability"], none["nats"]) == (None, None)
    assert (none["distance"], none["probes"], none["skipped"], none["accuracy"], none["shift"]) == (3, 0, 2, None, None)
    assert (last["kind"], last["distance"], last["to"], last["accuracy"]) == ("b", 50, None, 0.5)


def test_no_probes_are_an_error(model):
    with pytest.raises(EmptyInput):
        probe(model, [])


def test_english_pairs_differ_in_the_cue_and_swap_their_answers():
    pairs = defaultdict(list)
    for one in english_probes():
        pairs[one.pair].append(one)
    for name, (first, second) in pairs.items():
        assert (first.right, first.wrong) == (second.wrong, second.right), name
        assert (first.beginning, first.stars) != (second.beginning, second.stars), name
        if first.kind not in ("next word", "number of the verb"):
            changed = sum(a != b for a, b in zip(first.beginning.split(), second.beginning.split(), strict=True))
            assert changed == (first.kind != "rating") or first.kind == "closing mark", name
            assert first.distance == second.distance
    assert set(Counter(one.kind for one in english_probes())) == {
        "next word", "number of the verb", "closing mark", "cuisine", "language", "rating"
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "cues"), [("cuisine", ("Mexican", "Indian")), ("language", ("France", "Japan"))])
def test_the_distance_is_that_of_the_answer_to_the_cue_in_words(kind, cues):
    found = [one for one in english_probes() if one.kind == kind and any(cue in one.beginning for cue in cues)]
    assert found
    for one in found:
        words = one.beginning.split()
        [cue] = [place for place, word in enumerate(words) if word in cues]
        assert one.distance == len(words) - cue


def test_the_distance_to_an_opening_mark_counts_the_word_that_it_stands_at():
    for one in english_probes():
        if one.kind == "closing mark":
            mark = max(one.beginning.find("("), one.beginning.find('"'))
            assert one.distance == 1 + len(one.beginning[mark + 1 :].split())


def test_attractors_all_have_the_number_that_the_subject_has_not():
    plural = {"windows", "bars", "doors", "plates", "kitchens", "menus"}
    for one in english_probes():
        if one.kind == "number of the verb":
            nouns = [word for word in one.beginning.split()[2:] if word in plural or word + "s" in plural]
            is_plural = one.right in (" were", " are", " have")
            assert all((noun in plural) != is_plural for noun in nouns)
            assert one.distance == len(one.beginning.split()) - 1


@pytest.fixture(scope="module")
def drawn():
    return grammar_probes(40, seed=4)


@pytest.mark.slow
def test_the_grammar_writes_both_twins_and_neither_with_the_others_words():
    draw, variables, kinds = Random("check"), list(automaton().variables), Counter()
    for _ in range(25):
        text, values, _ = write_review(5, draw.random)
        for swap in swaps(text, dict(zip(variables, values, strict=True)), draw):
            assert text[swap.at : swap.at + len(swap.old)] == swap.old
            before, after = twin(text, swap)
            assert swap.name not in before + swap.new + after
            if proven(text, swap, 5):
                kinds[swap.kind] += 1
                assert log_probability(text, 5) is not None
                assert log_probability(before + swap.new + after, 5) is not None
                assert log_probability(before + swap.old + after, 5) is None
    assert {"number", "dish"} <= set(kinds)


@pytest.mark.long
def test_grammar_probes_are_pairs_whose_answers_are_swapped(drawn):
    assert {"number", "gender", "dish", "company", "person"} >= {one.kind for one in drawn} >= {"number", "dish"}
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert (first.pair, first.kind, first.stars) == (second.pair, second.kind, second.stars)
        assert first.distance == second.distance, "a pair belongs to one row of a table"
        assert first.beginning != second.beginning
        assert (first.right.strip(), first.wrong.strip()) == (second.wrong.strip(), second.right.strip())


@pytest.mark.slow
def test_grammar_probes_stop_right_before_the_word_that_is_swapped(drawn):
    for one in drawn:
        assert one.right != one.wrong
        assert not one.beginning.endswith(" ")
        assert len(one.right.split()) == 1
        assert one.distance >= 1
        if one.kind == "dish":
            assert one.right.strip() in one.beginning, "it was named before"


@pytest.mark.long
def test_equal_seeds_draw_equal_probes():
    assert grammar_probes(5, seed=2) == grammar_probes(5, seed=2)
    assert grammar_probes(5, seed=2) != grammar_probes(5, seed=3)
