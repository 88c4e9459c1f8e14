"""Define the settings of prepared data: normal form, selection, duplicates, split.

Define the settings of data checks and of drift.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from core.config.section import Line, Section
from models.options import NotNegative, Number, Share, Whole


class CleanConfig(Section):
    """Options of the normal form of a text; every model stores them.

    Attributes:
        mask_personal_data: Replace e-mail addresses, telephone and card numbers and the like by placeholders.
    """

    mask_personal_data: bool = True


class SelectionConfig(Section):
    """Selection of clean reviews by language.

    Attributes:
        languages: Languages to keep (ISO 639-1, e.g. "en"); empty: all.
    """

    languages: tuple[str, ...] = ()


class DuplicatesConfig(Section):
    """Thresholds of near-duplicates, which may not be in two different splits.

    Attributes:
        near: Look for near-duplicates; otherwise only equal texts are found.
        similarity: Least Jaccard similarity of the sets of word shingles of two near-duplicates.
        shingle: Words in a shingle.
        coverage: Held-out reviews leave of which passages of train cover this share of the words, or more.
    """

    near: bool = True
    similarity: Annotated[Number, Field(gt=0, le=1)] = 0.7
    shingle: Annotated[Whole, Field(ge=1, le=1_000)] = 3
    coverage: Annotated[Number, Field(gt=0, le=1)] = 0.45


class SplitConfig(Section):
    """Shares of the frozen split; another salt draws another split.

    Attributes:
        salt: Text that is hashed with each id.
        by: What stays together in one split: a review, all reviews of a user or of a business, or a month. By month,
            the latest months are the test split, those before them the validation split.
        validation_from: First date of the validation split, by month (ISO date); empty: whole months are taken until
            the share is reached.
        test_from: First date of the test split, by month.
        validation: Share of the reviews in the validation split.
        test: Share of the reviews in the test split.
    """

    salt: Line = "reviewlm"
    by: Literal["review", "user", "business", "month"] = "review"
    validation_from: str = ""
    test_from: str = ""
    validation: Annotated[Number, Field(gt=0, lt=0.5)] = 0.1
    test: Annotated[Number, Field(gt=0, lt=0.5)] = 0.1

    @field_validator("validation_from", "test_from")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        return date.fromisoformat(value).isoformat() if value else ""

    @model_validator(mode="after")
    def _dates_in_order(self) -> SplitConfig:
        if (self.validation_from or self.test_from) and self.by != "month":
            raise ValueError(f"validation_from and test_from only take effect with by='month', not {self.by!r}")
        if bool(self.validation_from) != bool(self.test_from):
            raise ValueError("set both validation_from and test_from, or neither")
        if self.test_from and self.test_from <= self.validation_from:
            raise ValueError(f"test_from {self.test_from} must be later than validation_from {self.validation_from}")
        return self


class ChecksConfig(Section):
    """Limits of the expectations in `data_checks`.

    Attributes:
        max_quarantined: Largest share of records that may be in the quarantine.
        min_stars_known: Least share of reviews that must have a star rating.
        max_unknown_tokens: Largest share of tokens that may be unknown to the vocabulary.
    """

    max_quarantined: Share = 0.05
    min_stars_known: Share = 0.99
    max_unknown_tokens: Share = 0.2



class DriftConfig(Section):
    """Limits at which new reviews count as drifted from those a model was trained on.

    A figure is flagged if it exceeds its limit *and* the value that samples of this size from the same source reach
    with probability `false_alarm`.

    Attributes:
        false_alarm: Chance of flagging any figure although nothing has drifted, over all figures together.
        psi: Limit of the population stability index of the star ratings, and of that of the lengths.
        js_words: Limit of the Jensen-Shannon divergence of the words, in bits.
        coverage: Limit of the loss in the share of words that the champion's vocabulary contains.
        surprisal: Limit of the relative rise of the champion's bits per byte, with unknown words spelt out.
        reviews: Largest number of reviews compared on each side.
    """

    js_categories: ClassVar = 0.05
    """Limit of the Jensen-Shannon divergence of the categories, in bits."""

    false_alarm: Annotated[Number, Field(gt=0, lt=0.5)] = 0.01
    psi: NotNegative = 0.1
    js_words: NotNegative = 0.02
    coverage: NotNegative = 0.01
    surprisal: NotNegative = 0.02
    reviews: Annotated[Whole, Field(ge=50, le=100_000_000)] = 2_000
