"""Case and marks come off a text as tags; a tagger learns them, and restores long texts in windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.neural.labelling.spec import TaggingSpec
from reviewlm.models.punctuator import OVERLAP, WINDOW, Punctuator
from reviewlm.models.specs import TrainingSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.models.written_words import TAGS, TaggedWords, put_back, taken_off
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.networks import fit_punctuator
from reviewlm.training.vocabularies.learn import learn_vocabulary

TEXTS = [
    f"{who} went to Chicago, and the {food} was {word}! Was it cheap? {end}."
    for who in ("I", "We", "They")
    for food in ("soup", "bread", "tea")
    for word in ("good", "bad")
    for end in ("No", "It was")
]
SPEC = TaggingSpec(
    labels=TAGS,
    hidden=24,
    embedding=16,
    dropout=0.0,
    training=TrainingSpec(
        epochs=40,
        batch=8,
        learning_rate=2e-2,
        evaluations=4,
        precision="float32",
    ),
)


def vocabulary_of(texts: list[TaggedWords]) -> Vocabulary:
    spec = VocabularySpec(
        unit="bpe",
        size=300,
        min_count=1,
    )
    return learn_vocabulary([" ".join(text.words) for text in texts], spec, NormalForm())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Punctuator:
    texts, context = [taken_off(text) for text in TEXTS], FitContext(tmp_path_factory.mktemp("fit"))
    return fit_punctuator(
        SPEC,
        vocabulary_of(texts),
        texts,
        texts,
        context,
    )[0]


def test_what_it_has_learned_it_restores(fitted: Punctuator) -> None:
    plain = [" ".join(taken_off(text).words) for text in TEXTS]
    assert fitted.restore(plain) == TEXTS
    assert fitted.restore([TEXTS[0].upper()]) == [TEXTS[0]], (
        "case and marks of the input are not looked at"
    )


def test_a_saved_model_answers_the_same(fitted: Punctuator, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    words = [taken_off(text).words for text in TEXTS]
    assert Punctuator.load(tmp_path / "model").tags(words) == fitted.tags(words)


class Echo:
    """Answers each piece with the number of its place in its window, and notes what it was asked."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def answers(self, sequences: object) -> np.ndarray:
        offsets = sequences.offsets  # type: ignore[attr-defined]
        self.lengths = list(np.diff(offsets))
        return np.concatenate([np.arange(length) for length in self.lengths])


@pytest.mark.parametrize("length", [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 977])
def test_each_word_of_a_long_text_is_tagged_far_from_the_ends_of_a_window(
    fitted: Punctuator, length: int
) -> None:
    echo = Echo()
    cut = Punctuator(fitted.vocabulary, echo)  # type: ignore[arg-type]
    word = next(w for w in ("the", "was", "to") if len(fitted.vocabulary.encode(f" {w}")) == 1)
    [places] = cut.tags([[word] * length])
    assert len(places) == length
    assert max(echo.lengths) <= WINDOW
    # The place is that of the word in the window that gave its tag.
    for number, place in enumerate(places):
        assert place == number or place >= OVERLAP // 2
        last = number >= length - WINDOW
        assert place < WINDOW - OVERLAP // 2 or last


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
        ('... ?! - :) ""', []),
        ("", []),
    ],
)
def test_tags_are_told_apart(text: str, wanted: list[str]) -> None:
    assert tags(text) == wanted


@given(st.text(max_size=60))
def test_any_text_has_a_tag_for_each_word(text: str) -> None:
    words, numbers = taken_off(text)

    assert len(words) == len(numbers)
    assert all(0 <= number < len(TAGS) for number in numbers)


@given(st.text(max_size=60))
def test_taking_off_what_was_put_back_changes_nothing(text: str) -> None:
    written = put_back(*taken_off(text))

    assert put_back(*taken_off(written)) == written or "ß" in text.lower() or not text.isascii()
