"""Define the settings of data: input, family, normal form, selection, duplicates, split, checks and drift."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from reviewlm.core.config.section import Line, Section
from reviewlm.core.errors import visible
from reviewlm.models.options import NotNegative, Number, Seed, Share, Whole
from reviewlm.models.specs import require_name

EMBEDDED = "embedded corpus"
"""Name of the data of a run without input; in Prefect, runs on them have the tag `data: embedded corpus`."""

REVIEWS = "reviews"
"""Default family of a user's files."""
SYNTHETIC = "synthetic"
"""Default family of the embedded corpus."""
UNKNOWN = "unknown"
"""Family of a version whose data are not known any more."""
FIELDS = ("text", "stars", "date", "review_id", "business_id", "user_id")
"""Fields of a review."""


def family_name(given: str, has_input: bool) -> str:
    """Return the family name from the configuration, or else the default for the origin of the reviews."""
    return given or (REVIEWS if has_input else SYNTHETIC)


def checked_name(name: str) -> str:
    """Return a family name from a configuration, which becomes a tag; raise ValueError if it is not valid as one."""
    if name == UNKNOWN:
        raise ValueError(f"{UNKNOWN!r} is reserved for versions whose data are unknown")
    if name:
        return require_name(name, "source.family")
    return name


class SyntheticConfig(Section):
    """Settings of the embedded corpus, used if no input is given.

    Attributes:
        reviews: Number of reviews to generate.
        seed: Seed of the generator.
        malformed: Share of records that are broken on purpose.
        duplicates: Share of reviews that repeat another one.
    """

    reviews: Annotated[Whole, Field(ge=1, le=1_000_000_000)] = 20_000
    seed: Seed = 1
    malformed: Annotated[Number, Field(ge=0, le=0.5)] = 0.001
    duplicates: Annotated[Number, Field(ge=0, le=0.5)] = 0.005


