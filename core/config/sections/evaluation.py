"""Define the settings of a model's evaluation.

Define the settings of the audit of generated text: copied passages and memorised canaries.

Define the settings of rescoring: how many reviews of a month, and of the benchmark set, a champion is scored on.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section, Temperature
from models.options import MOST_WHOLE, Count, Number, Seed, Whole

Stars = Annotated[Whole, Field(ge=0, le=5)]

Copies = Annotated[Whole, Field(ge=1, le=1_000_000)]


class EvaluationConfig(Section):
    """Settings of a model's measurements and of the samples drawn from it.

    Attributes:
        resamples: Bootstrap draws of reviews for each interval.
        confidence: Level of the intervals.
        min_slice_reviews: Slices with fewer reviews are skipped.
        observed_reviews: Test reviews whose tokens are analysed one by one; the same reviews for every model.
        sample_stars: Star ratings for which reviews are written (0: none given).
        samples_per_star: Reviews written for each of them.
        temperature: Of sampling; below 1, likely words become likelier.
        top_p: Sample only from the likeliest tokens that together have this probability.
        max_tokens: Longest review written, in tokens.
        prompts: Beginnings for which next words are suggested.
        suggestions: Words suggested for each prompt.
        seed: Seed of bootstrap and samples.
    """

    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 10_000
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    min_slice_reviews: Annotated[Whole, Field(ge=5, le=MOST_WHOLE)] = 30
    observed_reviews: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    sample_stars: tuple[Stars, ...] = (1, 3, 5)
    samples_per_star: Annotated[Whole, Field(ge=1, le=100_000)] = 2
    temperature: Temperature = 0.8
    top_p: Annotated[Number, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    prompts: tuple[str, ...] = ("The food was", "I will never", "The staff")
    suggestions: Annotated[Whole, Field(ge=1, le=1_000)] = 5
    seed: Seed = 1


class AuditConfig(Section):
    """Settings of the texts a model writes for its audit, and of the canaries hidden in its training text.

    Attributes:
        samples: Reviews that each model writes.
        max_words: Longest such review, in words.
        canaries: Number of canaries planted in the training text.
        copies: How often canaries are planted: the i-th canary as often as the i-th number says; the list is repeated.
        max_canary_share: Largest share of the training reviews that canaries may be.
        candidates: Random sentences that were never planted, among which a canary's rank gives its exposure.
        seed: Seed of samples, canaries and candidates.
    """

    samples: Annotated[Whole, Field(ge=10, le=1_000_000)] = 1_000
    max_words: Annotated[Whole, Field(ge=10, le=100_000)] = 200
    canaries: Annotated[Whole, Field(ge=0, le=1_000_000)] = 0
    copies: Annotated[tuple[Copies, ...], Field(min_length=1)] = (1,)
    max_canary_share: Annotated[Number, Field(gt=0, le=0.05)] = 0.005
    candidates: Annotated[Whole, Field(ge=100, le=10_000_000)] = 10_000
    seed: Seed = 1


class RescoreConfig(Section):
    """Settings for scoring champions again on the reviews of each new month and on the frozen benchmark set.

    Attributes:
        month_reviews: Largest number of reviews of a month that are scored.
        min_reviews: A month with fewer is shown but not used for a verdict.
        benchmark: File of the benchmark set; empty: test reviews of the first champion's data. No effect once it is
            frozen.
        benchmark_reviews: Largest number of such test reviews. No effect once the set is frozen.
    """

    month_reviews: Count = 1_000
    min_reviews: Annotated[Whole, Field(ge=2, le=MOST_WHOLE)] = 100
    benchmark: str = ""
    benchmark_reviews: Annotated[Whole, Field(ge=2, le=MOST_WHOLE)] = 2_000
