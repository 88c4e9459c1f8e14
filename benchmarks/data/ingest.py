"""Measure how fast JSON lines become typed Parquet, compared with DuckDB, polars and pyarrow.

    python -m benchmarks.data.ingest [--quick] [--json] [--write] [--gigabytes 1.0] [--data FOLDER] [--file FILE]

Ours is the stage *read* as the pipeline runs it (`corpus.ingestion.ingest.read_source`): read, parse, check and type
every record, put bad records with line, reason and bytes into a quarantine, write typed Parquet parts, sum up their
content.
*ingest* adds work that no peer does: the SHA-256 of the file, and repeated review_ids. All contenders get two threads,
zstd of level 1, a warm page cache and imported modules, and write the same columns.

Every peer is used in its best way. DuckDB gets the columns and their types, so it need not guess them. polars and
pyarrow stop at the first malformed line, so they get a copy of the file without the bad lines; ours and DuckDB read the
file as it is.

Ways of parsing, compared on blocks of 8 MB in one process (medians of CPU milliseconds, the machine under load):

- orjson line by line, the current way: 16 for the values, 64 with typed columns; plain lines cut with numpy, the former
  way, with 500 lines of code more: 28 clean, 31 with 0.1 % of bad lines, 33 on real text (46 beside those 64);
- polars `read_ndjson` checked by counting, the way before: 51, 248 and 47; without any check, and on clean lines only,
  polars `read_ndjson` 16 and pyarrow `read_json` 23.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from pyarrow import json, parquet

from benchmarks.harness import (
    Ratio,
    Report,
    Run,
    arguments,
    available,
    finish,
    interleave,
    ratio,
    say,
    summary,
)
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.reading.sources import identify
from reviewlm.corpus.synthetic.synth import write_reviews
from tests.corpus.data_sets import ingest

with suppress(ModuleNotFoundError):
    import duckdb

THREADS = 2
GOALS = {
    "duckdb": 1.0,
    "polars": 1.5,
    "pyarrow": None,
}
QUICK_GIGABYTES = 0.15
BYTES_A_REVIEW = 591
MALFORMED = 0.001
DUPLICATES = 0.005
SEED = 1
TYPES = {
    "review_id": "VARCHAR",
    "user_id": "VARCHAR",
    "business_id": "VARCHAR",
    "stars": "FLOAT",
    "text": "VARCHAR",
    "date": "TIMESTAMP",
}
NOTES = (__doc__ or "").split("\n\n")[2:]


def read_stage(source: Any, folder: Path) -> dict[str, Any]:
    """Run our stage *read* on one file that has been identified."""
    shutil.rmtree(folder, ignore_errors=True)
    facts = read_source(source, folder, SourceConfig()).facts
    return {name: facts[name] for name in ("rows", "quarantined")}


def ingest_stage(path: Path, folder: Path) -> dict[str, Any]:
    """Run our stages *read* and *ingest*: also identity of the file, repeated ids, facts."""
    shutil.rmtree(folder, ignore_errors=True)
    facts = ingest([path], folder, SourceConfig())
    return {name: facts[name] for name in ("rows", "quarantined", "duplicates")}


def duckdb_copy(path: Path, out: Path) -> None:
    """Run DuckDB: `read_json` with `ignore_errors`, copied to Parquet."""
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in TYPES.items())
    reading = f"read_json('{path}', format='newline_delimited', ignore_errors=true, columns={{{columns}}})"
    with duckdb.connect() as connection:
        connection.execute(f"SET threads={THREADS}")
        connection.execute(
            f"COPY (SELECT * FROM {reading}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        )


def polars_sink(path: Path, out: Path) -> None:
    """Run polars: `scan_ndjson` with `ignore_errors`, the date typed, streamed to Parquet."""
    frame = pl.scan_ndjson(path, ignore_errors=True)
    typed = frame.with_columns(pl.col("date").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False))
    typed.sink_parquet(out, compression="zstd", compression_level=1)


def pyarrow_write(path: Path, out: Path) -> None:
    """Run pyarrow: the table in memory, then Parquet."""
    parquet.write_table(json.read_json(path), out, compression="zstd", compression_level=1)


PEERS = {
    "duckdb": duckdb_copy,
    "polars": polars_sink,
    "pyarrow": pyarrow_write,
}


@contextmanager
def folder_for(args: argparse.Namespace) -> Iterator[Path]:
    """Yield the folder of the data: a named folder, which is kept for the next run, or a temporary one."""
    if args.data is None:
        with tempfile.TemporaryDirectory(prefix="reviewlm-") as name:
            yield Path(name)
    else:
        args.data.mkdir(parents=True, exist_ok=True)
        yield args.data


def prepare(args: argparse.Namespace, folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """Return the file, its copy without bad lines, and the number of lines of each kind."""
    path = args.file
    if path is None:
        reviews = max(
            int((QUICK_GIGABYTES if args.quick else args.gigabytes) * 1e9 / BYTES_A_REVIEW), 100
        )
        path = folder / f"reviews-{reviews}-{args.malformed}.jsonl"
        if not path.exists():
            say(f"writing {reviews:,} reviews")
            write_reviews(
                path,
                reviews,
                SEED,
                args.malformed,
                DUPLICATES,
            )

    clean = folder / f"{path.stem}.clean.jsonl"
    truth = {
        "bytes": path.stat().st_size,
        "lines": 0,
        "good": 0,
        "bad": 0,
    }
    with path.open("rb") as lines, clean.open("wb") as out:
        for line in lines:
            good = is_good(line)
            truth["lines"] += 1
            truth["good" if good else "bad"] += 1
            if good:
                out.write(line)

    return path, clean, truth


def is_good(line: bytes) -> bool:
    """Return whether a line is a review by a simple rule: an object with a text whose stars are a number."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(record, dict)
        and isinstance(record.get("text"), str)
        and not isinstance(record["stars"], str)
    )


