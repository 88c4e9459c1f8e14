"""Options of every kind of model, and the line that names its class.

A new kind = one file that keeps the contract of `models/base.py` + one dataclass and one entry of `KINDS` here.
Nothing in this module imports torch: it is read at start-up by the configuration.
The four choices of a recipe stay apart: data (`VocabularySpec`), architecture (the fields of a model's spec),
objective (`ObjectiveSpec`) and optimisation (`TrainingSpec`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

from .mixture.spec import CacheSpec as CacheSpec
from .mixture.spec import MixtureSpec as MixtureSpec
from .ngram.spec import NGramSpec as NGramSpec
from .ngram.spec import Smoothing as Smoothing
from .options import LATER, require


@dataclass(frozen=True)
class VocabularySpec:
    """How text becomes tokens.

    Args:
        unit: "word", "bpe" (byte level), "unigram" (byte fallback) or "char" (byte fallback).
        size: At most so many entries, special tokens included.
        min_count: Words (or characters) seen less often in the training text become `<unk>` (or bytes).
        lowercase: Word unit only: fold case for modelling; the usual case comes back when text is decoded.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    unit: Literal["word", "bpe", "unigram", "char"] = "word"
    size: int = 20_000
    min_count: int = 3
    lowercase: bool = True

    def __post_init__(self) -> None:
        require(self.size >= 16, "size", self.size, "at least 16")
        require(self.min_count >= 1, "min_count", self.min_count, "at least 1")


@dataclass(frozen=True)
class ObjectiveSpec:
    """The output layer and loss of a neural model: always exactly normalised cross-entropy.

    Args:
        output: "softmax" over all entries, or "two_level": a softmax over the `head` most frequent entries and one
            for "the tail", then a softmax within the tail. Exactly normalised too, several times cheaper.
        head: Number of entries in the head of the two-level softmax.
        chunk: Positions whose logits are held in memory at a time; does not change the result beyond rounding.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    output: Literal["softmax", "two_level"] = "two_level"
    head: int = 1_000
    chunk: int = 512

    def __post_init__(self) -> None:
        require(self.head >= 1, "head", self.head, "at least 1")
        require(self.chunk >= 1, "chunk", self.chunk, "at least 1")


@dataclass(frozen=True)
class TrainingSpec:
    """How a neural model is fitted (AdamW, warm-up, cosine decay, truncated back-propagation through time).

    Args:
        epochs: Passes over the training tokens; a fraction is allowed.
        batch: Streams trained side by side.
        window: k1, tokens between two updates.
        backprop: k2, tokens through which the gradient flows back; None means k2 = k1.
        learning_rate: Peak of the schedule.
        warmup: Share of all updates in which the rate rises linearly from 0.
        final_rate: Share of the peak at the end of the cosine decay.
        weight_decay: Decoupled decay of weight matrices.
        beta1: AdamW's decay of the gradient mean.
        beta2: AdamW's decay of the squared-gradient mean.
        clip: Largest norm of the gradient; None leaves it as it is.
        reset: Chance per window and stream of starting from the zero state, so that a stream's start is trained too.
        evaluations: Times that validation perplexity is measured; the best of these states is the result.
        precision: Number format of the matrix products; parameters and optimiser state are always float32.
        seed: Of initialisation, dropout and order.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    epochs: float = 3.0
    batch: int = 20
    window: int = 50
    backprop: int | None = None
    learning_rate: float = 3e-3
    warmup: float = 0.1
    final_rate: float = 0.02
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float | None = 1.0
    reset: float = 0.02
    evaluations: int = 8
    precision: Literal["bf16", "float32"] = "bf16"
    seed: int = 1

    def __post_init__(self) -> None:
        require(self.epochs > 0, "epochs", self.epochs, "above 0")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.window >= 1, "window", self.window, "at least 1")
        if self.backprop is not None:
            require(self.backprop >= self.window, "backprop", self.backprop, f"at least window = {self.window}")
        require(0 < self.learning_rate < float("inf"), "learning_rate", self.learning_rate, "above 0 and finite")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name in ("warmup", "final_rate", "reset", "beta1", "beta2"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "above 0")
        require(self.evaluations >= 1, "evaluations", self.evaluations, "at least 1")


