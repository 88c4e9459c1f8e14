"""Define the settings of data checks and of drift."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field, field_validator

from core.config.section import Section
from models.options import NotNegative, Number, Share, Whole


class ChecksConfig(Section):
    """Limits of the expectations in `data_checks`.

    Attributes:
        max_quarantined: Largest share of records that may be in the quarantine.
        min_stars_known: Least share of reviews that must have a star rating.
        max_unknown_tokens: Largest share of tokens that may be unknown to the vocabulary.
        earliest: Earliest date that a review may have (ISO date).
        chunk_rows: Rows that are checked at a time; changes memory, not the result.
    """

    max_quarantined: Share = 0.05
    min_stars_known: Share = 0.99
    max_unknown_tokens: Share = 0.2
    earliest: str = "2004-01-01"
    chunk_rows: Annotated[Whole, Field(ge=1, le=100_000_000)] = 200_000

    @field_validator("earliest")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        return date.fromisoformat(value).isoformat()


class DriftConfig(Section):
    """Limits at which new reviews count as drifted from those a model was trained on.

    A figure is flagged if it exceeds its limit *and* the value that samples of this size from the same source reach
    with probability `false_alarm`.

    Attributes:
        false_alarm: Chance of flagging any figure although nothing has drifted, over all figures together.
        psi_stars: Limit of the population stability index of the star ratings.
        psi_length: Limit of the population stability index of the lengths.
        js_words: Limit of the Jensen-Shannon divergence of the words, in bits.
        js_categories: Limit of the Jensen-Shannon divergence of the categories, in bits.
        coverage: Limit of the loss in the share of words that the champion's vocabulary contains.
        surprisal: Limit of the relative rise of the champion's bits per byte, with unknown words spelt out.
        reviews: Largest number of reviews compared on each side.
        resamples: Bootstrap draws.
    """

    false_alarm: Annotated[Number, Field(gt=0, lt=0.5)] = 0.01
    psi_stars: NotNegative = 0.1
    psi_length: NotNegative = 0.1
    js_words: NotNegative = 0.02
    js_categories: NotNegative = 0.05
    coverage: NotNegative = 0.01
    surprisal: NotNegative = 0.02
    reviews: Annotated[Whole, Field(ge=50, le=100_000_000)] = 2_000
    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 1_000
