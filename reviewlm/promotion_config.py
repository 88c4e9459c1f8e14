"""The gate's policy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reviewlm.section import Section


class PromotionConfig(Section):
    """The gate's policy: a challenger must beat the champion on the same frozen test reviews, in bits per byte.

    `allow_other_reading` lets a challenger pass that models less of the text than the champion (it folds case, or the
    section `clean` has changed), for which the figures do not charge it.
    """

    model_name: str = "reviewlm"
    min_relative_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_gain_over_baseline: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_slice_loss: Annotated[float, Field(ge=0)] = 0.05
    min_test_reviews: Annotated[int, Field(ge=1)] = 30
    allow_other_reading: bool = False
    require_leak_certificate: bool = True
