"""Whole texts that a model writes: how they begin and end, what they hold, and on what they depend."""

import math

import pytest

from models.base import ModelError
from models.bundles.bundle import Bundle
from models.sampling import generate
from models.sampling.generation import BATCH
from models.tokens.special import EOS, STARS, UNK
from tests.marked_cases import slow_but
from tests.models.sampling.small_bundles import bundle_of, with_table
from tests.models.table_lm import HistoryLM, TableLM, TableSpec


def test_texts_are_whole_reviews_that_begin_with_the_prompt(bundle):
    for prompt in ("", "The soup", 'the  "SOUP" was ', "Zebra ünïcode ☕", "Great!\n\n"):
        texts = generate(bundle, 5, prompt=prompt, seed=3, max_tokens=40)
        assert len(texts) == 5
        assert all(text.startswith(prompt) for text in texts)
        assert not any("<" in text[len(prompt) :] or "  " in text[len(prompt) :] for text in texts)


def test_texts_end_at_the_limit(plain):
    weights = plain.model.p_VV.copy()
    weights[:, EOS] = 0
    texts = generate(with_table(plain, weights), 20, max_tokens=7)
    assert [len(plain.vocabulary.encode(text)) for text in texts] == [7] * 20


def test_unknown_words_are_never_written(plain):
    weights = plain.model.p_VV.copy()
    weights[:, UNK] = 1e3
    texts = generate(with_table(plain, weights), 50, max_tokens=20)
    assert sum(len(text) for text in texts) > 300
    assert not any((plain.vocabulary.encode(text) == UNK).any() for text in texts)


@pytest.mark.parametrize("table", slow_but([TableLM, HistoryLM], {HistoryLM}))
def test_a_text_is_the_same_alone_and_in_any_crowd(bundle, table, monkeypatch):
    model = Bundle(TableSpec(), bundle.vocabulary, table(bundle.model.p_VV), stars_prior=bundle.stars_prior)
    options = {"seed": 5, "max_tokens": 25, "top_p": 0.9, "prompt": "The soup"}
    crowd = generate(model, BATCH + 40, **options)
    assert len(set(crowd)) > BATCH
    assert len({len(text) for text in crowd}) > 10  # they leave the batch at different times
    assert generate(model, 3, **options) == crowd[:3]
    for batch in (1, 7):
        monkeypatch.setattr("models.sampling.generation.BATCH", batch)
        assert generate(model, BATCH + 40, **options) == crowd


def test_the_seed_the_rating_and_the_prompt_change_the_draw(plain):
    """In a table of pairs two texts under the same random numbers soon run alike: their ends would be equal."""
    weights = plain.model.p_VV.copy()
    weights[:, EOS] = 0
    endless = with_table(plain, weights)

    def ends(**options):
        return [text.split()[-8:] for text in generate(endless, 3, max_tokens=40, **options)]

    base = ends(seed=1, stars=2)
    assert ends(seed=1, stars=2) == base
    for other in (ends(seed=2, stars=2), ends(seed=1, stars=4), ends(seed=1, stars=2, prompt="The")):
        assert not any(a == b for a, b in zip(base, other, strict=True))


def test_temperature_zero_writes_the_most_probable_text(bundle):
    allowed = bundle.model.p_VV.copy()
    allowed[:, UNK] = 0
    ids, last = [], STARS[4]
    while (last := int(allowed[last].argmax())) != EOS and len(ids) < 30:
        ids.append(last)
    for seed in (0, 1):
        texts = generate(bundle, 2, stars=4, temperature=0, max_tokens=30, seed=seed)
        assert texts == [bundle.vocabulary.decode(ids)] * 2


@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
def test_lossless_texts_hold_whole_characters_only(unit):
    subword = bundle_of(unit, sharpness=0.1)  # close to uniform: mostly bytes that are no characters
    for text in generate(subword, 20, prompt="Ünï ☕", max_tokens=30):
        assert text.startswith("Ünï ☕")
        assert "\ufffd" not in text
        text.encode()


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_what_was_written_is_what_was_drawn(unit):
    model = bundle_of(unit, sharpness=2.0)
    text = generate(model, 1, stars=2, prompt="The soup", temperature=0, max_tokens=5)[0]
    ids = [*model.vocabulary.prefix(2), *model.vocabulary.encode("The soup")]
    for _ in range(5):
        p_V = model.model.p_VV[ids[-1]].copy()
        p_V[UNK] = 0
        ids.append(int(p_V.argmax()))
        if ids[-1] == EOS:
            break
    assert text == "The soup" + model.vocabulary.decode(ids[2 + len(model.vocabulary.encode("The soup")) :], "The soup")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 1.5}, "n is 1.5"),
        ({"stars": 6}, "stars is 6"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": True}, "top_k is True"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(bundle, options, message):
    with pytest.raises(ModelError, match=message + ".*must be") as caught:
        generate(bundle, **options)
    assert caught.value.kind == "input"
