"""Count the pieces of texts that are at hand, or of parts of a set that workers read themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl

from reviewlm.models.threads import FanOut
from reviewlm.models.tokens.vocabulary import batch_texts

SAMPLE_TEXTS = 4_000
SAMPLE_CHARACTERS = 20_000


@dataclass(frozen=True)
class TextParts:
    """Texts in parts, which travel to a worker unread.

    Args:
        parts: Returns the parts, in their order.
        read: Returns the texts of a part; picklable.
    """

    parts: Callable[[], Iterable[Any]]
    read: Callable[[Any], Iterable[str]]

    def __iter__(self) -> Iterator[str]:
        """Yield all texts, read here."""
        for part in self.parts():
            yield from self.read(part)


class Sample:
    """A sample of the training texts that does not depend on their order: those with the smallest hash."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def add(self, texts: list[str]) -> list[str]:
        """Add the texts whose hash is among the smallest; return *texts*."""
        hashes = b"".join(
            [blake2b(text.encode("utf-8", "replace"), digest_size=8).digest() for text in texts]
        )
        keys = np.frombuffer(hashes, ">u8")
        if len(self._texts) == SAMPLE_TEXTS:
            highest = max(self._texts)
        else:
            highest = 2**64 - 1

        some = np.flatnonzero(keys <= np.uint64(highest)).tolist()
        self._keep({int(keys[place]): texts[place][:SAMPLE_CHARACTERS] for place in some})
        return texts

    def add_sample(self, other: Sample) -> None:
        """Add the sample of other texts."""
        self._keep(other._texts)

    def _keep(self, texts: dict[int, str]) -> None:
        """Keep the smallest of some hashes and of those before."""
        both = texts | self._texts
        self._texts = {key: both[key] for key in sorted(both)[:SAMPLE_TEXTS]}

    def texts(self) -> list[str]:
        """Return the texts in the order of their hashes."""
        return list(self._texts.values())


Count = Callable[[list[str]], pl.DataFrame]
"""Counts the pieces of some texts: a row for each piece, its numbers in the columns after it."""


def count_texts(
    texts: Iterable[str],
    count: Count,
    fan_out: FanOut,
    sample: Sample | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the counts of the pieces of some texts at a time, and add all texts to a sample.

    Args:
        texts: All texts; parts of them (`TextParts`) are read where they are counted.
        count: Counts some texts.
        fan_out: Who counts.
    """
    if isinstance(texts, TextParts):
        one = partial(_count_part, texts.read, count, sample is not None)
        for counted, some in fan_out(one, texts.parts()):
            if sample:
                sample.add_sample(some)
            if counted is not None:
                yield counted
        return

    batches = batch_texts(texts)
    if sample:
        batches = map(sample.add, batches)
    yield from fan_out(count, batches)


def _count_part(
    read: Callable[[Any], Iterable[str]],
    count: Count,
    sampling: bool,
    part: Any,
) -> tuple[pl.DataFrame | None, Sample]:
    """Return the counts and a sample of a part of the texts, None for no texts; on a worker."""
    sample = Sample()
    counted = []
    for batch in batch_texts(read(part)):
        if sampling:
            sample.add(batch)
        counted.append(count(batch))

    if not counted:
        return None, sample
    table = pl.concat(counted)
    return table.group_by(table.columns[0]).agg(pl.all().sum()), sample
