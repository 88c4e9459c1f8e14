"""Settings of the audit of what a model writes: whether it copies, and whether it has learnt secrets by heart."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section, Seed, Temperature

Copies = Annotated[int, Field(ge=1, le=1_000_000)]


class AuditConfig(Section):
    """What a model is asked to write before anybody else may ask it, and what is hidden in its training text.

    `samples` reviews of at most `max_words` words are drawn as the model is (temperature 1, nothing cut off), which
    alone can be compared with real reviews. `canaries` are planted in the training text (0: none), the i-th as often
    as the i-th of `copies` says, which is gone through again and again: once each by default, as a customer's secret
    would stand there. All together are no more than `max_canary_share` of the training reviews. A canary is
    `canary_words` frequent words; its exposure is its rank among `candidates` others.
    """

    samples: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    max_words: Annotated[int, Field(ge=10, le=100_000)] = 200
    temperature: Temperature = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    canaries: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    copies: Annotated[tuple[Copies, ...], Field(min_length=1)] = (1,)
    canary_words: Annotated[int, Field(ge=3, le=20)] = 5
    max_canary_share: Annotated[float, Field(gt=0, le=0.05)] = 0.005
    candidates: Annotated[int, Field(ge=100, le=10_000_000)] = 10_000
    seed: Seed = 1
