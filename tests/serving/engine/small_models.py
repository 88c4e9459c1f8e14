"""A bundle of every kind of model, made in milliseconds: networks without training, tables from a few reviews."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.mixture.cache import RANGES, CacheLM
from reviewlm.models.mixture.context_weights import ContextWeights
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.neural_cache import NeuralCacheLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import Fixed
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import (
    CacheSpec,
    MixtureSpec,
    NeuralCacheSpec,
    NGramSpec,
    NPLMSpec,
    ObjectiveSpec,
    RecurrentSpec,
    VocabularySpec,
)
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.estimated_ngrams import estimate_ngrams

TEXTS = [
    "The soup was great, so we went back. The staff was kind.",
    "In Phoenix the staff was slow, and the soup cold.",
    "We went to Phoenix! Great pizza, great beer.",
    "The pizza was cold. We waited an hour for the check.",
    "I love this place. The tacos are the best in town!",
    "Never again: rude staff, cold food, high prices.",
] * 2
KINDS = ("ngram", "lstm", "gru", "rnn", "nplm", "mixture", "cache", "neural_cache")
"""One of each kind. `bundle_of` also makes "gated", a mixture with weights by context, and "cached_gated" over it."""


@cache
def vocabulary_of(unit: str = "word") -> Vocabulary:
    return learn_vocabulary(
        TEXTS,
        VocabularySpec(
            unit=unit,
            size=400,
            min_count=1,
        ),
        NormalForm(),
    )


def network(kind: str, size: int, **options: Any) -> tuple[Any, Any]:
    """Return the options and an untrained network whose distributions are far from uniform."""
    softmax = (
        ObjectiveSpec(output="adaptive", head=12)
        if kind == "lstm"
        else ObjectiveSpec(output="softmax")
    )
    spec: Any = (
        NPLMSpec(objective=softmax, **options)
        if kind == "nplm"
        else RecurrentSpec(
            kind=kind,
            **{
                "objective": softmax,
                "hidden": 37,
                "embedding": 24,
                **options,
            },
        )
    )  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        built = NeuralLM.build(spec, torch.ones(size, dtype=torch.int64))
        for weight in built.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
    return spec, NeuralLM(spec, built, size)


@cache
def bundle_of(kind: str, unit: str = "word") -> Bundle:
    """Return a bundle with a model of this kind."""
    vocabulary = vocabulary_of(unit)
    spec, model = _made(kind, vocabulary)
    return Bundle(
        spec,
        vocabulary,
        model,
        {},
        f"digest of {kind}",
        (0, 0.1, 0.2, 0.3, 0.4, 0),
    )


def _made(kind: str, vocabulary: Vocabulary) -> tuple[Any, Any]:
    if kind == "ngram":
        documents = vocabulary.encode_documents(TEXTS, [3] * len(TEXTS))
        counts = count_ngrams(documents, 3, vocabulary.size, CONTEXT_IDS)  # type: ignore[arg-type]
        return NGramSpec(order=3), estimate_ngrams(counts)
    if kind in ("mixture", "gated"):
        return _mixture("linear" if kind == "mixture" else kind, vocabulary)
    if kind in ("cache", "cached_gated"):
        inside = "gated" if kind == "cached_gated" else "ngram"
        cached = CacheSpec(part=inside, window=20)
        weights = np.array([[1.0, 0.0, 0.0]] + [[0.7, 0.2, 0.1]] * len(RANGES))
        return cached, CacheLM(cached, Part(inside, *_made(inside, vocabulary)), weights)
    if kind == "neural_cache":
        remembered = NeuralCacheSpec(part="lstm")
        weights = np.array([[1.0, 0.0]] + [[0.8, 0.2]] * len(RANGES))
        part = Part("lstm", *_made("lstm", vocabulary))
        return remembered, NeuralCacheLM(
            remembered,
            part,
            weights,
            0.5,
            30,
        )
    return network(kind, vocabulary.size)


def _mixture(method: str, vocabulary: Vocabulary) -> tuple[Any, Any]:
    parts = [Part(name, *_made(name, vocabulary)) for name in ("ngram", "lstm")]
    spec: Any = MixtureSpec(parts=("ngram", "lstm"), method=method)  # type: ignore[arg-type]
    share = np.array([0.6, 0.4])
    if method == "linear":
        return spec, MixtureLM(parts, Fixed(share))
    equal = ContextWeights.with_equal_weights(parts)
    drawn_FP = np.random.default_rng(4).normal(size=equal.weights_FP.shape)
    return spec, MixtureLM(parts, replace(equal, weights_FP=drawn_FP))
