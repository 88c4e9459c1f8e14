"""Define the settings for scoring champions again over time."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section


class RescoreConfig(Section):
    """Settings for scoring champions again on the reviews of each new month and on the frozen benchmark set.

    At most `month_reviews` reviews of a month are scored. A month with fewer than `min_reviews` is shown but not used
    for a verdict. `benchmark` names the file of the benchmark set. If it is empty, the set consists of test reviews of
    the first champion's data, at most `benchmark_reviews`. Once a set is frozen, both settings have no effect.
    """

    month_reviews: Annotated[int, Field(ge=1)] = 1_000
    min_reviews: Annotated[int, Field(ge=2)] = 100
    benchmark: str = ""
    benchmark_reviews: Annotated[int, Field(ge=2)] = 2_000
