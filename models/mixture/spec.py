"""Define the options of models that combine other models; must not import numpy or torch, like `models/specs.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..names import require_name
from ..options import one_of, refuse_idle, require, require_types


@dataclass(frozen=True)
class MixtureSpec:
    """Options of a mixture of several models.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same for all parts.
        parts: Names of the models to combine: at least two, which come before this model in the configuration.
            Required.
        method: "linear": p = Σ λ p, one weight per part; "gated": the weights depend on the context;
            "log_linear": p ∝ Π p^w, normalised over the vocabulary, so every token needs a whole distribution.
        tuning_tokens: Approximate number of held-out tokens for tuning the weights: whole reviews, evenly spaced, at
            least one.
        ridge: Only for gated: penalty on the squared weights of the features, in nats of all held-out text together.
            A ridge r is a normal prior of variance 1 / (2 r): weights tuned on little text stay near fixed ones.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["mixture"] = "mixture"
    name: str = "mix"
    vocabulary: str = "word"
    parts: tuple[str, ...] = ()
    method: Literal["linear", "gated", "log_linear"] = "linear"
    tuning_tokens: int = 100_000
    ridge: float = 10.0

    def __post_init__(self) -> None:
        require_types(self)
        require_name(self.name)
        require(len(self.parts) >= 2, "parts", self.parts, "the names of at least two models")
        require(len(set(self.parts)) == len(self.parts), "parts", self.parts, "different models")
        require(self.name not in self.parts, "parts", self.parts, "other models than itself")
        require(self.tuning_tokens >= 1, "tuning_tokens", self.tuning_tokens, "at least 1")
        require(0 <= self.ridge < float("inf"), "ridge", self.ridge, "0 or more and finite")
        refuse_idle(self)

    @property
    def idle(self) -> dict[str, str]:
        """Options that have no effect with the current method, and where they take effect."""
        return {} if self.method == "gated" else {"ridge": one_of("method", ("gated",))}


@dataclass(frozen=True)
class CacheSpec:
    """Options of a model with a cache of the last tokens; its figures are those of an adaptive model, not a static one.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; the same as that of the part.
        part: Name of the static model, which comes before this model in the configuration.
        order: Longest n-gram that the cache counts; 1 is the unigram cache.
        window: Number of tokens that the cache remembers.
        across: True keeps the cache at the begin of a document, if one stream has several; False empties it there.
            Evaluation starts every review from a fresh state in both cases.
        tuning_tokens: Approximate number of held-out tokens for tuning the weights: whole reviews, evenly spaced, at
            least one.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["cache"] = "cache"
    name: str = "kn5+cache"
    vocabulary: str = "word"
    part: str = "kn5"
    order: int = 2
    window: int = 500
    across: bool = False
    tuning_tokens: int = 100_000

    def __post_init__(self) -> None:
        require_types(self)
        require_name(self.name)
        require(self.name != self.part, "part", self.part, "another model than itself")
        require(1 <= self.order <= 6, "order", self.order, "between 1 and 6")
        fits = self.order <= self.window <= 10_000_000
        require(fits, "window", self.window, "at least the order and at most 10,000,000")
        require(self.tuning_tokens >= 1, "tuning_tokens", self.tuning_tokens, "at least 1")

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the models that it combines: only the static model."""
        return (self.part,)
