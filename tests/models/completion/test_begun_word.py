"""A text goes on inside the word at the end of its prompt, if the vocabulary knows words that begin so."""

from __future__ import annotations

import re

import pytest

from models.completion.typed import start_of
from models.sampling import generate, stream
from tests.serving.engine.small_models import bundle_of, vocabulary_of

BEGUN = {"The soup was gre": "great", "The soup was GRE": "GREAT", "Gre": "Great", "We went to phoe": "phoenix",
         "(wai": "waited", "The soup.\nThe sta": "staff", "the soup was  gre": "great"}  # fmt: skip


@pytest.mark.parametrize(("prompt", "word"), BEGUN.items())
@pytest.mark.parametrize("kind", ["ngram", "lstm", "cache"])
def test_the_begun_word_is_finished(kind, prompt, word):
    for text in generate(bundle_of(kind), 4, 3, prompt, max_tokens=3):
        assert text.startswith(prompt)
        assert re.findall(r"\w+", text)[len(re.findall(r"\w+", prompt)) - 1] == word


def test_a_text_goes_on_after_the_finished_word_as_if_that_had_been_the_prompt():
    bundle = bundle_of("ngram")
    begun = generate(bundle, 1, 3, "The soup was gre", temperature=0)[0]
    assert begun == generate(bundle, 1, 3, "The soup was great", temperature=0)[0]
    assert begun == "".join(stream(bundle, 3, "The soup was gre", temperature=0))
    assert begun.startswith("The soup was great, so we")


@pytest.mark.parametrize(
    "prompt", ["", "The soup", "The soup was gre ", "The soup was gre.", "The soup was zxq", "It was $", "We w/"]
)
def test_other_prompts_are_read_to_their_end(prompt):
    vocabulary = vocabulary_of()
    found = start_of(vocabulary, prompt)
    assert (found.first, found.word) == ((), "")
    assert list(found.ids) == list(found.whole) == vocabulary.encode(prompt.rstrip()).tolist()
