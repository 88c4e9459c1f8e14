"""Define the settings of word vectors (`reviewlm embed`): the options of the model, and how they are trained."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from pydantic import Field

from models.options import Name, Whole, options
from models.vectors.spec import EmbeddingSpec


@options
class EmbeddingConfig(EmbeddingSpec):
    """Settings of word vectors that are trained on a run's token streams.

    Args:
        vocabulary: Name of the vocabulary whose entries get vectors.
        threads: Parts of the text that are read at the same time. With 1, the same text and settings give the same
            vectors; with more, training is faster and the vectors differ slightly from run to run. For the kind
            "ranking": threads of matrix products.
    """

    vocabulary: Name = "word"
    threads: Annotated[Whole, Field(ge=1, le=4_096)] = 1

    @property
    def spec(self) -> EmbeddingSpec:
        """The options that the vectors depend on."""
        return EmbeddingSpec(**{entry.name: getattr(self, entry.name) for entry in fields(EmbeddingSpec)})
