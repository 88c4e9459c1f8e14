"""Define the settings of the audit of generated text: copied passages and memorised canaries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section, Seed, Temperature

Copies = Annotated[int, Field(ge=1, le=1_000_000)]


class AuditConfig(Section):
    """Settings of the texts a model writes for its audit, and of the canaries hidden in its training text.

    `samples` reviews of at most `max_words` words are drawn from the unchanged model (temperature 1, no cut-off): only
    such samples can be compared with real reviews. `canaries` is the number planted in the training text (0: none). The
    i-th canary is planted as often as the i-th number of `copies` says; the list is repeated. By default each is
    planted once, as a customer's secret would occur. Together they make up at most `max_canary_share` of the training
    reviews. A canary consists of `canary_words` frequent words. Its exposure is its rank among `candidates` others.
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
