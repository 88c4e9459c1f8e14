"""How much of a text stands in another: held against counting by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.duplicates.shingles import mix
from evaluation.writing.novelty import ORDERS, PASSAGE, copied_passages, copied_spans, overlap
from evaluation.writing.word_stream import (
    WordStream,
    blocks,
    open_word_stream,
    pieces_of,
    word_stream,
    write_word_stream,
)
from tests.examples import examples


def stream_of(texts):
    """Texts of letters, each of which is a word."""
    words = np.array([ord(word) for text in texts for word in text], np.uint64)
    return WordStream(mix(words), np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64))


def stretches(text, n):
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def longest_by_hand(sample, training):
    lengths = range(len(sample), 0, -1)
    return next((n for n in lengths if any(each in text for each in stretches(sample, n) for text in training)), 0)


TEXTS = st.lists(st.text("ab", max_size=40), min_size=1, max_size=6)
VARIED = st.lists(st.text("abcde", max_size=25), min_size=1, max_size=6)


@given(samples=st.one_of(TEXTS, VARIED), training=st.one_of(TEXTS, VARIED), block=st.integers(1, 60))
@examples(150)
def test_shares_and_longest_spans_are_those_that_are_counted_by_hand(samples, training, block):
    found = overlap(stream_of(samples), stream_of(training), block)
    for n in range(1, ORDERS + 1):
        known = {each for text in training for each in stretches(text, n)}
        expected = [each in known for text in samples for each in stretches(text, n)]
        assert found.found[n - 1].tolist() == expected
        assert found.share(n) == (pytest.approx(np.mean(expected)) if expected else None)
    assert found.longest_D.tolist() == [longest_by_hand(sample, training) for sample in samples]
    joined = "".join(training)
    for sample, n, start, at in zip(samples, found.longest_D, found.start_D, found.at_D, strict=True):
        assert joined[at : at + n] == sample[start : start + n] if n else at == -1


def test_a_match_does_not_go_on_from_one_review_into_the_next():
    found = overlap(stream_of(["abcdefghijklmnop"]), stream_of(["abcdefghijkl", "mnop"]))
    assert (found.longest_D.tolist(), found.at_D.tolist()) == ([12], [0])


def test_of_equally_long_copies_the_first_one_is_named():
    copied = "the quick brown fox jumps over the lazy dog and then runs away"
    training = word_stream(pl.Series(["something else", copied, "more of it", copied]))
    found = overlap(word_stream(pl.Series([copied + " quickly"])), training, block_words=3)
    assert (found.longest_D.tolist(), found.at_D.tolist()) == ([13], [2])


def test_many_pairs_are_grown_bit_by_bit(monkeypatch):
    monkeypatch.setattr("evaluation.writing.novelty.PAIRS_AT_ONCE", 7)
    found = overlap(stream_of(["a" * 30, "ab" * 20]), stream_of(["a" * 25, "b" + "ab" * 15]))
    assert found.longest_D.tolist() == [25, 31]


def test_copied_spans_name_text_and_review_and_the_longest_comes_first():
    training = pl.Series(["Nothing here.", "We will never come back to this awful place again!"])
    samples = pl.DataFrame({"number": [0, 1, 2], "text": ["Zzz", "I say: never come back to THIS awful town", "here"]})
    table = samples.select("number", pieces=pieces_of(samples["text"]))
    stream = word_stream(training)
    spans = copied_spans(table, overlap(word_stream(samples["text"]), stream), stream.offsets)
    assert spans.select("number", "longest", "span", "review").rows() == [
        (1, 6, "never come back to this awful", 1),
        (2, 1, "here", 0),
        (0, 0, "", None),
    ]
    assert spans["of_sample"].to_list() == [pytest.approx(6 / 10), 1.0, 0.0]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=8))
@examples(150)
def test_equal_words_have_equal_fingerprints_and_others_have_not(texts):
    series = pl.Series(texts, dtype=pl.String)
    stream, pieces = word_stream(series), pieces_of(series).to_list()
    assert stream.lengths_D.tolist() == [len(words) for words in pieces]
    words = [word for text in pieces for word in text]
    assert len({*zip(words, stream.words_N.tolist(), strict=True)}) == len({*words}) == len({*stream.words_N.tolist()})


def test_a_stream_on_disk_is_the_one_in_memory(tmp_path):
    texts = [f"review {i} is " + "so " * i + "good" for i in range(50)]
    written = write_word_stream(tmp_path, [pl.Series(texts[:7]), pl.Series(texts[7:])])
    whole, opened = word_stream(pl.Series(texts)), open_word_stream(tmp_path)
    for stream in (written, opened):
        assert isinstance(stream.words_N, np.memmap)
        assert np.array_equal(stream.words_N, whole.words_N)
        assert np.array_equal(stream.offsets, whole.offsets)


@pytest.mark.parametrize("words", [1, 5, 1_000])
def test_blocks_are_whole_texts_that_follow_one_another(words):
    texts = ["ab", "", "abcde", "a", "abcdefgh", ""]
    stream, parts = stream_of(texts), list(blocks(stream_of(texts), words))
    assert sum(len(part) for _, part in parts) == len(texts)
    assert np.array_equal(np.concatenate([part.words_N for _, part in parts]), stream.words_N)
    assert all(len(part) == 1 or len(part.words_N) <= words for _, part in parts)
    assert [start for start, _ in parts] == np.cumsum([0, *(len(part.words_N) for _, part in parts)])[:-1].tolist()


@given(st.lists(st.text("abc ", max_size=12), min_size=1, max_size=6), st.integers(1, 5))
def test_texts_cut_at_so_many_words_are_their_first_words(texts, words):
    cut = word_stream(pl.Series(texts, dtype=pl.String)).cut_at(words)
    first = word_stream(pl.Series([" ".join(text.split()[:words]) for text in texts], dtype=pl.String))
    assert cut.offsets.tolist() == first.offsets.tolist()
    assert cut.words_N.tolist() == first.words_N.tolist()


@given(samples=st.one_of(TEXTS, VARIED), training=st.one_of(TEXTS, VARIED))
@examples(150)
def test_a_passage_is_eight_words_or_a_whole_text_that_is_shorter(samples, training):
    known = {each for text in training for each in stretches(text, PASSAGE)}
    longer = [each in known for text in samples for each in stretches(text, PASSAGE)]
    whole = [text in training for text in samples if 0 < len(text) < PASSAGE]
    found = copied_passages(stream_of(samples), sum(longer), stream_of(training))
    assert found == (pytest.approx(np.mean(longer + whole)) if longer + whole else None)


def test_a_short_line_is_copied_only_where_it_is_a_whole_line_of_the_training_text():
    training = stream_of(["abc", "abcdefghij", "xy"])
    assert copied_passages(stream_of(["abc", "abd", "bc", "xy", ""]), 0, training) == 2 / 4