class SourceConfig(Section):
    """Source of the reviews: files, folders or globs; empty means the embedded corpus.

    Attributes:
        input: Files, folders or globs.
        family: Name of the kind of data: the gate compares only models of one family (`core/lineage.py`). Empty
            means "reviews" for files and "synthetic" for the embedded corpus.
        licence: Licence of the reviews, for the model card; it is not checked.
        business: File with Yelp's table of businesses; their names, cities and categories become columns.
        fields: Names that fields of a review have in the files, where they differ from ours: `source.fields.text=body`.
            Ours are text (needed), stars, date, review_id, business_id and user_id. A file without such a name is read
            under our own, so files of several origins go together. A file that has neither is refused, and so is a
            name that no file has, because it may be misspelled. A field with an empty name is not read:
            `source.fields.date=` leaves all dates unknown.
        max_chars: Longer texts go to the quarantine.
        max_record_bytes: Larger records are refused: they are no reviews and could fill the memory.
        max_expansion: A packed file that unpacks to more than this multiple of its size is refused.
        part_rows: Rows in each Parquet part; more need more memory.
        max_unreadable: Largest share of several files, and of their bytes, that may be damaged or cut off: these files
            are set aside, and the run goes on with the others. 0: any such file ends the run, as a single one does.
        skip_missing: Leave out, with a warning, what is named like a file of reviews in a folder and is a link to
            nothing, a pipe or the like. Otherwise such a file ends the run.
        ids: What a `review_id` names. unique: one review in all files; of its records the newest stays, and records of
            another user or business are other reviews. per_file: one review of its file, as in exports that count from
            1. newest: as unique, but whatever the records say, they are of one review.
        max_reused_ids: Largest share of the records that may have the id of another review; these are kept, with a
            new id. More end the run, because the ids may be no ids.
        max_replaced: Largest share of the records of a file that may be replaced by others of it with the same id and
            another text. More end the run, because the field names no reviews. With ids=newest there is no limit.
        date_order: Order of day and month in dates like 05-06-2023. auto: each file has one order, which its dates show
            that fit only one; if none does, the day is first. A file with both is refused.
        lowest_stars: The rating that means one star: 0 for labels that are counted from 0 to 4, as data sets of Hugging
            Face have them.
    """

    input: tuple[Line, ...] = ()
    family: Annotated[str, AfterValidator(checked_name)] = ""
    licence: Line = ""
    business: Line = ""
    fields: dict[str, Line] = Field(default_factory=dict)
    synthetic: SyntheticConfig = SyntheticConfig()
    max_chars: Annotated[Whole, Field(ge=1, le=1_000_000_000)] = 100_000
    max_record_bytes: Annotated[Whole, Field(ge=1_000, le=1 << 30)] = 8 << 20
    max_expansion: Annotated[Number, Field(ge=2, le=1_000_000)] = 200.0
    part_rows: Annotated[Whole, Field(ge=1, le=10_000_000)] = 100_000
    max_unreadable: Share = 0.1
    skip_missing: bool = False
    ids: Literal["unique", "per_file", "newest"] = "unique"
    max_reused_ids: Share = 0.01
    max_replaced: Share = 0.2
    date_order: Literal["auto", "day", "month"] = "auto"
    lowest_stars: Literal[0, 1] = 1

    @property
    def renamed_fields(self) -> dict[str, str]:
        """The fields that have another name in the files: {our name: their name}."""
        return {ours: theirs for ours, theirs in self.fields.items() if theirs and theirs != ours}

    @property
    def unread_fields(self) -> frozenset[str]:
        """The fields that are not read: those with an empty name."""
        return frozenset(ours for ours, theirs in self.fields.items() if not theirs)

    @field_validator("fields")
    @classmethod
    def _one_meaning(cls, fields: dict[str, str]) -> dict[str, str]:
        if unknown := [name for name in fields if name not in FIELDS]:
            raise ValueError(
                f"a review has no field {unknown[0]!r}; its fields are {', '.join(FIELDS)}"
            )
        if fields.get("text") == "":
            raise ValueError("every review needs a text: source.fields.text must name a field")
        theirs = [name for name in fields.values() if name]
        if twice := sorted({name for name in theirs if theirs.count(name) > 1}):
            raise ValueError(f"the field {twice[0]!r} of the files is given two meanings")
        return fields

    @property
    def title(self) -> str:
        """The data in a few words, for the names of runs: "embedded corpus", "yelp.csv", "a.json and 2 more"."""
        names = [visible(Path(name).name or name) for name in self.input]
        if not names:
            return EMBEDDED
        if len(names) == 1:
            return names[0]
        return f"{names[0]} and {len(names) - 1} more"


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
        coverage: Held-out reviews are left out if passages of training text cover at least this share of their words.
        max_alike: Largest number of reviews of a split that may be equal or near-duplicates of one text, as a share of
            its other reviews; ten always may. The others of such a crowd are left out.
    """

    near: bool = True
    similarity: Annotated[Number, Field(gt=0, le=1)] = 0.7
    shingle: Annotated[Whole, Field(ge=1, le=1_000)] = 3
    coverage: Annotated[Number, Field(gt=0, le=1)] = 0.45
    max_alike: Annotated[Number, Field(gt=0, le=1)] = 0.01


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
        max_deviation: Largest difference between the share of the reviews that validation or test has and the one it
            should have. More end the run; a quarter of the share is a warning.
    """

    salt: Line = "reviewlm"
    by: Literal["review", "user", "business", "month"] = "review"
    validation_from: str = ""
    test_from: str = ""
    validation: Annotated[Number, Field(gt=0, lt=0.5)] = 0.1
    test: Annotated[Number, Field(gt=0, lt=0.5)] = 0.1
    max_deviation: Share = 0.25

    @field_validator("validation_from", "test_from")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        if value:
            return date.fromisoformat(value).isoformat()
        return ""

    @model_validator(mode="after")
    def _dates_in_order(self) -> SplitConfig:
        if (self.validation_from or self.test_from) and self.by != "month":
            raise ValueError(
                f"validation_from and test_from only take effect with by='month', not {self.by!r}"
            )
        if bool(self.validation_from) != bool(self.test_from):
            raise ValueError("set both validation_from and test_from, or neither")
        if self.test_from and self.test_from <= self.validation_from:
            raise ValueError(
                f"test_from {self.test_from} must be later than validation_from {self.validation_from}"
            )

        return self


class ChecksConfig(Section):
    """Limits of the expectations in `data_checks`.

    Attributes:
        max_quarantined: Largest share of records that may be in the quarantine, of all files and of each one.
        min_stars_known: Least share of reviews that must have a rating, and of ratings that must be 1, 2, 3, 4 or 5 stars.
            A review with another one (3.5) is used as one without a rating.
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
