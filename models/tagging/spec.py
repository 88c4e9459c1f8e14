"""Define the options of a model that restores case and punctuation, importable without torch."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from ..neural.labelling.spec import LabellingSpec, SequenceTraining
from ..options import Count, ShareBelowOne, Whole, options
from ..specs import TrainingSpec
from .written_words import TAGS


@options
class PunctuatorSpec:
    """Options of a recurrent tagger that reads from both ends.

    Args:
        kind: The cell: "lstm", "gru" or "rnn".
        layers: Number of recurrent layers.
        hidden: Units of each layer and direction.
        embedding: Features of a piece of a word.
        dropout: On embeddings, between layers, and before the tags.
        pieces: Largest size of the vocabulary of pieces (byte-level BPE).
        training: Optimisation; a batch has so many windows of 200 words.
    """

    kind: Literal["lstm", "gru", "rnn"] = "lstm"
    layers: Count = 1
    hidden: Count = 160
    embedding: Count = 128
    dropout: ShareBelowOne = 0.2
    pieces: Annotated[Whole, Field(ge=300, le=1_000_000)] = 8_000
    training: SequenceTraining = field(
        default_factory=lambda: TrainingSpec(epochs=4, batch=16, learning_rate=4e-3, evaluations=8)
    )

    def __post_init__(self) -> None:
        _ = self.labelling  # refuses what the tagger's training has no use for

    @property
    def labelling(self) -> LabellingSpec:
        """The options of its network."""
        return LabellingSpec(
            labels=TAGS, task="tagging", bidirectional=True, kind=self.kind, layers=self.layers, hidden=self.hidden,
            embedding=self.embedding, dropout=self.dropout, training=self.training,
        )  # fmt: skip
