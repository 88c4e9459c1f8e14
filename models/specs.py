"""Define the options of every kind of model, and map each kind to its class.

A new kind needs one file that implements the interface of `models/base.py`, one dataclass and one entry of `KINDS`
here. This module must not import torch, because the configuration imports it at start-up.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import Field

from .mixture.spec import CacheSpec as CacheSpec
from .mixture.spec import MixtureSpec as MixtureSpec
from .mixture.spec import NeuralCacheSpec as NeuralCacheSpec
from .neural.spec import NPLMSpec as NPLMSpec
from .neural.spec import ObjectiveSpec as ObjectiveSpec
from .neural.spec import RecurrentSpec as RecurrentSpec
from .neural.spec import TrainingSpec as TrainingSpec
from .ngram.spec import NGramSpec as NGramSpec
from .ngram.spec import Smoothing as Smoothing
from .options import Count, Whole, options, stored
from .options import Name as Name
from .options import OrNone as OrNone
from .options import as_name as as_name
from .options import as_written as as_written
from .options import inapplicable as inapplicable
from .options import require_name as require_name
from .options import without_inapplicable as without_inapplicable


@options
class VocabularySpec:
    """Options of a vocabulary: how text becomes tokens.

    Args:
        unit: "word", "bpe" (byte level), "unigram" (byte fallback) or "char" (byte fallback).
        size: Maximum number of entries, special tokens included.
        min_count: Words (or characters) seen less often in the training text become `<unk>` (or bytes).
        lowercase: Word unit only: fold case for modelling; decoding restores the usual case of each word.
    """

    unit: Literal["word", "bpe", "unigram", "char"] = "word"
    size: Annotated[Whole, Field(ge=16, le=10_000_000)] = 20_000
    min_count: Count = 3
    lowercase: bool = True


ModelSpec = NGramSpec | RecurrentSpec | NPLMSpec | MixtureSpec | CacheSpec | NeuralCacheSpec

KINDS: dict[str, tuple[type, str]] = {
    "ngram": (NGramSpec, ".ngram.lm:NGramLM"),
    "rnn": (RecurrentSpec, ".neural.lm:RecurrentLM"),
    "gru": (RecurrentSpec, ".neural.lm:RecurrentLM"),
    "lstm": (RecurrentSpec, ".neural.lm:RecurrentLM"),
    "nplm": (NPLMSpec, ".neural.lm:NPLM"),
    "mixture": (MixtureSpec, ".mixture.lm:MixtureLM"),
    "cache": (CacheSpec, ".mixture.cache:CacheLM"),
    "neural_cache": (NeuralCacheSpec, ".mixture.neural_cache:NeuralCacheLM"),
}


def parts_of(spec: Any) -> tuple[str, ...]:
    """Return the names of the models that a model of any family combines or starts from; empty for most kinds."""
    return getattr(spec, "parts", ())


def model_class(kind: str) -> Any:
    """Return the class of a kind; it has the class method `load(...)` (see `bundles/bundle.py`)."""
    module, name = KINDS[kind][1].split(":")
    return getattr(import_module(module, __package__), name)


def identity(spec: ModelSpec) -> dict[str, Any]:
    """Return the options that a fit depends on as JSON values: all but the names, which are only labels."""
    options = to_dict(spec)
    del options["name"], options["vocabulary"]
    return options


def to_dict(spec: ModelSpec) -> dict[str, Any]:
    """Return the options as JSON values."""
    return stored(spec)


def spec_from_dict(options: dict[str, Any]) -> ModelSpec:
    """Rebuild a spec from the result of `to_dict` or `dataclasses.asdict` after JSON (lists for tuples).

    Raises:
        ValueError: An option does not exist, or its value is not allowed.
    """
    kind = options.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"there is no kind {str(kind)[:40]!r}; known: {', '.join(KINDS)}")
    return KINDS[kind][0](**options)  # type: ignore[no-any-return]
