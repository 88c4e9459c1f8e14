"""Read the texts that a caller gives: the one reader behind every door, so that nothing else is taken for a text.

Python takes a text for a list of its letters, a dictionary for its keys and a table for the names of its columns. A
model answers to these with plausible figures, so they are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from ..base import ModelError
from ..threads import require_threads

SHOWN = 60
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
    if isinstance(texts, str):
        raise ModelError(f"{name} is one text; it must be a list: [text]", "input")
    if not isinstance(texts, Iterable) or isinstance(texts, bytes | bytearray | Mapping | Set):
        raise ModelError(f"{name} is {describe_value(texts)}; it must be a list of texts", "input")
    if hasattr(texts, "columns"):
        raise ModelError(
            f"{name} is a table; it must be a list of texts, such as one of its columns: "
            f"table[{_first_column(texts.columns)!r}]",
            "input",
        )

    try:
        items = list(texts)
    except TypeError as error:  # an array without a dimension
        what = f"{name} is {describe_value(texts)}; it must be a list of texts"
        raise ModelError(what, "input") from error

    for number, item in enumerate(items):
        if not isinstance(item, str):
            what = f"{name}[{number}] is {describe_value(item)}; it must be a text"
            raise ModelError(what, "input")

    return [str(item) for item in items]  # plain ones: NumPy's would be repeated in answers


def describe_value(value: object) -> str:
    """Return a value that is no text as messages show it: with its kind, shortened."""
    if value is None:
        return "None"
    shown = repr(value).partition("\n")[0]
    if len(shown) > SHOWN:
        shown = f"{shown[:SHOWN]}…"

    return f"{shown} ({type(value).__name__})"


def _first_column(columns: object) -> str:
    """Return the column of a table that probably has its texts."""
    names = []
    if isinstance(columns, Iterable):
        names = [name for name in columns if isinstance(name, str)]

    return "text" if "text" in names or not names else names[0]
