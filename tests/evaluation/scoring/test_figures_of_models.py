"""Figures of language models follow from the nats of their tokens, by the formulas of the books."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import ReviewLMError
from reviewlm.evaluation.scoring.metrics import Figures, figures_of
from reviewlm.evaluation.scoring.observe import SUGGESTIONS_SHOWN, Keyboard
from reviewlm.evaluation.scoring.punctuation import CAPITALS, MARKS_TOGETHER, score_marks
from reviewlm.evaluation.scoring.score import (
    FIGURES_FILE,
    SCORES_FILE,
    TOKEN_NATS,
    figures_of_bundle,
    score_batch,
    score_into_folder,
    score_stream,
)
from reviewlm.evaluation.statistics.comparison import METRICS, comparable, comparison_table
from reviewlm.models.base import ModelError
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS, EOS, STARS, UNK
from reviewlm.models.written_words import taken_off
from reviewlm.training.vocabularies.learn import learn_vocabulary

LN2 = math.log(2)


def rows_of(nats, tokens):
    count = len(nats)
    return pl.DataFrame(
        {
            "review_id": [f"r{i}" for i in range(count)],
            "stars": [5] * count,
            "nats": [float(value) for value in nats],
            "tokens": tokens,
            "bytes": [10] * count,
            "words": tokens,
            "oov": [0] * count,
            "spelling_nats": [0.0] * count,
        }
    )


def figures(
    nats=100.0,
    vocabulary="a",
    boundary="b",
    spelling=0.0,
    bytes_=300,
):
    return Figures(
        10,
        50,
        bytes_,
        40,
        2,
        nats,
        spelling,
        "word",
        vocabulary,
        boundary,
    )


def test_a_uniform_model_has_the_perplexity_of_its_entries(
    uniform_bundle,
    stream,
    vocabulary,
):
    found = figures_of_bundle(score_stream(uniform_bundle, stream), uniform_bundle)
    assert found.perplexity == pytest.approx(vocabulary.size - len(CONTEXT_IDS), rel=1e-12)


def test_all_forms_of_perplexity_agree():
    p = [0.5, 0.25, 0.125, 0.5]
    found = figures_of(rows_of([-math.log(p[0] * p[1]), -math.log(p[2] * p[3])], [2, 2]))
    assert found.perplexity == pytest.approx(math.prod(p) ** (-1 / 4), rel=1e-12)
    assert found.perplexity == pytest.approx(2 ** (-sum(map(math.log2, p)) / 4), rel=1e-12)
    assert 2**found.bits_per_token == pytest.approx(found.perplexity, rel=1e-12)


def test_the_mean_is_weighted_by_tokens_not_by_reviews():
    found = figures_of(rows_of([10.0, 1.0], [100, 1]))
    assert found.perplexity == pytest.approx(math.exp(11 / 101))
    assert found.perplexity != pytest.approx(math.exp((10 / 100 + 1 / 1) / 2))


@given(
    nats=st.floats(1, 1e6),
    spelling=st.floats(0, 1e5),
    tokens=st.integers(1, 10**6),
    words=st.integers(1, 10**6),
    count=st.integers(10**4, 10**7),
)
def test_conversions_agree(
    nats,
    spelling,
    tokens,
    words,
    count,
):
    found = Figures(
        1,
        tokens,
        count,
        words,
        0,
        nats,
        spelling,
    )
    assert found.bits_per_byte * LN2 * count == pytest.approx(nats, rel=1e-9)
    assert found.open_bits_per_byte * LN2 * count == pytest.approx(nats + spelling, rel=1e-9)
    assert found.byte_perplexity == pytest.approx(2**found.bits_per_byte, rel=1e-9)
    if found.word_perplexity < math.inf:
        assert math.log(found.word_perplexity) * (words + 1) == pytest.approx(
            nats + spelling, rel=1e-9
        )
    if found.perplexity < math.inf:
        assert math.log(found.perplexity) * tokens == pytest.approx(nats, rel=1e-9)


def test_unknown_words_are_spelt_out_in_open_figures_only(bundle, stream):
    rows = score_stream(bundle, stream)
    found = figures_of(rows)
    assert rows["spelling_nats"].sum() > 0
    extra = rows["spelling_nats"].sum() / rows["bytes"].sum() / LN2
    assert found.open_bits_per_byte - found.bits_per_byte == pytest.approx(extra, rel=1e-12)


def test_an_impossible_token_makes_the_perplexity_infinite():
    assert figures_of(rows_of([math.inf], [3])).perplexity == math.inf


@pytest.fixture
def compared():
    """Compare two models, of which the second is the better one and has a kind."""
    return comparison_table(
        {"kn5": figures(100.0), "lstm": figures(80.0)}, {"lstm": "lstm"}, baseline="kn5"
    )


def test_the_comparison_table_has_the_best_model_first(compared):
    assert compared["model"].to_list() == ["lstm", "kn5"]


def test_the_comparison_table_has_gains_over_the_baseline(compared):
    assert compared["baseline_gain"].to_list() == pytest.approx([0.2, 0.0])


def test_the_comparison_table_has_the_kinds_that_are_known(compared):
    assert compared["kind"].to_list() == ["lstm", ""]


@pytest.mark.parametrize("metric", METRICS)
def test_only_figures_of_the_whole_text_compare_models_of_different_vocabularies(metric):
    assert comparable(metric, figures(vocabulary="a"), figures(90.0, vocabulary="a"))
    whole = metric in ("open_bits_per_byte", "word_perplexity")
    assert comparable(metric, figures(vocabulary="a"), figures(vocabulary="c")) == whole
    assert not comparable(metric, figures(boundary="x"), figures(boundary="y"))


def nats_by_hand(bundle, ids):
    before = np.concatenate([[0], ids[:-1]])
    return sum(
        -bundle.model.logp_VV[b, i]
        for b, i in zip(before, ids, strict=True)
        if int(i) not in CONTEXT_IDS
    )


def test_scores_stand_in_the_order_of_the_stream(
    bundle,
    stream,
    reviews,
):
    rows = score_stream(bundle, stream)
    assert rows["review_id"].to_list() == reviews["review_id"].to_list()


def test_each_review_starts_afresh(bundle, stream):
    rows = score_stream(bundle, stream)
    for row in range(len(stream)):
        expected = nats_by_hand(bundle, stream.document(row))
        assert rows["nats"][row] == pytest.approx(expected, rel=1e-12)


def test_the_end_of_a_text_is_a_scored_token(
    bundle,
    stream,
    reviews,
):
    words = reviews["text"].str.split(" ").list.len()
    assert score_stream(bundle, stream)["tokens"].to_list() == (words + 1).to_list()


def test_a_stream_that_promises_other_tokens_is_refused(bundle, stream):
    broken = TokenStream.open(stream.folder)
    broken.tokens += 1
    with pytest.raises(ReviewLMError, match="Not every token was scored once"):
        score_stream(bundle, broken)


def test_a_stream_of_another_vocabulary_is_refused(
    bundle,
    reviews,
    tmp_path,
):
    other = learn_vocabulary(["a b c d"] * 3, VocabularySpec(min_count=1), NormalForm())
    write_stream(tmp_path, other, [reviews])
    with pytest.raises(ModelError, match=other.digest):
        score_stream(bundle, TokenStream.open(tmp_path))


def test_perplexity_is_recomputed_from_the_scores_of_the_tokens(
    bundle,
    stream,
    tmp_path,
):
    figures = figures_of(score_stream(bundle, stream, tmp_path, observed=range(len(stream))))
    tokens = pl.read_parquet(tmp_path / TOKEN_NATS)
    assert len(tokens) == figures.tokens
    assert math.exp(tokens["nats"].mean()) == pytest.approx(figures.perplexity, rel=1e-9)


def test_a_run_keeps_its_scores_with_the_policies_of_scoring(
    bundle,
    stream,
    tmp_path,
):
    facts = score_into_folder(bundle, stream, tmp_path, [3, 5])
    assert facts["perplexity"] == figures_of(pl.read_parquet(tmp_path / SCORES_FILE)).perplexity
    assert pl.read_parquet(tmp_path / TOKEN_NATS)["review_id"].unique(
        maintain_order=True
    ).to_list() == ["r03", "r05"]
    written = json.loads((tmp_path / FIGURES_FILE).read_text())
    assert written["figures"] == {
        name: value for name, value in facts.items() if name != "score_seconds"
    }
    assert "fresh state" in written["policies"]["state"]


@pytest.mark.parametrize(("elsewhere", "counted"), [(False, False), (True, True)])
def test_seconds_of_scoring_leave_out_those_in_which_this_process_waits_for_a_core(
    bundle,
    stream,
    tmp_path,
    elsewhere,
    counted,
):
    def wait(done, total):
        time.sleep(0.5)

    def score(batches):
        return [score_batch(bundle, batch) for batch in batches]

    chosen = score if elsewhere else None
    facts = score_into_folder(
        bundle,
        stream,
        tmp_path,
        report=wait,
        elsewhere=chosen,
    )
    assert (facts["score_seconds"] >= 0.5) == counted


# --- Precision, recall and F1 of restored marks are those of counting by hand

OPTIONS = {
    "confidence": 0.95,
    "resamples": 200,
    "seed": 1,
}


def tags(*texts: str) -> list[list[int]]:
    return [taken_off(text).tags for text in texts]


def test_counts_by_hand() -> None:
    right = tags("So good, we said. Why?", "Fine.")
    said = tags("so good, we, said. why.", "Fine.")
    rows = {
        row["class"]: row
        for row in score_marks({"a": said, "b": right}, right, "b", **OPTIONS)
        if row["model"] == "a"
    }
    assert (rows["comma"]["precision"], rows["comma"]["recall"]) == (1 / 2, 1.0)
    assert rows["comma"]["f1"] == pytest.approx(2 / 3)
    assert (rows["full stop"]["precision"], rows["full stop"]["recall"]) == (2 / 3, 1.0)
    assert (rows["question mark"]["precision"], rows["question mark"]["recall"]) == (None, 0.0)
    assert rows["question mark"]["f1"] == 0.0
    assert rows[MARKS_TOGETHER]["written"] == 4
    assert (rows[MARKS_TOGETHER]["precision"], rows[MARKS_TOGETHER]["recall"]) == (3 / 5, 3 / 4)
    assert (rows[CAPITALS]["precision"], rows[CAPITALS]["recall"]) == (1.0, 1 / 3)


def test_what_was_never_written_has_no_figure() -> None:
    right = tags("so good", "fine")
    for row in score_marks({"a": right, "b": right}, right, "b", **OPTIONS):
        assert row["written"] == 0
        assert (row["precision"], row["recall"], row["f1"], row["f1_lo"]) == (
            None,
            None,
            None,
            None,
        )


# --- Simulated typing, key by key

WORDS = "car card care cart dog! dog (car"


def keyboard_of(
    unit,
    shown=SUGGESTIONS_SHOWN,
    text=WORDS,
):
    vocabulary = learn_vocabulary(
        [text] * 3,
        VocabularySpec(
            unit=unit,
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    return vocabulary, Keyboard(vocabulary, shown)


def typed_by_hand(
    keyboard,
    vocabulary,
    order,
    target,
    at_beginning,
):
    """Type one key after another; look at the screen before each."""
    words = {token: vocabulary.entry(token) for token in order}
    full = {
        token: b" " + text if vocabulary.word_start_V[token] else text
        for token, text in words.items()
    }
    start = 1 if at_beginning and vocabulary.word_start_V[target] else 0
    length = len(full[target])
    for typed in range(length - start):
        prefix = full[target][: start + typed] if typed else b""
        screen = [token for token in order if full[token].startswith(prefix)][: keyboard.shown]
        if target in screen:
            return length - start - (typed + 1)
    return 0


@pytest.mark.parametrize("shown", [1, 2, 3])
@pytest.mark.parametrize("at_beginning", [True, False])
def test_keys_spared_are_those_of_a_typist_who_looks_before_every_key(shown, at_beginning):
    vocabulary, keyboard = keyboard_of("word", shown)
    order = np.random.default_rng(shown).permutation(np.arange(9, vocabulary.size)).tolist()
    rank_V = np.full(vocabulary.size, 99)
    rank_V[order] = range(len(order))
    before = STARS[0] if at_beginning else int(vocabulary.encode("dog")[0])
    for target in order:
        better_1V = (rank_V < rank_V[target])[None]
        found = keyboard.spared_keys(better_1V, np.array([target]), np.array([before]))
        assert found.tolist() == [
            typed_by_hand(
                keyboard,
                vocabulary,
                order,
                target,
                at_beginning,
            )
        ]


def test_the_likeliest_word_costs_one_key_with_its_space():
    vocabulary, keyboard = keyboard_of("word")
    card, dog = (int(vocabulary.encode(word)[0]) for word in ("card", "dog"))
    shout, opening = (int(vocabulary.encode(text)[1]) for text in ("dog!", "dog (car"))
    assert (vocabulary.token(shout), vocabulary.token(opening)) == ("!", " (")
    nothing_better = np.zeros((4, vocabulary.size), bool)
    found = keyboard.spared_keys(
        nothing_better, np.array([card] * 4), np.array([STARS[0], dog, shout, opening])
    )
    assert found.tolist() == [3, 4, 4, 3], (
        "no space has to be typed at the beginning and after a bracket"
    )


def test_special_tokens_spare_nothing():
    vocabulary, keyboard = keyboard_of("word")
    found = keyboard.spared_keys(
        np.zeros((2, vocabulary.size), bool), np.array([UNK, EOS]), np.array([9, 9])
    )
    assert found.tolist() == [0, 0]


def test_parts_of_words_are_typed_with_the_spaces_that_they_hold():
    vocabulary, keyboard = keyboard_of("bpe", text="card dog card dog card")
    ids = vocabulary.encode("dog card")
    nothing_better = np.zeros((len(ids), vocabulary.size), bool)
    spared = keyboard.spared_keys(nothing_better, ids, np.roll(ids, 1))
    assert spared.tolist() == [len(vocabulary.entry(token)) - 1 for token in ids]
    assert b" card" in [vocabulary.entry(token) for token in ids]
