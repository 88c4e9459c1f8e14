"""Options of the neural models; read without torch, as all of `models/specs.py`, which hands them on.

The four choices of a recipe stay apart: data (`VocabularySpec`), architecture (the fields of a model's spec),
objective (`ObjectiveSpec`) and optimisation (`TrainingSpec`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import ClassVar, Literal

from ..options import LATER, require


@dataclass(frozen=True)
class ObjectiveSpec:
    """The output layer and loss of a neural model: always exactly normalised cross-entropy.

    Args:
        output: "softmax" over all entries; "two_level": a softmax over the `head` most frequent entries and one for
            "the tail", then a softmax within the tail; "adaptive": the same with several tails, cut at `cutoffs`, whose
            features shrink; "hierarchical": a Huffman tree of binary choices, with rows of its own. All are exactly
            normalised.
        head: Number of entries in the head of the two-level and the adaptive softmax.
        chunk: Positions whose logits are held in memory at a time; does not change the result beyond rounding.
        cutoffs: Of "adaptive": ranks above `head` at which a further tail begins; () is one tail.
        shrink: Of "adaptive": the features of the k-th tail (from 1) are 1/shrink^k of E, and its shorter rows are its
            own, also where the head's are tied to the embedding; 1 keeps features whole and rows tied.
        estimator: What training minimises: "exact" cross-entropy, or for "softmax" only "sampled" (sampled softmax)
            or "nce" (noise-contrastive estimation). Evaluation is always exact.
        samples: Shared negatives per update of "sampled" and "nce".
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
        require(self.head >= 1, "head", self.head, "at least 1")
        require(self.chunk >= 1, "chunk", self.chunk, "at least 1")
        rising = all(low < high for low, high in pairwise((self.head, *self.cutoffs)))
        require(rising, "cutoffs", self.cutoffs, f"rising ranks above head = {self.head}")
        require(not self.cutoffs or self.output == "adaptive", "cutoffs", self.cutoffs, "empty but for 'adaptive'")
        require(1 <= self.shrink < float("inf"), "shrink", self.shrink, "at least 1 and finite")
        require(self.shrink == 1 or self.output == "adaptive", "shrink", self.shrink, "1 but for 'adaptive'")
        require(self.samples >= 1, "samples", self.samples, "at least 1")
        exact = self.estimator == "exact" or self.output == "softmax"
        require(exact, "estimator", self.estimator, "'exact' for every output but 'softmax'")


Optimizer = Literal[
    "adamw", "adam", "adam_simplified", "gd", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta",
    "nt_asgd",
]  # fmt: skip
"""How a gradient becomes a step; the rules are explained in `models/neural/optimizers.py`."""


