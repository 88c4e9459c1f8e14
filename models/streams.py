"""Write and open token streams: reviews as memory-mapped ids on disk.

A stream folder holds `ids.bin` (uint16 or uint32, all reviews one after another), `offsets.npy` (where each review
begins), `documents.parquet` (one row per review), `authors.npy` if the reviews say who wrote them, and `stream.json`
(counts, types and checksums), which is written last.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from .atomic_files import load_array
from .base import ModelError, sha256_of, translate_read_errors
from .row_groups import join_files
from .threads import FanOut
from .tokens.special import CONTEXT_IDS, EncodedDocuments

log = logging.getLogger(__name__)

FORMAT = 1
HEADER = "stream.json"
IDS = "ids.bin"
OFFSETS = "offsets.npy"
DOCUMENTS = "documents.parquet"
AUTHORS = "authors.npy"
ROWS = pl.Schema(
    {
        "review_id": pl.String(),
        "stars": pl.Int8(),
        "bytes": pl.Int64(),
        "words": pl.Int32(),
        "tokens": pl.Int32(),
        "oov": pl.Int32(),
        "spelling_nats": pl.Float64(),
        "surface_nats": pl.Float64(),
    }
)
"""Columns of documents.parquet."""
TOTALS = ("bytes", "words", "oov")
"""Columns of documents.parquet whose sums are in the header."""
TRAINING_TEXT = "training_text"
"""Fact of a bundle: `oov_share` and `fertility` (tokens per word) of the stream that it was fitted on."""
BATCH_BYTES = 4 << 20
"""Bytes of text to encode at a time."""
CHUNK = 1 << 22
"""Tokens to count at a time."""


class TokenStream:
    """An opened token stream. Data is read only when it is used.

    Attributes:
        ids: All tokens (memory map, uint16 or uint32).
        offsets: Where each review begins, and the end (D+1, int64, memory map).
        tokens: Number of scored tokens: all tokens except `<bos>` and the star tokens.
        vocabulary_digest: Digest of the vocabulary that encoded the reviews.
        boundary_policy: Description of the tokens at the beginning and the end of a review.
    """

    def __init__(
        self,
        folder: Path,
        header: dict[str, Any],
        ids: np.ndarray,
        offsets: np.ndarray,
    ) -> None:
        self.folder = folder
        self.facts = header
        self.ids = ids
        self.offsets = offsets
        self.tokens: int = header["tokens"]
        self.vocabulary_digest: str = header["vocabulary_digest"]
        self.vocabulary_size: int = header["vocabulary_size"]
        self.boundary_policy: str = header["boundary_policy"]

    @classmethod
    def open(cls, folder: Path | str, verify: bool = False) -> TokenStream:
        """Open a stream that `write_stream` wrote.

        Args:
            verify: Compare every file with its SHA-256 first.

        Raises:
            ModelError: kind "input": the stream is not complete, or (with *verify*) a byte has changed.
        """
        folder = Path(folder)
        with translate_read_errors(f"the token stream {folder}", "input"):
            header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']}; this version reads {FORMAT}")
            if verify:
                _verify(folder, header["sha256"])
            size = (folder / IDS).stat().st_size // np.dtype(header["dtype"]).itemsize
            if size != header["ids"]:
                raise ValueError(f"{IDS} holds {size} tokens instead of {header['ids']}")
            # An empty file cannot be memory-mapped.
            ids = np.zeros(0, header["dtype"])
            if size:
                ids = np.memmap(folder / IDS, header["dtype"], "r")

            offsets = load_array(folder / OFFSETS, "r")
            return cls(folder, header, ids, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> np.ndarray:
        """Return the ids of one review with its special tokens. The cost does not depend on the stream's length."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield all ids in order, `CHUNK` at a time; those of a mapped file are read into memory of their own.

        To walk over `ids` instead would make the whole mapped file resident.
        """
        if not isinstance(self.ids, np.memmap):
            yield from (self.ids[start : start + CHUNK] for start in range(0, len(self.ids), CHUNK))
            return
        with (self.folder / IDS).open("rb") as file:
            for start in range(0, len(self.ids), CHUNK):
                yield np.fromfile(file, self.ids.dtype, min(CHUNK, len(self.ids) - start))

    @cached_property
    def documents(self) -> pl.DataFrame:
        """One row per review: `review_id, stars, bytes, words, tokens, oov, spelling_nats, surface_nats`."""
        return pl.read_parquet(self.folder / DOCUMENTS)

    @cached_property
    def authors(self) -> np.ndarray | None:
        """Number of the person who wrote each review (D, int32), None if no review says it.

        Reviews of one person have the same number; a review of an unknown person has a number of its own.
        """
        if AUTHORS in self.facts["sha256"]:
            return load_array(self.folder / AUTHORS, "r")
        return None

    def require(self, vocabulary: TokenEncoder) -> None:
        """Raise unless *vocabulary* is the one that encoded this stream, with the same boundary policy.

        Raises:
            ModelError: kind "input"; the message names both digests or both policies.
        """
        pairs = {
            "boundary policy": (self.boundary_policy, vocabulary.boundary_policy),
            "vocabulary": (self.vocabulary_digest, vocabulary.digest),
        }
        for name, (ours, theirs) in pairs.items():
            if ours != theirs:
                raise ModelError(
                    f"the token stream {self.folder} has the {name} {ours!r}, not {theirs!r}",
                    "input",
                )


def write_stream(
    folder: Path | str,
    vocabulary: TokenEncoder,
    batches: Iterable[pl.DataFrame],
    whole: bool = True,
    fan_out: FanOut = map,
) -> dict[str, Any]:
    """Encode reviews and write them as a stream. Memory: one batch for each worker, and 8 bytes per review.

    Args:
        folder: Folder of the stream; created if missing.
        batches: Frames with `review_id, text, stars` (0 or null: unknown) and `bytes`; `words` is counted if absent,
            `user_id` says who wrote each review.
        whole: See `Vocabulary.encode_documents`; not needed for a stream that is only used for training.
        fan_out: Who encodes the batches.

    Returns:
        The header: counts, type, checksums, vocabulary digest, boundary policy.
    """
    encode = partial(encode_batch, vocabulary, whole)
    return write_encoded(folder, vocabulary, fan_out(encode, slice_reviews(batches)))


class EncoderFacts(NamedTuple):
    """Facts about a vocabulary that stand in the header of a stream; its entries are much larger."""

    size: int
    digest: str
    lossless: bool
    boundary_policy: str

    @classmethod
    def of(cls, vocabulary: TokenEncoder) -> EncoderFacts:
        """Return the facts about a vocabulary."""
        return cls(
            vocabulary.size,
            vocabulary.digest,
            vocabulary.lossless,
            vocabulary.boundary_policy,
        )


def write_encoded(
    folder: Path | str,
    vocabulary: TokenEncoder | EncoderFacts,
    batches: Iterable[EncodedBatch],
) -> dict[str, Any]:
    """Write encoded reviews as a stream; see `write_stream`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HEADER).unlink(missing_ok=True)
    lengths = [np.zeros(0, np.int32)]
    authors = [pl.Series(dtype=pl.UInt64)]
    totals = dict.fromkeys(TOTALS, 0)
    hasher = hashlib.sha256()
    with (folder / IDS).open("wb") as file, (folder / DOCUMENTS).open("wb") as table:

        def documents() -> Iterator[np.ndarray]:
            yield _table_bytes()
            for batch in batches:
                file.write(batch.ids.data)
                hasher.update(batch.ids.data)
                lengths.append(batch.lengths)
                authors.append(batch.authors)
                for name in TOTALS:
                    totals[name] += batch.totals[name]
                yield batch.documents

        join_files(table, documents())

    offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    np.save(folder / OFFSETS, offsets)
    files = [OFFSETS, DOCUMENTS]
    (folder / AUTHORS).unlink(missing_ok=True)
    numbers_D = _author_numbers(pl.concat(authors))
    if numbers_D is not None:
        np.save(folder / AUTHORS, numbers_D)
        files.append(AUTHORS)

    end = int(offsets[-1])
    count = len(offsets) - 1
    hashes = {IDS: hasher.hexdigest()}
    for name in files:
        hashes[name] = sha256_of(folder / name)

    header = {
        "format": FORMAT,
        "dtype": _id_type(vocabulary),
        "ids": end,
        "documents": count,
        "tokens": end - 2 * count,
        **totals,
        **_shares(end - 3 * count, totals),
        "vocabulary_digest": vocabulary.digest,
        "vocabulary_size": vocabulary.size,
        "lossless": vocabulary.lossless,
        "boundary_policy": vocabulary.boundary_policy,
        "sha256": hashes,
    }
    (folder / HEADER).write_text(
        json.dumps(header, sort_keys=True, indent=1) + "\n", encoding="utf-8"
    )
    log.debug("wrote %d tokens of %d reviews to %s", header["tokens"], count, folder)
    return header


