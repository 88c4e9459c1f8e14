"""Read the clean table for vocabularies and token streams: batches here, or row groups that workers open themselves.

A row group travels as it stands in the file; the worker that gets it decodes it, and returns counts or encoded reviews.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from reviewlm.core.store import Artifact, note_sha256
from reviewlm.corpus.splitting.split import (
    SPLITS,
    TABLE,
    groups_of_split,
    iter_split,
    split_of_group,
)
from reviewlm.corpus.synthetic.canaries import Canaries
from reviewlm.models.dataflow import Dataflow, FilePiece
from reviewlm.models.row_groups import row_groups
from reviewlm.models.streams import (
    EncodedBatch,
    EncoderFacts,
    encode_batch,
    slice_reviews,
    write_encoded,
)
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
    """Yield the row groups that have reviews of a split.

    Args:
        first: Row of the table in which the split's first review is.
    """
    groups = row_groups(folder / TABLE)
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
) -> Iterator[EncodedBatch]:
    """Yield the encoded reviews of a split, in its order.

    Args:
        clean: The prepared data.
        canaries: To be planted among the reviews.
        fan_out: Who encodes.
    """
    whole = split != "train"
    batches = iter_split(clean.folder, split, columns=TOKENIZED)
    if canaries:
        batches = canaries.plant(batches)
    return fan_out(partial(encode_batch, vocabulary, whole), slice_reviews(batches))


def write_on_nodes(
    folder: Path,
    clean: Artifact,
    split: str,
    vocabulary: Vocabulary,
    canaries: Canaries | None,
    engine: Dataflow,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """Have workers encode the reviews of a split, and write them as a stream: the files and facts of `write_encoded`.

    Args:
        folder: Folder of the stream, which exists.
        clean: The prepared data.
        canaries: To be planted among the reviews.
        report: Called with the number of reviews encoded so far.
    """
    before = SPLITS[: SPLITS.index(split)]
    first = sum(int(clean.facts["splits"][name]["reviews"]) for name in before)
    encode = engine.put(partial(_encode_part, vocabulary, split, canaries))
    encoded = []
    for content, start in _parts(clean.folder, engine.put_file, split, first):
        encoded.append(engine.submit(encode, content, start, results=2))

    done = 0
    for reviews in engine.fetch(count for _, count in encoded):
        done += reviews
        report(done)

    write = partial(_write_parts, EncoderFacts.of(vocabulary))
    parts = [part for part, _ in encoded]
    facts: dict[str, Any] = engine.write(folder, write, parts)
    for name, sha256 in facts["sha256"].items():
        note_sha256(folder / name, sha256)
    return facts


def _encode_part(
    vocabulary: Vocabulary,
    split: str,
    canaries: Canaries | None,
    content: np.ndarray,
    start: int,
) -> list[Any]:
    """Return the encoded reviews of a row group, and their number; on a worker.

    Args:
        content: The row group, as a file.
        start: Number of reviews of the split before it.
    """
    batches = split_of_group(content, split, columns=TOKENIZED)
    if canaries:
        batches = canaries.plant(batches, start)

    whole = split != "train"
    encoded = [encode_batch(vocabulary, whole, batch) for batch in slice_reviews(batches)]
    return [encoded, sum(len(batch.lengths) for batch in encoded)]


def _write_parts(
    vocabulary: EncoderFacts,
    folder: Path,
    parts: Iterator[list[EncodedBatch]],
) -> dict[str, Any]:
    """Write encoded row groups as a stream."""
    return write_encoded(folder, vocabulary, chain.from_iterable(parts))
