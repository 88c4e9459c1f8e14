"""Define the options of word vectors. This module must not import torch: the configuration imports it at start-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..options import Count, Number, OnlyWith, OrNone, PositiveToLargest, Seed, Share, Whole, options

DEFAULT_RATES = {"skipgram": 0.025, "cbow": 0.075, "ranking": 0.01}
"""Learning rate at the start, by kind. CBOW divides its gradient by the number of context words, so that it needs a
larger one (Irsoy et al. 2021, "Corrected CBOW performs as well as skip-gram")."""
WINDOWED = ("skipgram", "cbow")


@options
class EmbeddingSpec:
    """Options of word vectors that are trained on a token stream.

    Args:
        kind: "skipgram" predicts each word from each word of its window, "cbow" from the mean of all of them (Mikolov
            et al. 2013); "ranking" scores a window above the same window with another word in its centre (Collobert &
            Weston 2008).
        output: How a word is predicted: against drawn noise words, or by its path in a Huffman tree.
        dimensions: Numbers in a vector.
        window: Most words on each side of the predicted one; the number is drawn for each word. "ranking": always.
        negatives: Noise words drawn for each predicted word, and used for its whole window.
        noise_power: Noise words, and those of corrupted windows, are drawn in proportion to their counts to this power.
        epochs: Passes over the training reviews.
        min_count: Words seen less often are left out.
        subsample: Words with a larger share of the text are left out at random, the more often the more frequent they
            are; 0: none.
        hidden: Units of the ranking network's hidden layer.
        learning_rate: Of the first update; it falls linearly. None: the default of the kind.
        seed: Seed of the first vectors, windows, noise words and left-out words.
    """

    kind: Literal["skipgram", "cbow", "ranking"] = "skipgram"
    output: Annotated[Literal["negative_sampling", "hierarchical_softmax"], OnlyWith("kind", WINDOWED)] = (
        "negative_sampling"
    )
    dimensions: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    window: Annotated[Whole, Field(ge=1, le=100)] = 5
    negatives: Annotated[
        Whole, Field(ge=1, le=1_000), OnlyWith("kind", WINDOWED), OnlyWith("output", ("negative_sampling",))
    ] = 5
    noise_power: Annotated[Share, OnlyWith("output", ("negative_sampling",))] = 0.75
    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = 5
    min_count: Count = 5
    subsample: Annotated[Number, Field(ge=0, le=1)] = 1e-3
    hidden: Annotated[Whole, Field(ge=1, le=100_000), OnlyWith("kind", ("ranking",))] = 100
    learning_rate: Annotated[PositiveToLargest | None, OrNone] = None
    seed: Seed = 1

    @property
    def first_rate(self) -> float:
        """The learning rate of the first update."""
        return DEFAULT_RATES[self.kind] if self.learning_rate is None else self.learning_rate
