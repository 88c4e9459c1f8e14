"""Which n-gram models hold what a single review says: none that a preset proposes, wherever it is inside a model."""

from __future__ import annotations

import pytest

from reviewlm.core.config.presets import load_config, parse_config, preset_names
from reviewlm.models.specs import CacheSpec, MixtureSpec, NGramSpec, RecurrentSpec
from reviewlm.tasks.promotion.language import models_of_single_reviews

SAFE, SINGLE, UNIGRAM = (
    NGramSpec(
        name="safe",
        order=3,
        min_documents=2,
    ),
    NGramSpec(name="single", order=3),
    NGramSpec(name="unigram", order=1),
)
MODELS = (
    SAFE,
    SINGLE,
    UNIGRAM,
    RecurrentSpec(name="lstm"),
    MixtureSpec(name="fine", parts=("safe", "lstm", "unigram")),
    MixtureSpec(name="mix", parts=("safe", "single")),
    CacheSpec(name="cached", part="mix"),
    CacheSpec(name="cached fine", part="fine"),
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("safe", []),
        ("single", ["single"]),
        ("unigram", []),
        ("lstm", []),
        ("fine", []),
        ("cached fine", []),
        ("mix", ["single"]),
        ("cached", ["single"]),
    ],
)
def test_an_ngram_model_of_single_reviews_is_found_at_any_depth(name, found):
    config = parse_config({}).model_copy(update={"models": MODELS})
    spec = next(spec for spec in MODELS if spec.name == name)
    assert models_of_single_reviews(config.models, spec) == found


@pytest.mark.parametrize("preset", preset_names())
def test_no_preset_proposes_a_model_that_holds_what_a_single_review_says(preset):
    config = load_config(preset)
    assert [models_of_single_reviews(config.models, spec) for spec in config.models] == [[]] * len(
        config.models
    )
