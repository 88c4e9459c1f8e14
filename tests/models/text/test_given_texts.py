"""Only what is certainly a list of texts is read as one: no letters, keys or names of columns."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.text.given import (
    given_path,
    given_people,
    given_ratings,
    given_text,
    given_texts,
)

TEXTS = ["The soup was cold.", "Great pizza!"]


@pytest.mark.parametrize(
    "texts",
    [
        TEXTS,
        tuple(TEXTS),
        iter(TEXTS),
        pd.Series(TEXTS),
        pl.Series(TEXTS),
        np.array(TEXTS),
        {"a": TEXTS[0], "b": TEXTS[1]}.values(),
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_a_collection_of_texts_is_read_in_its_order(texts: Any) -> None:
    assert given_texts(texts) == TEXTS


def test_an_open_file_is_read_as_its_lines() -> None:
    assert given_texts(io.StringIO("a\nb\n")) == ["a\n", "b\n"]


@pytest.mark.parametrize(
    "texts",
    [
        "The soup",
        b"The soup",
        {"text": TEXTS},
        set(TEXTS),
        pd.DataFrame({"text": TEXTS}),
        pl.DataFrame({"text": TEXTS}),
        pl.DataFrame({"text": TEXTS}).lazy(),
        np.array(TEXTS[0]),
        np.array([TEXTS]),
        Path("reviews.csv"),
        None,
        5,
    ],
    ids=lambda texts: type(texts).__name__,
)
def test_anything_else_is_refused(texts: Any) -> None:
    with pytest.raises(ModelError) as caught:
        given_texts(texts)
    assert caught.value.kind == "input"


@pytest.mark.parametrize("item", [None, float("nan"), 5, b"a", ["a"], {"text": "a"}])
def test_an_item_that_is_no_text_is_named_by_its_place(item: Any) -> None:
    with pytest.raises(ModelError, match=r"^texts\[1\] is "):
        given_texts(["a", item])


def test_a_table_is_refused_with_its_column_of_texts() -> None:
    table = pd.DataFrame({"stars": [1, 5], "text": TEXTS})
    with pytest.raises(ModelError, match=r"table\['text'\]"):
        given_texts(table)


@pytest.mark.parametrize("text", [None, 5, b"a", ["a"]])
def test_what_is_no_text_is_refused_where_one_is_meant(text: Any) -> None:
    with pytest.raises(ModelError, match=r"^prompt is "):
        given_text(text)


@pytest.mark.parametrize(
    "stars",
    [
        [4, None, 0],
        pd.Series([4, None, 0]),
        pd.Series([4, pd.NA, 0], dtype="Int64"),
        pl.Series([4, None, 0]),
        np.array([4.0, np.nan, 0.0], np.float32),
    ],
    ids=["list", "fractions", "missing", "polars", "array"],
)
def test_ratings_of_a_column_are_whole_numbers_with_zero_for_missing_ones(stars: Any) -> None:
    assert given_ratings(stars) == [4, 0, 0]


@pytest.mark.parametrize("rating", [6, -1, 4.5, float("inf"), 10**30, "5", True, [5]])
def test_what_is_no_rating_is_named_by_its_place(rating: Any) -> None:
    with pytest.raises(ModelError, match=r"^stars\[1\] is "):
        given_ratings([1, rating])


@pytest.mark.parametrize("column", ["12", {"a": 1}, {1, 2}, pd.DataFrame({"stars": [1]}), 5])
@pytest.mark.parametrize("read", [given_ratings, given_people])
def test_a_column_is_a_list_in_an_order(read: Any, column: Any) -> None:
    with pytest.raises(ModelError) as caught:
        read(column)
    assert caught.value.kind == "input"


def test_a_missing_author_is_unknown() -> None:
    column = pd.Series(["ann", None, float("nan"), pd.NA, pd.NaT], dtype=object)
    assert given_people(column) == ["ann", None, None, None, None]


@pytest.mark.parametrize("author", [["ann"], True, b"ann"])
def test_what_is_no_author_is_named_by_its_place(author: Any) -> None:
    with pytest.raises(ModelError, match=r"^authors\[0\] is "):
        given_people([author])


@pytest.mark.parametrize("path", [None, 5, b"a", "", "a\0b", "\ud83d", ["a"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ModelError, match=r"^folder is "):
        given_path(path, "folder")
