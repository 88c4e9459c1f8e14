"""A single sentence has the scores of its text, by compiled look-ups and by numpy's, of any length, in any thread."""

from __future__ import annotations

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.base import ModelError
from models.ngram import lookup
from models.ngram.tables import Tables
from models.specs import NGramSpec
from tests.examples import examples
from tests.training.ngram.lines.test_ngram_parity import LN10, read_arpa
from training.ngram.lines import line_lm
from training.ngram.lines.line_lm import LineLM, TokenScore
from training.ngram.lines.text_corpus import MARKS, UNK, LineCorpus
from training.ngram.lines.text_files import fit_lines

ORDERS = [1, 2, 3, 4, 5, 6]
WORDS = ["a", "b", "c", "d", "é", "好", "a\x0bb", "the"]
BLANKS = [" ", "  ", "\t", "\r", "\x00", "\n", " \t"]
SENTENCES = st.lists(
    st.one_of(st.sampled_from([*WORDS, "zz", "Ünknown", "<unk>", "a\ufffd", "?"]), st.text(max_size=4)),
    max_size=12,
).flatmap(lambda words: st.sampled_from(BLANKS).map(lambda blank: blank.join(words)))


@cache
def fitted(order: int, precision: str = "single", seed: int = 1) -> LineLM:
    draw = np.random.default_rng(seed)
    lines = [" ".join(draw.choice(WORDS, draw.integers(0, 9)).tolist()) for _ in range(80)]
    return fit_lines(LineCorpus.read([*lines, "?"]), NGramSpec(order=order), precision=precision)[0]


def of_the_text(model: LineLM, sentence: str) -> list[tuple[float, bool]]:
    """Return log p of each word and of the end, and whether the word is unknown, as numpy computes it for any text."""
    ids_T, tables = model.read_lines([sentence]).ids, model.tables
    logp_T = lookup.log_probabilities(ids_T, tables.followers, tables.logp, tables.backoff)
    return list(zip(logp_T.tolist(), (ids_T == UNK).tolist(), strict=True))[1:]


