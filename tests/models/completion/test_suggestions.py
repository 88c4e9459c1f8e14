"""Completions and next words against brute force over all token sequences."""

from dataclasses import replace
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.spellings import EXACT, QUICK
from reviewlm.models.completion.suggestions import suggest
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.models.table_lm import TableLM, TableSpec

UNRATED = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""No training review had a rating, so there is one way to read a text."""

TEXTS = ["so so it is so", "it is to so its"] * 2
WORDS = [
    "The soup was great, so we went back.",
    "In Phoenix we don't eat greasy soup.",
    "Greens! We went to Phoenix",
]


def letters_only(
    unit,
    texts=TEXTS,
    letters="soit ",
    seed=0,
    also="",
):
    """A model of short words of a few letters, and tokens of *also*: all spellings that matter can be listed."""
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit=unit,
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    names = [vocabulary.token(i) if i > 8 else "" for i in range(vocabulary.size)]
    others = set(vocabulary.encode(also).tolist()) if also else set()
    usual = [
        1.0 if (name and set(name) <= set(letters)) or i in others else 0.0
        for i, name in enumerate(names)
    ]
    usual[EOS], usual[names.index(" ")] = 2.0, 4.0
    weights = (
        np.exp(np.random.default_rng(seed).normal(size=(vocabulary.size + 1, vocabulary.size)))
        * usual
    )
    return Bundle(TableSpec(), vocabulary, TableLM.normalised(weights), stars_prior=UNRATED)


def words(texts=WORDS, **options):
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit="word",
            size=400,
            min_count=1,
            **options,
        ),
        NormalForm(),
    )
    return Bundle(TableSpec(), vocabulary, TableLM.random(vocabulary.size, 3), stars_prior=UNRATED)


def sequences(
    bundle,
    last,
    longest,
    least=1e-9,
    target="",
):
    """Yield text, tokens and probability of every token sequence after token *last* that begins as *target* does."""
    names = {i: bundle.vocabulary.token(i) for i in range(9, bundle.vocabulary.size)}
    names = {i: name for i, name in names.items() if bundle.model.p_VV[:, i].any()}
    waiting = [("", (last,), 1.0)]
    while waiting:
        text, ids, p = waiting.pop()
        yield text, ids[1:], p
        for i, name in names.items():
            longer = p * bundle.model.p_VV[ids[-1], i]
            fits = (text + name).startswith(target) or target.startswith(text + name)
            if longer > least and len(text) < longest and fits:
                waiting.append((text + name, (*ids, i), longer))


def probability_of_beginning(
    bundle,
    last,
    beginning,
):
    """Sum the token sequences of which the last token, and no earlier one, reaches the end of the beginning."""
    total = 0.0
    for text, ids, p in sequences(bundle, last, len(beginning), target=beginning):
        before = "".join(bundle.vocabulary.token(i) for i in ids[:-1])
        total += p if text.startswith(beginning) and len(before) < len(beginning) else 0.0
    return total


def probability_of_word(
    bundle,
    last,
    word,
):
    """Sum the token sequences that spell a word, each followed by a token that does not continue it."""
    ends_V = 1 - bundle.model.p_VV[:, bundle.vocabulary.word_part_V].sum(1)
    found = sequences(bundle, last, len(word), target=word)
    return sum(p * ends_V[ids[-1]] for text, ids, p in found if text == word)


@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
@pytest.mark.parametrize(
    ("context", "typed"), [("so", " i"), ("is", " s"), ("so", " so"), ("", "i"), ("so\n", "it")]
)
def test_completions_are_summed_over_all_ways_to_cut_them_into_tokens(
    unit,
    context,
    typed,
):
    model = letters_only(unit)
    last = [*model.vocabulary.prefix(0), *model.vocabulary.encode(context)][-1]
    whole = probability_of_beginning(model, last, typed)
    found = suggest(model, context + typed, k=4, both=True)
    found = found if found.typed else found.otherwise
    assert found.typed == typed.strip()
    assert len(found.words) == 4
    for word, p in found.words:
        assert word.startswith(typed.strip())
        spelled = probability_of_word(model, last, typed[: typed.startswith(" ")] + word)
        assert p == pytest.approx(spelled / whole, rel=1e-6)
    assert found.finished == pytest.approx(
        probability_of_word(model, last, typed) / whole, rel=1e-6
    )
    assert sum(p for _, p in found.words) + found.rest == pytest.approx(1)


@pytest.mark.parametrize("cutoffs", [EXACT, QUICK])
def test_a_word_before_a_character_of_several_bytes_keeps_its_probability(cutoffs):
    model = letters_only("bpe", also="’")
    assert len(model.vocabulary.encode("’")) > 1, (
        "the character is cut into bytes, of which one alone is no text"
    )
    last = [*model.vocabulary.prefix(0), *model.vocabulary.encode("so")][-1]
    whole = probability_of_beginning(model, last, " i")
    [found] = [p for word, p in suggest(model, "so i", k=20, cutoffs=cutoffs).words if word == "it"]
    expected = probability_of_word(model, last, " it") / whole
    assert found == pytest.approx(expected, rel=1e-6 if cutoffs is EXACT else 0.1)


@pytest.fixture(
    scope="module",
    params=product(["bpe", "unigram"], ["so i", "so ", "so it is"]),
    ids="-".join,
)
def searches(request):
    """The words of the exact and the quick search after a prompt, and the rows that each has read."""
    unit, prompt = request.param
    model = letters_only(unit)
    found = {}
    for name, cutoffs in (("exact", EXACT), ("quick", QUICK)):
        counted = Counted(model.model)
        answer = suggest(
            replace(model, model=counted),
            prompt,
            k=20,
            both=True,
            cutoffs=cutoffs,
        )
        found[name] = SimpleNamespace(words=dict(answer.words), rows=counted.rows)
    return found


def test_quick_suggestions_read_less(searches):
    assert searches["quick"].rows < searches["exact"].rows


def test_quick_suggestions_never_overstate_a_word(searches):
    exact = searches["exact"].words
    for word, p in searches["quick"].words.items():
        assert p <= exact.get(word, 1) * (1 + 1e-6)


def test_quick_suggestions_find_the_probable_words(searches):
    probable = {word for word, p in searches["exact"].words.items() if p > 0.01}
    assert probable
    assert probable <= searches["quick"].words.keys()


class Counted:
    """A model that counts the token sequences it reads."""

    def __init__(self, model):
        self.model, self.rows, self.vocabulary_size = model, 0, model.vocabulary_size

    def __getattr__(self, name):
        return getattr(self.model, name)

    def step(self, ids_B, state):
        self.rows += len(ids_B)
        return self.model.step(ids_B, state)


@pytest.mark.parametrize(
    ("typed", "improbable", "whole"),
    [
        ("was", 1e-4, True),
        ("was", 0.5, True),
        ("goo", 1e-4, False),
        ("goo", 0.5, True),
        ("wa", 0.5, False),
        ("xy", 0.5, False),
    ],
)
def test_a_word_that_the_model_does_not_expect_is_whole_if_no_longer_one_is_as_frequent(
    typed,
    improbable,
    whole,
):
    model = words(["the food was good", "the food was good and goo", "was wash good wasted"])
    p_VV = np.full_like(model.model.p_VV, 1e-12)
    for word, p in {
        typed: improbable,
        "wash": 1.0,
        "good": 1.0,
    }.items():
        p_VV[:, model.vocabulary.encode(word)] = p
    found = suggest(replace(model, model=TableLM.normalised(p_VV)), "the food " + typed, both=True)
    assert (found.typed, found.otherwise.typed) == (("", typed) if whole else (typed, ""))


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
@pytest.mark.parametrize(
    "prompt",
    [
        "",
        " ",
        "\n",
        "'",
        "''",
        "the'",
        "1",
        "12.",
        "_",
        "_url_",
        "a_b",
        "é",
        "naïv",
        "👍",
        "x" * 50,
        "İ",
        "ﬁ",
        "don''t",
        "a.m",
        "50%",
        "(",
        "so-",
        "￿",
        "\x00",
    ],
)
def test_any_text_gets_an_answer_that_sums_to_one(unit, prompt):
    model = words() if unit == "word" else letters_only(unit, letters="so it")
    found = suggest(model, prompt, both=True)
    for each in filter(None, (found, found.otherwise)):
        assert sum(p for _, p in each.words) + each.rest == pytest.approx(1)
        assert all(a[1] >= b[1] for a, b in pairwise(each.words))
