"""Define the settings of the input: where reviews come from, and what kind of data they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from core.config.family_name import checked_name
from core.config.section import Line, Section
from core.visible import visible
from models.options import Number, Seed, Whole


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


class SourceConfig(Section):
    """Source of the reviews: files, folders or globs; empty means the embedded corpus.

    Attributes:
        input: Files, folders or globs.
        family: Name of the kind of data: the gate compares only models of one family (`core/lineage/family.py`). Empty
            means "reviews" for files and "synthetic" for the embedded corpus.
        licence: Licence of the reviews, for the model card; it is not checked.
        business: File with Yelp's table of businesses; their names, cities and categories become columns.
        max_chars: Longer texts go to the quarantine.
        max_record_bytes: Larger records are refused: they are no reviews and could fill the memory.
        max_expansion: A packed file that unpacks to more than this multiple of its size is refused.
        part_rows: Rows of a Parquet part; changes memory.
    """

    input: tuple[Line, ...] = ()
    family: Annotated[str, AfterValidator(checked_name)] = ""
    licence: Line = ""
    business: Line = ""
    synthetic: SyntheticConfig = SyntheticConfig()
    max_chars: Annotated[Whole, Field(ge=1, le=1_000_000_000)] = 100_000
    max_record_bytes: Annotated[Whole, Field(ge=1_000, le=1 << 30)] = 8 << 20
    max_expansion: Annotated[Number, Field(ge=2, le=1_000_000)] = 200.0
    part_rows: Annotated[Whole, Field(ge=1, le=10_000_000)] = 100_000

    @property
    def title(self) -> str:
        """The data in a few words, for the names of runs: "embedded corpus", "yelp.csv", "a.json and 2 more"."""
        names = [visible(Path(name).name or name) for name in self.input]
        return (names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")) if names else "embedded corpus"
