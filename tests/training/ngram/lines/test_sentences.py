"""A single sentence has the scores of its text, of any length."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.ngram import lookup
from reviewlm.training.ngram.lines.line_lm import LineLM
from reviewlm.training.ngram.lines.text_corpus import UNK, LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines
from tests.examples import examples
from tests.training.ngram.lines.test_ngram_parity import LN10, read_arpa

ORDERS = [1, 2, 3, 4, 5, 6]
WORDS = ["a", "b", "c", "d", "é", "好", "a\x0bb", "the"]
BLANKS = [" ", "  ", "\t", "\r", "\x00", "\n", " \t"]
SENTENCES = st.lists(
    st.one_of(
        st.sampled_from([*WORDS, "zz", "Ünknown", "<unk>", "a\ufffd", "?"]), st.text(max_size=4)
    ),
    max_size=12,
).flatmap(lambda words: st.sampled_from(BLANKS).map(lambda blank: blank.join(words)))


@cache
def fitted(
    order: int,
    precision: str = "single",
    seed: int = 1,
) -> LineLM:
    draw = np.random.default_rng(seed)
    lines = [" ".join(draw.choice(WORDS, draw.integers(0, 9)).tolist()) for _ in range(80)]
    return fit_lines(LineCorpus.read([*lines, "?"]), LineSpec(order=order), precision=precision)[0]


def of_the_text(model: LineLM, sentence: str) -> tuple[list[tuple[float, bool]], float]:
    """Return log p and whether it is unknown of each word and of the end, as numpy computes them, and Σ log p."""
    ids_T, tables = model.read_lines([sentence]).ids, model.tables
    logp_T = lookup.log_probabilities(ids_T, tables.followers, tables.logp, tables.backoff)
    return list(zip(logp_T.tolist(), (ids_T == UNK).tolist(), strict=True))[1:], np.cumsum(
        logp_T[1:]
    )[-1]


def alone(model: LineLM, sentence: str) -> tuple[list[tuple[float, bool]], float]:
    """Return the same by the compiled look-ups."""
    return [(logp, oov) for logp, _, oov in model.token_scores(sentence)], model.log_probability(
        sentence
    )


@pytest.mark.parametrize("order", ORDERS)
@examples(120)
@given(sentence=st.one_of(SENTENCES, st.text(), st.text("ab \t\r\n\x00\x0bé?")))
def test_a_sentence_alone_has_the_scores_of_its_text_to_the_bit(order, sentence):
    assume(not {"<s>", "</s>"} & set(sentence.split()))
    for model in fitted(order), fitted(order, "double"):
        assert alone(model, sentence) == of_the_text(model, sentence)


@pytest.mark.parametrize("sentence", ["a b " * 5_000, "a" * 10_000, "é\n" * 4_096])
def test_a_sentence_may_be_of_any_length(sentence):
    assert alone(fitted(3), sentence) == of_the_text(fitted(3), sentence)


@pytest.mark.parametrize("name", ["train.1", "train.4", "train_012.5", "train_112.3"])
def test_words_are_scored_by_the_n_gram_that_back_off_finds_in_kenlm_s_file(name, golden_folder):
    order, entries = int(name[-1]), read_arpa(golden_folder / f"{name}.arpa.gz")
    model, lengths = LineLM.from_arpa(golden_folder / f"{name}.arpa.gz"), set()
    for line in (golden_folder / "held_out.txt").read_text(encoding="utf-8").splitlines()[:20]:
        words = ["<s>", *(word if (word,) in entries else "<unk>" for word in line.split()), "</s>"]
        for place, (logp, length, oov) in enumerate(model.token_scores(line), start=1):
            history = tuple(words[max(0, place - order + 1) : place])
            left = len(history)
            while (*history[len(history) - left :], words[place]) not in entries:
                left -= 1
            log10 = entries[(*history[len(history) - left :], words[place])][0]
            contexts = [
                history[len(history) - length :] for length in range(left + 1, len(history) + 1)
            ]
            log10 += sum(entries[context][1] for context in contexts if context in entries)
            assert length == left + 1
            assert logp / LN10 == pytest.approx(log10, abs=2e-6)
            assert oov == (words[place] == "<unk>")
            lengths.add(length)
    assert lengths == set(range(1, order + 1))


@pytest.mark.parametrize("mark", ["<s>", "</s>"])
def test_a_mark_in_a_sentence_is_refused(mark):
    for scored in fitted(2).log_probability, fitted(2).token_scores:
        with pytest.raises(ModelError, match=f"the word '{mark}' is a mark"):
            scored(f"a {mark} b")
