"""Define the options of classifiers and taggers, importable without torch."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Annotated, Any, Literal

from ...options import Count, Number, ShareBelowOne, Unused, options, require, stored
from ...specs import KINDS, RecurrentSpec, TrainingSpec
from ..spec import Cells

Loss = Literal["cross_entropy", "hinge", "hinge_sum", "squared_error", "zero_one"]
"""Names of the training losses; the formulas are in `losses.py`."""
OF_STREAMS = (
    "bptt_len", "bptt_grad_len", "state_reset_prob", "random_window", "stateful", "micro_batch", "ema",
    "activation_penalty", "temporal_penalty", "loss_spike_threshold", "start",
)  # fmt: skip
"""Options of `TrainingSpec` without effect here: sequences are read whole, with the gradient through all of them."""
WITH_STREAMS = "in language models; here sequences are read whole, from a fresh state"
NO_GRADIENT = (
    "'hinge', 'hinge_sum' or 'cross_entropy': the 0/1 loss counts wrong answers, so its gradient is 0 and training "
    "would never change a weight. These losses are upper bounds with a gradient; the 0/1 loss is reported as error_rate"
)


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
    training: Annotated[TrainingSpec, Unused(OF_STREAMS, WITH_STREAMS)] = field(
        default_factory=lambda: TrainingSpec(batch=32)
    )

    def __post_init__(self) -> None:
        require(self.loss != "zero_one", "loss", self.loss, NO_GRADIENT)
        cells = [kind for kind, (spec, _) in KINDS.items() if spec is RecurrentSpec]
        require(self.kind in cells, "kind", self.kind, f"a recurrent cell: {', '.join(cells)}")
        several = len(self.labels) >= 2 and len(set(self.labels)) == len(self.labels)
        if self.loss == "squared_error":
            require(not self.labels, "labels", self.labels, "() for 'squared_error', whose answer is a number")
        else:
            require(several, "labels", self.labels, f"at least two different names for the loss {self.loss!r}")
        self._require_trunk()
        averages, falls = self.training.optimizer != "nt_asgd", self.training.schedule != "plateau"
        require(averages, "training.optimizer", self.training.optimizer, "one that does not average the weights")
        require(falls, "training.schedule", self.training.schedule, "one that does not depend on validation")

    @property
    def numbers(self) -> bool:
        """Whether the answer is a number instead of a label."""
        return self.loss == "squared_error"

    def _require_trunk(self) -> None:
        """Refuse options that no recurrent network can have, by building a language model's spec from them."""
        shared = {entry.name for entry in fields(RecurrentSpec)} & {entry.name for entry in fields(self)}
        RecurrentSpec(**{name: getattr(self, name) for name in shared - {"training", "bidirectional"}})


def to_dict(spec: LabellingSpec) -> dict[str, Any]:
    """Return the options as JSON values."""
    return {**stored(spec), "labels": list(spec.labels)}


def from_dict(options: dict[str, Any]) -> LabellingSpec:
    """Rebuild a spec from the result of `to_dict`.

    Raises:
        ValueError: An option is unknown or out of range.
    """
    return LabellingSpec(**options)
