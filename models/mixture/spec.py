"""Define the options of models that combine other models; must not import numpy or torch, like `models/specs.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from ..options import Name, Number, Whole, options, require


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
        across: Remember across the beginning of a document, where one stream holds several; then the parameters are
            also chosen on the held-out text as one continuous stream. False empties the memory there. Evaluation starts
            every review from a fresh state either way.
    """

    kind: Literal["neural_cache"] = "neural_cache"
    name: Name = "lstm+cache"
    vocabulary: str = "word"
    part: str = "lstm"
    thetas: Annotated[tuple[Theta, ...], NotEmpty, Different] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
    windows: Annotated[tuple[Window, ...], NotEmpty, Different] = (100, 500, 2000)
    across: bool = False

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
