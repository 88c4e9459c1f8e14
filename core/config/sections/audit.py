"""Define the settings of the audit of generated text: copied passages and memorised canaries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section, Temperature
from models.options import Number, Seed, Whole

Copies = Annotated[Whole, Field(ge=1, le=1_000_000)]


class AuditConfig(Section):
    """Settings of the texts a model writes for its audit, and of the canaries hidden in its training text.

    Attributes:
        samples: Reviews that each model writes.
        max_words: Longest such review, in words.
        temperature: Of sampling; only samples of the unchanged model (1) can be compared with real reviews.
        top_p: Cut-off of sampling; 1 means none.
        canaries: Number of canaries planted in the training text.
        copies: How often canaries are planted: the i-th canary as often as the i-th number says; the list is repeated.
        canary_words: Words in a canary, drawn from the frequent ones.
        max_canary_share: Largest share of the training reviews that canaries may be.
        candidates: Random sentences that were never planted, among which a canary's rank gives its exposure.
        seed: Seed of samples, canaries and candidates.
    """

    samples: Annotated[Whole, Field(ge=10, le=1_000_000)] = 1_000
    max_words: Annotated[Whole, Field(ge=10, le=100_000)] = 200
    temperature: Temperature = 1.0
    top_p: Annotated[Number, Field(gt=0, le=1)] = 1.0
    canaries: Annotated[Whole, Field(ge=0, le=1_000_000)] = 0
    copies: Annotated[tuple[Copies, ...], Field(min_length=1)] = (1,)
    canary_words: Annotated[Whole, Field(ge=3, le=20)] = 5
    max_canary_share: Annotated[Number, Field(gt=0, le=0.05)] = 0.005
    candidates: Annotated[Whole, Field(ge=100, le=10_000_000)] = 10_000
    seed: Seed = 1
