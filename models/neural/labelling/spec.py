"""Define the options of classifiers and taggers, importable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, fields
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ...options import Number, OnlyWith, ShareBelowOne, Unused, Whole, options, require
from ...specs import RecurrentSpec, TrainingSpec
from ..spec import Cells, Width

OF_STREAMS = (
    "bptt_len",
    "bptt_grad_len",
    "state_reset_prob",
    "random_window",
    "stateful",
    "activation_penalty",
    "temporal_penalty",
    "start",
)
"""Options of `TrainingSpec` without effect here: sequences are read whole, with the gradient through all of them."""
WITH_STREAMS = "in language models; here sequences are read whole, from a fresh state"
ChooseBy = Literal["loss", "macro_f1"]
"""What chooses the best state on validation: the lowest loss, or the highest macro-F1."""
SequenceTraining = Annotated[TrainingSpec, Unused(OF_STREAMS, WITH_STREAMS)]
"""Options of training on whole sequences."""


@options
class LabellingOptions:
    """Options of a recurrent trunk that reads whole sequences, and a head.

    Args:
        kind: The cell: "rnn" (Elman), "gru" or "lstm".
        labels: Names of the K labels, in the order of their numbers.
        choose_by: What chooses the best state on validation.
        embedding: Size of the word embeddings (E).
        bidirectional: Read from the end too (Schuster & Paliwal 1997); the features are then 2 H. A language model must
            not do that; a classifier or tagger sees the whole text in any case.
        layers: Number of recurrent layers (L).
        hidden: Units of each layer and direction (H).
        dropout: On embeddings, between layers, and on the features that enter the head.
        cells: "fused" or "reference", as in `RecurrentSpec`; so are the next five options.
        nonlinearity: For the "rnn" kind.
        form: For the "gru" kind.
        layer_norm: Needs cells "reference".
        forget_bias: For the "lstm" kind.
        recurrent_start: Initial recurrent matrices.
        training: Optimisation; `batch` counts sequences, `epochs` passes over them. Options that only make sense for
            endless streams (`OF_STREAMS`) must keep their defaults.
    """

    task: ClassVar[str] = "classification"
    """One answer per sequence."""

    kind: Literal["rnn", "gru", "lstm"] = "lstm"
    labels: tuple[str, ...] = ()
    choose_by: ChooseBy = "loss"
    embedding: Width = 128
    bidirectional: bool = False
    layers: Annotated[Whole, Field(ge=1, le=256)] = 1
    hidden: Width = 128
    dropout: ShareBelowOne = 0.3
    cells: Cells = "fused"
    nonlinearity: Literal["tanh", "relu", "sigmoid", "arctan"] = "tanh"
    form: Annotated[Literal["cudnn", "cho"], OnlyWith("kind", ("gru",))] = "cudnn"
    layer_norm: bool = False
    forget_bias: Number = 1.0
    recurrent_start: Literal["usual", "uniform", "orthogonal", "identity"] = "usual"
    training: SequenceTraining = field(default_factory=lambda: TrainingSpec(batch=32))

    def __post_init__(self) -> None:
        """Refuse options that no recurrent network can have, by building a language model's spec from them.

        Raises:
            ValueError: An option is out of range, or has no effect here.
        """
        names = {entry.name for entry in fields(LabellingOptions)} & {
            entry.name for entry in fields(RecurrentSpec)
        }
        RecurrentSpec(
            **{name: getattr(self, name) for name in names - {"bidirectional", "training"}}
        )
        averages = self.training.optimizer != "nt_asgd"
        falls = self.training.schedule != "plateau"
        require(
            averages,
            "training.optimizer",
            self.training.optimizer,
            "another one; training.ema averages weights",
        )
        require(
            falls,
            "training.schedule",
            self.training.schedule,
            "one that does not depend on validation",
        )


@options
class TaggingSpec(LabellingOptions):
    """A recurrent trunk and a head with one answer per position."""

    task: ClassVar[str] = "tagging"
    bidirectional: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_labels(self.labels, "at least two different names")


def require_labels(labels: Sequence[str], allowed: str) -> None:
    """Refuse fewer than two labels, or two of the same name."""
    require(len(labels) >= 2 and len(set(labels)) == len(labels), "labels", labels, allowed)
