"""Define the settings of word vectors (`reviewlm models embed`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.config.section import Section
from models.options import Count, Name, Whole


class EmbeddingConfig(Section):
    """Settings of word vectors that are fitted on a run's token streams.

    Attributes:
        vocabulary: Name of the vocabulary whose entries get vectors.
        kind: "skipgram" predicts each word from each word of its window, "cbow" from the mean of all of them (Mikolov
            et al. 2013).
        negatives: Noise words drawn for each predicted word; 0: hierarchical softmax, a word is predicted by its path
            in a Huffman tree.
        dimensions: Numbers in a vector.
        window: Most words on each side of the predicted one; the number is drawn for each word.
        epochs: Passes over the training reviews.
        min_count: Words seen less often get no vector.
        threads: Threads that read the text. With 1, the same text, settings and seed give the same vectors; with more,
            the vectors differ slightly from run to run.
    """

    vocabulary: Name = "word"
    kind: Literal["skipgram", "cbow"] = "skipgram"
    negatives: Annotated[Whole, Field(ge=0, le=1_000)] = 5
    dimensions: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    window: Annotated[Whole, Field(ge=1, le=100)] = 5
    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = 5
    min_count: Count = 5
    threads: Annotated[Whole, Field(ge=1, le=4_096)] = 1
