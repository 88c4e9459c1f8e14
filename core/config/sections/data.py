"""Define the settings of prepared data: normal form, selection, duplicates, split."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from core.config.section import Line, Section
from models.options import Number, Whole


class CleanConfig(Section):
    """Options of the normal form of a text; every model stores them.

    Attributes:
        unescape_entities: Replace HTML entities such as `&amp;` by their characters.
        repair_encoding: Repair text that was decoded with the wrong encoding ("cafÃ©").
        restore_breaks: Turn escaped line breaks (`\\n` as two characters) and tags such as `<br />` into line breaks.
        mask_personal_data: Replace e-mail addresses, telephone and card numbers and the like by placeholders.
    """

    unescape_entities: bool = True
    repair_encoding: bool = True
    restore_breaks: bool = True
    mask_personal_data: bool = True


class SelectionConfig(Section):
    """Selection of clean reviews by language.

    Attributes:
        languages: Languages to keep (ISO 639-1, e.g. "en"); empty: all.
        min_language_words: Reviews with fewer words are kept, because their language cannot be detected.
    """

    languages: tuple[str, ...] = ()
    min_language_words: Annotated[Whole, Field(ge=1, le=1_000_000)] = 5


class DuplicatesConfig(Section):
    """Thresholds of near-duplicates, which may not be in two different splits.

    Attributes:
        near: Look for near-duplicates; otherwise only equal texts are found.
        similarity: Least Jaccard similarity of the sets of word shingles of two near-duplicates.
        shingle: Words in a shingle.
        permutations: MinHash values per text, by which candidates are found.
        coverage: Held-out reviews leave of which passages of train cover this share of the words, or more.
    """

    near: bool = True
    similarity: Annotated[Number, Field(gt=0, le=1)] = 0.7
    shingle: Annotated[Whole, Field(ge=1, le=1_000)] = 3
    permutations: Annotated[Whole, Field(ge=16, le=16_384)] = 128
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
