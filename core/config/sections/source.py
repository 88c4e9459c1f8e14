"""Where reviews come from, and what kind of data they are."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from core.config.family_name import checked_name
from core.config.section import Line, Section, Seed


class SyntheticConfig(Section):
    """The embedded corpus, used where no input is given."""

    reviews: Annotated[int, Field(ge=1, le=1_000_000_000)] = 20_000
    seed: Seed = 1
    malformed: Annotated[float, Field(ge=0, le=0.5)] = 0.001
    duplicates: Annotated[float, Field(ge=0, le=0.5)] = 0.005


class SourceConfig(Section):
    """Where reviews come from: files, folders or globs; none means the embedded corpus.

    `business` names Yelp's table of businesses, whose names, cities and categories then become columns. A record of
    more than `max_record_bytes`, and a packed file that unpacks to more than `max_expansion` times its size, are
    refused: neither is a review, and neither may fill the memory. `licence` is that of the reviews, for the model card;
    nobody checks it. `family` names the kind of data: the gate compares models of one family alone
    (`core/lineage/family.py`); empty means "reviews" for files, "synthetic" for the embedded corpus.
    """

    input: tuple[Line, ...] = ()
    family: Annotated[str, AfterValidator(checked_name)] = ""
    licence: Line = ""
    business: Line = ""
    synthetic: SyntheticConfig = SyntheticConfig()
    max_chars: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100_000
    max_record_bytes: Annotated[int, Field(ge=1_000, le=1 << 30)] = 8 << 20
    max_expansion: Annotated[float, Field(ge=2, le=1_000_000)] = 200.0
    part_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
