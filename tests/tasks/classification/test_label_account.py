"""What is said of labels before classifiers learn them: their numbers, and which are written in two ways."""

from __future__ import annotations

import pytest

from reviewlm.corpus.account import Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.tasks.classification.label_account import (
    differ_by_one_edit,
    entries_of_similar,
    have_same_characters,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("good", "Good"),
        ("good", "GOOD "),
        ("very good", "very_good"),
        ("1", "1.0"),
        ("café", "cafe\u0301"),
        ("ﬁne", "fine"),
    ],
)
def test_labels_that_differ_in_writing_only_look_alike(one: str, other: str) -> None:
    assert have_same_characters(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("good", "food"), ("1", "10"), ("+", "-"), ("likely", "unlikely")]
)
def test_other_labels_do_not_look_alike(one: str, other: str) -> None:
    assert not have_same_characters(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("positive", "postive"),
        ("positive", "possitive"),
        ("positive", "positivr"),
        ("positive", "psoitive"),
        ("positive", "positives"),
    ],
)
def test_one_wrong_letter_may_be_a_typing_error(one: str, other: str) -> None:
    assert differ_by_one_edit(one, other)
    assert differ_by_one_edit(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("type 1", "type 2"), ("likely", "unlikely"), ("good", "food"), ("bar", "bars")],
)
def test_numbers_short_words_or_two_letters_are_no_typing_error(one: str, other: str) -> None:
    assert not differ_by_one_edit(one, other)


def test_near_equal_labels_are_pointed_out_with_their_numbers() -> None:
    counts = {
        "good": 900,
        "Good": 80,
        "GOOD ": 20,
        "bad": 500,
        "positive": 400,
        "postive": 3,
    }
    entries = entries_of_similar("mood", counts)
    found = {(entry.kind, entry.about, entry.count) for entry in entries}
    assert found == {
        (Kind.LABELS_ALIKE, "'Good', 'good'", 80),
        (Kind.LABELS_ALIKE, "'GOOD ', 'good'", 20),
        (Kind.LABELS_ALIKE, "'GOOD ', 'Good'", 20),
        (Kind.LABELS_ALIKE, "'postive', 'positive'", 3),
    }
    assert all(entry.outcome is Outcome.NOTED and entry.odd for entry in entries)


def test_two_common_labels_of_one_letter_difference_are_two_labels() -> None:
    assert entries_of_similar("place", {"French": 400, "Trench": 300}) == []
