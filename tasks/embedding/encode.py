"""Encode reviews with a language model: one artifact with the reviews and a vector of each, in the same order.

A killed encoding continues after its last finished batch: the reviews are read again, which is quick, and only those
without a vector are encoded. How many have one is written after their vectors are on the disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.run_config import RunConfig
from core.errors import EmptyInput
from core.store import Artifact
from corpus.ingestion.ingest import limits_of
from corpus.reading.readers import Progress, read
from corpus.reading.sources import identify, originals, source_names
from corpus.splitting.split import SPLITS, iter_split
from models.atomic_files import new_file
from models.bundles.bundle import Bundle
from models.neural.encoder import Encoder
from models.streams import COMPATIBLE
from tasks.progress import progress
from tasks.stage import run_stage, store_of

VECTORS_FILE, REVIEWS_FILE = "vectors.bin", "reviews.parquet"
COLUMNS = {
    "review_id": pl.String, "text": pl.String, "stars": pl.Float32, "user_id": pl.String, "business_id": pl.String,
}  # fmt: skip
BATCH = 4_000
"""Reviews that are in memory at a time, and that a killed encoding loses at most."""
DONE_FILE = "encoded.txt"
"""Number of reviews that have a vector, until all have one."""
SAME = 0.999
"""Cosine from which the vectors may be those of one text; rounding takes less than 0.000001."""
Batches = Iterator[tuple[pl.DataFrame, int]]
"""Reviews with at least `COLUMNS`, and how much of the whole has been read with them."""
log = logging.getLogger(__name__)


class EncodedReviews:
    """Reviews with a vector of each; both are read only when they are used.

    Args:
        artifact: The stage's result.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    def __len__(self) -> int:
        return int(self.artifact.facts["reviews"])

    @cached_property
    def vectors_NF(self) -> np.ndarray:
        """A vector for each review (float32, memory map)."""
        return np.memmap(self.artifact.folder / VECTORS_FILE, np.float32, "r").reshape(len(self), -1)

    def column(self, name: str) -> pl.Series:
        """Return one of `COLUMNS`; texts are in normal form."""
        return pl.read_parquet(self.artifact.folder / REVIEWS_FILE, columns=[name])[name]

    def same_text(self, text: str, cosines_N: np.ndarray) -> np.ndarray:
        """Return the numbers of the reviews with this text.

        Args:
            text: In normal form.
            cosines_N: Cosines of all reviews to the vector of the text; only where they are near 1 is the text read.
        """
        near_M = np.flatnonzero(cosines_N >= SAME)
        return near_M[(self.rows(near_M)["text"] == text).to_numpy()]

    def rows(self, numbers: Sequence[int] | np.ndarray) -> pl.DataFrame:
        """Return the chosen reviews, in the order given; only the row groups that hold them are read."""
        from pyarrow import parquet

        wanted_M, found = np.asarray(numbers, np.int64), [pl.DataFrame(schema=COLUMNS)]
        with parquet.ParquetFile(self.artifact.folder / REVIEWS_FILE, pre_buffer=False) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            ends = np.cumsum(sizes)
            group_M = np.searchsorted(ends, wanted_M, side="right")
            for group in np.unique(group_M).tolist():
                rows = wanted_M[group_M == group] - (ends[group] - sizes[group])
                found.append(pl.DataFrame(pl.from_arrow(file.read_row_group(group)))[rows])
        return pl.concat(found)[np.argsort(np.argsort(group_M, kind="stable"))]


def encode_prepared(config: RunConfig, bundle: Bundle, clean: Artifact, splits: Sequence[str]) -> EncodedReviews:
    """Encode prepared reviews; reviews that were encoded before are taken from the store.

    Args:
        bundle: A model with a network.
        splits: Splits to encode, of `SPLITS`.

    Raises:
        InputError: The model has no network.
        EmptyInput: There are no such reviews.
    """
    splits = [split for split in SPLITS if split in splits]
    total = sum(int(clean.facts["splits"].get(split, {}).get("reviews", 0)) for split in splits)

    def batches() -> Batches:
        done = 0
        for split in splits:
            for frame in iter_split(clean.folder, split, BATCH):
                yield frame, (done := done + frame.height)

    options = {"splits": splits}
    return _encoded(config, bundle, batches, (total, "reviews"), options, {"clean": clean.digest})


