"""Define the options of models that combine other models; must not import numpy or torch, like `models/specs.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..options import Name, Whole, options, require


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
        across: True keeps the cache at the begin of a document, if one stream has several; False empties it there.
            Evaluation starts every review from a fresh state in both cases.
    """

    kind: Literal["cache"] = "cache"
    name: Name = "kn5+cache"
    vocabulary: str = "word"
    part: str = "kn5"
    order: Annotated[Whole, Field(ge=1, le=6)] = 2
    window: Annotated[Whole, Field(ge=1, le=10_000_000)] = 500
    across: bool = False

    def __post_init__(self) -> None:
        require(self.name != self.part, "part", self.part, "another model than itself")
        require(self.order <= self.window, "window", self.window, f"at least the order, {self.order}")

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the models that it combines: only the static model."""
        return (self.part,)
