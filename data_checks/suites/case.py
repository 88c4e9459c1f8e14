"""Define the input of every suite (table, limits, facts) and the columns that its tables must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.config.sections.data import ChecksConfig
from core.errors import ReviewLMError
from data_checks.gx import expect
from data_checks.metrics.tables import Table
from models.text.normal_form import CHARACTERS

Extra = Mapping[str, Any]
"""Values of the extra metrics of a suite, by name."""
(INVISIBLE,) = (rule for rule in CHARACTERS if rule.name == "invisible")
INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
FLOATS = ("Float32", "Float64")
TEXTS = ("String",)
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "raw": {
        "review_id": TEXTS, "user_id": TEXTS, "business_id": TEXTS, "stars": FLOATS, "useful": INTEGERS,
        "funny": INTEGERS, "cool": INTEGERS, "text": TEXTS, "date": ("Datetime",), "source": TEXTS, "line": INTEGERS,
    },
    "clean": {"review_id": TEXTS, "text": TEXTS, "stars": INTEGERS, "bytes": INTEGERS, "split": TEXTS},
    "tokens": {"review_id": TEXTS, "bytes": INTEGERS, "tokens": INTEGERS, "oov": INTEGERS},
    "predictions": {"review_id": TEXTS, "nats": FLOATS, "tokens": INTEGERS, "bytes": INTEGERS},
    "samples": {"stars": INTEGERS, "text": TEXTS},
}
"""Columns that a table must have, by stage, with the accepted types (of polars, without parameters)."""
PRIVATE = ("text",)
"""Columns that no report may quote."""


@dataclass(frozen=True)
class Case:
    """One table to validate.

    Args:
        stage: Name of its suite.
        table: Table to validate.
        usable: Columns of the suite that are present with an accepted type, and the measures of their texts.
        limits: Limits from the configuration.
        facts: Numbers that the stage reported about its result.
    """

    stage: str
    table: Table
    usable: frozenset[str]
    limits: ChecksConfig
    facts: dict[str, Any]

    def fact(self, name: str) -> Any:
        """Return a required fact.

        Raises:
            ReviewLMError: The fact is missing. A suite must not pass because numbers are missing.
        """
        if name not in self.facts:
            remedy = "give the stream's folder instead of a table" if self.stage == "tokens" else ""
            what = f"The suite '{self.stage}' needs the fact '{name}'"
            raise ReviewLMError(what, value=list(self.facts), remedy=remedy)
        return self.facts[name]


def columns_expected(wanted: Mapping[str, Sequence[str]]) -> Any:
    """Return the expectation that a table of (column, type) rows lists every column with an accepted type."""
    return expect().ExpectColumnPairValuesToBeInSet(
        column_A="column", column_B="type",
        value_pairs_set=[(column, kind) for column, kinds in wanted.items() for kind in kinds],
        description=f"The table has the columns {', '.join(wanted)}, each of its type",
    )


def identified() -> list[Any]:
    """Return the expectations on the ids of any table of reviews: present and unique."""
    gx = expect()
    return [
        gx.ExpectColumnValuesToNotBeNull(column="review_id", description="Every review has an id"),
        gx.ExpectColumnValuesToBeUnique(column="review_id", description="No two reviews have one id"),
    ]
