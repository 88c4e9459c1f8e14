"""Read the clean table for vocabularies and token streams: batches here, or row groups that workers open themselves.

A row group travels as it stands in the file; the worker that gets it decodes it, and returns counts or encoded reviews.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from reviewlm.core.store import Artifact
from reviewlm.corpus.splitting.split import (
    SPLITS,
    TABLE,
    groups_of_split,
    iter_split,
    split_of_group,
)
from reviewlm.corpus.synthetic.canaries import Canaries
from reviewlm.models.dataflow import FilePiece
from reviewlm.models.row_groups import RowGroups
from reviewlm.models.streams import EncodedBatch, encode_batch, slice_reviews
from reviewlm.models.threads import FanOut
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.execution.partitions import opened
from reviewlm.training.vocabularies.text_parts import TextParts

TOKENIZED = ("review_id", "text", "stars", "bytes", "words", "user_id")
"""Columns of the clean table that a token stream is made from."""


class GroupPart(NamedTuple):
    """A row group of the clean table, as a file, and how many reviews of the split are before it."""

    content: Any
    start: int


KeepFile = Callable[[FilePiece], Any]
"""Returns what a worker opens to get the bytes of a file (`partitions.opened`)."""


def _parts(
    folder: Path,
    keep_file: KeepFile,
    split: str,
    first: int,
) -> Iterator[GroupPart]:
    """Yield the row groups with reviews of a split, whose first one is in the row *first* of the table."""
    groups = RowGroups(folder / TABLE)
    for number, row in groups_of_split(folder, split):
        yield GroupPart(keep_file(groups.piece(number)), max(0, row - first))


def training_texts(folder: Path, keep_file: KeepFile | None) -> Iterable[str]:
    """Return the texts of the training reviews in a folder of prepared data, as `TextParts` if workers read them."""
    if keep_file:
        return TextParts(
            partial(
                _parts,
                folder,
                keep_file,
                "train",
                0,
            ),
            _texts_of,
        )
    return _texts(iter_split(folder, "train", columns=["text"]))


def _texts_of(part: GroupPart) -> Iterator[str]:
    return _texts(split_of_group(opened(part.content), "train", columns=["text"]))


def _texts(batches: Iterable[pl.DataFrame]) -> Iterator[str]:
    for batch in batches:
        yield from batch["text"].to_list()


def encoded_reviews(
    clean: Artifact,
    split: str,
    vocabulary: Vocabulary,
    canaries: Canaries | None,
    fan_out: FanOut,
    keep_file: KeepFile | None,
) -> Iterator[EncodedBatch]:
    """Yield the encoded reviews of a split, in its order.

    Args:
        clean: The prepared data.
        canaries: To be planted among the reviews.
        fan_out: Who encodes.
        keep_file: How workers get the table, if they read the reviews too.
    """
    whole = split != "train"
    if keep_file:
        before = SPLITS[: SPLITS.index(split)]
        first = sum(int(clean.facts["splits"][name]["reviews"]) for name in before)
        encode = partial(_encode_part, vocabulary, split, canaries)
        return chain.from_iterable(fan_out(encode, _parts(clean.folder, keep_file, split, first)))

    batches = iter_split(clean.folder, split, columns=TOKENIZED)
    if canaries:
        batches = canaries.plant(batches)
    return fan_out(partial(encode_batch, vocabulary, whole), slice_reviews(batches))


def _encode_part(
    vocabulary: Vocabulary,
    split: str,
    canaries: Canaries | None,
    part: GroupPart,
) -> list[EncodedBatch]:
    """Return the encoded reviews of a row group; on a worker."""
    batches = split_of_group(opened(part.content), split, columns=TOKENIZED)
    if canaries:
        batches = canaries.plant(batches, part.start)
    whole = split != "train"
    return [encode_batch(vocabulary, whole, batch) for batch in slice_reviews(batches)]
