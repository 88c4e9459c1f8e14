"""The price of unknown words: a proper distribution over strings, Kneser-Ney's by hand and by the n-gram models."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.models.base import ModelError
from reviewlm.models.tokens.spelling import Repeats, Spelling
from reviewlm.models.tokens.vocabulary import Vocabulary
from tests.examples import examples
from tests.models.small_vocabularies import train

WORDS = st.text("abé", min_size=1, max_size=5)
CACHES = st.none() | st.builds(
    Repeats, st.sampled_from([0.0, 0.5, 0.8]), st.sampled_from([0.1, 4.0])
)
MODELS = st.builds(
    Spelling,
    st.lists(WORDS, max_size=6, unique=True),
    st.dictionaries(WORDS, st.integers(1, 9)),
    CACHES,
).map(
    lambda made: Spelling(
        made.words,
        {word: n for word, n in made.rare.items() if word not in made.words},
        made.repeats,
    )
)


def test_prices_are_kneser_neys_as_computed_by_hand():
    """Two words, and "b" counts as another character, too: ^aa$ ^ab$ ^a?$.

    Symbols before a: ^ and a; before b and ?: a; before $: a, b, ?. So n1, n2, n3, n4 = 2, 1, 1, 0, Y = 1/2, and the
    discounts are 1/2, 1/2, 3. Longer n-grams have the fallback 0.5, 1, 1.5.
    """
    spelling = Spelling([], {"ab": 1, "aa": 1})
    gamma, uniform = (0.5 + 0.5 + 0.5 + 3) / 7, 1 / 4  # a, b, ?, $
    p = {
        symbol: own / 7 + gamma * uniform
        for symbol, own in {
            "a": 2 - 0.5,
            "b": 1 - 0.5,
            "$": 3 - 3,
        }.items()
    }
    a_begins = (3 - 1.5) / 3 + 1.5 / 3 * p["a"]
    # a, b, ?, $ once each.
    after_a = {symbol: 0.5 / 4 + 4 * 0.5 / 4 * p[symbol] for symbol in "ab$"}
    # a, b, ? once each after ^a.
    second = {symbol: 0.5 / 3 + 3 * 0.5 / 3 * after_a[symbol] for symbol in "ab"}
    # Contexts b, ab, ^ab, each seen once.
    end_after_b = 0.5 + 0.5 * (0.5 + 0.5 * (0.5 + 0.5 * p["$"]))
    end_after_aa = 0.5 + 0.5 * (0.5 + 0.5 * after_a["$"])  # contexts aa, ^aa
    expected = [a_begins * second["b"] * end_after_b, a_begins * second["a"] * end_after_aa]
    assert spelling.nats(["ab", "aa"]) == pytest.approx([-math.log(p) for p in expected], abs=2e-6)


def unknown_to(spelling, words):
    return [word for word in words if word not in spelling.words]


def price_after(
    spelling,
    earlier,
    word,
):
    """The price of a word after others in one text."""
    return spelling.nats_of_texts([*earlier, word], np.zeros(len(earlier) + 1, np.int64))[-1]


@examples(40)
@given(MODELS, st.lists(st.text("abéz", min_size=1, max_size=3), max_size=5))
def test_all_strings_together_have_a_probability_of_one(spelling, before):
    """All strings of up to 3 letters, all others that begin with 4, and all with a letter that no training word has.

    That holds at the begin of a text, and after any unknown words.
    """
    earlier = unknown_to(spelling, before)
    whole, beginnings = 0.0, [""]
    for _ in range(4):
        for beginning in beginnings:
            p, p_A, end = spelling.following(beginning, earlier)
            assert p_A.min(initial=0) >= 0
            assert 0 < 1 - end - p_A.sum() < 1
            assert p * end == pytest.approx(
                0
                if beginning in spelling.words
                else math.exp(-price_after(spelling, earlier, beginning)),
                rel=2e-6,
            )
            whole += p * (1 - p_A.sum())
        beginnings = [beginning + char for beginning in beginnings for char in spelling.characters]
    whole += sum(spelling.following(beginning, earlier)[0] for beginning in beginnings)
    assert whole == pytest.approx(1, abs=1e-9)


def test_a_word_that_comes_back_has_the_price_of_a_cache_as_computed_by_hand():
    """After "ab", "ab" and "ba": m = 3 words, t = 2 of them different, d = 0.8, θ = 4."""
    plain = Spelling(["aa"], {"ab": 1, "ba": 2})
    cache = replace(plain, repeats=Repeats(0.8, 4.0))
    new = (4 + 0.8 * 2) / (3 + 4)
    p_ab, p_bb = np.exp(-plain.nats(["ab", "bb"]))
    expected = [(2 - 0.8) / 7 + new * p_ab, new * p_bb]
    found = [price_after(cache, ["ab", "ab", "ba"], word) for word in ("ab", "bb")]
    assert found == pytest.approx([-math.log(p) for p in expected], abs=2e-6)


def test_texts_have_caches_of_their_own():
    spelling = Spelling(["aa"], {"ab": 1, "ba": 2}, Repeats(0.8, 4.0))
    words = ["ab", "ab", "ba", "ab", "ab"]
    together = spelling.nats_of_texts(words, np.array([0, 0, 1, 1, 2]))
    alone = [
        spelling.nats_of_texts(text, np.zeros(len(text), np.int64))
        for text in (["ab", "ab"], ["ba", "ab"], ["ab"])
    ]
    assert together.tolist() == np.concatenate(alone).tolist()
    assert together[0] == together[4] == spelling.nats(["ab"])[0]


def test_a_vocabulary_made_before_the_cache_keeps_its_prices():
    vocabulary = train("word", ["the soup the soup", "a zebra"], min_count=2)
    text = "a zebra zebra"
    values = json.loads(vocabulary.to_json())
    del values["unit"]["spelling"]["repeats"]
    before = Vocabulary.from_json(json.dumps(values)).word_unit
    first, second, third = before.encode_priced([text])[2]
    assert "repeats" not in before.spelling.to_dict()
    assert (first, second) == tuple(before.spelling.nats(["a", "zebra"]))
    assert third == second > vocabulary.word_unit.encode_priced([text])[2][2]


@pytest.fixture
def spelt_vocabulary():
    return train("word", ["the soup the soup", "a zebra"], min_count=2)


def test_it_comes_back_from_its_file(spelt_vocabulary):
    spelling = spelt_vocabulary.word_unit.spelling
    again = Vocabulary.from_json(spelt_vocabulary.to_json()).word_unit.spelling
    assert again == spelling
    assert again.nats(["zebras", "é"]).tolist() == spelling.nats(["zebras", "é"]).tolist()


CACHES = ([1.0, 4.0], [0.5, 0.0], [0.5], "x", None, [-0.1, 1], [0.5, "inf"])


@pytest.mark.parametrize(
    "damage",
    [
        {"0": ["a"]},
        {"x": ["a"]},
        {"1": [3]},
        {"1": 3},
        ["a"],
        *({"repeats": cache} for cache in CACHES),
    ],
    ids=str,
)
def test_a_damaged_one_is_refused(damage, spelt_vocabulary):
    values = json.loads(spelt_vocabulary.to_json())
    values["unit"]["spelling"] = damage
    with pytest.raises(ModelError, match="cannot be read"):
        Vocabulary.from_json(json.dumps(values))
