"""Define the options of every kind of model, and map each kind to its class.

A new kind needs one file that implements the interface of `models/base.py`, one dataclass and one entry of `KINDS`
here. This module must not import numpy or torch, because the configuration imports it at start-up.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from .neural.spec import NPLMSpec as NPLMSpec
from .neural.spec import ObjectiveSpec as ObjectiveSpec
from .neural.spec import RecurrentSpec as RecurrentSpec
from .neural.spec import TrainingSpec as TrainingSpec
from .ngram.methods import KNESER_NEY as KNESER_NEY
from .ngram.methods import SCORES_ONLY as SCORES_ONLY
from .ngram.methods import Smoothing as Smoothing
from .options import (
    MOST_WHOLE,
    Count,
    NotNegative,
    Number,
    Whole,
    options,
    require,
    spec_of,
    to_plain_values,
)
from .options import Name as Name
from .options import OrNone as OrNone
from .options import as_name as as_name
from .options import as_written as as_written
from .options import identity as identity
from .options import inapplicable as inapplicable
from .options import require_name as require_name
from .options import without_inapplicable as without_inapplicable


@options
class MixtureSpec:
    """Options of a mixture of several models.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same for all parts.
        parts: Names of the models to combine: at least two, which come before this model in the configuration.
            Required.
        method: "linear": p = Σ λ p, one weight per part; "gated": the weights depend on the context.
    """

    kind: Literal["mixture"] = "mixture"
    name: Name = "mix"
    vocabulary: str = "word"
    parts: tuple[str, ...] = ()
    method: Literal["linear", "gated"] = "linear"

    def __post_init__(self) -> None:
        require(len(self.parts) >= 2, "parts", self.parts, "the names of at least two models")
        require(len(set(self.parts)) == len(self.parts), "parts", self.parts, "different models")
        require(self.name not in self.parts, "parts", self.parts, "other models than itself")


@options
class CacheSpec:
    """Options of a model with a cache of the last tokens; its figures are those of an adaptive model, not a static one.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same as that of the part.
        part: Name of the static model, which comes before this model in the configuration.
        order: Longest n-gram that the cache counts; 1 is the unigram cache.
        window: Number of tokens that the cache remembers.
    """

    kind: Literal["cache"] = "cache"
    name: Name = "kn5+cache"
    vocabulary: str = "word"
    part: str = "kn5"
    order: Annotated[Whole, Field(ge=1, le=6)] = 2
    window: Annotated[Whole, Field(ge=1, le=10_000_000)] = 500

    def __post_init__(self) -> None:
        require(self.name != self.part, "part", self.part, "another model than itself")
        require(
            self.order <= self.window, "window", self.window, f"at least the order, {self.order}"
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the models that it combines: only the static model."""
        return (self.part,)


def _different(values: tuple[float, ...], option: ValidationInfo) -> tuple[float, ...]:
    require(len(set(values)) == len(values), str(option.field_name), values, "different numbers")
    return values


Different = AfterValidator(_different)
NotEmpty = Field(min_length=1)
Theta = Annotated[Number, Field(ge=0, le=1e6)]
Window = Annotated[Whole, Field(ge=1, le=10_000_000)]


@options
class NeuralCacheSpec:
    """A neural model with the continuous cache of Grave, Joulin and Usunier (2017); see `neural_cache.py`.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same as the part's.
        part: Name of the static neural model, which comes before it in the configuration.
        thetas: Candidates for θ: 0 counts words; larger values (up to 1e6) weight similar contexts more.
        windows: Candidates for the number of tokens to look back at. The best pair on held-out text is used.
    """

    kind: Literal["neural_cache"] = "neural_cache"
    name: Name = "lstm+cache"
    vocabulary: str = "word"
    part: str = "lstm"
    thetas: Annotated[tuple[Theta, ...], NotEmpty, Different] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    windows: Annotated[tuple[Window, ...], NotEmpty, Different] = (100, 500, 2000)

    def __post_init__(self) -> None:
        require(self.name != self.part, "part", self.part, "another model than itself")

    @property
    def parts(self) -> tuple[str, ...]:
        """The name of the static model, as the only part."""
        return (self.part,)

    @property
    def order(self) -> int:
        """Always 1: words are remembered one by one, as in a unigram cache."""
        return 1


@options
class NGramSpec:
    """Options of an n-gram model.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        order: Longest n-gram; order 1 is the unigram model.
        smoothing: "modified_kneser_ney" (three discounts per order) or "kneser_ney" (one), the best ones; the other
            classical methods, for comparison: "absolute_discounting", "witten_bell", "jelinek_mercer", "katz",
            "add_k", "maximum_likelihood" (infinite perplexity), "stupid_backoff" (scores that rank, no perplexity).
        prune: Count thresholds per order, the last one repeated: n-grams with this count or less are dropped, as
            `lmplz --prune` does. The threshold of order 1 must be 0, because the vocabulary decides which words the
            model knows.
        min_documents: N-grams of two or more tokens are dropped if fewer people than this have written them; 1 keeps
            all. People are told apart by `user_id`; a review without one counts as a person. With 2, the model cannot
            be asked for what only one person says.
        entropy: After that, drop every n-gram that raises the perplexity by less than the factor 1 + this (1e-8 drops
            few, 1e-6 many); 0 keeps all.
    """

    kind: Literal["ngram"] = "ngram"
    name: Name = "kn5"
    vocabulary: str = "word"
    order: Annotated[Whole, Field(ge=1, le=6)] = 5
    smoothing: Smoothing = "modified_kneser_ney"
    prune: tuple[Annotated[Whole, Field(ge=0, le=MOST_WHOLE)], ...] = ()
    min_documents: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 1
    entropy: NotNegative = 0.0

    def __post_init__(self) -> None:
        rising = list(self.prune) == sorted(self.prune)
        allowed = f"at most {self.order} whole numbers, one per order, 0 or more, none below the one before it"
        require(rising and len(self.prune) <= self.order, "prune", self.prune, allowed)
        require(
            self.prune[:1] in ((), (0,)),
            "prune",
            self.prune,
            "0 at order 1: the vocabulary decides about words",
        )
        scores = self.entropy > 0 and self.smoothing == "stupid_backoff"
        require(
            not scores,
            "entropy",
            self.entropy,
            "0 for stupid_backoff: scores have no entropy to prune by",
        )


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
    "rnn": (RecurrentSpec, ".neural.lm:NeuralLM"),
    "gru": (RecurrentSpec, ".neural.lm:NeuralLM"),
    "lstm": (RecurrentSpec, ".neural.lm:NeuralLM"),
    "nplm": (NPLMSpec, ".neural.lm:NeuralLM"),
    "mixture": (MixtureSpec, ".mixture.lm:MixtureLM"),
    "cache": (CacheSpec, ".mixture.cache:CacheLM"),
    "neural_cache": (NeuralCacheSpec, ".mixture.neural_cache:NeuralCacheLM"),
}


def parts_of(spec: Any) -> tuple[str, ...]:
    """Return the names of the models that a model of any family combines or starts from; empty for most kinds."""
    return getattr(spec, "parts", ())


def model_class(kind: str) -> Any:
    """Return the class of a kind; it has the class method `load(...)` (see `bundles/bundle.py`)."""
    return resolve_name(f"{__package__}{KINDS[kind][1]}")


to_dict = to_plain_values


def spec_from_dict(values: dict[str, Any]) -> ModelSpec:
    """Rebuild a spec from the result of `to_dict`; see `spec_of`."""
    return spec_of(values, KINDS)  # type: ignore[no-any-return]
