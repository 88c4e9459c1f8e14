"""Case and marks come off a text as tags, and go back to the same text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.written_words import TAGS, UsualTags, by_rules, put_back, taken_off


def tags(text: str) -> list[str]:
    return [TAGS[tag] for tag in taken_off(text).tags]


def test_a_text_is_taken_apart_as_the_definition_says() -> None:
    assert taken_off("Great food, but NOT cheap!").words == ["great", "food", "but", "not", "cheap"]
    assert tags("Great food, but NOT cheap!") == ["Title", "lower,", "lower", "UPPER", "lower!"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("what?!", ["lower?"]),  # the stronger of two marks
        ("wait...", ["lower."]),
        ("wait…", ["lower."]),
        ("first; then: so", ["lower.", "lower,", "lower"]),
        ('"good," he said', ["lower,", "lower", "lower"]),  # a quote around the mark
        ("(really!)", ["lower!"]),
        ("good ! bad", ["lower!", "lower"]),  # a mark that stands alone belongs to the word before
        ("good. ? bad", ["lower.", "lower"]),  # which has one already
        ("good :) bad - ugly", ["lower", "lower", "lower"]),
        (": first", ["lower"]),
        ("I I'll A OK iPhone", ["Title", "Title", "Title", "UPPER", "lower"]),
        ("McDonald's 20 U.S.", ["Title", "lower", "UPPER."]),
        ("don't well-done 3.5", ["lower"] * 3),
        ("Élan ÉLAN 東京", ["Title", "UPPER", "lower"]),
        ("... ?! - :) \"\"", []),
        ("", []),
    ],
)  # fmt: skip
def test_marks_and_cases_are_told_apart(text: str, wanted: list[str]) -> None:
    assert tags(text) == wanted


@given(st.text(max_size=60))
def test_any_text_has_a_tag_for_each_word_and_a_second_pass_changes_nothing(text: str) -> None:
    words, numbers = taken_off(text)
    assert len(words) == len(numbers)
    assert all(0 <= number < len(TAGS) for number in numbers)
    written = put_back(words, numbers)
    assert put_back(*taken_off(written)) == written or "ß" in text.lower() or not text.isascii()


def number(tag: str) -> int:
    return TAGS.index(tag)


def test_rules_write_the_beginning_i_and_the_end() -> None:
    words = ["when", "i", "came", "i'll", "say"]
    assert put_back(words, by_rules(words)) == "When I came I'll say."
    assert by_rules([]) == []
    assert put_back(["fine"], by_rules(["fine"])) == "Fine."


def test_the_usual_tag_is_the_most_frequent_and_of_equals_the_first() -> None:
    texts = [taken_off(text) for text in ("We like Chicago, Chicago, chicago", "so so, we We")]
    usual = UsualTags(texts)
    words = ["we", "in", "chicago", "so", "new"]
    assert put_back(words, usual(words)) == "We in Chicago, so new."
    assert usual([]) == []
