"""Settings of what is measured of champions as time goes by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section


class RescoreConfig(Section):
    """How champions are scored again on each new month's reviews, and on the frozen benchmark set.

    Of a month at most `month_reviews` are scored; one of fewer than `min_reviews` is shown but not judged by.
    `benchmark` names the file of the benchmark set; none: test reviews of the first champion's data, at most
    `benchmark_reviews`. Once a set is frozen, both say nothing any more.
    """

    month_reviews: Annotated[int, Field(ge=1)] = 1_000
    min_reviews: Annotated[int, Field(ge=2)] = 100
    benchmark: str = ""
    benchmark_reviews: Annotated[int, Field(ge=2)] = 2_000
