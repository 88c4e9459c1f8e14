"""Define the options of the classifiers that are neural networks, importable without numpy or torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from ..neural.labelling.spec import SequenceTraining, require_cells
from ..neural.spec import Cells, Width
from ..options import Name, NotNegative, Number, OnlyWith, ShareBelowOne, Whole, options, require
from ..specs import TrainingSpec
from .counted_specs import FeatureOptions, Rising
from .network_options import EmbeddingOptions, NetworkOptions, recipe

Pool = Literal["mean", "max", "min"]
Window = Annotated[Whole, Field(ge=1, le=64)]


def _different(values: tuple[str, ...], option: ValidationInfo) -> tuple[str, ...]:
    different = bool(values) and len(set(values)) == len(values)
    require(different, str(option.field_name), values, "one or more different names")
    return values


Pools = Annotated[tuple[Pool, ...], AfterValidator(_different)]
Layers = tuple[Width, ...]


@options
class TfidfSpec(FeatureOptions, NetworkOptions):
    """Tf-idf features of n-grams, fully connected layers, head.

    Args:
        hidden: Units of each fully connected layer with relu; one or more.
        dropout: On the output of each layer.
    """

    kind: Literal["tfidf"] = "tfidf"
    name: Name = "tfidf"
    hidden: Annotated[Layers, Field(min_length=1)] = (64,)
    dropout: ShareBelowOne = 0.5


@options
class BagSpec(EmbeddingOptions):
    """Word embeddings, pooled over the positions of a review; fully connected layers, head.

    Args:
        pooling: "mean", "max" and "min" over all positions; several are joined.
        hidden: Units of each fully connected layer with relu; none: the head reads the pooled embeddings.
        dropout: On the embeddings, the output of each layer, and the features that enter the head.
    """

    kind: Literal["bag"] = "bag"
    name: Name = "bag"
    pooling: Pools = ("mean", "max")
    hidden: Layers = (64,)
    dropout: ShareBelowOne = 0.3


@options
class ConvolutionSpec(EmbeddingOptions):
    """Word embeddings, convolutions over windows of several widths, pooling over a review, head (Kim 2014).

    Args:
        windows: Widths of the windows, in words.
        filters: Features of each width.
        pooling: "mean", "max" and "min" over all windows of a review; several are joined.
        dropout: On the embeddings, and on the features that enter the head.
    """

    kind: Literal["cnn"] = "cnn"
    name: Name = "cnn"
    windows: Annotated[tuple[Window, ...], Rising] = (2, 3, 4, 5)
    filters: Width = 64
    pooling: Pools = ("max", "mean")
    dropout: ShareBelowOne = 0.3
    training: SequenceTraining = recipe(epochs=3.0)


@options
class RecurrentClassifierSpec(EmbeddingOptions):
    """Word embeddings, recurrent layers, pooling over a review, head; it may start from a language model.

    Args:
        kind: The cell: "rnn" (Elman), "gru" or "lstm".
        pooling: "last" state of each direction; "mean", "max" or "min" over all positions; "attention": a learned
            weighted mean; "concat": last, max and mean joined (Howard & Ruder 2018, section 3.3).
        bidirectional: Read from the end too (Schuster & Paliwal 1997).
        layers: Number of recurrent layers (L).
        hidden: Units of each layer and direction (H).
        dropout: On embeddings, between layers, and on the features that enter the head.
        cells: "fused" or "reference", as in `RecurrentSpec`; so are the next five options.
        nonlinearity: For the "rnn" kind.
        form: For the "gru" kind.
        layer_norm: Needs cells "reference".
        forget_bias: For the "lstm" kind.
        recurrent_start: Initial recurrent matrices.
        start: Name of a language model of the same run, vocabulary and sizes. Training starts from its embedding and
            layers, with the rates of Howard & Ruder 2018: `training.learning_rate` is the highest rate of the head,
            `training.warmup` the share of updates in which the rate rises. "" starts from random weights.
        rate_decay: With `start`: factor by which the rate of each layer is below that of the layer above it.
        rate_ratio: With `start`: the rate rises from and falls to its highest value divided by this.
        unfreeze_epochs: With `start`: epochs after which the next lower layer is trained too; 0 trains all at once.
        vectors: As in `BagSpec`, without `start`.
    """

    kind: Literal["rnn", "gru", "lstm"] = "lstm"
    name: Name = "lstm-classifier"
    pooling: Literal["last", "mean", "max", "min", "attention", "concat"] = "concat"
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
    start: str = ""
    rate_decay: Annotated[Number, Field(ge=1, le=1_000)] = 2.6
    rate_ratio: Annotated[Number, Field(ge=1, le=1_000_000)] = 32.0
    unfreeze_epochs: NotNegative = 1.0
    training: SequenceTraining = recipe(learning_rate=2e-3)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_cells(self)
        if self.start:
            self._require_start()
        else:
            for name, usual in (("rate_decay", 2.6), ("rate_ratio", 32.0), ("unfreeze_epochs", 1.0)):
                value = getattr(self, name)
                require(value == usual, name, value, f"left at {usual}: it only takes effect with start")

    @property
    def parts(self) -> tuple[str, ...]:
        """Name of the language model that it starts from; empty without one."""
        return (self.start,) if self.start else ()

    def _require_start(self) -> None:
        require(self.start != self.name, "start", self.start, "another model than itself")
        require(not self.vectors, "vectors", self.vectors, "'' with start: the language model gives the embedding")
        forwards = "false with start: a language model reads from the beginning only"
        require(not self.bidirectional, "bidirectional", self.bidirectional, forwards)
        usual, training = TrainingSpec(), self.training
        slanted = "left out with start, whose rates are slanted triangular"
        require(training.schedule == usual.schedule, "training.schedule", training.schedule, slanted)
        require(training.final_rate == usual.final_rate, "training.final_rate", training.final_rate, slanted)
        groups = self.layers + 2
        enough = self.unfreeze_epochs * (groups - 1) < training.epochs
        need = f"below training.epochs / {groups - 1}, so that the embedding is trained too"
        require(enough, "unfreeze_epochs", self.unfreeze_epochs, need)
