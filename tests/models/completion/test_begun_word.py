"""A text goes on inside the word at the end of its prompt, if the vocabulary knows words that begin so."""

from __future__ import annotations

import re

import pytest

from models.sampling import generate
from tests.serving.engine.small_models import bundle_of

BEGUN = {"The soup was gre": "great", "The soup was GRE": "GREAT", "Gre": "Great", "We went to phoe": "phoenix",
         "(wai": "waited", "The soup.\nThe sta": "staff", "the soup was  gre": "great"}  # fmt: skip


@pytest.mark.parametrize(("prompt", "word"), BEGUN.items())
@pytest.mark.parametrize("kind", ["ngram", "lstm", "cache"])
def test_the_begun_word_is_finished(kind, prompt, word):
    for text in generate(bundle_of(kind), 4, 3, prompt, max_tokens=3):
        assert text.startswith(prompt)
        assert re.findall(r"\w+", text)[len(re.findall(r"\w+", prompt)) - 1] == word
