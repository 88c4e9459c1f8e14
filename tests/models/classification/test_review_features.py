"""Lexicons and patterns as features: the numbers of their definitions, names, files, clear errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from models.classification.features.lexicons import LexiconCounter, read_lexicon
from models.classification.features.patterns import COUNTED, count_patterns
from models.classification.features.review_features import Counts, ReviewFeatures
from models.classification.features.tfidf import TfidfFeatures
from models.classification.spec import LogisticSpec, TfidfSpec
from models.neural.labelling.rows import Rows
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from tests.examples import examples
from training.context import FitContext

WORDS = ("good", "bad", "not", "so", "!")


def dense(rows, features):
    found = np.zeros((len(rows), features))
    for number, (first, last) in enumerate(zip(rows.offsets, rows.offsets[1:], strict=False)):
        found[number, rows.ids_P[first:last]] = rows.values_P[first:last]
    return found


@examples(60)
@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=6))
def test_lexicons_count_their_entries_times_their_weights(texts):
    joy = {"good": 2.0, "so good": 0.5, "!": 1.0, "not so good ! ! !": 7.0}
    lexicons = {"joy": joy, "not": {"not good": -1.5, "bad": 1.0}}
    written = [" ".join(words) for words in texts]

    def occurrences(entry, words):
        long = len(entry.split())
        return sum(words[at : at + long] == entry.split() for at in range(len(words)))

    expected = [
        [sum(weight * occurrences(entry, words) for entry, weight in lexicon.items()) for lexicon in lexicons.values()]
        for words in texts
    ]
    np.testing.assert_allclose(LexiconCounter(lexicons).counts(pl.Series(written, dtype=pl.String)), expected)


@examples(40)
@given(st.lists(st.text("aA!1 ", max_size=20), min_size=1, max_size=5))
def test_patterns_count_matches_that_do_not_overlap(texts):
    patterns = {"a": "!{2,}", "b": r"\b[A-Z]{2,}\b", "c": "[0-9]+"}
    expected = [[len(re.findall(pattern, text)) for pattern in patterns.values()] for text in texts]
    assert count_patterns(pl.Series(texts, dtype=pl.String), patterns).tolist() == expected


def test_no_pattern_takes_exponential_time():
    hard = pl.Series(["a" * (COUNTED - 1) + "b"])
    assert count_patterns(hard, {"x": "(a+)+$", "y": "(a|a)*c"}).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("sublinear", [True, False])
def test_a_count_is_divided_by_its_root_mean_square_in_training(sublinear):
    train = Rows.of([[9], [9], [9], [9]], ["no", "yes!!", "yes yes", "yes ?"])
    lexicons, patterns = {"sure": {"yes": 1.0, "no": -3.0}}, {"never": "@"}
    plain = np.array([-3.0, 1.0, 2.0, 1.0])
    plain = np.sign(plain) * np.log(1 + np.abs(plain)) if sublinear else plain
    counts = Counts.learn(lexicons, patterns, sublinear, train)
    assert counts.names == ["lexicon sure", "pattern never"]
    found = dense(counts.transform(train), 2)
    np.testing.assert_allclose(found[:, 0], plain / np.sqrt((plain**2).mean()))
    assert not found[:, 1].any()


@pytest.fixture(scope="module")
def words():
    return Vocabulary.train(["good food !", "bad service", "the food"] * 5, VocabularySpec(min_count=1), NormalForm())


def everything(kind=LogisticSpec, **options):
    return kind(labels=("a", "b"), min_reviews=1, orders=(1,), lexicons=("joy",),
                patterns={"shouting": "[A-Z]{3,}", "digits": "[0-9]"}, **options)  # fmt: skip


@pytest.mark.parametrize("kind", [LogisticSpec, TfidfSpec])
def test_the_blocks_stand_side_by_side_and_survive_their_files(tmp_path, words, kind):
    texts = ["good food", "bad FOOD!", "the service 12", "good good"]
    rows = Rows.of(words.encode_batch(texts), texts)
    context = FitContext(tmp_path, lexicons={"joy": {"good": 1.0, "bad": -1.0}, "unused": {"x": 1.0}})
    features = ReviewFeatures.learn(everything(kind), rows, words.size, context.lexicons)
    found = dense(features.transform(rows), len(features))
    ngrams = TfidfFeatures.learn(everything(kind), rows, words.size)
    np.testing.assert_array_equal(found[:, : len(ngrams)], dense(ngrams.transform(rows), len(ngrams)))
    assert (found[:, -3] != 0).tolist() == [True, True, False, True]  # joy
    assert (found[:, -2] != 0).tolist() == [False, False, True, False]  # digits, before shouting by name
    assert (found[:, -1] != 0).tolist() == [False, True, False, False]
    features.save(tmp_path)
    opened = ReviewFeatures.load(tmp_path, everything(kind), words.size)
    np.testing.assert_array_equal(dense(opened.transform(rows), len(opened)), found)
    names = opened.names(words)
    assert sum(map(len, names.values())) == len(features)
    assert {"good", "food"} <= set(names["n-grams"])
    assert names["counts"] == ["lexicon joy", "pattern digits", "pattern shouting"]


def test_ids_without_texts_and_unknown_lexicons_are_refused(tmp_path, words):
    rows = Rows.of([[9, 10]])
    with pytest.raises(ModelError, match=r"lexicon joy.*counted in the texts"):
        ReviewFeatures.learn(everything(), rows, words.size, {"joy": {"good": 1.0}})
    with pytest.raises(ModelError, match=r"no lexicon of this name .there is: none"):
        ReviewFeatures.learn(everything(), rows, words.size, {})
    with pytest.raises(ModelError, match="2 texts for 1 sequences"):
        Rows.of([[9]], ["a", "b"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"patterns": {"x": "("}}, r"patterns.x is '\('; it must be a regular expression; unclosed group"),
        ({"patterns": {"x": "a(?=b)"}}, "patterns.x .*look-ahead.* is not supported"),
        ({"patterns": {"x": "(a{1000}){1000}"}}, "patterns.x .*exceeds size limit"),
        ({"patterns": {"x": "a*"}}, "patterns.x .*matches the empty text"),
        ({"patterns": {"a/b": "a"}}, "must not contain '/'"),
        ({"lexicons": ("a", "a")}, "different names"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, complaint):
    for kind in (LogisticSpec, TfidfSpec):
        with pytest.raises(ValueError, match=complaint):
            kind(**options)


def lexicon_file(folder: Path, text: str) -> Path:
    file = folder / "joy.txt"
    file.write_bytes(text.encode())
    return file


def test_a_lexicon_file_has_words_alone_or_with_weights(tmp_path):
    file = lexicon_file(tmp_path, "\ufeff# comment\nGood\r\n\nawful\t-2.5\nnot  good\t-1\nDon’t\ngood\t1\n:)\t3e-1\n")
    assert read_lexicon(file) == {":)": 0.3, "awful": -2.5, "don't": 1.0, "good": 1.0, "not good": -1.0}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("good\nbad\tvery\n", "line 2 .*weight 'very', which is not a number: a line is a word"),
        ("good\t1\t2\n", "line 1 .*not a number"),
        ("good\tnan\n", "line 1 .*not a number"),
        ("good\n\t1\n", "line 2 .*has no word"),
        ("good\n\nGOOD\t2\n", "line 3 .*gives 'good' the weight 2; line 1 gives it 1: remove one"),
        ("# nothing\n\n", "has no entry"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path, text, complaint):
    with pytest.raises(ModelError, match=complaint):
        read_lexicon(lexicon_file(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "joy.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot be read as text in UTF-8"):
        read_lexicon(tmp_path / "joy.txt")
