"""Define the options of classifiers and taggers, importable without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

from ...options import require, require_types
from ...specs import KINDS, RecurrentSpec, TrainingSpec

Loss = Literal["cross_entropy", "hinge", "hinge_sum", "squared_error", "zero_one"]
"""Names of the training losses; the formulas are in `losses.py`."""
OF_STREAMS = (
    "window", "backprop", "reset", "random_window", "carry", "micro_batch", "ema", "activation_penalty",
    "temporal_penalty", "spike", "start",
)  # fmt: skip
"""Options of `TrainingSpec` without effect here: sequences are read whole, with the gradient through all of them."""
NO_GRADIENT = (
    "'hinge', 'hinge_sum' or 'cross_entropy': the 0/1 loss counts wrong answers, so its gradient is 0 and training "
    "would never change a weight. These losses are upper bounds with a gradient; the 0/1 loss is reported as error_rate"
)


@dataclass(frozen=True)
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
        layers: L.
        hidden: H, of each direction.
        embedding: E.
        dropout: On embeddings, between layers, and on the features that enter the head.
        cells: "fused" or "own", as in `RecurrentSpec`; so are the next five options.
        nonlinearity: For the "rnn" kind.
        form: For the "gru" kind.
        layer_norm: Needs cells "own".
        forget_bias: For the "lstm" kind.
        recurrent_start: Initial recurrent matrices.
        training: Optimisation; `batch` counts sequences, `epochs` passes over them. Options that only make sense for
            endless streams (`OF_STREAMS`) must keep their defaults.

    Raises:
        ValueError: An option is out of range, or has no effect here.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    labels: tuple[str, ...] = ("negative", "positive")
    task: Literal["classification", "tagging"] = "classification"
    loss: Loss = "cross_entropy"
    bidirectional: bool = False
    kind: str = "lstm"
    layers: int = 1
    hidden: int = 128
    embedding: int = 128
    dropout: float = 0.1
    cells: Literal["fused", "own"] = "fused"
    nonlinearity: Literal["tanh", "relu", "sigmoid", "arctan"] = "tanh"
    form: Literal["cudnn", "cho"] = "cudnn"
    layer_norm: bool = False
    forget_bias: float = 1.0
    recurrent_start: Literal["usual", "uniform", "orthogonal", "identity"] = "usual"
    training: TrainingSpec = field(default_factory=lambda: TrainingSpec(batch=32))

    def __post_init__(self) -> None:
        require_types(self)
        require(self.loss != "zero_one", "loss", self.loss, NO_GRADIENT)
        known = ("cross_entropy", "hinge", "hinge_sum", "squared_error")
        require(self.loss in known, "loss", self.loss, f"one of {', '.join(known)}")
        require(self.task in ("classification", "tagging"), "task", self.task, "'classification' or 'tagging'")
        cells = [kind for kind, (spec, _) in KINDS.items() if spec is RecurrentSpec]
        require(self.kind in cells, "kind", self.kind, f"a recurrent cell: {', '.join(cells)}")
        require(self.cells in ("fused", "own"), "cells", self.cells, "'fused' or 'own'")
        several = len(self.labels) >= 2 and len(set(self.labels)) == len(self.labels)
        if self.loss == "squared_error":
            require(not self.labels, "labels", self.labels, "() for 'squared_error', whose answer is a number")
        else:
            require(several, "labels", self.labels, f"at least two different names for the loss {self.loss!r}")
        self._require_trunk()
        self._require_training()

    @property
    def numbers(self) -> bool:
        """Whether the answer is a number instead of a label."""
        return self.loss == "squared_error"

    def _require_trunk(self) -> None:
        """Refuse options that no recurrent network can have, by building a language model's spec from them."""
        shared = {entry.name for entry in fields(RecurrentSpec)} & {entry.name for entry in fields(self)}
        RecurrentSpec(**{name: getattr(self, name) for name in shared - {"training", "bidirectional"}})

    def _require_training(self) -> None:
        usual = TrainingSpec()
        for name in OF_STREAMS:
            value = getattr(self.training, name)
            here = f"{getattr(usual, name)!r}: sequences are read whole, from a fresh state"
            require(value == getattr(usual, name), f"training.{name}", value, here)
        averages, falls = self.training.optimizer != "nt_asgd", self.training.schedule != "plateau"
        require(averages, "training.optimizer", self.training.optimizer, "one that does not average the weights")
        require(falls, "training.schedule", self.training.schedule, "'cosine', 'linear' or 'constant'")


def to_dict(spec: LabellingSpec) -> dict[str, Any]:
    """Return the options as JSON values."""
    return {**asdict(spec), "labels": list(spec.labels)}


def from_dict(options: dict[str, Any]) -> LabellingSpec:
    """Rebuild a spec from the result of `to_dict`.

    Raises:
        ValueError: An option is unknown or out of range.
    """
    _require_known(LabellingSpec, options)
    _require_known(TrainingSpec, options["training"])
    return LabellingSpec(
        **{**options, "labels": tuple(options["labels"]), "training": TrainingSpec(**options["training"])}
    )


def _require_known(kind: type, options: dict[str, Any]) -> None:
    unknown = sorted(options.keys() - {entry.name for entry in fields(kind)})
    require(not unknown, f"{kind.__name__} options", unknown, "known to this version")
