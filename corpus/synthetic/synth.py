"""Write files of the embedded corpus in the schema of Yelp's open dataset: one JSON object per line.

    from reviewlm.corpus.synthetic.synth import write_reviews
    write_reviews(Path("reviews.jsonl"), reviews=20_000, seed=1, malformed=0.001, duplicates=0.005)

Lines are written in chunks, and each chunk has its own random streams. So the first chunks of a long file equal those
of a short file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from reviewlm.core.output import output_file
from reviewlm.corpus.synthetic.grammar import STARS, load_automaton, write_review

CHUNK = 2_000
"""Lines in a chunk; another value gives other files for the same seed."""
USERS = 200_000
FIRST_DAY = np.datetime64("2015-01-01T00:00:00")
DAYS = 2_922
MALFORMED = (
    "truncated",
    "stars in words",
    "no text",
    "invalid UTF-8",
    "empty text",
    "not an object",
)
_BLOCK = 8_192


def write_reviews(
    out: Path,
    reviews: int,
    seed: int,
    malformed: float = 0.0,
    duplicates: float = 0.0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write a file of reviews; it appears under its name when it is complete.

    Args:
        out: The file, usually `*.jsonl`.
        reviews: Number of lines, including malformed ones and duplicates.
        seed: Equal seeds give equal bytes.
        malformed: Share of lines that no reader should accept as a review (see `MALFORMED`).
        duplicates: Share of lines that repeat an earlier text; half of them also repeat its review_id.
        report: Called with the lines written so far and in total.

    Returns:
        reviews, bytes and sha256 of the file, and the numbers of malformed lines and duplicates.
    """
    hashed = hashlib.sha256()
    size = 0
    done = 0
    odd = 0
    twice = 0
    with output_file(out) as file:
        for index, start in enumerate(range(0, reviews, CHUNK)):
            lines, counts = make_chunk(
                index,
                min(CHUNK, reviews - start),
                seed,
                malformed,
                duplicates,
            )
            file.write(lines)
            hashed.update(lines)
            size += len(lines)
            done += counts[0]
            odd += counts[1]
            twice += counts[2]
            report(done, reviews)

    return {
        "reviews": done,
        "bytes": size,
        "sha256": hashed.hexdigest(),
        "malformed": odd,
        "duplicates": twice,
    }


def make_chunk(
    index: int,
    lines: int,
    seed: int,
    malformed: float = 0.0,
    duplicates: float = 0.0,
) -> tuple[bytes, tuple[int, int, int]]:
    """Return the lines of one chunk, and the numbers of all, malformed and duplicate lines."""
    texts, columns, faults = (np.random.default_rng([seed, index, stream]) for stream in range(3))
    fields = _Columns(columns, index, lines)
    uniform = _uniforms(texts).__next__
    fates = faults.random((lines, 2)).tolist()
    made: list[dict[str, Any]] = []
    written: list[bytes] = []
    odd = twice = 0
    for row in range(lines):
        fate, detail = fates[row]
        if made and fate < duplicates:
            review = made[int(detail * 2 * len(made)) % len(made)]
            # Half of the duplicates are the same review again, the others the same text as a new review.
            written.append(orjson.dumps(review if detail < 0.5 else fields.repost(review, row)))
            twice += 1
            continue
        review = fields.review(row, uniform)
        if duplicates <= fate < duplicates + malformed:
            written.append(_spoil(review, detail))
            odd += 1
        else:
            made.append(review)
            written.append(orjson.dumps(review))

    written.append(b"")
    return b"\n".join(written), (lines, odd, twice)


class _Columns:
    """All fields of a chunk's reviews except the text, drawn at once."""

    def __init__(
        self,
        draw: np.random.Generator,
        index: int,
        lines: int,
    ) -> None:
        self._ids = _review_ids(draw, index * CHUNK, lines)
        self._stars = draw.choice(np.arange(1, 6), lines, p=list(STARS.values())).tolist()
        # Inverse of the continuous form of Zipf's law: user number = USERS^u.
        self._users = (USERS ** draw.random(lines)).astype(int).tolist()
        self._dates = _dates(draw, lines)
        self._votes = (draw.geometric([0.5, 0.75, 0.65], (lines, 3)) - 1).tolist()
        self._place, self._category = (
            load_automaton().variables[name] for name in ("place", "category")
        )

    def review(self, row: int, uniform: Callable[[], float]) -> dict[str, Any]:
        stars = self._stars[row]
        text, values = write_review(stars, uniform)
        user = self._users[row]
        place = values[self._place] or user % 97
        useful, funny, cool = self._votes[row]
        return {
            "review_id": self._ids[row],
            "user_id": _hashed_id(f"user {user}"),
            "business_id": _hashed_id(f"{values[self._category]} {place}"),
            "stars": float(stars),
            "useful": useful,
            "funny": funny,
            "cool": cool,
            "text": text,
            "date": self._dates[row],
        }

    def repost(self, review: dict[str, Any], row: int) -> dict[str, Any]:
        """Return a review again, with another review_id and date."""
        return {
            **review,
            "review_id": self._ids[row],
            "date": self._dates[row],
        }


def _spoil(review: dict[str, Any], detail: float) -> bytes:
    """Return a line that is not a review; all kinds of `MALFORMED` are equally likely."""
    way, rest = divmod(detail * len(MALFORMED), 1)
    kind = MALFORMED[int(way)]
    if kind == "stars in words":
        return orjson.dumps(
            {**review, "stars": ("one", "two", "three", "four", "five")[int(review["stars"]) - 1]}
        )
    if kind == "no text":
        return orjson.dumps({name: value for name, value in review.items() if name != "text"})
    if kind == "empty text":
        return orjson.dumps({**review, "text": ""})

    line = orjson.dumps(review)
    if kind == "invalid UTF-8":
        return line.replace(b" ", b"\xe9\xff", 1)
    if kind == "not an object":
        return b"502 Bad Gateway"

    return line[: int(len(line) * (0.1 + 0.8 * rest))]


def _uniforms(draw: np.random.Generator) -> Iterator[float]:
    while True:
        yield from draw.random(_BLOCK).tolist()


def _review_ids(
    draw: np.random.Generator,
    first: int,
    lines: int,
) -> list[str]:
    """Return unique ids of 22 characters: 8 random bytes and the line number times an odd constant."""
    numbers = np.arange(first, first + lines, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    raw = (
        np.stack([draw.integers(0, 2**64, lines, dtype=np.uint64), numbers], 1)
        .astype("<u8")
        .tobytes()
    )
    return [
        base64.urlsafe_b64encode(raw[at : at + 16])[:22].decode() for at in range(0, len(raw), 16)
    ]


@lru_cache(maxsize=200_000)
def _hashed_id(name: str) -> str:
    return base64.urlsafe_b64encode(hashlib.blake2b(name.encode(), digest_size=16).digest())[
        :22
    ].decode()


def _dates(draw: np.random.Generator, lines: int) -> list[str]:
    """Return timestamps from 2015 to 2022; the density grows linearly from a third of its final value."""
    moment = (np.sqrt(1 + 8 * draw.random(lines)) - 1) / 2
    seconds = (moment * DAYS * 86_400).astype(np.int64)
    return [text.replace("T", " ") for text in np.datetime_as_string(FIRST_DAY + seconds).tolist()]