def losses(
    name: str,
    path: Path,
    out: Path,
    truth: dict[str, Any],
) -> dict[str, Any]:
    """Return a peer's result on the original file: rows, rows with only nulls, or its error."""
    try:
        PEERS[name](path, out)
    except Exception as error:
        return {"file as it is": f"fails: {str(error).splitlines()[0][:80]}"}

    rows = pl.scan_parquet(out)
    counts = (
        rows.select(
            pl.len().alias("rows"),
            pl.all_horizontal(pl.all().is_null()).sum().alias("empty"),
            (pl.col("text").is_not_null() & pl.col("stars").is_null()).sum().alias("no_stars"),
        )
        .collect()
        .row(0, named=True)
    )
    return {
        "file as it is": (
            f"{counts['rows']:,} rows of {truth['good']:,} good records: {counts['empty']} with nulls only, "
            f"{counts['no_stars']} whose stars became null; no line, no reason, no bytes of the bad ones"
        )
    }


def compare(
    path: Path,
    clean: Path,
    folder: Path,
    repeats: int,
) -> dict[str, list[Run]]:
    """Measure all contenders in turn."""
    contenders: dict[str, Any] = {
        "ours": partial(read_stage, identify(path, path.name), folder / "ours"),
        "ours_clean": partial(read_stage, identify(clean, clean.name), folder / "ours"),
        "ingest": partial(ingest_stage, path, folder / "ours"),
    }
    for name, peer in PEERS.items():
        if available(name):
            contenders[name] = partial(
                peer, path if name == "duckdb" else clean, folder / f"{name}.parquet"
            )

    for file in (path, clean):
        with file.open("rb") as content:  # into the page cache
            while content.read(1 << 24):
                pass

    return interleave(contenders, THREADS, repeats)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = arguments("JSON lines to typed Parquet: ours beside DuckDB, polars and pyarrow")
    parser.add_argument(
        "--gigabytes",
        type=float,
        default=1.0,
        help="size of the generated file (default 1.0)",
    )
    parser.add_argument(
        "--malformed",
        type=float,
        default=MALFORMED,
        help=f"share of bad lines (default {MALFORMED})",
    )
    parser.add_argument("--data", type=Path, help="keep the generated file here for the next time")
    parser.add_argument(
        "--file", type=Path, help="measure this JSON-lines file instead of a generated one"
    )
    args = parser.parse_args(argv)
    with folder_for(args) as folder:
        path, clean, truth = prepare(args, folder)
        runs = compare(path, clean, folder, args.repeats)
        measured = summary(runs)
        for name, row in measured.items():
            # Rounded to milliseconds.
            row["MB/s"] = round(truth["bytes"] / max(row["wall_s"], 1e-3) / 1e6, 1)
            row["MB/CPU s"] = round(truth["bytes"] / max(row["cpu_s"], 1e-3) / 1e6, 1)
            if name in PEERS:
                row |= losses(name, path, folder / "lossy.parquet", truth)

    ratios: dict[str, Ratio] = {}
    for name in PEERS:
        if name in runs:
            ratios[f"ingest.{name}"] = ratio(runs, "ours", name, GOALS[name])
            ratios[f"ingest.{name}.cpu"] = ratio(
                runs,
                "ours",
                name,
                None,
                "cpu",
            )

    return finish(
        args,
        Report(
            "ingest",
            "JSON lines to typed Parquet",
            {**measured, "file": truth},
            ratios,
            ("polars", "duckdb", "pyarrow", "numpy"),
            notes=[paragraph for paragraph in NOTES if paragraph],
        ),
    )


if __name__ == "__main__":
    main()
