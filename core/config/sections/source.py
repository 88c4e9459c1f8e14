"""Define the settings of the input: where reviews come from, and what kind of data they are.

Check the names of data families, and choose a name for data without one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from core.config.section import Line, Section
from core.errors import visible
from models.options import Number, Seed, Share, Whole
from models.specs import require_name

EMBEDDED = "embedded corpus"
"""Name of the data of a run without input; in Prefect, runs on them have the tag `data: embedded corpus`."""

REVIEWS, SYNTHETIC, UNKNOWN = "reviews", "synthetic", "unknown"
"""Default families of a user's files and of the embedded corpus; family of a version whose data are not known any
more."""


def family_name(given: str, has_input: bool) -> str:
    """Return the family name from the configuration, or else the default for the origin of the reviews."""
    return given or (REVIEWS if has_input else SYNTHETIC)


def checked_name(name: str) -> str:
    """Return a family name from a configuration, which becomes a tag; raise ValueError if it is not valid as one."""
    if name == UNKNOWN:
        raise ValueError(f"{UNKNOWN!r} is reserved for versions whose data are unknown")
    return require_name(name, "source.family") if name else name


class SyntheticConfig(Section):
    """Settings of the embedded corpus, used if no input is given.

    Attributes:
        reviews: Reviews to generate.
        seed: Seed of the generator.
        malformed: Share of records that are broken on purpose.
        duplicates: Share of reviews that repeat another one.
    """

    reviews: Annotated[Whole, Field(ge=1, le=1_000_000_000)] = 20_000
    seed: Seed = 1
    malformed: Annotated[Number, Field(ge=0, le=0.5)] = 0.001
    duplicates: Annotated[Number, Field(ge=0, le=0.5)] = 0.005


FIELDS = ("text", "stars", "date", "review_id", "business_id", "user_id", "useful", "funny", "cool")
"""Fields of a review."""


class SourceConfig(Section):
    """Source of the reviews: files, folders or globs; empty means the embedded corpus.

    Attributes:
        input: Files, folders or globs.
        family: Name of the kind of data: the gate compares only models of one family (`core/lineage/record.py`). Empty
            means "reviews" for files and "synthetic" for the embedded corpus.
        licence: Licence of the reviews, for the model card; it is not checked.
        business: File with Yelp's table of businesses; their names, cities and categories become columns.
        fields: Names that fields of a review have in the files, where they differ from ours: `source.fields.text=body`.
            Ours are text (needed), stars, date, review_id, business_id, user_id, useful, funny and cool. A file without
            such a name is read under our own, so files of several origins go together; a file that has neither is
            refused, because the name may be misspelled.
        max_chars: Longer texts go to the quarantine.
        max_record_bytes: Larger records are refused: they are no reviews and could fill the memory.
        max_expansion: A packed file that unpacks to more than this multiple of its size is refused.
        part_rows: Rows of a Parquet part; changes memory.
        max_unreadable: Largest share of several files, and of their bytes, that may be damaged or cut off: these files
            are set aside, and the run goes on with the others. 0: any such file ends the run, as a single one does.
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

    @property
    def renamed(self) -> dict[str, str]:
        """The fields that have another name in the files: {our name: their name}."""
        return {ours: theirs for ours, theirs in self.fields.items() if theirs and theirs != ours}

    @field_validator("fields")
    @classmethod
    def _one_meaning(cls, fields: dict[str, str]) -> dict[str, str]:
        if unknown := [name for name in fields if name not in FIELDS]:
            raise ValueError(f"a review has no field {unknown[0]!r}; its fields are {', '.join(FIELDS)}")
        theirs = [name for name in fields.values() if name]
        if twice := sorted({name for name in theirs if theirs.count(name) > 1}):
            raise ValueError(f"the field {twice[0]!r} of the files is given two meanings")
        return fields

    @property
    def title(self) -> str:
        """The data in a few words, for the names of runs: "embedded corpus", "yelp.csv", "a.json and 2 more"."""
        names = [visible(Path(name).name or name) for name in self.input]
        return (names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")) if names else EMBEDDED