def without_numba(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(line_lm, "step_kernels", lambda: None)
    patch.setattr(LineLM, "_compiled", property(LineLM._compiled.func))  # not what the model has made before


def of_no_text(tables: Tables) -> LineLM:
    """Return a model of random tables; its lowest and highest ids, which its n-grams have, are those of `WORDS`."""
    words = [*MARKS, *WORDS[:6], *(f"w{token}" for token in range(9, tables.vocabulary_size - 2)), *WORDS[6:]]
    return LineLM(tables, words)


def only_numpy(model: LineLM, sentence: str) -> tuple[float, list[TokenScore]]:
    with pytest.MonkeyPatch.context() as patch:
        without_numba(patch)
        return model.log_probability(sentence), model.token_scores(sentence)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compiled", [True, False])
@examples(120)
@given(sentence=SENTENCES)
def test_a_sentence_alone_has_the_scores_of_its_text_to_the_bit(order, compiled, sentence):
    model = fitted(order)
    assume(not {"<s>", "</s>"} & set(sentence.split()))
    expected = of_the_text(model, sentence)
    with pytest.MonkeyPatch.context() as patch:
        if not compiled:
            without_numba(patch)
        found = model.token_scores(sentence)
        total = model.log_probability(sentence)
    assert [(score.logp, score.oov) for score in found] == expected
    assert total == np.cumsum([logp for logp, _ in expected])[-1]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", ["train.1", "train.4", "train_012.5", "train_112.3"])
def test_words_have_log_p_and_length_of_the_n_gram_that_back_off_finds_in_kenlm_s_file(
    name, compiled, golden_folder, monkeypatch
):
    if not compiled:
        without_numba(monkeypatch)
    order, entries = int(name[-1]), read_arpa(golden_folder / f"{name}.arpa.gz")
    model, lengths = LineLM.from_arpa(golden_folder / f"{name}.arpa.gz"), set()
    for line in (golden_folder / "held_out.txt").read_text(encoding="utf-8").splitlines()[:20]:
        words = ["<s>", *(word if (word,) in entries else "<unk>" for word in line.split()), "</s>"]
        for place, score in enumerate(model.token_scores(line), start=1):
            history = tuple(words[max(0, place - order + 1) : place])
            left = len(history)
            while (*history[len(history) - left :], words[place]) not in entries:
                left -= 1
            log10 = entries[(*history[len(history) - left :], words[place])][0]
            contexts = [history[len(history) - length :] for length in range(left + 1, len(history) + 1)]
            log10 += sum(entries[context][1] for context in contexts if context in entries)
            assert score.ngram_length == left + 1
            assert score.logp / LN10 == pytest.approx(log10, abs=2e-6)
            assert score.oov == (words[place] == "<unk>")
            lengths.add(score.ngram_length)
    assert lengths == set(range(1, order + 1))


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("words", [lookup.SHORT - 1, lookup.SHORT, 20_000])
def test_a_sentence_may_be_as_long_as_it_likes(words, precision):
    model, draw = fitted(4, precision), np.random.default_rng(2)
    sentence = " ".join(draw.choice([*WORDS, "zz"], words).tolist())
    expected = [logp for logp, _ in of_the_text(model, sentence)]
    assert len(expected) == words + 1
    assert [score.logp for score in model.token_scores(sentence)] == expected
    assert model.log_probability(sentence) == np.cumsum(expected)[-1]


def test_an_empty_sentence_is_its_end():
    model = fitted(3)
    assert model.log_probability("") == model.log_probability(" \t\r\n\x00") == of_the_text(model, "")[0][0]
    [end] = model.token_scores("")
    assert (end.ngram_length, end.oov) == (2, False), "<s> </s> was seen"


def test_a_mark_is_an_unknown_word_or_refused_as_in_a_text():
    model = fitted(3)
    assert model.log_probability("a <unk> b") == model.log_probability("a zz b")
    for mark in ("<s>", "</s>"):
        for method in (model.log_probability, model.token_scores):
            with pytest.raises(ModelError, match=f"the word '{mark}' is a mark") as caught:
                method(f"a {mark} b")
            assert caught.value.kind == "input"


def test_scores_of_stupid_backoff_are_refused():
    model = fit_lines(LineCorpus.read(["a b c"] * 3), NGramSpec(order=2, smoothing="stupid_backoff"))[0]
    for method in (model.log_probability, model.token_scores):
        with pytest.raises(ModelError, match="scores, not probabilities"):
            method("a b")


def test_a_word_with_probability_0_makes_the_sentence_impossible():
    model = fit_lines(LineCorpus.read(["a b", "b a"]), NGramSpec(order=2, smoothing="maximum_likelihood"))[0]
    assert model.log_probability("a a") == -np.inf
    assert model.log_probability("a b") == pytest.approx(np.log(1 / 2 * 1 / 2 * 1 / 2))


def test_threads_do_not_disturb_each_other():
    model, draw = fitted(5), np.random.default_rng(3)
    sentences = [" ".join(draw.choice([*WORDS, "zz"], draw.integers(0, 30)).tolist()) for _ in range(400)]
    expected = [np.cumsum([logp for logp, _ in of_the_text(model, sentence)])[-1] for sentence in sentences]
    with ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(lambda: list(map(model.log_probability, sentences))) for _ in range(2)]
        assert [part.result() for part in parts] == [expected, expected]


def test_a_saved_model_gives_the_same_scores(tmp_path):
    model = fitted(3)
    model.save(tmp_path / "model")
    opened = LineLM.open(tmp_path / "model")
    for sentence in ("the a b", "", "zz c"):
        assert opened.token_scores(sentence) == model.token_scores(sentence)
        assert opened.log_probability(sentence) == model.log_probability(sentence)


@pytest.mark.parametrize("order", [1, 2, 5, 7, 8])
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("vocabulary_size", [40, 70_000])
def test_models_of_any_order_and_types_score_as_numpy_does(order, precision, vocabulary_size, random_tables):
    model, draw = of_no_text(random_tables(order, vocabulary_size, precision)), np.random.default_rng(4)
    lengths = set()
    for words in range(20):
        sentence = " ".join(draw.choice([*WORDS, "w9", "zz", "Ünknown"], words).tolist())
        scores = model.token_scores(sentence)
        assert (model.log_probability(sentence), scores) == only_numpy(model, sentence)
        assert {tuple(map(type, score)) for score in scores} == {(float, int, bool)}
        assert {type(score) for score in scores} == {TokenScore}
        lengths |= {score.ngram_length for score in scores}
    assert lengths >= set(range(1, min(order, 4) + 1))


