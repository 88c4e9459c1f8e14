"""Define the options of the neural models, importable without torch; `models/specs.py` re-exports them.

The four choices of a recipe are separate: data (`VocabularySpec`), architecture (the fields of a model's spec),
objective (`ObjectiveSpec`) and optimisation (`TrainingSpec`, in `models/neural/training/spec.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import ClassVar, Literal

from ..names import require_name
from ..options import LATER, one_of, refuse_idle, require, require_types
from .training.spec import TrainingSpec as TrainingSpec

HEADED = ("two_level", "adaptive")
"""Outputs that have a head of frequent entries."""

WIDEST, MOST_LAYERS, MOST_CONTEXT = 65_536, 256, 10_000
"""Largest sizes of a network: beyond them a single matrix product would not fit any machine."""


def require_size(name: str, value: int, most: int) -> None:
    """Raise ValueError unless a size is between 1 and the largest."""
    require(value >= 1, name, value, "at least 1")
    require(value <= most, name, value, f"at most {most:,}")


@dataclass(frozen=True)
class ObjectiveSpec:
    """The output layer and loss of a neural model; the probabilities are always exactly normalised.

    Args:
        output: "softmax" over all entries; "two_level": a softmax over the `head` most frequent entries and one for
            "the tail", then a softmax within the tail; "adaptive": the same with several tails, cut at `cutoffs`, whose
            features shrink; "hierarchical": a Huffman tree of binary choices, with separate rows. All are exactly
            normalised.
        head: For "two_level" and "adaptive": number of entries in the head.
        chunk: Positions whose logits are in memory at a time; does not change the result beyond rounding.
        cutoffs: For "adaptive": ranks above `head` at which a further tail begins; () is one tail.
        shrink: For "adaptive": the k-th tail (from 1) uses features of size E / shrink^k and its own shorter rows, also
            where the head's rows are tied to the embedding. 1 keeps features whole and rows tied.
        estimator: The training loss: "exact" cross-entropy, or (only for "softmax") "sampled" (sampled softmax) or
            "nce" (noise-contrastive estimation). Evaluation is always exact.
        samples: For "sampled" and "nce": shared negatives per update.

    An option that has no effect with the others must keep its default, else it is an error (`models/options.py`).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    output: Literal["softmax", "two_level", "adaptive", "hierarchical"] = "two_level"
    head: int = 1_000
    chunk: int = 512
    cutoffs: tuple[int, ...] = field(default=(), metadata=LATER)
    shrink: float = field(default=1.0, metadata=LATER)
    estimator: Literal["exact", "sampled", "nce"] = field(default="exact", metadata=LATER)
    samples: int = field(default=1_024, metadata=LATER)

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("head", "chunk", "samples"):
            require_size(name, getattr(self, name), 10_000_000)
        rising = all(low < high for low, high in pairwise((self.head, *self.cutoffs)))
        rising = rising or self.output != "adaptive"
        require(rising, "cutoffs", self.cutoffs, f"rising ranks above head = {self.head}")
        require(1 <= self.shrink <= WIDEST, "shrink", self.shrink, f"between 1 and {WIDEST:,}")
        exact = self.estimator == "exact" or self.output == "softmax"
        require(exact, "estimator", self.estimator, "'exact' for every output but 'softmax'")
        refuse_idle(self)

    @property
    def idle(self) -> dict[str, str]:
        """Options without effect here, each with where it has one; see `models/options.py`."""
        idle = {}
        if self.output not in HEADED:
            idle["head"] = one_of("output", HEADED)
        if self.output != "adaptive":
            idle |= dict.fromkeys(("cutoffs", "shrink"), one_of("output", ("adaptive",)))
        if self.estimator == "exact":
            idle["samples"] = one_of("estimator", ("sampled", "nce"))
        return idle


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
        nonlinearity: For the "rnn" kind; the other kinds have no choice.
        cells: "fused" uses torch.nn's layer, or, for training in bf16 on the CPU, the layers of
            `models/neural/fused/`; "own" uses the equations of `models/neural/layers/cells.py`. The results are equal
            up to rounding.
        tied: Output rows are the embedding's rows.
        dropout: On embeddings, between layers and on the output of the last layer.
        variational: Use one dropout mask for all positions of a window instead of one per position. A window that is
            read in pieces gets a new mask for each piece (`models/neural/layers/dropout.py`). So do the other masks
            below that are drawn per window.
        remind: Add the embedding of the review's star token to every input, so that the model does not lose the wanted
            rating along a review. False leaves the star token to the recurrent memory alone.
        objective: Output layer and loss.
        training: Optimisation.
        form: For the "gru" kind: "cudnn" applies the reset gate after the matrix product with the state, "cho" before
            it (Cho et al. 2014, the form of most text books; needs cells "own").
        embedding_dropout: Share of the vocabulary whose embedding is zeroed in a window (Gal & Ghahramani 2016).
        input_dropout: On the embeddings that enter the first layer; None uses `dropout`.
        output_dropout: On the last layer's output; None uses `dropout`.
        weight_drop: Share of the recurrent weights zeroed in a window (DropConnect; Merity et al. 2017).
        layer_norm: Normalise the gates' inputs (Ba, Kiros & Hinton 2016; needs cells "own").
        forget_bias: Initial bias of the forget gate of the "lstm" kind.
        recurrent_start: Initial recurrent matrix of each gate. "usual": uniform in ±1/√H, but the identity for the relu
            network. "uniform": uniform for the relu network too. "orthogonal": keeps lengths (Saxe, McClelland &
            Ganguli 2014). "identity" (Le, Jaitly & Hinton 2015): only for the "rnn" kind, because gated cells keep
            their state by their gates.
        bidirectional: Refused for a language model, which must not see the words that it predicts.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    kind: Literal["rnn", "gru", "lstm"] = "lstm"
    name: str = "lstm"
    vocabulary: str = "word"
    layers: int = 1
    hidden: int = 320
    embedding: int = 256
    nonlinearity: Literal["tanh", "relu", "sigmoid", "arctan"] = "tanh"
    cells: Literal["fused", "own"] = "fused"
    tied: bool = True
    dropout: float = 0.1
    variational: bool = False
    remind: bool = True
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    form: Literal["cudnn", "cho"] = field(default="cudnn", metadata=LATER)
    embedding_dropout: float = field(default=0.0, metadata=LATER)
    input_dropout: float | None = field(default=None, metadata=LATER)
    output_dropout: float | None = field(default=None, metadata=LATER)
    weight_drop: float = field(default=0.0, metadata=LATER)
    layer_norm: bool = field(default=False, metadata=LATER)
    forget_bias: float = field(default=1.0, metadata=LATER)
    bidirectional: bool = field(default=False, metadata=LATER)
    recurrent_start: Literal["usual", "uniform", "orthogonal", "identity"] = field(default="usual", metadata=LATER)

    def __post_init__(self) -> None:
        require_types(self)
        require_name(self.name)
        for name, most in (("layers", MOST_LAYERS), ("hidden", WIDEST), ("embedding", WIDEST)):
            require_size(name, getattr(self, name), most)
        for name in ("dropout", "embedding_dropout", "input_dropout", "output_dropout", "weight_drop"):
            share = getattr(self, name)
            require(share is None or 0 <= share < 1, name, share, "in [0, 1)")
        seen = "false for a language model: a network that also reads from the end sees the words it is to predict"
        require(not self.bidirectional, "bidirectional", self.bidirectional, seen)
        own = self.cells == "own"
        needs_own = "left as it is, or cells = 'own': torch's fused layers cannot do that"
        words = self.objective.output != "hierarchical" or not self.tied
        require(words, "tied", self.tied, "false with the hierarchical output, whose rows are choices and not words")
        possible = self.form == "cudnn" or (own and self.kind == "gru")
        require(possible, "form", self.form, "'cudnn', or a GRU of own cells")
        require(own or not self.layer_norm, "layer_norm", self.layer_norm, needs_own)
        choice = self.kind == "rnn" or self.nonlinearity == "tanh"
        require(choice, "nonlinearity", self.nonlinearity, "'tanh' but for the kind 'rnn': LSTM and GRU have no choice")
        require(own or self.nonlinearity in ("tanh", "relu"), "nonlinearity", self.nonlinearity, needs_own)
        gate = self.forget_bias == 1 or (self.kind == "lstm" and isfinite(self.forget_bias))
        require(gate, "forget_bias", self.forget_bias, "finite, and 1 but for the kind 'lstm': no other has that gate")
        kept = self.kind == "rnn" or self.recurrent_start != "identity"
        require(kept, "recurrent_start", self.recurrent_start, "another one where there are gates; the identity is for "
                "the kind 'rnn'")  # fmt: skip


@dataclass(frozen=True)
class NPLMSpec:
    """Neural probabilistic language model (Bengio et al. 2003): y = b + W x + U tanh(d + H x).

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        context: Words of context (the order minus one).
        embedding: E.
        hidden: H.
        direct: Keep the direct connection W from the words' features to the output.
        dropout: On the hidden layer.
        objective: Output layer and loss.
        training: Optimisation. `backprop` and the penalties of activations are refused: no gradient flows from one
            position to another, and no layer is recurrent.
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
        require_types(self)
        require_name(self.name)
        for name, most in (("context", MOST_CONTEXT), ("hidden", WIDEST), ("embedding", WIDEST)):
            require_size(name, getattr(self, name), most)
        require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        refuse_idle(self)

    @property
    def idle(self) -> dict[str, str]:
        """Training options without effect in this model; see `models/options.py`."""
        names = ("training.backprop", "training.activation_penalty", "training.temporal_penalty")
        return dict.fromkeys(names, "in a recurrent network")
