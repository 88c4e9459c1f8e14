"""Define the settings of rescoring: how many reviews of a month, and of the benchmark set, a champion is scored on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section
from models.options import MOST_WHOLE, Count, Whole


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
