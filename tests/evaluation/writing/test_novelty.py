"""How much of a text stands in another: held against counting by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.corpus.duplicates.shingles import mix
from reviewlm.corpus.synthetic.canaries import Canaries
from reviewlm.evaluation.writing.audit import private_patterns
from reviewlm.evaluation.writing.exposure import FACTS, exposures, measure_exposure, ranks
from reviewlm.evaluation.writing.novelty import (
    ORDERS,
    PASSAGE,
    copied_passages,
    copied_spans,
    overlap,
)
from reviewlm.evaluation.writing.word_stream import (
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
    return WordStream(
        mix(words), np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    )


def stretches(text, n):
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def longest_by_hand(sample, training):
    lengths = range(len(sample), 0, -1)
    return next(
        (
            n
            for n in lengths
            if any(each in text for each in stretches(sample, n) for text in training)
        ),
        0,
    )


TEXTS = st.lists(st.text("ab", max_size=40), min_size=1, max_size=6)
VARIED = st.lists(st.text("abcde", max_size=25), min_size=1, max_size=6)


ANY_TEXTS = given(
    samples=st.one_of(TEXTS, VARIED),
    training=st.one_of(TEXTS, VARIED),
    block=st.integers(1, 60),
)


@ANY_TEXTS
@examples(150)
def test_shares_are_those_that_are_counted_by_hand(
    samples,
    training,
    block,
):
    found = overlap(stream_of(samples), stream_of(training), block)
    for n in range(1, ORDERS + 1):
        known = {each for text in training for each in stretches(text, n)}
        expected = [each in known for text in samples for each in stretches(text, n)]
        assert found.found[n - 1].tolist() == expected
        assert found.share(n) == (pytest.approx(np.mean(expected)) if expected else None)


@ANY_TEXTS
@examples(150)
def test_the_longest_span_is_that_of_a_search_by_hand(
    samples,
    training,
    block,
):
    found = overlap(stream_of(samples), stream_of(training), block)
    assert found.longest_D.tolist() == [longest_by_hand(sample, training) for sample in samples]
    joined = "".join(training)
    for sample, n, start, at in zip(
        samples,
        found.longest_D,
        found.start_D,
        found.at_D,
        strict=True,
    ):
        assert joined[at : at + n] == sample[start : start + n] if n else at == -1


def test_the_longest_copied_span_comes_first():
    training = pl.Series(["Nothing here.", "We will never come back to this awful place again!"])
    samples = pl.DataFrame(
        {"number": [0, 1, 2], "text": ["Zzz", "I say: never come back to THIS awful town", "here"]}
    )
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
def test_only_equal_words_have_equal_fingerprints(texts):
    series = pl.Series(texts, dtype=pl.String)
    stream, pieces = word_stream(series), pieces_of(series).to_list()
    assert stream.lengths_D.tolist() == [len(words) for words in pieces]
    words = [word for text in pieces for word in text]
    assert (
        len({*zip(words, stream.words_N.tolist(), strict=True)})
        == len({*words})
        == len({*stream.words_N.tolist()})
    )


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
    assert [start for start, _ in parts] == np.cumsum(
        [0, *(len(part.words_N) for _, part in parts)]
    )[:-1].tolist()


@given(st.lists(st.text("abc ", max_size=12), min_size=1, max_size=6), st.integers(1, 5))
def test_texts_cut_at_so_many_words_are_their_first_words(texts, words):
    cut = word_stream(pl.Series(texts, dtype=pl.String)).cut_at(words)
    first = word_stream(
        pl.Series([" ".join(text.split()[:words]) for text in texts], dtype=pl.String)
    )
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


# --- Exposure: what theory says of canaries that were never planted, ranks by hand

NUMBERS = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=20)


@given(NUMBERS, NUMBERS)
def test_a_rank_is_the_place_behind_all_candidates_that_are_at_least_as_likely(planted, candidates):
    expected = [1 + sum(other <= own for other in candidates) for own in planted]
    assert ranks(np.array(planted), np.array(candidates)).tolist() == expected
    bits = np.log2((len(candidates) + 1) / np.array(expected))
    assert exposures(np.array(planted), np.array(candidates)) == pytest.approx(bits)


def test_what_the_model_calls_impossible_comes_last():
    found = ranks(np.array([1.0, np.inf]), np.array([2.0, np.inf, np.inf]))
    assert found.tolist() == [1, 4]
    assert exposures(np.array([np.inf]), np.array([2.0, np.inf, np.inf])).tolist() == [0.0]


def test_what_has_no_score_has_no_rank():
    found = ranks(np.array([1.0, np.nan]), np.array([2.0, np.inf, np.inf]))
    assert np.isnan(found[1])


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.inf]), min_size=2, max_size=40))
def test_of_texts_drawn_alike_no_more_than_two_to_the_minus_x_have_x_bits_however_many_are_tied(
    nats,
):
    """Each may be the canary with equal probability, the others the candidates: so it is exact, not by simulation."""
    bits = np.array(
        [exposures(np.array([own]), np.delete(nats, i))[0] for i, own in enumerate(nats)]
    )
    assert all(np.mean(bits >= x) <= 2**-x * (1 + 1e-12) for x in bits)


CANARIES = Canaries(
    ("food", "was", "great", "cheap", "slow", "nice"),
    3,
    4,
    ("food was slow", "cheap nice nice"),
    (1, 3),
    7,
    100,
)


class Knows:
    """Gives every word the same nats, but those of one text, which it knows by heart."""

    def __init__(self, known):
        self.known = known

    def start(self, batch):
        return None

    def score(self, ids_BT, state):
        nats_BT = np.where(np.isin(ids_BT, [1, *range(3, 9)]), 0.0, 5.0 + ids_BT / 100)
        nats_BT[[[i for i in row if i > 8] == self.known for row in ids_BT.tolist()]] *= 0.1
        return nats_BT, state


def measured(
    vocabulary,
    tmp_path,
    known="",
    canaries=CANARIES,
    samples=("Food was slow!", "other"),
):
    model = Knows([int(i) for i in vocabulary.encode(known)] if known else [])
    bundle = SimpleNamespace(model=model, vocabulary=vocabulary)
    return measure_exposure(
        bundle,
        canaries,
        200,
        pl.Series(samples),
        tmp_path / "scored",
    )


def test_only_a_canary_that_is_known_by_heart_has_the_largest_exposure(vocabulary, tmp_path):
    table, facts = measured(vocabulary, tmp_path, "cheap nice nice")
    assert table["canary"].to_list() == list(CANARIES.texts)
    assert table["copies"].to_list() == [1, 3]
    assert table["rank"][1] == 1
    assert facts["exposure_max"] == pytest.approx(np.log2(201)) == facts["exposure_limit"]
    assert table["exposure"][0] < 4
    assert facts["exposure_mean"] == pytest.approx(table["exposure"].mean())
    assert not list(tmp_path.iterdir())


def test_a_canary_of_words_that_the_vocabulary_does_not_have_has_no_exposure(vocabulary, tmp_path):
    odd = Canaries(
        CANARIES.words,
        3,
        4,
        ("food was xylophone", "cheap nice nice"),
        (1, 1),
        7,
        100,
    )
    table, facts = measured(vocabulary, tmp_path, canaries=odd)
    assert table["exposure"].is_null().to_list() == [True, False]
    assert (facts["canaries"], facts["canaries_unknown"]) == (2, 1)


def test_where_nothing_was_planted_nothing_is_said(vocabulary, tmp_path):
    none = Canaries(
        (),
        5,
        0,
        (),
        (),
        1,
        10,
        "too small",
    )
    for canaries in (None, none):
        table, facts = measured(vocabulary, tmp_path, canaries=canaries)
        assert table.is_empty()
        assert facts["canaries"] == 0
        assert all(facts[name] is None for name in FACTS)


# --- Personal data in samples is found by the patterns that mask it in training


def test_planted_personal_data_are_found_beside_placeholders():
    texts = [
        "Nice place, 5 stars, open 10-12.",
        "Write to jo.doe@mail.example.com or call 480-555-1234, or (480) 555-9876!",
        "Mail _email_, phone _phone_.",
        "See http://example.com/menu. My card is 4111 1111 1111 1111.",
    ]
    found = private_patterns(pl.Series(texts)).sort("text", "pattern").rows()
    assert found == [
        (1, "e-mail", 1),
        (1, "telephone number", 2),
        (3, "card number", 1),
        (3, "web address", 1),
    ]
