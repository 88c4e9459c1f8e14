"""Define the options of the neural models, importable without torch; `models/specs.py` re-exports them.

The four choices of a recipe are separate: data (`VocabularySpec`), architecture (the fields of a model's spec),
objective (`ObjectiveSpec`) and optimisation (`TrainingSpec`, in `models/neural/training_spec.py`).
"""

from __future__ import annotations

from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from ..options import MOST, Count, Name, Number, OnlyWith, OrNone, ShareBelowOne, Unused, Whole, options, require
from .training_spec import TrainingSpec as TrainingSpec

WEIGHTS = "weights.safetensors"
"""File of a network's parameters in its bundle."""
WIDEST = 65_536
"""Largest size of a layer: beyond it a single matrix product would not fit any machine."""
Width = Annotated[Whole, Field(ge=1, le=WIDEST)]
Entries = Annotated[Whole, Field(ge=1, le=10_000_000)]
Cells = Literal["fused", "reference"]
"""How a recurrent layer is computed."""


VectorsName = str
"""Name of word vectors of the section `vectors`, or "" for none."""
Frozen = bool


def require_vectors(spec: Any) -> None:
    """Refuse options about word vectors that contradict each other, in any spec with an embedding."""
    frozen = bool(spec.vectors) or not spec.freeze_vectors
    require(frozen, "freeze_vectors", spec.freeze_vectors, "false without vectors: a random embedding must be trained")
    warm = not (spec.vectors and spec.training.start == "champion")
    require(warm, "training.start", spec.training.start, "'fresh' with vectors: the champion's weights would replace "
            "them")  # fmt: skip


@options
class ObjectiveSpec:
    """The output layer and loss of a neural model; the probabilities are always exactly normalised.

    Args:
        output: "softmax" over all entries; "two_level": a softmax over the `head` most frequent entries and one for
            "the tail", then a softmax within the tail; "adaptive": the same with several tails, cut at `cutoffs`, whose
            features shrink; "hierarchical": a Huffman tree of binary choices, with separate rows. All are exactly
            normalised.
        head: For "two_level" and "adaptive": number of entries in the head.
        chunk: Positions whose logits are in memory at a time, on a GPU at least (there as many as fit into 1 GiB); does
            not change the result beyond rounding.
        cutoffs: For "adaptive": ranks above `head` at which a further tail begins; () is one tail.
        shrink: For "adaptive": the k-th tail (from 1) uses features of size E / shrink^k and its own shorter rows, also
            where the head's rows are tied to the embedding. 1 keeps features whole and rows tied.
        estimator: The training loss: "exact" cross-entropy, or (only for "softmax") "sampled" (sampled softmax) or
            "nce" (noise-contrastive estimation). Evaluation is always exact.
        samples: For "sampled" and "nce": shared negatives per update.

    An option that has no effect with the others must keep its default, else it is an error (`models/options.py`).
    """

    output: Literal["softmax", "two_level", "adaptive", "hierarchical"] = "two_level"
    head: Annotated[Entries, OnlyWith("output", ("two_level", "adaptive"))] = 1_000
    chunk: Entries = 512
    cutoffs: Annotated[tuple[Count, ...], OnlyWith("output", ("adaptive",))] = ()
    shrink: Annotated[
        Number, Field(ge=1, le=WIDEST), OnlyWith("output", ("adaptive",))
    ] = 1.0
    estimator: Literal["exact", "sampled", "nce"] = "exact"
    samples: Annotated[Entries, OnlyWith("estimator", ("sampled", "nce"))] = 1_024

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in pairwise((self.head, *self.cutoffs))) or self.output != "adaptive"
        require(rising, "cutoffs", self.cutoffs, f"rising ranks above head = {self.head}")
        exact = self.estimator == "exact" or self.output == "softmax"
        require(exact, "estimator", self.estimator, "'exact' for every output but 'softmax'")