def encode_files(config: RunConfig, bundle: Bundle, files: Sequence[str]) -> EncodedReviews:
    """Encode the reviews of files; arguments and errors as in `encode_prepared`.

    Args:
        files: Files, folders or globs of reviews; records that cannot be used are left out, with a warning.

    Raises:
        Unreadable, MissingColumn: A file cannot be read.
    """
    memory = store_of(config).root / ".files"
    sources = list(originals([identify(path, name, memory) for path, name in source_names(files).items()]).values())
    limits = replace(limits_of(config.source), workers=1)

    def batches() -> Batches:
        before, bad = 0, 0
        for source in sources:
            read_so_far = Progress()
            for block in read(source.path, source.name, limits, read_so_far):
                bad += block.bad.height
                for frame in block.good.iter_slices(BATCH):
                    yield frame, before + read_so_far.bytes_done
            source.require_unchanged()
            before += source.bytes
        if bad:
            what = "1 record cannot be used and is" if bad == 1 else f"{bad:,} records cannot be used and are"
            log.warning("%s left out; `reviewlm ingest` names the reasons", what)

    size = sum(source.bytes for source in sources)
    inputs = {f"file {number}": source.sha256 for number, source in enumerate(sources)}
    options = {"source": config.source.model_dump(mode="json", include={"fields", "max_chars", "max_record_bytes"})}
    return _encoded(config, bundle, batches, (size, "bytes"), options, inputs)


def _encoded(
    config: RunConfig, bundle: Bundle, batches: Callable[[], Batches], size: tuple[int, str],
    options: Mapping[str, Any], inputs: Mapping[str, str],
) -> EncodedReviews:  # fmt: skip
    from pyarrow import parquet

    encoder, schema = Encoder(bundle), pl.DataFrame(schema=COLUMNS).to_arrow(compat_level=COMPATIBLE).schema

    def make(work: Path) -> dict[str, Any]:
        reviews, before = 0, _encoded_before(work)
        (work / VECTORS_FILE).touch()
        with (
            progress("encode", *size) as report, (work / VECTORS_FILE).open("r+b") as file,
            parquet.ParquetWriter(work / REVIEWS_FILE, schema) as table,
        ):  # fmt: skip
            for frame, done in batches():
                rows = frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
                clean = [encoder.vocabulary.normal_form.apply(text) for text in rows["text"]]
                table.write_table(rows.with_columns(text=pl.Series(clean)).to_arrow(compat_level=COMPATIBLE))
                begin, reviews = reviews, reviews + rows.height
                if reviews > before:
                    file.seek(begin * encoder.features * np.dtype(np.float32).itemsize)
                    file.write(encoder.encode(clean).data)
                    file.flush()
                    os.fsync(file.fileno())
                    with new_file(work / DONE_FILE) as count:
                        count.write(str(reviews).encode())
                report(done, {"reviews": reviews} if size[1] == "bytes" else None)
        if not reviews:
            raise EmptyInput("There are no reviews to encode", remedy="name others: --input FILES, or --split train")
        (work / DONE_FILE).unlink()
        return {"reviews": reviews, "features": encoder.features}

    made_of = {"bundle": bundle.digest, **inputs}
    built = run_stage(config, "encode", options, made_of, make, bundle.spec.name, resumable=True)
    return EncodedReviews(built.artifact)


def _encoded_before(work: Path) -> int:
    """Return how many reviews have the vector that a killed attempt gave them."""
    if not (work / DONE_FILE).exists():
        return 0
    before = int((work / DONE_FILE).read_text(encoding="ascii"))
    log.info("%s reviews are encoded already; encoding continues after them", f"{before:,}")
    return before
