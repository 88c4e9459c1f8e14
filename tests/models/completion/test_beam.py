"""Beam search: at least as probable as greedy, exhaustive on a toy, required words honoured."""

import itertools
import re

import numpy as np
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.beam import beam_search
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS, UNK
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.models.table_lm import HistoryLM, TableLM, TableSpec

UNRATED = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""No training review had a rating, so there is one way to read a text."""

TEXTS = [
    "The soup was great, so we went back to Phoenix.",
    "In Phoenix the staff was slow. Greatest soup",
]


def model_of(
    unit="word",
    seed=0,
    kind=TableLM,
    texts=TEXTS,
    sharpness=1.0,
):
    vocabulary = learn_vocabulary(
        texts,
        VocabularySpec(
            unit=unit,
            size=300,
            min_count=1,
        ),
        NormalForm(),
    )
    weights = np.exp(
        sharpness * np.random.default_rng(seed).normal(size=(vocabulary.size + 1, vocabulary.size))
    )
    weights[:, UNK] = 0
    return Bundle(
        TableSpec(), vocabulary, kind(TableLM.normalised(weights).p_VV), stars_prior=UNRATED
    )


def logp_of(
    bundle,
    ids,
    ended,
    stars=0,
):
    stream = [*bundle.vocabulary.prefix(stars), *ids, *([EOS] if ended else [])]
    return -float(bundle.model.score(np.array([stream]), bundle.model.start(1))[0].sum())


@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_the_most_probable_of_all_texts(seed):
    bundle = model_of(
        seed=seed,
        kind=HistoryLM,
        texts=["a b c"],
    )
    entries, most = range(9, bundle.vocabulary.size), 4
    every = [
        (logp_of(bundle, ids, length < most), ids)
        for length in range(most + 1)
        for ids in itertools.product(entries, repeat=length)
    ]
    best = sorted(every, key=lambda text: -text[0] / min(len(text[1]) + 1, most))
    found = beam_search(bundle, len(every), n=len(every), max_tokens=most)
    assert [each.logp for each in found] == pytest.approx([logp for logp, _ in best], abs=1e-5)
    assert [each.tokens for each in found[:5]] == [len(ids) for _, ids in best[:5]]


@pytest.mark.parametrize("unit", ["word", "bpe", "unigram", "char"])
@pytest.mark.parametrize(
    "require", [["great"], ["Phoenix", "slow"], ["the soup", "great"], ["staff was slow"]]
)
def test_required_words_are_in_every_text_as_whole_words(unit, require):
    bundle = model_of(unit, sharpness=2.0)
    most = 12 if unit == "word" else 40
    found = beam_search(
        bundle,
        6,
        n=3,
        require=require,
        max_tokens=most,
    )
    assert found
    for each in found:
        for word in require:
            assert re.search(rf"\b{word}\b", each.text, re.IGNORECASE), each.text
        assert each.tokens <= most


def test_what_the_model_cannot_write_is_refused():
    bundle = model_of()
    for match, options in {
        "require is .zqx.": {"require": ["zqx"]},
        "require is .!.": {"require": ["!"]},
        "required words alone are 3 tokens": {"require": ["the soup", "slow"], "max_tokens": 2},
        "width is 0": {"width": 0},
        "n is 9": {"n": 9},
        "max_tokens is 0": {"max_tokens": 0},
        "stars is 6": {"stars": 6},
    }.items():
        with pytest.raises(ModelError, match=match) as caught:
            beam_search(bundle, **options)
        assert caught.value.kind == "input"
