"""Define the settings of a model's evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section, Seed, Temperature

Stars = Annotated[int, Field(ge=0, le=5)]


class EvaluationConfig(Section):
    """Settings of a model's measurements and of the samples drawn from it.

    Intervals have the level `confidence` and come from `resamples` bootstrap draws of reviews. A slice of fewer than
    `min_slice_reviews` reviews is skipped. Review lengths are cut into `length_bins` slices with about the same number
    of reviews.
    """

    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_slice_reviews: Annotated[int, Field(ge=5)] = 30
    length_bins: Annotated[int, Field(ge=2, le=20)] = 5
    observed_reviews: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Number of test reviews whose tokens are analysed one by one; the same reviews for every model."""
    contexts: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of context tokens kept, for the curve of each model."""
    context_tokens: Annotated[int, Field(ge=1)] = 1_000
    """Approximate number of tokens that the curve predicts."""
    sample_stars: tuple[Stars, ...] = (1, 3, 5)
    samples_per_star: Annotated[int, Field(ge=1, le=100_000)] = 2
    temperature: Temperature = 0.8
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    prompts: tuple[str, ...] = ("The food was", "I will never", "The staff")
    suggestions: Annotated[int, Field(ge=1, le=1_000)] = 5
    seed: Seed = 1
