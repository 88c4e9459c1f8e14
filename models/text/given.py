"""Read the texts that a caller gives: the one reader behind every door, so that nothing else is taken for a text.

Python takes a text for a list of its letters, a dictionary for its keys and a table for the names of its columns. A
model answers to these with plausible figures, so they are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from pathlib import Path
from typing import Any

from ..base import ModelError
from ..threads import require_threads

SHOWN_CHARACTERS = 60
"""Characters of a refused value that a message repeats."""


def given_text(text: object, name: str = "prompt") -> str:
    """Return a text.

    Args:
        text: What the caller gives.
        name: Its name in messages.

    Raises:
        ModelError: kind "input": it is no text, or this process cannot compute (see `require_threads`).
    """
    require_threads()
    if not isinstance(text, str):
        raise ModelError(f"{name} is {describe_value(text)}; it must be a text", "input")
    return text


def given_texts(texts: object, name: str = "texts") -> list[str]:
    """Return several texts as a list.

    Args:
        texts: A list of texts, or anything that gives texts one by one: a tuple, a column of a table, an array of one
            dimension, a generator, an open text file (its lines).
        name: Its name in messages.

    Raises:
        ModelError: kind "input": it is one text, a dictionary, a table or no collection, or holds something else than
            texts; or this process cannot compute (see `require_threads`).
    """
    require_threads()
    items = given_items(texts, name, "texts")
    for number, item in enumerate(items):
        if not isinstance(item, str):
            what = f"{name}[{number}] is {describe_value(item)}; it must be a text"
            raise ModelError(what, "input")

    return [str(item) for item in items]  # plain ones: NumPy's would be repeated in answers


def given_items(
    items: object,
    name: str,
    kind: str,
) -> list[Any]:
    """Return the items of a list, or of anything that gives them one by one in an order.

    Args:
        items: What the caller gives.
        name: Its name in messages.
        kind: What the items are, in the plural.

    Raises:
        ModelError: kind "input": it is one text, a dictionary, a set, a table or no collection.
    """
    if isinstance(items, str):
        example = f": [{kind.removesuffix('s')}]"
        raise ModelError(f"{name} is one text; it must be a list{example}", "input")
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray | Mapping | Set):
        raise ModelError(f"{name} is {describe_value(items)}; it must be a list of {kind}", "input")
    if hasattr(items, "columns"):
        raise ModelError(
            f"{name} is a table; it must be a list of {kind}, such as one of its columns: "
            f"table[{_first_column(items.columns)!r}]",
            "input",
        )

    try:
        return list(items)
    except TypeError as error:  # an array without a dimension
        what = f"{name} is {describe_value(items)}; it must be a list of {kind}"
        raise ModelError(what, "input") from error


def given_ratings(stars: object, name: str = "stars") -> list[int]:
    """Return the star rating of each of several texts, 0 for unknown.

    A column of a table has whole numbers as fractions (4.0) if a rating is missing in it, and marks the missing ones as
    not-a-number; these are unknown ratings.

    Raises:
        ModelError: kind "input": it is no list of ratings.
    """
    ratings = []
    for number, item in enumerate(given_items(stars, name, "ratings")):
        if is_missing(item):
            ratings.append(0)
            continue

        number_like = isinstance(item, Real) and not isinstance(item, bool)
        if not number_like or item not in range(6):
            raise ModelError(
                f"{name}[{number}] is {describe_value(item)}; it must be a whole number from 0 (unknown) to 5, or None",
                "input",
            )
        ratings.append(int(item))

    return ratings


def given_people(authors: object, name: str = "authors") -> list[str | Real | None]:
    """Return who wrote each of several texts, None for unknown.

    Raises:
        ModelError: kind "input": it is no list of names or numbers.
    """
    people: list[str | Real | None] = []
    for number, item in enumerate(given_items(authors, name, "names")):
        if is_missing(item):
            people.append(None)
            continue
        if not isinstance(item, str | Real) or isinstance(item, bool):
            what = (
                f"{name}[{number}] is {describe_value(item)}; it must be a name, a number or None"
            )
            raise ModelError(what, "input")

        people.append(item)

    return people


def given_path(path: object, name: str) -> Path:
    """Return a path of the file system.

    Raises:
        ModelError: kind "input": it is no text or path, it is empty, or no path can have its characters.
    """
    try:
        found = os.fspath(path)  # type: ignore[call-overload]
    except TypeError as error:
        raise ModelError(f"{name} is {describe_value(path)}; it must be a path", "input") from error

    if not isinstance(found, str) or not found:
        raise ModelError(f"{name} is {describe_value(path)}; it must be a path", "input")
    if "\0" in found or not _is_encodable(found):
        raise ModelError(
            f"{name} is {describe_value(path)}; no path can have one of its characters", "input"
        )

    return Path(found)


def is_missing(value: object) -> bool:
    """Return whether a value of a column stands for none: None, not-a-number, or pandas' NA and NaT."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # NA is neither; an array has several answers
        return type(value).__name__ == "NAType"


def _is_encodable(text: str) -> bool:
    """Return whether the file system can hold a name: no half of a surrogate pair but those of undecodable names."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def describe_value(value: object) -> str:
    """Return a value that is no text as messages show it: with its kind, shortened."""
    if value is None:
        return "None"
    shown = repr(value).partition("\n")[0]
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[:SHOWN_CHARACTERS]}…"

    return f"{shown} ({type(value).__name__})"


def _first_column(columns: object) -> str:
    """Return the column of a table that probably has its texts."""
    names = []
    if isinstance(columns, Iterable):
        names = [name for name in columns if isinstance(name, str)]

    return "text" if "text" in names or not names else names[0]
