"""What the embedded corpus reads like: agreement, references, tone, typing errors, tail."""

from functools import cache
from random import Random

import pytest

from corpus.synthetic import grammar, typos
from corpus.synthetic.automaton import Automaton
from models.text.normal_form import NormalForm


@cache
def sample(count=4_000):
    draw = Random(7)
    return [(stars, *grammar.write_review(stars, draw.random)[:2]) for stars in (1 + i % 5 for i in range(count))]


@pytest.mark.slow
def test_every_text_is_in_normal_form():
    normal = NormalForm()
    for _, text, _ in sample():
        assert normal.apply(text) == text


@pytest.mark.parametrize("word", ["food", "really", "noodles", "aaaa"])
def test_what_was_meant_is_found_from_what_was_written(word):
    for surface, share in typos.corruptions(word).items():
        assert typos.intended(surface, {word, "other"}) == {word: share}


@pytest.mark.parametrize(("template", "words"), [
    ("[a", "not closed"), ("{nobody}", "no rule"), ("a]", "unexpected"),
    ("[a*0|b]", "positive"), ("{!x}", "no variable"),
])
def test_bad_templates_are_refused(template, words):
    with pytest.raises(ValueError, match=words):
        Automaton({"start": template}, {})
