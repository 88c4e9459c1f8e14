"""Define the settings of a model's evaluation.

Define the settings of the audit of generated text: copied passages and memorised canaries.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from core.config.section import Section
from models.options import MOST_WHOLE, Number, Whole

Copies = Annotated[Whole, Field(ge=1, le=1_000_000)]


class EvaluationConfig(Section):
    """Settings of a model's measurements and of the samples drawn from it.

    Attributes:
        resamples: Bootstrap draws of reviews for each interval.
        confidence: Level of the intervals.
        min_slice_reviews: Slices with fewer reviews are skipped.
        observed_reviews: Test reviews whose tokens are analysed one by one; the same reviews for every model.
        max_tokens: Longest review written, in tokens.
    """

    seed: ClassVar = 1
    """Seed of bootstrap and samples: the same for all models, so that they differ by nothing else."""

    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 10_000
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    min_slice_reviews: Annotated[Whole, Field(ge=5, le=MOST_WHOLE)] = 30
    observed_reviews: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200


class AuditConfig(Section):
    """Settings of the texts a model writes for its audit, and of the canaries hidden in its training text.

    Attributes:
        samples: Reviews that each model writes.
        max_words: Longest such review, in words.
        canaries: Number of canaries planted in the training text.
        copies: How often canaries are planted: the i-th canary as often as the i-th number says; the list is repeated.
        candidates: Random sentences that were never planted, among which a canary's rank gives its exposure.
    """

    seed: ClassVar = 1
    """Seed of samples, canaries and candidates."""
    max_canary_share: ClassVar = 0.005
    """Largest share of the training reviews that canaries may be; one always may."""

    samples: Annotated[Whole, Field(ge=10, le=1_000_000)] = 1_000
    max_words: Annotated[Whole, Field(ge=10, le=100_000)] = 200
    canaries: Annotated[Whole, Field(ge=0, le=1_000_000)] = 0
    copies: Annotated[tuple[Copies, ...], Field(min_length=1)] = (1,)
    candidates: Annotated[Whole, Field(ge=100, le=10_000_000)] = 10_000
