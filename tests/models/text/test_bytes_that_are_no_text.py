"""A string with a byte that is not UTF-8, or half a character, is refused at every door by one rule."""

from __future__ import annotations

import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import unseen_warnings
from reviewlm.models.completion.beam import beam_search
from reviewlm.models.completion.dasher import intervals
from reviewlm.models.completion.suggestions import suggest
from reviewlm.models.punctuator import Punctuator
from reviewlm.models.sampling import generate, stream
from reviewlm.models.sampling.watermark import evidence_of
from reviewlm.training.ngram.lines.line_lm import next_words, write_lines
from reviewlm.training.ngram.lines.text_corpus import LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines
from tests.models.sampling.small_bundles import bundle_of

BAD = {
    "café": ("the caf\udce9", "0xE9"),
    "half a character": ("soup \ud83d", r"U\+D83D"),
    "alone": ("\udc80", "0x80"),
}
LINES = fit_lines(LineCorpus.read(["the soup was good"] * 3), LineSpec(order=2))[0]
DOORS = {
    "generate": lambda model, text: generate(model, prompt=text),
    "stream": lambda model, text: list(stream(model, prompt=text)),
    "stop": lambda model, text: generate(model, stop=[text]),
    "watermark": lambda model, text: generate(model, watermark=text),
    "recognise": lambda model, text: evidence_of(model.vocabulary, "The soup", text),
    "beam": lambda model, text: beam_search(model, prompt=text),
    "require": lambda model, text: beam_search(model, require=[text]),
    "suggest": lambda model, text: suggest(model, text),
    "intervals": lambda model, text: intervals(model, text),
    "score": lambda model, text: model.score_texts(["The soup", text]),
    "warnings": lambda model, text: unseen_warnings(model, text),
    "lines: sentence": lambda _, text: LINES.log_probability(text),
    "lines: words of a sentence": lambda _, text: LINES.token_scores(text),
    "lines: suggest": lambda _, text: next_words(LINES, text),
    "lines: generate": lambda _, text: write_lines(LINES, prompt=text),
    "punctuate": lambda _, text: Punctuator.restore(None, [text]),  # type: ignore[arg-type]  # refused before its use
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_what_is_no_text_is_refused_with_its_byte(door: str, unit: str) -> None:
    for text, named in BAD.values():
        with pytest.raises(ModelError, match=named) as caught:
            DOORS[door](bundle_of(unit), text)
        assert caught.value.kind == "input"
