"""Unwrap records that the program which wrote them has packed into structures of its own.

An object that holds an array of records, such as a page of an API, is read as that array (`is_container`). A record
that is a wrapping itself, such as a hit of Elasticsearch, is unwrapped (`unwrap`). Both are tables: a shape that is in
none of them is not guessed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

CONTAINERS = (
    ("reviews",),
    ("data",),
    ("data", "reviews"),
    ("results",),
    ("items",),
    ("records",),
    ("rows",),
    ("documents",),
    ("Items",),
    ("result", "reviews"),
    ("hits", "hits"),
    ("response", "docs"),
    ("feed", "entry"),
)
"""Names on the way from the outermost object to the array of its records.

`hits.hits` is an answer of Elasticsearch, `response.docs` of Solr, `Items` of DynamoDB, `feed.entry` a feed of the App
Store, `data` also a table that pandas wrote with orient="table".
"""
SIGN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
"""A whole string or one punctuation character. A single quote mark begins a string that continues after the buffer."""

DEPTH = {
    b"[": 1,
    b"{": 1,
    b"]": -1,
    b"}": -1,
}
DEEPEST = 4
"""Names on the longest path on which reviews are looked for."""
FEED_FIELDS = {
    "review_id": ("id", "label"),
    "user_id": ("author", "uri", "label"),
    "stars": ("im:rating", "label"),
    "text": ("content", "label"),
    "date": ("updated", "label"),
}
"""Our fields in an entry of a feed of the App Store."""
_NUMBERS = ("$numberInt", "$numberLong", "$numberDouble", "$numberDecimal")
TYPED = {"$oid", "$date", "$uuid", *_NUMBERS, "S", "N", "BOOL"}
"""Names under which extended JSON of MongoDB and DynamoDB write the type of a value."""


class Position:
    """The names around the place in a JSON text that has been reached, sign by sign."""

    def __init__(self) -> None:
        self.open: list[tuple[str | None, bool]] = []
        """For each open bracket the name under which it stands, and whether it is that of an object."""
        self.name: str | None = None
        self.expects_name = False

    def pass_over(self, sign: bytes) -> None:
        """Go past a match of `SIGN`."""
        if sign[:1] == b'"':
            if self.expects_name:
                self.name = sign[1:-1].decode("utf-8", "replace")
            self.expects_name = False
            return

        if sign in (b"{", b"["):
            self.open.append((self.name, sign == b"{"))
        elif sign in (b"}", b"]") and self.open:
            self.open.pop()

        in_object = bool(self.open) and self.open[-1][1]
        self.expects_name = in_object and sign in (b"{", b",")
        self.name = None

    def opens_records(self, sign: bytes) -> bool:
        """Return whether a sign that has been passed is the bracket of an array of records."""
        return sign == b"[" and tuple(name for name, _ in self.open[1:]) in CONTAINERS


def is_container(head: bytes, has_text: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Return whether a file begins with an object that holds an array of records.

    Args:
        head: First bytes of the file.
        has_text: Says of the first record, unwrapped, whether it is a review.
    """
    if not head.lstrip().startswith(b"{"):
        return False

    position = Position()
    for sign in SIGN.finditer(head):
        position.pass_over(sign[0])
        if position.opens_records(sign[0]):
            first = first_object(head[sign.end() :])
            return first is not None and has_text(unwrap(first))
        if len(position.open) == 1 and position.name == "text":
            return False  # a review that also has an array

    return False


def first_object(content: bytes) -> dict[str, Any] | None:
    """Return the object with which some bytes begin; None if they begin with anything else, or it is not whole."""
    end = end_of_first(content)
    try:
        value = orjson.loads(content[:end])
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def end_of_first(content: bytes) -> int:
    """Return where the object or array ends with which some bytes begin; 0 if it does not end."""
    depth = 0
    for sign in SIGN.finditer(content):
        depth += DEPTH.get(sign[0], 0)
        if depth <= 0:
            return sign.end()
    return 0


def has_several(line: bytes) -> bool:
    """Return whether a line holds more than one object, as some programs write that end no line."""
    end = end_of_first(line)
    return bool(end) and line[end:].lstrip().startswith(b"{")


def place_of_records(record: Any, has_text: Callable[[Mapping[str, Any]], bool]) -> str:
    """Return the path in the language of `jq` to reviews that stand deeper in a record; empty if there are none."""
    waiting = deque([("", record)])
    while waiting:
        path, value = waiting.popleft()
        if isinstance(value, list) and value and isinstance(value[0], dict):
            path = f"{path}[]"
            value = value[0]
        if not isinstance(value, dict) or path.count(".") > DEEPEST:
            continue
        if path and has_text(value):
            return path
        for name, inner in value.items():
            waiting.append((f"{path}.{orjson.dumps(name).decode()}", inner))

    return ""


def unwrap(record: Any) -> Any:
    """Return a record without the wrapping of the program that wrote it; any other value is returned unchanged.

    Known are a hit of Elasticsearch (`_source`), an item of DynamoDB (`Item`), an entry of a feed of the App Store, and
    values with their type, as MongoDB writes them (`{"$numberInt": "5"}`). The id of the first and the last, `_id`, is
    that of a record without a `review_id`.
    """
    if not isinstance(record, dict):
        return record
    if isinstance(source := record.get("_source"), dict):
        return _with_id(source, record.get("_id"))
    if isinstance(item := record.get("Item"), dict) and len(record) == 1:
        return {name: _value(value) for name, value in item.items()}
    if isinstance(record.get("content"), dict) and "im:rating" in record:
        return {ours: _at(record, path) for ours, path in FEED_FIELDS.items()}
    if not any(type(value) is dict for value in record.values()):
        return record

    plain = {name: _value(value) for name, value in record.items()}
    if isinstance(record.get("_id"), dict):
        return _with_id(plain, plain.get("_id"))
    return plain


def _with_id(record: dict[str, Any], identity: Any) -> dict[str, Any]:
    if isinstance(identity, str | int) and record.get("review_id") is None:
        return {**record, "review_id": identity}
    return record


def _value(value: Any) -> Any:
    """Return a value without its type; `$date` holds a text, or the milliseconds since 1970."""
    while isinstance(value, dict) and len(value) == 1 and (name := next(iter(value))) in TYPED:
        value = value[name]
    return value


def _at(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def are_wrapped(kinds: Mapping[str, set[type]]) -> bool:
    """Return whether records with values of these types may be wrapped: one has no text, or an object for a value."""
    return type(None) in kinds["text"] or any(dict in some for some in kinds.values())