@examples(200)
@given(sentence=st.one_of(SENTENCES, st.text(), st.text("ab \t\r\n\x00\x0bé?")))
def test_any_text_has_the_scores_of_numpy(sentence):
    assume(not {"<s>", "</s>"} & set(sentence.split()))
    for model in fitted(3), fitted(2, "double"):
        assert (model.log_probability(sentence), model.token_scores(sentence)) == only_numpy(model, sentence)


def test_every_character_is_between_words_or_in_one_as_in_a_text():
    """`a\x0bb` is a word of the model."""
    model = fitted(3)
    for code in [*range(256), 0x2028, 0x3000]:
        sentence = f"a{chr(code)}b"
        assert len(model.token_scores(sentence)) == (3 if chr(code) in " \t\r\x00\n" else 2)
        assert model.log_probability(sentence) == sum(logp for logp, _ in of_the_text(model, sentence))


def test_words_and_the_unknown_mark_are_looked_up_in_compiled_code(monkeypatch):
    """A `str` of numpy, as in an array of sentences, too."""
    model, expected = fitted(3), {}
    for sentence in ("the a b", "é <unk> zz", "", np.str_("a b"), " ".join(["a"] * (lookup.SHORT - 1))):
        expected[sentence] = only_numpy(model, sentence)
    monkeypatch.setattr(LineLM, "_read_sentence", None)
    for sentence, (logp, scores) in expected.items():
        assert model.log_probability(sentence) == logp
        assert model.token_scores(sentence) == scores
    assert [score.oov for score in model.token_scores("é <unk> zz")] == [False, True, True, False]


def test_words_with_the_same_hash_are_told_apart():
    """Both pairs have the same FNV-1a hash of 64 bits. Of the first pair, the model knows one word only."""
    known, unknown = "8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"
    one, two = "gMPflVXtwGDXbIhP73TX", "LtHf1prlU1bCeYZEdqWf"
    model = fit_lines(LineCorpus.read([f"{known} {one}", f"{two} {known} {two}", two]), NGramSpec(order=2))[0]
    for sentence in (f"{known} {unknown} {one}", f"{two} {one}", f"{one} {two}"):
        assert (model.log_probability(sentence), model.token_scores(sentence)) == only_numpy(model, sentence)
    assert [score.oov for score in model.token_scores(f"{known} {unknown} {one} {two}")] == [False, True, *[False] * 3]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "deep", "pickle"]
)
def test_a_copy_of_a_model_that_was_used_outlives_it(again, random_tables):
    model, sentence = of_no_text(random_tables(4)), "the a b zz é"
    expected = model.log_probability(sentence), model.token_scores(sentence)
    other = again(model)
    if again is not copy.copy:
        for array in model.tables.arrays().values():
            array[...] = 0
    del model
    gc.collect()
    assert (other.log_probability(sentence), other.token_scores(sentence)) == expected == only_numpy(other, sentence)


@pytest.mark.parametrize(
    "words",
    [["a\nb", *"cdefghi"], ["a", "\ud800", *"cdefgh"], [*"abadefgh"], [*"abcdefghij"], "a\nb\nc\nd\ne\nf\ng\nh"],
    ids=["a line feed", "half a character", "the same word", "too many", "no last line feed"],
)  # fmt: skip
def test_odd_lists_of_words_are_read_as_numpy_does(words, random_tables):
    given = [*MARKS, *words] if isinstance(words, list) else "".join(f"{mark}\n" for mark in MARKS) + words
    model = LineLM(random_tables(2, 11), given)
    for sentence in ("a b", "\ufffd ? c", "b\na", "h"):
        assert (model.log_probability(sentence), model.token_scores(sentence)) == only_numpy(model, sentence)