@dataclass(frozen=True)
class RecurrentSpec:
    """A recurrent language model: embedding, L recurrent layers, output tied to the embedding.

    Args:
        kind: The cell: "rnn" (Elman), "gru" or "lstm".
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        layers: L.
        hidden: H.
        embedding: E. Where it differs from H, a linear layer projects H to E before the tied output; an untied
            output has rows of size H.
        nonlinearity: Of the "rnn" kind.
        cells: "fused" uses torch.nn's layer, "own" the equations of `models/neural/cells.py`; same numbers.
        tied: Output rows are the embedding's rows.
        dropout: On embeddings, between layers and on the output of the last layer.
        variational: One dropout mask for all positions of a window instead of one per position.
        remind: Add the embedding of the review's star token to every input, so that a wanted rating is not forgotten
            along a review; False leaves the star token to the recurrent memory alone.
        objective: Output layer and loss.
        training: Optimisation.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["rnn", "gru", "lstm"] = "lstm"
    name: str = "lstm"
    vocabulary: str = "word"
    layers: int = 1
    hidden: int = 320
    embedding: int = 256
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    cells: Literal["fused", "own"] = "fused"
    tied: bool = True
    dropout: float = 0.1
    variational: bool = False
    remind: bool = True
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "embedding"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")


@dataclass(frozen=True)
class NPLMSpec:
    """Neural probabilistic language model (Bengio et al. 2003): y = b + W x + U tanh(d + H x).

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        context: Words looked back at (the order minus one).
        embedding: E.
        hidden: H.
        direct: Keep the direct connection W from the words' features to the output.
        dropout: On the hidden layer.
        objective: Output layer and loss.
        training: Optimisation.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["nplm"] = "nplm"
    name: str = "nplm"
    vocabulary: str = "word"
    context: int = 4
    embedding: int = 96
    hidden: int = 192
    direct: bool = True
    dropout: float = 0.1
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)

    def __post_init__(self) -> None:
        for name in ("context", "hidden", "embedding"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")


ModelSpec = NGramSpec | RecurrentSpec | NPLMSpec | MixtureSpec | CacheSpec

KINDS: dict[str, tuple[type, str]] = {
    "ngram": (NGramSpec, ".ngram.lm:NGramLM"),
    "rnn": (RecurrentSpec, ".neural.recurrent:RecurrentLM"),
    "gru": (RecurrentSpec, ".neural.recurrent:RecurrentLM"),
    "lstm": (RecurrentSpec, ".neural.recurrent:RecurrentLM"),
    "nplm": (NPLMSpec, ".neural.nplm:NPLM"),
    "mixture": (MixtureSpec, ".mixture.lm:MixtureLM"),
    "cache": (CacheSpec, ".cache:CacheLM"),
}


def parts_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the names of the models that a model is made of; empty for most kinds."""
    return spec.parts if isinstance(spec, MixtureSpec | CacheSpec) else ()


def model_class(kind: str) -> Any:
    """Return the class of a kind; it offers `fit(...)` and `load(...)` as class methods (see `models/bundle.py`)."""
    module, name = KINDS[kind][1].split(":")
    return getattr(import_module(module, __package__), name)


def identity(spec: ModelSpec) -> dict[str, Any]:
    """Return what a fit depends on as JSON values: everything but the names, which are labels."""
    options = to_dict(spec)
    del options["name"], options["vocabulary"]
    return options


def to_dict(spec: ModelSpec) -> dict[str, Any]:
    """Return the options as JSON values, those marked as `LATER` only where they are not at their default.

    So artifacts and bundles from before an option existed keep their digests, and older versions can still read a
    bundle that does not use it.
    """
    options = asdict(spec)
    for entry in fields(spec):
        if entry.metadata == LATER and options[entry.name] == entry.default:
            del options[entry.name]
    return options


def spec_from_dict(options: dict[str, Any]) -> ModelSpec:
    """Rebuild a spec from `to_dict` or `dataclasses.asdict` as it comes back from JSON (lists for tuples)."""
    return _rebuild(KINDS[options["kind"]][0], options)


def _rebuild(kind: type, options: dict[str, Any]) -> Any:
    nested = {"objective": ObjectiveSpec, "training": TrainingSpec}
    known = {entry.name for entry in fields(kind)}
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{kind.__name__} has no option {name!r}")
        if name in nested and not is_dataclass(value):
            value = _rebuild(nested[name], value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
