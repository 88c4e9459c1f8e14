"""Freeze the benchmark reviews of a model in MLflow, and keep the scores of each champion on them.

The set is a file of one MLflow run. Two tags of the registered model name the run and the digest of the reviews. The
table of scores is in the same run; rows are only added.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from core.errors import Damaged, ReviewLMError
from tracking.client import ABSENT, error_code
from tracking.runs.runs import Tracker
from tracking.tags import BENCHMARK_DIGEST, BENCHMARK_RUN, BENCHMARK_SOURCE

FOLDER, REVIEWS = "benchmark", "reviews.parquet"
HISTORY = "benchmark_history.json"
COLUMNS = ("review_id", "text", "stars", "bytes", "words")


@dataclass(frozen=True)
class Benchmark:
    """A frozen benchmark set. `reviews` has the columns `COLUMNS`."""

    digest: str
    run_id: str
    reviews: pl.DataFrame


def digest_of(reviews: pl.DataFrame) -> str:
    """Return the SHA-256 of ids, ratings and texts; the order of the reviews does not matter."""
    rows = reviews.select("review_id", pl.col("stars").cast(pl.Int64), "text").sort("review_id").rows()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class BenchmarkStore:
    """The benchmark set of one registered model. Methods raise TrackingUnavailable if MLflow does not answer."""

    def __init__(self, tracker: Tracker, model_name: str) -> None:
        self.tracker, self.name = tracker, model_name

    def find(self) -> Benchmark | None:
        """Return the frozen set, downloaded once and compared with its digest; None if no set is frozen.

        Raises:
            Damaged: The file was changed after it was frozen, or is not a complete table.
        """
        tags = self._tags()
        if BENCHMARK_DIGEST not in tags:
            return None
        digest, run_id = tags[BENCHMARK_DIGEST], tags[BENCHMARK_RUN]
        file = self.tracker.artifact_root / "downloads" / FOLDER / digest / REVIEWS
        if not file.is_file():
            self._fetch(run_id, f"{FOLDER}/{REVIEWS}", file)
        remedy = "delete the file; it is fetched again"
        try:
            reviews = pl.read_parquet(file)
            actual = digest_of(reviews)
        except pl.exceptions.PolarsError as error:
            cause = str(error).partition("\n")[0]
            raise Damaged("The frozen benchmark set cannot be read", where=file, cause=cause, remedy=remedy) from error
        if actual != digest:
            raise Damaged(
                "The frozen benchmark set was changed after it was frozen", where=file, value=actual, remedy=remedy
            )
        return Benchmark(digest, run_id, reviews)

    def freeze(self, reviews: pl.DataFrame, source: str) -> Benchmark:
        """Freeze these reviews as the benchmark set; if a set is frozen already, return that one."""
        if (frozen := self.find()) is not None:
            return frozen
        digest = digest_of(reviews)
        run_id = self.tracker.start_run("benchmark", {BENCHMARK_DIGEST: digest, BENCHMARK_SOURCE: source})
        with tempfile.TemporaryDirectory(prefix="reviewlm-benchmark-") as folder:
            reviews.select(COLUMNS).write_parquet(Path(folder) / REVIEWS)
            with self.tracker.reaching() as client:  # not through the outbox: the tags name this file
                client.log_artifacts(run_id, folder, FOLDER)
        self.tracker.end_run(run_id)
        with self.tracker.reaching() as client:  # the digest last: it marks the set as frozen
            client.set_registered_model_tag(self.name, BENCHMARK_RUN, run_id)
            client.set_registered_model_tag(self.name, BENCHMARK_DIGEST, digest)
        existing = self.find()
        if existing is None:
            raise ReviewLMError("The benchmark set could not be frozen", where=f"models:/{self.name}")
        return existing

    def history(self, benchmark: Benchmark) -> pl.DataFrame:
        """Return the table of scores, one row per version; empty if there is none yet."""
        with tempfile.TemporaryDirectory(prefix="reviewlm-benchmark-") as folder:
            file = Path(folder) / HISTORY
            with self.tracker.reaching() as client:
                names = {entry.path for entry in client.list_artifacts(benchmark.run_id)}
            if HISTORY not in names:
                return pl.DataFrame()
            self._fetch(benchmark.run_id, HISTORY, file)
            table = json.loads(file.read_text(encoding="utf-8"))
        return pl.DataFrame(table["data"], schema=table["columns"], orient="row", infer_schema_length=None)

    def append(self, benchmark: Benchmark, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the scores of versions that are not in the table, and return the whole table; existing rows stay."""
        measured = self.history(benchmark)
        if measured.height:
            rows = rows.filter(~pl.col("version").is_in(measured["version"].to_list()))
        if rows.is_empty():
            return measured
        table = pl.concat([measured, rows], how="vertical_relaxed") if measured.height else rows
        self.tracker.log_table(benchmark.run_id, table, HISTORY)
        for row in rows.to_dicts():
            figures = {name: row[name] for name in ("open_bits_per_byte", "lo", "hi")}
            self.tracker.log_metrics(
                benchmark.run_id, {f"benchmark/{name}": value for name, value in figures.items()}, step=row["version"]
            )
        return table

    def _tags(self) -> dict[str, str]:
        try:
            with self.tracker.reaching() as client:
                return dict(client.get_registered_model(self.name).tags)
        except ReviewLMError as error:
            if error_code(error) in ABSENT:
                return {}
            raise

    def _fetch(self, run_id: str, path: str, file: Path) -> None:
        """Download a file of a run; it gets its final name only when it is complete."""
        with tempfile.TemporaryDirectory(prefix="reviewlm-benchmark-") as folder, self.tracker.reaching() as client:
            download = Path(client.download_artifacts(run_id, path, folder))
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")  # others may fetch it too
            unfinished.write_bytes(download.read_bytes())
            unfinished.replace(file)
