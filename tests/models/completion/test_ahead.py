"""What is read ahead is what the next letter needs; the answers stay those of readers that know nothing."""

from dataclasses import replace

import pytest

from models.completion.ahead import ahead_steps, next_letters
from models.completion.reading import Readers, result_of, run_together
from models.completion.spellings import EXACT, QUICK
from models.completion.suggestions import suggest
from models.completion.typed import divide
from tests.models.completion.test_suggestions import Counted, letters_only, probability_of_beginning
from tests.models.table_lm import HistoryLM

RATED = (0.0, 0.2, 0.3, 0.5, 0.0, 0.0)


def counted(unit="bpe", prior=None):
    """A model whose predictions depend on all tokens before them, and that counts what it reads."""
    bundle = letters_only(unit)
    model = HistoryLM.normalised(bundle.model.p_VV)
    return replace(bundle, model=Counted(model), **({"stars_prior": prior} if prior else {}))


def read_ahead(bundle, readers, prompt, letters, cutoffs=QUICK):
    result_of(ahead_steps(bundle, prompt, 3, None, True, readers, cutoffs, letters))


@pytest.mark.parametrize("prior", [None, RATED])
@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("prompt", ["", "so i", "so ", "so it is"])
def test_after_reading_ahead_the_next_letters_need_no_step_and_get_the_same_words(prompt, unit, prior):
    bundle = counted(unit, prior)
    readers, others = Readers(bundle), Readers(bundle)
    suggest(bundle, prompt, 3, None, True, readers, QUICK)
    read_ahead(bundle, readers, prompt, letters=2)
    read, (reader, prefix) = bundle.model.rows, readers.of(None)
    search = next_letters(bundle, divide(bundle.vocabulary, prompt, prefix), reader, QUICK)
    [likely] = result_of(run_together(reader, search))
    texts = [prompt + letter for letter, _ in likely[:2]]
    found = [suggest(bundle, text, 3, None, True, readers, QUICK) for text in texts]
    assert bundle.model.rows == read
    suggest(bundle, prompt, 3, None, True, others, QUICK)
    assert found == [suggest(bundle, text, 3, None, True, others, QUICK) for text in texts]
    assert bundle.model.rows > read


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
