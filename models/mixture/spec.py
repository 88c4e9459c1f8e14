"""Options of models that are made of other models; read without numpy or torch, as all of `models/specs.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..names import require_name
from ..options import one_of, refuse_idle, require, require_types


@dataclass(frozen=True)
class MixtureSpec:
    """Several models as one.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; that of all parts.
        parts: Names of the models it is made of: at least two, which stand before it in the configuration. To be given.
        method: "linear": p = Σ λ p, one weight per part; "gated": the weights depend on the context;
            "log_linear": p ∝ Π p^w, normalised over the vocabulary, which makes every token cost a whole distribution.
        tuning_tokens: About so many held-out tokens tune the weights: whole reviews, evenly spaced, at least one.
        ridge: Of gated: what the squared weights of its features cost, in nats of all held-out text together: r is a
            normal prior of variance 1 / (2 r), so that weights tuned on little text stay near fixed ones.
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
        """Options without a part beside the others, and where they have one."""
        return {} if self.method == "gated" else {"ridge": one_of("method", ("gated",))}


@dataclass(frozen=True)
class CacheSpec:
    """A model that also remembers what was just written: its figures are those of an adapting model, not a static one.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration; that of the part.
        part: Name of the static model, which stands before it in the configuration.
        order: Longest n-gram the cache counts; 1 is the unigram cache.
        window: Tokens it looks back at.
        across: Remember across the begin of a document, where one stream holds several; False forgets there.
            Evaluation starts every review from a fresh state either way.
        tuning_tokens: About so many held-out tokens tune the weights: whole reviews, evenly spaced, at least one.
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
        """The names of the models it is made of: one."""
        return (self.part,)