@dataclass(frozen=True)
class TrainingSpec:
    """How a neural model is fitted: optimiser, schedule, truncated back-propagation through time.

    Args:
        epochs: Passes over the training tokens; a fraction is allowed.
        batch: Streams trained side by side.
        window: k1, tokens between two updates.
        backprop: k2, tokens through which the gradient flows back; None means k2 = k1.
        learning_rate: Peak of the schedule.
        warmup: Share of all updates in which the rate rises linearly from 0.
        final_rate: Share of the peak at the end of the decay.
        weight_decay: Decoupled decay of weight matrices.
        beta1: AdamW's decay of the gradient mean.
        beta2: AdamW's decay of the squared-gradient mean.
        clip: Largest norm of the gradient; None leaves it as it is.
        reset: Chance per window and stream of starting from the zero state, so that a stream's start is trained too;
            without part where `carry` is "review", whose every review starts so.
        evaluations: Times that validation perplexity is measured; the best of these states is the result.
        precision: Number format of the matrix products; parameters and optimiser state are always float32. "bf16" is
            float32 on a processor that has no instructions for bfloat16.
        seed: Of initialisation, dropout and order.
        optimizer: A rule of `models/neural/optimizers.py`.
        momentum: γ of "momentum", "nesterov" and "rmsprop", ρ of "adadelta".
        l2: λ of the penalty λ‖θ‖² of the weight matrices, whose gradient 2 λ θ, unlike `weight_decay`, goes through the
            rule; it is added after clipping.
        schedule: How the rate goes down after the warm-up: "cosine" or "linear" to `final_rate`, "constant", or
            "plateau": divided by 4 where validation has not improved, as word_language_model does.
        clip_value: Largest absolute value of an entry of the gradient, applied before `clip`.
        random_window: Draw the length of each window anew, the rate scaled with it (AWD-LSTM): mostly about `window`,
            5 % of the time about half of it.
        carry: "stream": the state goes on from one review to the next of its stream; "review": every review starts
            from the zero state, packed one after another without padding.
        micro_batch: Streams read at a time, their gradients summed before the update; None reads all. Changes memory,
            not the result beyond rounding and the draws of dropout. Halved where memory does not suffice.
        ema: Decay of an exponential average of the weights, which is what is evaluated and kept; 0 averages nothing.
        activation_penalty: α of α · mean(h²) over the last layer's dropped-out outputs (Merity et al. 2017).
        temporal_penalty: β of β · mean((h_t − h_{t+1})²) over the last layer's outputs.
        spike: A window's training loss that rises so many nats per token above its running mean (a window's share is
            1/100) counts as divergence; None leaves only numbers that are not finite.
        start: "fresh" weights, or those of the "champion" where it has the same shape and vocabulary.
        patience: n of "nt_asgd": its average begins at an evaluation that is worse than the best of those more than n
            before it, so at evaluation n + 2 at the earliest: set `evaluations` well above that.
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
    optimizer: Optimizer = field(default="adamw", metadata=LATER)
    momentum: float = field(default=0.9, metadata=LATER)
    l2: float = field(default=0.0, metadata=LATER)
    schedule: Literal["cosine", "linear", "constant", "plateau"] = field(default="cosine", metadata=LATER)
    clip_value: float | None = field(default=None, metadata=LATER)
    random_window: bool = field(default=False, metadata=LATER)
    carry: Literal["stream", "review"] = field(default="stream", metadata=LATER)
    micro_batch: int | None = field(default=None, metadata=LATER)
    ema: float = field(default=0.0, metadata=LATER)
    activation_penalty: float = field(default=0.0, metadata=LATER)
    temporal_penalty: float = field(default=0.0, metadata=LATER)
    spike: float | None = field(default=None, metadata=LATER)
    start: Literal["fresh", "champion"] = field(default="fresh", metadata=LATER)
    patience: int = field(default=5, metadata=LATER)

    def __post_init__(self) -> None:
        require(0 < self.epochs < float("inf"), "epochs", self.epochs, "above 0 and finite")
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.window >= 1, "window", self.window, "at least 1")
        if self.backprop is not None:
            require(self.backprop >= self.window, "backprop", self.backprop, f"at least window = {self.window}")
        require(0 < self.learning_rate < float("inf"), "learning_rate", self.learning_rate, "above 0 and finite")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name in ("warmup", "final_rate", "reset"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        require(self.clip is None or self.clip > 0, "clip", self.clip, "above 0")
        require(self.evaluations >= 1, "evaluations", self.evaluations, "at least 1")
        for name in ("beta1", "beta2", "momentum", "ema"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        one = self.ema == 0 or self.optimizer != "nt_asgd"
        require(one, "ema", self.ema, "0 for 'nt_asgd', which has an average of its own")
        for name in ("weight_decay", "l2", "activation_penalty", "temporal_penalty"):
            require(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "0 or more and finite")
        for name in ("clip_value", "spike"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "above 0")
        require(self.patience >= 1, "patience", self.patience, "at least 1")
        within = self.micro_batch is None or 1 <= self.micro_batch <= self.batch
        require(within, "micro_batch", self.micro_batch, f"between 1 and batch = {self.batch}")


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
        nonlinearity: Of the "rnn" kind; the others have none to choose.
        cells: "fused" uses torch.nn's layer, or where it trains in bf16 on the processor ours of
            `models/neural/sequence.py`; "own" the equations of `models/neural/cells.py`. The same but for rounding.
        tied: Output rows are the embedding's rows.
        dropout: On embeddings, between layers and on the output of the last layer.
        variational: One dropout mask for all positions of a window instead of one per position. A window that is read
            in pieces draws anew for each (`models/neural/dropout.py`); so do the masks below that hold for a window.
        remind: Add the embedding of the review's star token to every input, so that a wanted rating is not forgotten
            along a review; False leaves the star token to the recurrent memory alone.
        objective: Output layer and loss.
        training: Optimisation.
        form: Of the "gru" kind: "cudnn" resets after the matrix product with the state, "cho" before it (Cho et al.
            2014, the form of most text books; own cells only).
        embedding_dropout: Share of the vocabulary whose embedding is zeroed in a window (Gal & Ghahramani 2016).
        input_dropout: On the embeddings that enter the first layer; None takes `dropout`.
        output_dropout: On the last layer's output; None takes `dropout`.
        weight_drop: Share of the recurrent weights zeroed in a window (DropConnect; Merity et al. 2017).
        layer_norm: Normalise the gates' inputs (Ba, Kiros & Hinton 2016; own cells only).
        forget_bias: Initial bias of the forget gate of the "lstm" kind.
        bidirectional: Refused for a language model, which must not see the words that it is to predict.
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

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "embedding"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
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
        training: Optimisation. `backprop` changes nothing here, since no gradient flows from one position to another.
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
        for name in ("activation_penalty", "temporal_penalty"):
            penalty = getattr(self.training, name)
            require(penalty == 0, f"training.{name}", penalty, "0: this network has no recurrent layer to penalise")
