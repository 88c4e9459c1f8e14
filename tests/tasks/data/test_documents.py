"""Which test reviews are one group follows from how the data were split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.store import Artifact
from reviewlm.corpus.cleaning.clean_table import CLEAN, COPIES_FILE
from reviewlm.tasks.data.documents import documents_of, grouped_by

REVIEWS = {
    "review_id": ["a", "b", "c", "d", "e", "train"],
    "split": ["test"] * 5 + ["train"],
    "user_id": ["u", "u", None, "", "v", "u"],
    "business_id": ["x", "y", "y", "z", "z", "x"],
}


def clean(folder: Path, facts: dict[str, Any]) -> Artifact:
    rows = len(REVIEWS["review_id"])
    table = pl.DataFrame(REVIEWS | {name: [None] * rows for name in CLEAN if name not in REVIEWS})
    table.select(pl.col(name).cast(kind) for name, kind in CLEAN.items()).write_parquet(
        folder / "clean.parquet"
    )
    return Artifact("prepare", "digest", folder, {"facts": facts})


def groups(table: pl.DataFrame) -> set[frozenset[str]]:
    return {frozenset(ids) for ids in table.group_by("group").agg("review_id")["review_id"]}


@pytest.mark.parametrize(
    "facts", [{}, {"grouping": {"by": "review"}}, {"grouping": {"by": "month"}}]
)
def test_reviews_that_were_drawn_alone_have_no_groups(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    data = clean(tmp_path, facts)
    table = documents_of(data)
    assert table["review_id"].to_list() == ["a", "b", "c", "d", "e"]
    assert "group" not in table.columns
    assert grouped_by(data, table) == ""


def test_reviews_of_one_user_are_a_group(tmp_path: Path) -> None:
    data = clean(tmp_path, {"grouping": {"by": "user"}})

    assert groups(documents_of(data)) == {
        frozenset("ab"),
        frozenset("c"),
        frozenset("d"),
        frozenset("e"),
    }


def test_reviews_of_one_business_are_a_group(tmp_path: Path) -> None:
    data = clean(tmp_path, {"grouping": {"by": "business"}})

    assert groups(documents_of(data)) == {frozenset("a"), frozenset("bc"), frozenset("de")}


def test_the_key_of_the_groups_is_that_of_the_split(tmp_path: Path) -> None:
    data = clean(tmp_path, {"grouping": {"by": "business"}})

    assert grouped_by(data, documents_of(data)) == "business"


def test_reviews_that_repeat_each_other_within_the_test_are_one_group(tmp_path: Path) -> None:
    data = clean(tmp_path, {"grouping": {"by": "business"}})
    rows = {
        "review_id": ["a", "d", "train"],
        "split": ["test", "test", "train"],
        "group": [4, 4, 5],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / COPIES_FILE)
    assert groups(documents_of(data)) == {frozenset("ade"), frozenset("bc")}
    assert grouped_by(data, documents_of(data)) == "business and copies of a text"
