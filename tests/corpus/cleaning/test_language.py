"""Languages are told apart on texts as long as reviews, and short ones are not guessed at."""

import sys

import polars as pl
import pytest

from core.errors import ConfigError
from corpus.cleaning.language import detect
from tests.corpus.cleaning.sentences import SENTENCES


def test_sentences_in_fourteen_languages_are_recognised():
    pytest.importorskip("py3langid")
    expected = [code for code, sentences in SENTENCES.items() for _ in sentences]
    found = detect(pl.Series([text for sentences in SENTENCES.values() for text in sentences])).to_list()
    assert not [pair for pair in zip(expected, found, strict=True) if pair[1] not in (pair[0], "")]
    assert sum(map(str.__eq__, expected, found)) >= 0.97 * len(expected)


def test_a_missing_library_is_an_error_that_says_what_to_install(monkeypatch):
    from corpus.cleaning import language

    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language._identifier.cache_clear()
    with pytest.raises(ConfigError, match=r"\.\[languages\]"):
        detect(pl.Series(["The food was good and the staff was nice."]))
    language._identifier.cache_clear()
