"""Define the settings of a model's evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section, Temperature
from models.options import MOST_WHOLE, Number, Seed, Whole

Stars = Annotated[Whole, Field(ge=0, le=5)]


class EvaluationConfig(Section):
    """Settings of a model's measurements and of the samples drawn from it.

    Attributes:
        resamples: Bootstrap draws of reviews for each interval.
        confidence: Level of the intervals.
        min_slice_reviews: Slices with fewer reviews are skipped.
        length_bins: Slices by length, with about the same number of reviews each.
        observed_reviews: Test reviews whose tokens are analysed one by one; the same reviews for every model.
        sample_stars: Star ratings for which reviews are written (0: none given).
        samples_per_star: Reviews written for each of them.
        temperature: Of sampling; below 1, likely words become likelier.
        top_k: Sample only from the k likeliest tokens; 0 means all.
        top_p: Sample only from the likeliest tokens that together have this probability.
        max_tokens: Longest review written, in tokens.
        prompts: Beginnings for which next words are suggested.
        suggestions: Words suggested for each prompt.
        seed: Seed of bootstrap and samples.
    """

    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 10_000
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    min_slice_reviews: Annotated[Whole, Field(ge=5, le=MOST_WHOLE)] = 30
    length_bins: Annotated[Whole, Field(ge=2, le=20)] = 5
    observed_reviews: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    sample_stars: tuple[Stars, ...] = (1, 3, 5)
    samples_per_star: Annotated[Whole, Field(ge=1, le=100_000)] = 2
    temperature: Temperature = 0.8
    top_k: Annotated[Whole, Field(ge=0, le=MOST_WHOLE)] = 0
    top_p: Annotated[Number, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    prompts: tuple[str, ...] = ("The food was", "I will never", "The staff")
    suggestions: Annotated[Whole, Field(ge=1, le=1_000)] = 5
    seed: Seed = 1
