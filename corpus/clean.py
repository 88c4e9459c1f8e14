"""Typed parts → one cleaned table with its split: the normal form, and the duplicate filter.

Rows are ordered by their place in the split (see `corpus.split`), that is like a shuffle, but the same for any order
of the input. The splits therefore lie one after another in the file, and the table can be sorted in slices.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from corpus.ingest import iter_parts
from corpus.normalise import normalise
from corpus.parts import parquet_bytes, part_name, write_whole
from corpus.split import SPLITS, duplicates, places, sides
from models.text import NormalForm
from reviewlm.config import CleanConfig, SplitConfig
from reviewlm.errors import EmptyInput, disk_errors

CLEAN: dict[str, pl.DataType] = {
    "review_id": pl.String(),
    "text": pl.String(),
    "stars": pl.Int8(),
    "bytes": pl.Int32(),
    "words": pl.Int32(),
    "date": pl.Datetime("us"),
    "split": pl.String(),
    "business_id": pl.String(),
    "user_id": pl.String(),
}
"""Columns of clean.parquet. `stars` is 0 where the rating is unknown or not a whole number from 1 to 5; `bytes` is the
UTF-8 length of the cleaned text + 1 for its end; `words` counts what spaces and line breaks separate."""

SLICE_BYTES = 256 << 20
"""About how much text is sorted at a time."""

ROW_GROUP = 50_000
"""Rows that are read at once; a split passes over the groups of the others."""

def prepare(dataset_folder: Path, folder: Path, clean: CleanConfig, split: SplitConfig) -> dict[str, Any]:
    """Clean an ingested dataset, split it and drop duplicates; writes `folder/clean.parquet` with the columns `CLEAN`.

    Returns:
        Facts: rows, `splits` {name: {reviews, bytes, words}}, `empty` (texts with nothing left), `duplicates`
        {split: {of_test, of_validation, of_train}}, test_digest (SHA-256 of the test's ids and texts), normal_form.

    Raises:
        EmptyInput: A split would be empty; says why and what to do.
        StoreFull, NotWritable: The disk.
    """
    form = NormalForm(**clean.model_dump())
    work = folder / "slices"
    with disk_errors(folder):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        size = sum(path.stat().st_size for path in (dataset_folder / "parts").glob("part-*.parquet"))
        slices = max(1, -(-3 * size // SLICE_BYTES))  # text packs to about a third
        keys, empty = _clean_parts(dataset_folder, work, slices, form, split)
        keys = duplicates(keys)
        dropped = _dropped(keys)
        _require_all_splits(keys, empty, dropped, dataset_folder)
        leaving = keys.filter(pl.col("left").is_not_null()).select("review_id")
        facts = _write(folder, work, slices, leaving)
        shutil.rmtree(work)
    return {**facts, "empty": empty, "duplicates": dropped, "normal_form": form.to_dict()}


def _clean_parts(
    dataset_folder: Path, work: Path, slices: int, form: NormalForm, split: SplitConfig
) -> tuple[pl.DataFrame, int]:
    """Clean part by part into slices by place; return a row of keys per review, and how many texts were empty."""
    keys, empty = [], 0
    for number, part in enumerate(iter_parts(dataset_folder)):
        cleaned = _clean(part, form, split)
        empty += part.height - cleaned.height
        keys.append(cleaned.select("place", "review_id", "split", text_key=_text_keys(cleaned["text"])))
        index = (pl.col("place") // 2**32 * slices // 2**32).alias("slice")
        for (which,), rows in cleaned.group_by(index, maintain_order=True):
            write_whole(work / f"{which:05d}-{part_name(number)}.parquet", parquet_bytes(rows))
    schema = {"place": pl.UInt64, "review_id": pl.String, "split": pl.String, "text_key": pl.Binary}
    return pl.concat(keys) if keys else pl.DataFrame(schema=schema), empty


def _clean(part: pl.DataFrame, form: NormalForm, split: SplitConfig) -> pl.DataFrame:
    place = places(part["review_id"], split.salt)
    rating = pl.col("stars")
    whole = rating.is_between(1, 5) & (rating == rating.floor())
    frame = part.with_columns(normalise(part["text"], form).alias("text"), place, sides(place, split)).with_columns(
        stars=pl.when(whole).then(rating).otherwise(0).cast(pl.Int8),
        bytes=(pl.col("text").str.len_bytes() + 1).cast(pl.Int32),
        words=pl.col("text").str.count_matches(r"[^ \n]+").cast(pl.Int32),
    )
    return frame.filter(pl.col("text") != "").select(*CLEAN, "place")


def _text_keys(texts: pl.Series) -> pl.Series:
    return pl.Series([hashlib.sha256(text.encode()).digest()[:16] for text in texts.to_list()], dtype=pl.Binary)


def _dropped(keys: pl.DataFrame) -> dict[str, dict[str, int]]:
    counts = Counter(keys.filter(pl.col("left").is_not_null()).select("split", "left").iter_rows())
    kinds = {"validation": ("of_test",), "train": ("of_test", "of_validation", "of_train")}
    return {side: {kind: counts[side, kind] for kind in names} for side, names in kinds.items()}


def _require_all_splits(keys: pl.DataFrame, empty: int, dropped: dict[str, dict[str, int]], folder: Path) -> None:
    kept = Counter(keys.filter(pl.col("left").is_null())["split"].to_list())
    for name in SPLITS:
        if not kept[name]:
            gone = sum(dropped.get(name, {}).values())
            causes = [f"there are {keys.height} reviews in all"]
            causes += [f"{gone} left this split because the same text stands elsewhere"] if gone else []
            causes += [f"{empty} had no text left after cleaning"] if empty else []
            raise EmptyInput(
                f"The split '{name}' has no reviews", where=folder, cause="; ".join(causes),
                value=", ".join(f"{side} {kept[side]}" for side in SPLITS),
                remedy="give more (different) reviews, or larger shares: split.validation, split.test",
            )


def _write(folder: Path, work: Path, slices: int, leaving: pl.DataFrame) -> dict[str, Any]:
    """Sort slice by slice into the final file and count."""
    from pyarrow import parquet

    schema = pl.DataFrame(schema=CLEAN).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    totals = {name: Counter[str]() for name in ("train", "validation", "test")}
    digest = hashlib.sha256()
    temporary = folder / "clean.parquet.tmp"
    with temporary.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for frame in _slices(work, slices, leaving):
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
            writer.write_table(table, row_group_size=ROW_GROUP)
            for name, total in totals.items():
                side = frame.filter(pl.col("split") == name)
                total.update(reviews=side.height, bytes=int(side["bytes"].sum()), words=int(side["words"].sum()))
            for review_id, text in frame.filter(pl.col("split") == "test").select("review_id", "text").iter_rows():
                digest.update(f"{len(review_id)},{len(text)},{review_id}{text}".encode())
    temporary.replace(folder / "clean.parquet")
    splits = {name: dict(total) for name, total in totals.items()}
    return {"rows": sum(s["reviews"] for s in splits.values()), "splits": splits, "test_digest": digest.hexdigest()}


def _slices(work: Path, slices: int, leaving: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for index in range(slices):
        files = sorted(work.glob(f"{index:05d}-*.parquet"))
        if files:
            frame = pl.concat([pl.read_parquet(path) for path in files])
            kept = frame.join(leaving, on="review_id", how="anti")
            yield kept.sort("place", "review_id").drop("place")
