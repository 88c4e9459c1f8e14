"""What is read ahead is what the next letter needs; the answers stay those of readers that know nothing."""


import pytest

from models.completion.ahead import next_letters
from models.completion.reading import Readers, result_of, run_together
from models.completion.spellings import EXACT
from models.completion.typed import divide
from tests.models.completion.test_suggestions import letters_only, probability_of_beginning


@pytest.mark.parametrize(("context", "typed"), [("so", " i"), ("so", " "), ("so", "")])
def test_the_next_letters_have_the_probabilities_of_all_ways_to_write_them(context, typed):
    bundle = letters_only("bpe")
    last = [*bundle.vocabulary.prefix(0), *bundle.vocabulary.encode(context)][-1]
    reader, prefix = Readers(bundle).of(None)
    parts = divide(bundle.vocabulary, context + typed, prefix)
    [found] = result_of(run_together(reader, next_letters(bundle, parts, reader, EXACT)))
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    assert {letter for letter, p in found if p > 1e-6} >= set("soit")
    if not typed:  # the word may go on
        last, typed = prefix[-1], "so"
    whole = probability_of_beginning(bundle, last, typed) if typed else 1.0
    for letter, p in found:
        assert p == pytest.approx(probability_of_beginning(bundle, last, typed + letter) / whole, rel=1e-5, abs=1e-9)