def slice_reviews(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the reviews in slices of at most about `BATCH_BYTES` of text."""
    for batch in batches:
        slices = -(-int(batch["text"].str.len_bytes().sum() or 1) // BATCH_BYTES)
        yield from batch.iter_slices(max(1, -(-batch.height // slices)))


class EncodedBatch(NamedTuple):
    """Some encoded reviews (D,), as they are written.

    Attributes:
        ids: Their ids, one after another.
        lengths: Number of ids of each.
        authors: Hash of the author of each; null: unknown.
        totals: Sums of the columns `TOTALS`.
        documents: Their rows of documents.parquet, as the bytes of a file.
    """

    ids: np.ndarray
    lengths: np.ndarray
    authors: pl.Series
    totals: dict[str, int]
    documents: np.ndarray


def encode_batch(
    vocabulary: TokenEncoder,
    whole: bool,
    batch: pl.DataFrame,
) -> EncodedBatch:
    """Encode a batch of reviews; see `write_stream`."""
    encoded = vocabulary.encode_documents(
        batch["text"], batch["stars"].fill_null(0).to_numpy(), whole
    )
    if "user_id" in batch.columns:
        known = pl.col("user_id").is_not_null()
        authors = batch.select(pl.when(known).then(pl.col("user_id").hash()))["user_id"]
    else:
        authors = pl.Series([None] * batch.height, dtype=pl.UInt64)

    rows = _rows(batch, encoded)
    return EncodedBatch(
        encoded.ids.astype(_id_type(vocabulary)),
        rows["tokens"].to_numpy() + 2,
        authors,
        {name: int(rows[name].sum()) for name in TOTALS},
        _table_bytes(rows),
    )


def _id_type(vocabulary: TokenEncoder | EncoderFacts) -> str:
    return "uint16" if vocabulary.size <= 1 << 16 else "uint32"


@cache
def _arrow_schema() -> Any:
    return pl.DataFrame(schema=ROWS).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _table_bytes(*frames: pl.DataFrame) -> np.ndarray:
    """Return the bytes of a documents.parquet with these rows, each frame a row group."""
    from pyarrow import parquet

    content = io.BytesIO()
    with parquet.ParquetWriter(content, _arrow_schema()) as table:
        for rows in frames:
            table.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return np.frombuffer(content.getbuffer(), np.uint8)


def _author_numbers(hashes: pl.Series) -> np.ndarray | None:
    """Return a number for each author, in the order of their first reviews (D, int32); None if no author is known.

    The numbers do not depend on the values of the hashes, which differ between versions of polars.
    """
    if hashes.null_count() == len(hashes):
        return None

    table = pl.DataFrame({"author": hashes}).with_row_index("row")
    row = pl.col("row")
    unknown = pl.col("author").is_null()
    first = table.select(pl.when(unknown).then(row).otherwise(row.min().over("author")))
    first_D = first.to_series().to_numpy()
    new_D = first_D == np.arange(len(first_D))
    return (np.cumsum(new_D, dtype=np.int32) - np.int32(1))[first_D]


def _rows(batch: pl.DataFrame, encoded: EncodedDocuments) -> pl.DataFrame:
    if "words" in batch.columns:
        words = pl.col("words")
    else:
        words = pl.col("text").str.count_matches(r"\S+")

    return batch.select(
        "review_id",
        pl.col("stars").fill_null(0),
        "bytes",
        words=words,
        tokens=pl.Series(np.diff(encoded.offsets) - 2),
        oov=pl.Series(encoded.oov),
        spelling_nats=pl.Series(encoded.spelling_nats),
        surface_nats=pl.Series(encoded.surface_nats),
    ).cast(ROWS)


def _shares(text_tokens: int, totals: Mapping[str, int]) -> dict[str, float]:
    """Return tokens per word, the share of unknown tokens and the share of known tokens, without `<eos>`."""
    unknown = totals["oov"] / max(text_tokens, 1)
    fertility = text_tokens / max(totals["words"], 1)
    return {
        "fertility": round(fertility, 6),
        "oov_share": round(unknown, 6),
        "coverage": round(1 - unknown, 6),
    }


def _verify(folder: Path, expected: dict[str, str]) -> None:
    for name, digest in expected.items():
        actual = sha256_of(folder / name)
        if actual != digest:
            raise ValueError(
                f"{name} has changed since it was written (SHA-256 {actual} instead of {digest})"
            )


def side_by_side(lengths_D: np.ndarray, positions: int) -> Iterator[np.ndarray]:
    """Yield indices of texts, longest first, in batches whose padded size is within a bound.

    Args:
        lengths_D: Tokens of each text.
        positions: Bound of (number of texts × length of the longest); a longer text is a batch alone.
    """
    order_D = np.argsort(-lengths_D, kind="stable")
    first = 0
    while first < len(order_D):
        count = max(1, positions // max(1, int(lengths_D[order_D[first]])))
        yield order_D[first : first + count]
        first += count


def unigram_counts(stream: TokenStream, size: int) -> np.ndarray:
    """Return how often each vocabulary entry is a scored token (V, int64); given tokens have count 0."""
    counts = np.zeros(size, np.int64)
    for piece in stream.pieces():
        counts += np.bincount(piece, minlength=size)
    counts[sorted(CONTEXT_IDS)] = 0
    return counts


def stars_prior(stream: TokenStream) -> list[float]:
    """Return the share of each rating 0 (unknown) to 5 among the reviews."""
    stars = pl.read_parquet(stream.folder / DOCUMENTS, columns=["stars"])["stars"]
    counts = np.bincount(stars.to_numpy(), minlength=6).astype(float)
    return [float(share) for share in counts / max(counts.sum(), 1.0)]


class TokenEncoder(Protocol):
    """The part of a `Vocabulary` that a stream needs, so that readers of streams import no vocabulary."""

    size: int
    lossless: bool
    boundary_policy: str

    @property
    def digest(self) -> str:
        """Identify the table and its rules."""

    def encode_documents(
        self,
        texts: pl.Series,
        stars: np.ndarray,
        whole: bool = True,
    ) -> EncodedDocuments:
        """Encode reviews."""
