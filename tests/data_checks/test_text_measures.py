"""Runs of words and characters against a reading by hand, and what counts as mojibake."""

import itertools
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_checks.text_runs import MOJIBAKE, runs_of
from tests.examples import examples

PIECES = st.sampled_from([
    "a", "b", "ab", " ", "  ", "\n", "é", "🔥", "a" * 8, "🔥" * 9, "ab ab ab", "x" * 70, "-" * 30,
])
TEXTS = st.lists(st.one_of(st.none(), st.lists(PIECES, max_size=14).map("".join)), max_size=8)


def words_by_hand(text):
    if not text:
        return 0
    runs = [1]
    for part in re.split(r"[\x00-\x20]{2,}", text):
        runs += [len(list(run)) for word, run in itertools.groupby(re.split(r"[\x00-\x20]", part)) if word]
    return max(runs)


def characters_by_hand(text):
    if not text:
        return 0
    return max((len(list(run)) for sign, run in itertools.groupby(text) if sign > " "), default=1)


@examples(200, derandomize=True)
@given(texts=TEXTS)
def test_runs_are_those_found_by_hand(texts):
    column = pl.Series("text", texts, pl.String)
    assert runs_of(column).struct.field("word_run").to_list() == [words_by_hand(text) for text in texts]
    assert runs_of(column).struct.field("character_run").to_list() == [characters_by_hand(text) for text in texts]


@pytest.mark.parametrize(
    "text", ["café", "naïve", "“quoted” – dash…", "5 °C, £5", "Ångström", "über", "日本", "🔥🍜", "señor"])
def test_utf8_read_as_windows_1252_or_latin_1_is_mojibake_and_the_text_itself_is_not(text):
    assert not re.search(MOJIBAKE, text)
    for encoding in ("cp1252", "latin-1"):
        wrong = text.encode().decode(encoding, "replace")
        marked = re.search(MOJIBAKE, wrong) is not None
        # Of signs beyond those of Western Europe some read as other letters, which might be meant.
        assert marked or any(sign > "\u2fff" for sign in text), (encoding, wrong)
