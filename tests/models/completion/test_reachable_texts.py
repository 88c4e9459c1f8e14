"""Every text can be written with Dasher: each character that may follow has an interval, against exact sums."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.dasher import intervals
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS, UNK
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.models.table_lm import TableLM, TableSpec

UNRATED = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
TEXTS = ["The soup was excellent and so were we.", "So excellent, the best soup we had."] * 3
FIRST = 9
"""The first entry that is no special token."""


def model_of(
    unit,
    improbable=0.0,
    sharpness=1.0,
    usual="So excellent",
):
    """A bigram model that gives each token a probability; *improbable*: that of all but the last token of *usual*."""
    spec = VocabularySpec(
        unit=unit,
        size=400,
        min_count=1,
        lowercase=False,
    )
    vocabulary = learn_vocabulary(TEXTS, spec, NormalForm())
    weights = np.exp(
        sharpness * np.random.default_rng(5).normal(size=(vocabulary.size + 1, vocabulary.size))
    )
    if vocabulary.lossless:
        weights[:, UNK] = 0
    if improbable:
        weights *= improbable / weights.sum(1, keepdims=True)
        weights[:, vocabulary.encode(usual)[-1]] = 1
    return Bundle(TableSpec(), vocabulary, TableLM.normalised(weights), stars_prior=UNRATED)


def exactly(
    bundle,
    context,
    begun,
):
    """Sum over all ways to cut what follows a context into tokens: the probability of each next byte, and of the end.

    Forwards over the bytes: `ended[n]` has, by their last token, the sequences that are the first n bytes.
    """
    p_VV, written = bundle.model.p_VV, begun.encode()
    entries = {
        FIRST + number: entry for number, entry in enumerate(bundle.vocabulary.texts_after(context))
    }
    ended, mass = defaultdict(Counter), Counter()
    ended[0][[*bundle.vocabulary.prefix(0), *bundle.vocabulary.encode(context).tolist()][-1]] = 1.0
    for begin in range(len(written) + 1):
        rest = written[begin:]
        for before, p in ended[begin].items():
            for token, entry in entries.items():
                if len(entry) <= len(rest) and rest.startswith(entry):
                    ended[begin + len(entry)][token] += p * p_VV[before, token]
                elif entry.startswith(rest):
                    mass[entry[len(rest)]] += p * p_VV[before, token]
    return mass, sum(p * p_VV[before, EOS] for before, p in ended[len(written)].items())


def expected(
    bundle,
    context,
    begun,
):
    """The shares of the characters in ASCII, of the others and of the end."""
    mass, end = exactly(bundle, context, begun)
    shares = {chr(byte): mass[byte] for byte in (10, *range(32, 127))}
    shares |= {"other": sum(mass[byte] for byte in range(0xC2, 0xF5)), "end": end}
    whole = sum(shares.values())
    return {name: p / whole for name, p in shares.items() if p > 0}


def found_after(bundle, text):
    return {each.symbol or each.kind: each.probability for each in intervals(bundle, text)}


ALL = 98
"""Line break, 95 characters from the space to the tilde, the others, and the end."""


@pytest.mark.parametrize("unit", ["bpe", "unigram"])
@pytest.mark.parametrize("letters", range(1, len("excellent") + 1))
@pytest.mark.parametrize("improbable", [1e-3, 1e-9, 1e-15])
def test_after_the_beginning_of_a_probable_word_each_character_may_follow(
    unit,
    letters,
    improbable,
):
    """Below 1e-9 of all ways to go on, other cuts are left out; one that can go on with any character is kept."""
    model, begun = model_of(unit, improbable), " excellent"[: letters + 1]
    entries = {model.vocabulary.entry(token) for token in range(FIRST, model.vocabulary.size)}
    assert b" excellent" in entries or unit == "unigram", "one token; Unigram would need more texts"
    exact, found = expected(model, "So", begun), found_after(model, f"So{begun}")
    assert found.keys() == exact.keys()
    assert len(found) == ALL
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    for name, p in exact.items():
        assert 0 < found[name] <= p * (1 + 1e-4)
        if p > 1e-3:
            assert found[name] == pytest.approx(p, rel=1e-4)


@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("begun", [" e", " ex", " excel", " The", " xq"])
def test_probabilities_are_those_of_all_ways_to_cut_the_text(unit, begun):
    model = model_of(unit)
    assert found_after(model, f"So{begun}") == pytest.approx(expected(model, "So", begun), abs=1e-5)
    sharp = model_of(unit, sharpness=6.0)
    assert found_after(sharp, f"So{begun}").keys() == expected(sharp, "So", begun).keys()


@pytest.mark.parametrize("text", ["", "The caf", "The "])
def test_the_intervals_of_characters_beyond_ascii_lead_to_each_of_them(text):
    """The leaves of the tree of bytes: each beginning that is not divided at once can be divided, and fills itself."""
    model = model_of("bpe")
    waiting, leaves = [("", 1.0)], Counter()
    while waiting:
        begun, share = waiting.pop()
        inside = intervals(model, text, other=True, begun=begun)
        assert sum(each.probability for each in inside) == pytest.approx(1, abs=1e-12)
        for each in inside:
            if each.kind == "character":
                assert each.symbol.encode().startswith(bytes.fromhex(begun))
                leaves[each.symbol] += share * each.probability
            elif each.begun.startswith(("c", "d", "e4b8", "f09f8d")) or each.begun in (
                "e4",
                "f0",
                "f09f",
            ):
                waiting.append((each.begun, share * each.probability))
            else:
                assert each.begun
                leaves[each.begun] += share * each.probability
    assert sum(leaves.values()) == pytest.approx(1, abs=1e-9)
    assert {"\u00e9", "\u00df", "\u0416", "\u4e16", "\U0001f355"} <= leaves.keys()
    two_bytes = {chr(code) for code in range(0x80, 0x800) if chr(code).isprintable()}
    assert two_bytes == {char for char in leaves if len(char) == 1 and len(char.encode()) == 2}
