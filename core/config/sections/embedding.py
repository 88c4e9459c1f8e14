"""Define the settings of word vectors (`reviewlm models embed`)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from core.config.section import Section
from models.options import Count, Name, Whole


class EmbeddingConfig(Section):
    """Settings of word vectors that are fitted on a run's token streams.

    Attributes:
        vocabulary: Name of the vocabulary whose entries get vectors.
        kind: "skipgram" predicts each word from each word of its window, "cbow" from the mean of all of them (Mikolov
            et al. 2013).
        dimensions: Numbers in a vector.
        window: Most words on each side of the predicted one; the number is drawn for each word.
        epochs: Passes over the training reviews.
        min_count: Words seen less often get no vector.
    """

    negatives: ClassVar = 5
    """Noise words drawn for each predicted word."""
    threads: ClassVar = 1
    """One, so that the same text, settings and seed give the same vectors."""

    vocabulary: Name = "word"
    kind: Literal["skipgram", "cbow"] = "skipgram"
    dimensions: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    window: Annotated[Whole, Field(ge=1, le=100)] = 5
    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = 5
    min_count: Count = 5
