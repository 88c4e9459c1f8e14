"""Define the options of the neural models and of their training, importable without torch.

`models/specs.py` re-exports them.

The four choices of a recipe are separate: data (`VocabularySpec`), architecture (the fields of a model's spec),
objective (`ObjectiveSpec`) and optimisation (`TrainingSpec`).
"""

from __future__ import annotations

from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from ..options import (
    LARGEST_NUMBER,
    Count,
    Name,
    NotNegative,
    Number,
    OnlyWith,
    OrNone,
    PositiveToLargest,
    Seed,
    Share,
    ShareBelowOne,
    Unused,
    Whole,
    options,
    require,
)

Optimizer = Literal[
    "adamw",
    "adam",
    "gd",
    "sgd",
    "momentum",
    "nesterov",
    "adagrad",
    "rmsprop",
    "adadelta",
    "nt_asgd",
]
"""Names of the optimisers, which `course/optimization/rules.py` explains."""
WITH_MOMENTUM = ("momentum", "nesterov", "rmsprop", "adadelta")
WITH_BETAS = ("adamw", "adam")
WEIGHTS = "weights.safetensors"
"""File of a network's parameters in its bundle."""
WIDEST = 65_536
"""Largest size of a layer: beyond it a single matrix product would not fit any machine."""
NOT_SCORED = -1
"""The target of a position that is not scored."""


@options
class TrainingSpec:
    """Options of a neural fit: optimiser, schedule, truncated BPTT.

    Args:
        epochs: Passes over the training tokens; a fraction is allowed.
        batch: Streams trained side by side.
        bptt_len: k1, tokens between two updates.
        bptt_grad_len: k2, tokens through which the gradient flows back; None means k2 = k1.
        learning_rate: Peak of the schedule.
        warmup: Share of all updates in which the rate rises linearly from 0.
        final_rate: For the schedules "cosine", "linear" and "trapezoid": share of the peak at the end of the decay.
        weight_decay: Decoupled decay of weight matrices.
        beta1: For "adamw" and "adam": decay of the gradient mean.
        beta2: For the same: decay of the squared-gradient mean.
        clip: Largest norm of the gradient; None ("none" in a preset) does not clip.
        state_reset_prob: Chance per window and stream of starting from the zero state, so that a stream's start is
            trained too.
        evaluations: Number of measurements of validation perplexity; the best of these states is the result.
        precision: Number format of the matrix products; parameters and optimiser state are always float32. "bf16" is
            float32 on a CPU that has no instructions for bfloat16.
        seed: For initialisation, dropout and order.
        optimizer: A rule of `course/optimization/rules.py`.
        momentum: γ of "momentum", "nesterov" and "rmsprop", ρ of "adadelta".
        l2: λ of the penalty λ‖θ‖² of the weight matrices. Unlike `weight_decay`, its gradient 2 λ θ goes through the
            optimiser; it is added after clipping.
        schedule: Decay of the rate after the warm-up: "cosine" or "linear" to `final_rate`, "constant", "plateau":
            divided by 4 after an evaluation without improvement, as word_language_model does, or "trapezoid": constant,
            then linear to `final_rate` in the last 30 % of all updates. The best state is chosen among the evaluations
            of this part. Before it, a trapezoid does not depend on the number of updates, so a training may decide
            there how long it will be (`--minutes`).
        clip_value: Largest absolute value of an entry of the gradient, applied before `clip`.
        random_window: Draw a new length for each window and scale the rate with it (AWD-LSTM): mostly about
            `bptt_len`, 5 % of the time about half of it.
        stateful: Carry the state on from one review to the next of its stream; false: every review starts from the
            zero state, packed one after another without padding.
        micro_batch: Streams read at a time; their gradients are summed before the update. None reads all. Changes
            memory, not the result beyond rounding and the draws of dropout. Halved when memory does not suffice.
        ema: Decay of an exponential average of the weights, which is evaluated and kept; 0 averages nothing.
        activation_penalty: α of α · mean(h²) over the last layer's dropped-out outputs (Merity et al. 2017).
        temporal_penalty: β of β · mean((h_t − h_{t+1})²) over the last layer's outputs.
        start: "fresh" weights, or those of the "champion" if it has the same shape and vocabulary.

    An option that has no effect with the others must keep its default, else it is an error (`models/options.py`).
    """

    epochs: Annotated[Number, Field(gt=0, le=1_000_000)] = 3.0
    batch: Annotated[Whole, Field(ge=1, le=1_000_000)] = 20
    bptt_len: Annotated[Whole, Field(ge=1, le=1_000_000)] = 50
    bptt_grad_len: Annotated[Count | None, OrNone] = None
    learning_rate: PositiveToLargest = 3e-3
    warmup: Share = 0.1
    final_rate: Annotated[Share, OnlyWith("schedule", ("cosine", "linear", "trapezoid"))] = 0.02
    weight_decay: NotNegative = 0.01
    beta1: Annotated[ShareBelowOne, OnlyWith("optimizer", WITH_BETAS)] = 0.9
    beta2: Annotated[ShareBelowOne, OnlyWith("optimizer", WITH_BETAS)] = 0.99
    clip: Annotated[PositiveToLargest | None, OrNone] = 1.0
    state_reset_prob: Annotated[Share, OnlyWith("stateful", (True,))] = 0.02
    evaluations: Count = 8
    precision: Literal["bf16", "float32"] = "bf16"
    seed: Seed = 1
    optimizer: Optimizer = "adamw"
    momentum: Annotated[ShareBelowOne, OnlyWith("optimizer", WITH_MOMENTUM)] = 0.9
    l2: NotNegative = 0.0
    schedule: Literal["cosine", "linear", "constant", "plateau", "trapezoid"] = "cosine"
    clip_value: Annotated[PositiveToLargest | None, OrNone] = None
    random_window: bool = False
    stateful: bool = True
    micro_batch: Annotated[Count | None, OrNone] = None
    ema: ShareBelowOne = 0.0
    activation_penalty: NotNegative = 0.0
    temporal_penalty: NotNegative = 0.0
    start: Literal["fresh", "champion"] = "fresh"

    def __post_init__(self) -> None:
        length = self.bptt_grad_len
        if length is not None:
            require(
                length >= self.bptt_len,
                "bptt_grad_len",
                length,
                f"at least bptt_len = {self.bptt_len}",
            )

        within = self.micro_batch is None or self.micro_batch <= self.batch
        require(within, "micro_batch", self.micro_batch, f"between 1 and batch = {self.batch}")
        one = self.ema == 0 or self.optimizer != "nt_asgd"
        require(one, "ema", self.ema, "0 for 'nt_asgd', which has its own average")

    @property
    def penalises_activations(self) -> bool:
        """Whether the recipe has a penalty on the outputs of the last recurrent layer."""
        return self.activation_penalty > 0 or self.temporal_penalty > 0


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
    require(
        frozen,
        "freeze_vectors",
        spec.freeze_vectors,
        "false without vectors: a random embedding must be trained",
    )
    warm = not (spec.vectors and spec.training.start == "champion")
    require(
        warm,
        "training.start",
        spec.training.start,
        "'fresh' with vectors: the champion's weights would replace them",
    )


