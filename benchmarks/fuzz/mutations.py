"""Damage the bytes of a file, or values in a structure that stays valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

TOKENS = [
    b"\0",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b",",
    b"\t",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"99999999999999999999",
    b"9" * 5_000,
    b"[" * 3_000,
    b"text",
    b"null",
    b"true",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"%s",
    b"../",
    b"PAR1",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b" ",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    0.5,
    -0.0,
    2**31,
    2**63,
    10**30,
    1e308,
    5e-324,
    "",
    "x",
    "0",
    "inf",
    "\u0000",
    "é" * 300,
    "../../etc/passwd",
    "a\nb",
    [],
    [None],
    [[]],
    {},
    {"a": 1},
    {"kind": "lstm"},
    [1, 2, 3],
    "2020-01-01",
    "none",
    [0.5],
]
LITERALS = [
    "1e999",
    "NaN",
    "-Infinity",
    "9" * 5_000,
    "[" * 3_000 + "]" * 3_000,
    '"\\ud800"',
    "1" + "0" * 400,
]
"""Literals that can occur in the text of JSON but not among values that are written as JSON."""
MARK = "\u0001literal\u0001"


def damaged(
    rng: Random,
    content: bytes,
    most: int = 4,
) -> bytes:
    """Return bytes with a few changes: flipped, overwritten, inserted, repeated, copied, deleted or cut off."""
    for _ in range(rng.randint(1, most)):
        content = _changed(rng, content)
    return content


def _changed(rng: Random, content: bytes) -> bytes:
    begin, end = sorted(rng.randint(0, len(content)) for _ in range(2))
    end = min(end, begin + rng.choice([1, 2, 8, 64, 4_096]))
    piece = content[begin:end]
    token = rng.choice(TOKENS)
    change = rng.randrange(8)
    if change == 0 and begin < len(content):
        piece = bytes([content[begin] ^ (1 << rng.randrange(8))])
        end = begin + 1
    elif change == 1:
        piece = rng.randbytes(len(piece))
    elif change == 2:
        piece = b""
    elif change == 3:
        piece = piece * rng.randint(2, 5)
    elif change == 4:
        return content[:begin]
    elif change == 5:
        other = rng.randint(0, len(content))
        return content[:other] + piece + content[other:]
    elif change == 6:
        piece = token
    else:
        piece = token + piece

    return content[:begin] + piece + content[end:]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in nested values, outermost first."""
    yield path
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from places(inner, (*path, key))


def put(
    value: Any,
    path: tuple[Any, ...],
    new: Any,
) -> Any:
    """Return nested values with a new value at a path."""
    if not path:
        return new
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def _chosen(rng: Random, value: Any) -> tuple[Any, ...]:
    """Return a random path; every depth is equally likely, although there are more deep paths."""
    every = list(places(value))
    depth = rng.randint(0, max(map(len, every)))
    return rng.choice([path for path in every if len(path) == depth])


def damaged_json(
    rng: Random,
    value: Any,
    most: int = 2,
) -> bytes:
    """Return JSON in which values have another type or size, are missing or repeated; rarely as broken text."""
    for _ in range(rng.randint(1, most)):
        path = _chosen(rng, value)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        kind = rng.randrange(10)
        if kind == 0 and path:
            value = put(value, path[:-1], _without(holder, path[-1]))
        elif kind == 1 and path:
            value = put(
                value,
                path,
                holder[
                    rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
                ],
            )
        elif kind == 2 and path and isinstance(holder, dict):
            value = put(
                value,
                path[:-1],
                {**holder, rng.choice(["x", "", "é", path[-1] + "2"]): rng.choice(VALUES)},
            )
        elif kind == 3:
            value = put(value, path, MARK)
        else:
            value = put(value, path, rng.choice(VALUES))

    text = json.dumps(value).replace(json.dumps(MARK), rng.choice(LITERALS)).encode()
    return damaged(rng, text, 1) if rng.random() < 0.1 else text


def _without(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return {name: value for name, value in holder.items() if name != key}
    return [value for number, value in enumerate(holder) if number != key]
