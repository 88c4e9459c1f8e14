"""Languages are told apart on texts as long as reviews, and short ones are not guessed at."""

import subprocess
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


def test_texts_that_are_too_short_or_have_no_words_have_no_language():
    pytest.importorskip("py3langid")
    texts = ["", "Yum!", "Love Krista!", "10/10", "5" * 100, "_url_ " * 20, "!!! ??? ...", "😀" * 50, None]
    assert detect(pl.Series(texts, dtype=pl.String)).to_list() == [""] * len(texts)


def test_the_answer_depends_on_the_text_alone():
    pytest.importorskip("py3langid")
    texts = [text.upper() for sentences in SENTENCES.values() for text in sentences[:2]]
    together = detect(pl.Series(texts)).to_list()
    assert together == [detect(pl.Series([text]))[0] for text in texts]
    assert together[:2] == ["en", "en"]
    assert detect(pl.Series([], dtype=pl.String)).to_list() == []


def test_a_missing_library_is_an_error_that_says_what_to_install(monkeypatch):
    from corpus.cleaning import language

    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language._identifier.cache_clear()
    with pytest.raises(ConfigError, match=r"\.\[languages\]"):
        detect(pl.Series(["The food was good and the staff was nice."]))
    language._identifier.cache_clear()


@pytest.mark.slow
def test_the_module_is_imported_without_the_library():
    code = "import sys, corpus.cleaning.language; sys.exit('py3langid' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.real_data
def test_real_english_reviews_are_hardly_ever_called_foreign(real_data):
    pytest.importorskip("py3langid")
    texts = pl.read_csv(real_data / "kaggle_yelp_10k.csv.gz")["text"].sample(1500, seed=1)
    found = detect(texts)
    assert (found == "en").sum() >= 0.98 * len(texts)
    assert found.is_in(["en", ""]).sum() >= 0.997 * len(texts)
