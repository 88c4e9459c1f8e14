"""Define the options of classifiers and taggers, importable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, fields
from typing import Annotated, Any, Literal, Protocol

from ...options import Count, Number, ShareBelowOne, Unused, options, require, stored
from ...specs import KINDS, RecurrentSpec, TrainingSpec
from ..spec import Cells

Loss = Literal["cross_entropy", "hinge", "hinge_sum", "squared_error", "zero_one"]
"""Names of the training losses; the formulas are in `losses.py`."""
OF_STREAMS = (
    "bptt_len", "bptt_grad_len", "state_reset_prob", "random_window", "stateful", "activation_penalty",
    "temporal_penalty", "start",
)  # fmt: skip
"""Options of `TrainingSpec` without effect here: sequences are read whole, with the gradient through all of them."""
WITH_STREAMS = "in language models; here sequences are read whole, from a fresh state"
NO_GRADIENT = (
    "'hinge', 'hinge_sum' or 'cross_entropy': the 0/1 loss counts wrong answers, so its gradient is 0 and training "
    "would never change a weight. These losses are upper bounds with a gradient; the 0/1 loss is reported as error_rate"
)

ChooseBy = Literal["loss", "macro_f1"]
"""What chooses the best state on validation: the lowest loss, or the highest macro-F1."""
SequenceTraining = Annotated[TrainingSpec, Unused(OF_STREAMS, WITH_STREAMS)]
"""Options of training on whole sequences."""


class LabellerSpec(Protocol):
    """The options that every classifier or tagger has, whatever its trunk: see `LabellingSpec`."""

    @property
    def kind(self) -> str:
        """Name of the trunk; `trunks/build.py` has the class."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the K labels, in the order of their numbers."""
        ...

    @property
    def task(self) -> str:
        """Either "classification" or "tagging"."""
        ...

    @property
    def loss(self) -> Loss:
        """Name of the training loss."""
        ...

    @property
    def numbers(self) -> bool:
        """Whether the head's answer is a number instead of a label."""
        ...

    @property
    def choose_by(self) -> ChooseBy:
        """What chooses the best state on validation."""
        ...

    @property
    def dropout(self) -> float:
        """Share of dropped features, in the trunk and before the head."""
        ...

    @property
    def training(self) -> TrainingSpec:
        """Optimiser and schedule."""
        ...


@options
class LabellingSpec:
    """A recurrent trunk and a head: one answer per sequence, or one per position.

    Args:
        labels: Names of the K labels, in the order of their numbers; () where the answer is a number.
        task: "classification": one answer per sequence, from the trunk's last state(s); "tagging": one per position.
        loss: "cross_entropy" has a probability head; "hinge" (Crammer & Singer; for two labels the binary hinge loss)
            and "hinge_sum" (Weston & Watkins) have a margin head; "squared_error" answers with a number, such as the
            stars of a review. "zero_one" is refused: it has no gradient to train by.
        bidirectional: Read from the end too (Schuster & Paliwal 1997); the features are then 2 H. A language model must
            not do that; a classifier or tagger sees the whole text in any case.
        kind: The cell, one of those of `RecurrentSpec`.
        layers: Number of recurrent layers (L).
        hidden: Units of each layer and direction (H).
        embedding: Size of the word embeddings (E).
        dropout: On embeddings, between layers, and on the features that enter the head.
        cells: "fused" or "reference", as in `RecurrentSpec`; so are the next five options.
        nonlinearity: For the "rnn" kind.
        form: For the "gru" kind.
        layer_norm: Needs cells "reference".
        forget_bias: For the "lstm" kind.
        recurrent_start: Initial recurrent matrices.
        training: Optimisation; `batch` counts sequences, `epochs` passes over them. Options that only make sense for
            endless streams (`OF_STREAMS`) must keep their defaults.

    Raises:
        ValueError: An option is out of range, or has no effect here.
    """

    labels: tuple[str, ...] = ("negative", "positive")
    task: Literal["classification", "tagging"] = "classification"
    loss: Loss = "cross_entropy"
    bidirectional: bool = False
    kind: str = "lstm"
    layers: Count = 1
    hidden: Count = 128
    embedding: Count = 128
    dropout: ShareBelowOne = 0.1
    cells: Cells = "fused"
    nonlinearity: Literal["tanh", "relu", "sigmoid", "arctan"] = "tanh"
    form: Literal["cudnn", "cho"] = "cudnn"
    layer_norm: bool = False
    forget_bias: Number = 1.0
    recurrent_start: Literal["usual", "uniform", "orthogonal", "identity"] = "usual"
    training: SequenceTraining = field(default_factory=lambda: TrainingSpec(batch=32))

    def __post_init__(self) -> None:
        require(self.loss != "zero_one", "loss", self.loss, NO_GRADIENT)
        cells = [kind for kind, (spec, _) in KINDS.items() if spec is RecurrentSpec]
        require(self.kind in cells, "kind", self.kind, f"a recurrent cell: {', '.join(cells)}")
        if self.loss == "squared_error":
            require(not self.labels, "labels", self.labels, "() for 'squared_error', whose answer is a number")
        else:
            require_labels(self.labels, f"at least two different names for the loss {self.loss!r}")
        require_cells(self)
        require_training(self.training)

    @property
    def numbers(self) -> bool:
        """Whether the answer is a number instead of a label."""
        return self.loss == "squared_error"

    @property
    def pooling(self) -> str:
        """How a classifier summarises the states of a sequence: by the last one of each direction."""
        return "last"

    @property
    def choose_by(self) -> ChooseBy:
        """What chooses the best state on validation."""
        return "loss"


def require_labels(labels: Sequence[str], allowed: str) -> None:
    """Refuse fewer than two labels, or two of the same name."""
    require(len(labels) >= 2 and len(set(labels)) == len(labels), "labels", labels, allowed)


def require_cells(spec: Any) -> None:
    """Refuse options that no recurrent network can have, by building a language model's spec from them."""
    shared = {entry.name for entry in fields(RecurrentSpec)} & {entry.name for entry in fields(spec)}
    others = {"training", "bidirectional", "name", "vocabulary"}
    RecurrentSpec(**{name: getattr(spec, name) for name in shared - others})


def require_training(training: TrainingSpec) -> None:
    """Refuse options of training that need what only the trainer of language models has."""
    averages, falls = training.optimizer != "nt_asgd", training.schedule != "plateau"
    require(averages, "training.optimizer", training.optimizer, "another one; training.ema averages the weights")
    require(falls, "training.schedule", training.schedule, "one that does not depend on validation")


def to_dict(spec: LabellerSpec) -> dict[str, Any]:
    """Return the options as JSON values."""
    return {**stored(spec), "labels": list(spec.labels)}


def from_dict(options: dict[str, Any]) -> LabellingSpec:
    """Rebuild a spec from the result of `to_dict`.

    Raises:
        ValueError: An option is unknown or out of range.
    """
    return LabellingSpec(**options)