@options
class ObjectiveSpec:
    """The output layer and loss of a neural model; the probabilities are always exactly normalised.

    Args:
        output: "softmax" over all entries; "adaptive": a softmax over the `head` most frequent entries and one entry
            for each tail, then a softmax within the tail; "hierarchical": a Huffman tree of binary choices, with
            separate rows. All are exactly normalised.
        head: For "adaptive": number of entries in the head.
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

    output: Literal["softmax", "adaptive", "hierarchical"] = "adaptive"
    head: Annotated[Entries, OnlyWith("output", ("adaptive",))] = 1_000
    chunk: Entries = 512
    cutoffs: Annotated[tuple[Count, ...], OnlyWith("output", ("adaptive",))] = ()
    shrink: Annotated[Number, Field(ge=1, le=WIDEST), OnlyWith("output", ("adaptive",))] = 1.0
    estimator: Literal["exact", "sampled", "nce"] = "exact"
    samples: Annotated[Entries, OnlyWith("estimator", ("sampled", "nce"))] = 1_024

    def __post_init__(self) -> None:
        rising = True
        if self.output == "adaptive":
            rising = all(low < high for low, high in pairwise((self.head, *self.cutoffs)))

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
        cells: "fused" uses torch.nn's layer, or, for training on the CPU, the layers of
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
    nonlinearity: Annotated[
        Literal["tanh", "relu", "sigmoid", "arctan"], OnlyWith("kind", ("rnn",))
    ] = "tanh"
    cells: Cells = "fused"
    tied: bool = True
    dropout: ShareBelowOne = 0.1
    variational: bool = False
    condition_on_stars: bool = True
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    form: Annotated[Literal["cudnn", "cho"], OnlyWith("kind", ("gru",))] = "cudnn"
    embedding_dropout: ShareBelowOne = 0.0
    input_dropout: Annotated[ShareBelowOne | None, OrNone] = None
    output_dropout: Annotated[ShareBelowOne | None, OrNone] = None
    weight_drop: ShareBelowOne = 0.0
    layer_norm: Annotated[bool, OnlyWith("cells", ("reference",))] = False
    forget_bias: Annotated[
        Number, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER), OnlyWith("kind", ("lstm",))
    ] = 1.0
    recurrent_start: Literal["usual", "uniform", "orthogonal", "identity"] = "usual"
    vectors: VectorsName = ""
    freeze_vectors: Frozen = False

    def __post_init__(self) -> None:
        require_vectors(self)
        reference = self.cells == "reference"
        needs_reference = (
            "left as it is, or cells = 'reference': torch's fused layers cannot do that"
        )
        words = self.objective.output != "hierarchical" or not self.tied
        require(
            words,
            "tied",
            self.tied,
            "false with the hierarchical output, whose rows are choices and not words",
        )
        require(reference or self.form == "cudnn", "form", self.form, needs_reference)
        usual = reference or self.nonlinearity in ("tanh", "relu")
        require(usual, "nonlinearity", self.nonlinearity, needs_reference)
        fits = self.kind == "rnn" or self.recurrent_start != "identity"
        require(
            fits,
            "recurrent_start",
            self.recurrent_start,
            "another one where there are gates; the identity is for the kind 'rnn'",
        )


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
        TrainingSpec,
        Unused(
            ("bptt_grad_len", "activation_penalty", "temporal_penalty"), "in a recurrent network"
        ),
    ] = field(default_factory=TrainingSpec)
    vectors: VectorsName = ""
    freeze_vectors: Frozen = False

    def __post_init__(self) -> None:
        require_vectors(self)
