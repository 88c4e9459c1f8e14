"""Encode reviews with a language model: one artifact with the reviews and a vector of each, in the same order."""

from __future__ import annotations

import logging
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
from models.bundles.bundle import Bundle
from models.neural.encoder import Encoder
from models.streams import COMPATIBLE
from tasks.progress import progress
from tasks.stage import run_stage, store_of

ENCODE_VERSION = 1
VECTORS_FILE, REVIEWS_FILE = "vectors.bin", "reviews.parquet"
COLUMNS = {
    "review_id": pl.String, "text": pl.String, "stars": pl.Float32, "user_id": pl.String, "business_id": pl.String,
}  # fmt: skip
BATCH = 4_000
"""Reviews that are in memory at a time."""
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

    def same_text(self, text: str) -> list[int]:
        """Return the numbers of the reviews with this text, which is in normal form."""
        rows = pl.scan_parquet(self.artifact.folder / REVIEWS_FILE).with_row_index("row")
        found: list[int] = rows.filter(pl.col("text") == text).select("row").collect()["row"].to_list()
        return found

    def rows(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return the chosen reviews, in the order given."""
        wanted = pl.DataFrame({"row": list(numbers)}, {"row": pl.UInt32})
        table = pl.scan_parquet(self.artifact.folder / REVIEWS_FILE).with_row_index("row")
        found = table.join(wanted.lazy(), on="row", how="semi").collect()
        return wanted.join(found, on="row", how="left", maintain_order="left").drop("row").to_dicts()


def encode_prepared(config: RunConfig, bundle: Bundle, clean: Artifact, splits: Sequence[str]) -> EncodedReviews:
    """Encode prepared reviews; reviews that were encoded before are taken from the store.

    Args:
        config: Locates the store.
        bundle: A model with a network.
        clean: Prepared reviews.
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
        reviews = 0
        with (
            progress("encode", *size) as report, (work / VECTORS_FILE).open("wb") as file,
            parquet.ParquetWriter(work / REVIEWS_FILE, schema) as table,
        ):  # fmt: skip
            for frame, done in batches():
                rows = frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
                clean = [encoder.vocabulary.normal_form.apply(text) for text in rows["text"]]
                file.write(encoder.encode(clean).data)
                table.write_table(rows.with_columns(text=pl.Series(clean)).to_arrow(compat_level=COMPATIBLE))
                reviews += rows.height
                report(done, {"reviews": reviews} if size[1] == "bytes" else None)
        if not reviews:
            raise EmptyInput("There are no reviews to encode", remedy="name others: --input FILES, or --split train")
        return {"reviews": reviews, "features": encoder.features}

    made_of = {"bundle": bundle.digest, **inputs}
    built = run_stage(config, "encode", ENCODE_VERSION, options, made_of, make, bundle.spec.name)
    return EncodedReviews(built.artifact)
