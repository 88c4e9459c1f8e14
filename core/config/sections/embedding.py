"""Define the settings of word vectors (`reviewlm embed`): options, how they are trained, and their gate's policy."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from core.config.sections.promotion import DEMO_MODEL, OWN_MODEL, GatePolicy, Limit, RegisteredName, SliceDimension
from models.options import Name, OrNone, ShareBelowOne, Whole, options
from models.vectors.spec import EmbeddingSpec

OWN_VECTORS = f"{OWN_MODEL}-vectors"


def completed(name: str) -> str:
    """Complete the names of the language models, so that no vectors become a version of one of them."""
    return f"{name}-vectors" if name in (OWN_MODEL, DEMO_MODEL) else name


class EmbeddingPromotion(GatePolicy):
    """Policy of the gate for word vectors: a challenger must rank the true words of the test reviews better.

    docs/concepts/other_models/embeddings.md lists the rule of each field. The figure is the share of windows in which
    the true word is ranked above a noise word. Gains are differences of shares: 0.01 is one point of 100.

    Attributes:
        max_champion_loss: Largest loss of the share against the champion on the champion's own test reviews, if these
            are other reviews. The rule fails if the whole confidence interval of the loss is above it.
        min_gain: Minimum gain over the champion. The lower end of the interval must be above it.
        min_gain_over_chance: Minimum gain over guessing, which ranks half of the words right. The lower end of the
            interval must be above it.
        min_gain_over_counts: Minimum gain over always choosing the word that is more frequent in training. The lower
            end of the interval must be above it.
        slice_dimensions: Dimensions by which the test reviews are divided into slices.
    """

    min_gain: ShareBelowOne = 0.0
    min_gain_over_chance: ShareBelowOne = 0.0
    min_gain_over_counts: Annotated[ShareBelowOne | None, OrNone] = 0.0
    max_slice_loss: Limit = 0.02
    slice_dimensions: tuple[SliceDimension, ...] = ("stars",)


@options
class EmbeddingConfig(EmbeddingSpec):
    """Settings of word vectors that are trained on a run's token streams.

    Args:
        vocabulary: Name of the vocabulary whose entries get vectors.
        threads: Parts of the text that are read at the same time. With 1, the same text and settings give the same
            vectors; with more, training is faster and the vectors differ slightly from run to run. For the kind
            "ranking": threads of matrix products.
        model_name: Name of the registered model, without quotes, slashes, colons and @. "reviewlm" and "reviewlm-demo"
            are completed with "-vectors", and the latter is reserved for the embedded corpus: with files as input, it
            is read as "reviewlm-vectors".
        promotion: Policy of the gate.
    """

    name: ClassVar[str] = "vectors"
    """Name of the MLflow run and of the logged model."""

    vocabulary: Name = "word"
    threads: Annotated[Whole, Field(ge=1, le=4_096)] = 1
    model_name: Annotated[RegisteredName, AfterValidator(completed)] = OWN_VECTORS
    promotion: EmbeddingPromotion = EmbeddingPromotion()

    @property
    def spec(self) -> EmbeddingSpec:
        """The options that the vectors depend on."""
        return EmbeddingSpec(**{entry.name: getattr(self, entry.name) for entry in fields(EmbeddingSpec)})
