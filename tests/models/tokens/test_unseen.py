"""What a model is asked for that its training did not have is said, and nothing else is."""

import pytest

from models.bundles.bundle import Bundle
from models.bundles.unseen import scripts_of, unseen_warnings
from models.text.personal_data import MASKS
from models.tokens.words import FIRST
from tests.models.small_vocabularies import TRAIN, train
from tests.models.table_lm import TableLM, TableSpec

STARRED, STARLESS = (0.0, 0.1, 0.2, 0.0, 0.3, 0.4), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
RUSSIAN = ["Еда была отличной, а персонал дружелюбным.", "Суп был холодным. _url_"] * 3
MIXED = [*TRAIN, *RUSSIAN]


def bundle_of(unit="word", texts=TRAIN, shares=STARRED):
    vocabulary = train(unit, texts)
    return Bundle(TableSpec(), vocabulary, TableLM.random(vocabulary.size), stars_prior=shares)


def test_a_model_trained_without_ratings_says_that_a_rating_means_nothing_to_it():
    [said] = unseen_warnings(bundle_of(shares=STARLESS), "the food", stars=2)
    assert said.startswith("The model has never seen a review of 2 stars: none had a rating at all.")


def test_one_missing_rating_is_told_with_those_that_there_were():
    [said] = unseen_warnings(bundle_of(), "", stars=3)
    assert said.startswith("The model has never seen a review of 3 stars: it was trained on reviews of 1, 2, 4, 5 "
    "stars")
    [said] = unseen_warnings(bundle_of(), "", stars=0)
    assert "a review of an unknown rating" in said


@pytest.mark.parametrize("stars", [None, 1, 5])
def test_a_rating_that_was_learnt_and_none_at_all_are_no_reason_to_warn(stars):
    assert unseen_warnings(bundle_of(), "the food was", stars) == []


@pytest.mark.parametrize("unit", ["word", "bpe", "unigram", "char"])
@pytest.mark.parametrize(
    ("text", "script"),
    [("Еда была", "Cyrillic"), ("το φαγητό", "Greek"), ("食べ物", "Japanese (Hiragana)"), ("食物", "Chinese (Han)")],
)
def test_a_script_that_the_vocabulary_has_no_letter_of_is_named(unit, text, script):
    said = unseen_warnings(bundle_of(unit), f"The food, {text}")
    assert any(f"letters in {script} script" in sentence for sentence in said)
    assert not any("Latin" in sentence for sentence in said)
    able = "cannot read them" if unit == "word" else "reads them as bytes and has seen hardly any"
    assert all(sentence.endswith(f"lacks: it {able}.") for sentence in said)


def test_the_vocabulary_is_looked_through_once_and_not_for_every_row(monkeypatch):
    bundle, asked = bundle_of(), []
    entry = bundle.vocabulary.entry
    monkeypatch.setattr(bundle.vocabulary, "entry", lambda token: asked.append(token) or entry(token))
    for text in ("The food.", "Еда была", "Еда была", "το φαγητό"):
        unseen_warnings(bundle, text)
    assert len(asked) == bundle.vocabulary.size - FIRST


@pytest.mark.parametrize("unit", ["word", "bpe", "unigram", "char"])
def test_a_script_that_was_learnt_is_not_named(unit):
    assert unseen_warnings(bundle_of(unit, MIXED), "еда and food") == []


def test_placeholders_of_masked_data_do_not_make_latin_a_known_script():
    masked = [f"{RUSSIAN[0]} {' '.join(sorted({step.replacement for step in MASKS}))}"]
    [said] = unseen_warnings(bundle_of("word", [*RUSSIAN, *masked]), "the food was")
    assert "letters in Latin script" in said


def test_signs_digits_and_emoji_belong_to_no_script():
    assert scripts_of("5 µ € ½ 😀 ª 10:30 — ♥") == set()
    assert scripts_of("naïve Ω ж 한 ひ カ 漢 ع") == {
        "LATIN", "GREEK", "CYRILLIC", "HANGUL", "HIRAGANA", "KATAKANA", "CJK", "ARABIC",
    }  # fmt: skip
