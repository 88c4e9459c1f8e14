"""Whole texts that a model writes: how they begin and end, what they hold, and on what they depend."""

import pytest

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.sampling import generate
from reviewlm.models.sampling.generation import BATCH
from reviewlm.models.tokens.special import EOS, STARS, UNK
from tests.marked_cases import slow_but
from tests.models.sampling.small_bundles import bundle_of
from tests.models.table_lm import HistoryLM, TableLM, TableSpec


def test_texts_are_whole_reviews_that_begin_with_the_prompt(bundle):
    for prompt in ("", "The soup", 'the  "SOUP" was ', "Zebra ünïcode ☕", "Great!\n\n"):
        texts = generate(
            bundle,
            5,
            prompt=prompt,
            seed=3,
            max_tokens=40,
        )
        assert len(texts) == 5
        assert all(text.startswith(prompt) for text in texts)
        assert not any("<" in text[len(prompt) :] or "  " in text[len(prompt) :] for text in texts)


def test_a_text_says_whether_it_ended_or_was_cut_at_the_maximum_length(bundle):
    short, long = (
        generate(
            bundle,
            30,
            seed=3,
            max_tokens=most,
            stop=["soup"],
        )
        for most in (6, 200)
    )
    assert all(text.ended for text in long)
    assert {text.ended for text in short} == {True, False}
    assert all(one == other for one, other in zip(short, long, strict=True) if one.ended)


@pytest.mark.parametrize("table", slow_but([TableLM, HistoryLM], {HistoryLM}))
def test_a_text_does_not_depend_on_the_texts_beside_it(
    bundle,
    table,
    monkeypatch,
):
    model = Bundle(
        TableSpec(), bundle.vocabulary, table(bundle.model.p_VV), stars_prior=bundle.stars_prior
    )
    options = {
        "seed": 5,
        "max_tokens": 25,
        "top_p": 0.9,
        "prompt": "The soup",
    }
    crowd = generate(model, BATCH + 40, **options)
    assert len(set(crowd)) > BATCH
    assert len({len(text) for text in crowd}) > 10  # they leave the batch at different times
    assert generate(model, 3, **options) == crowd[:3]
    for batch in (1, 7):
        monkeypatch.setattr("reviewlm.models.sampling.generation.BATCH", batch)
        assert generate(model, BATCH + 40, **options) == crowd


def test_temperature_zero_writes_the_most_probable_text(bundle):
    allowed = bundle.model.p_VV.copy()
    allowed[:, UNK] = 0
    ids, last = [], STARS[4]
    while (last := int(allowed[last].argmax())) != EOS and len(ids) < 30:
        ids.append(last)
    for seed in (0, 1):
        texts = generate(
            bundle,
            2,
            stars=4,
            temperature=0,
            max_tokens=30,
            seed=seed,
        )
        assert texts == [bundle.vocabulary.decode(ids)] * 2


@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_what_was_written_is_what_was_drawn(unit):
    model = bundle_of(unit, sharpness=2.0)
    text = generate(
        model,
        1,
        stars=2,
        prompt="The soup",
        temperature=0,
        max_tokens=5,
    )[0]
    ids = [*model.vocabulary.prefix(2), *model.vocabulary.encode("The soup")]
    for _ in range(5):
        p_V = model.model.p_VV[ids[-1]].copy()
        p_V[UNK] = 0
        ids.append(int(p_V.argmax()))
        if ids[-1] == EOS:
            break
    assert text == "The soup" + model.vocabulary.decode(
        ids[2 + len(model.vocabulary.encode("The soup")) :], "The soup"
    )