@options
class RecurrentSpec:
    """A recurrent language model: embedding, L recurrent layers, output tied to the embedding.

    Args:
        kind: The cell: "rnn" (Elman), "gru" or "lstm".
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        layers: Number of recurrent layers (L).
        hidden: Units of each recurrent layer (H).
        embedding: Size of the word embeddings (E). Where it differs from H, a linear layer projects H to E before the
            tied output; an untied output has rows of size H.
        nonlinearity: For the "rnn" kind; the other kinds have no choice.
        cells: "fused" uses torch.nn's layer, or, for training in bf16 on the CPU, the layers of
            `training/neural/fused/`; "reference" uses the equations of `models/neural/layers/cells.py`. The results are
            equal up to rounding.
        tied: Output rows are the embedding's rows.
        dropout: Dropout on embeddings, between layers and on the output of the last layer.
        variational: Use one dropout mask for all positions of a window instead of one per position. A window that is
            read in pieces gets a new mask for each piece (`models/neural/layers/dropout.py`). So do the other masks
            below that are drawn per window.
        condition_on_stars: Add the embedding of the review's star token to every input, so that the model does not lose
            the wanted rating along a review. False leaves the star token to the recurrent memory alone.
        objective: Output layer and loss.
        training: How the network is trained.
        form: For the "gru" kind: "cudnn" applies the reset gate after the matrix product with the state, "cho" before
            it (Cho et al. 2014, the form of most text books; needs cells "reference").
        embedding_dropout: Share of the vocabulary whose embedding is zeroed in a window (Gal & Ghahramani 2016).
        input_dropout: Dropout on the embeddings that enter the first layer; "none" uses `dropout`.
        output_dropout: Dropout on the last layer's output; "none" uses `dropout`.
        weight_drop: Share of the recurrent weights zeroed in a window (DropConnect; Merity et al. 2017).
        layer_norm: Normalise the gates' inputs (Ba, Kiros & Hinton 2016; needs cells "reference").
        forget_bias: Initial bias of the forget gate of the "lstm" kind.
        recurrent_start: Initial recurrent matrix of each gate. "usual": uniform in ±1/√H, but the identity for the relu
            network. "uniform": uniform for the relu network too. "orthogonal": keeps lengths (Saxe, McClelland &
            Ganguli 2014). "identity" (Le, Jaitly & Hinton 2015): only for the "rnn" kind, because gated cells keep
            their state by their gates.
        bidirectional: Refused for a language model, which must not see the words that it predicts.
        vectors: Name of word vectors of the section `vectors`, from which the embedding starts; they have `embedding`
            dimensions. "" starts from random numbers.
        freeze_vectors: Do not train the embedding, which stays as the vectors are; with `tied`, neither are the rows of
            the output.
    """

    kind: Literal["rnn", "gru", "lstm"] = "lstm"
    name: Name = "lstm"
    vocabulary: str = "word"
    layers: Annotated[Whole, Field(ge=1, le=256)] = 1
    hidden: Width = 320
    embedding: Width = 256
    nonlinearity: Literal["tanh", "relu", "sigmoid", "arctan"] = "tanh"
    cells: Cells = "fused"
    tied: bool = True
    dropout: ShareBelowOne = 0.1
    variational: bool = False
    condition_on_stars: bool = True
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    form: Literal["cudnn", "cho"] = "cudnn"
    embedding_dropout: ShareBelowOne = 0.0
    input_dropout: Annotated[ShareBelowOne | None, OrNone] = None
    output_dropout: Annotated[ShareBelowOne | None, OrNone] = None
    weight_drop: ShareBelowOne = 0.0
    layer_norm: bool = False
    forget_bias: Annotated[Number, Field(ge=-MOST, le=MOST)] = 1.0
    bidirectional: bool = False
    recurrent_start: Literal["usual", "uniform", "orthogonal", "identity"] = "usual"
    vectors: VectorsName = ""
    freeze_vectors: Frozen = False

    def __post_init__(self) -> None:
        require_vectors(self)
        seen = "false for a language model: a network that also reads from the end sees the words it is to predict"
        require(not self.bidirectional, "bidirectional", self.bidirectional, seen)
        reference = self.cells == "reference"
        needs_reference = "left as it is, or cells = 'reference': torch's fused layers cannot do that"
        words = self.objective.output != "hierarchical" or not self.tied
        require(words, "tied", self.tied, "false with the hierarchical output, whose rows are choices and not words")
        possible = self.form == "cudnn" or (reference and self.kind == "gru")
        require(possible, "form", self.form, "'cudnn', or a GRU with cells = 'reference'")
        require(reference or not self.layer_norm, "layer_norm", self.layer_norm, needs_reference)
        choice = self.kind == "rnn" or self.nonlinearity == "tanh"
        require(choice, "nonlinearity", self.nonlinearity, "'tanh' but for the kind 'rnn': LSTM and GRU have no choice")
        usual = reference or self.nonlinearity in ("tanh", "relu")
        require(usual, "nonlinearity", self.nonlinearity, needs_reference)
        gate = self.forget_bias == 1 or self.kind == "lstm"
        require(gate, "forget_bias", self.forget_bias, "1 but for the kind 'lstm': no other has that gate")
        kept = self.kind == "rnn" or self.recurrent_start != "identity"
        require(kept, "recurrent_start", self.recurrent_start, "another one where there are gates; the identity is for "
                "the kind 'rnn'")  # fmt: skip


@options
class NPLMSpec:
    """Neural probabilistic language model (Bengio et al. 2003): y = b + W x + U tanh(d + H x).

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        context: Words of context (the order minus one).
        embedding: Size of the word embeddings (E).
        hidden: Units of the hidden layer (H).
        direct: Keep the direct connection W from the words' features to the output.
        dropout: On the hidden layer.
        objective: Output layer and loss.
        training: Optimisation. `bptt_grad_len` and the penalties of activations are refused: no gradient flows from one
            position to another, and no layer is recurrent.
        vectors: Name of word vectors of the section `vectors`, from which the embedding starts; they have `embedding`
            dimensions. "" starts from random numbers.
        freeze_vectors: Do not train the embedding, which stays as the vectors are.
    """

    kind: Literal["nplm"] = "nplm"
    name: Name = "nplm"
    vocabulary: str = "word"
    context: Annotated[Whole, Field(ge=1, le=10_000)] = 4
    embedding: Width = 96
    hidden: Width = 192
    direct: bool = True
    dropout: ShareBelowOne = 0.1
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    training: Annotated[
        TrainingSpec, Unused(("bptt_grad_len", "activation_penalty", "temporal_penalty"), "in a recurrent network")
    ] = field(default_factory=TrainingSpec)
    vectors: VectorsName = ""
    freeze_vectors: Frozen = False

    def __post_init__(self) -> None:
        require_vectors(self)
