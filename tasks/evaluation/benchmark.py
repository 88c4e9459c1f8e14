"""Score every champion on one frozen benchmark set, so that figures stay comparable while data and models change."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.errors import BundleError, EmptyInput, ReviewLMError
from core.model_errors import converted_errors
from core.store import Artifact
from corpus.ingestion.ingest import ingest
from corpus.sample import sample_reviews
from corpus.splitting.split import iter_split, scan_split
from evaluation.drift.figures import benchmark_curve
from evaluation.scoring.metrics import LN2
from evaluation.statistics.bootstrap import ratio_interval
from models.text.normal_form import NormalForm
from tasks.evaluation.rescore import score_reviews
from tasks.gpus import OpenBundle
from tasks.stage import show_table, stage, store_of
from tasks.track import registry_of, tracker_of
from tracking.logged_models.benchmark import COLUMNS, Benchmark, BenchmarkStore, digest_of
from tracking.registry.registry import Version
from tracking.tags import DATA_TAG

log = logging.getLogger(__name__)


@stage("benchmark")
def measure_benchmark(config: RunConfig, run_id: str) -> dict[str, Any]:
    """Score current and former champions that have no figure yet on the benchmark set; freeze it if there is none.

    Args:
        config: Names the set to freeze, see `RescoreConfig`.
        run_id: The MLflow run that gets the plot and table of the whole history.
    """
    registry, tracker = registry_of(config), tracker_of(config)
    store = BenchmarkStore(tracker, config.promotion.model_name)
    crowned = registry.champions()
    benchmark = frozen_benchmark(config, store, crowned)
    history = store.history(benchmark)
    done = set(history["version"].to_list()) if history.height else set()
    rows = [row for version in crowned if version.version not in done if (row := _row(config, benchmark, version))]
    if rows:
        history = store.append(benchmark, pl.DataFrame(rows, infer_schema_length=None))
    if history.height:
        tracker.log_figure(run_id, benchmark_curve(history), "plots/benchmark_history.png")
        tracker.log_table(run_id, history, "benchmark_history.json")
        show_table("benchmark-history", history.to_dicts(), f"Champions on benchmark {benchmark.digest[:12]}")
    return {"digest": benchmark.digest, "reviews": benchmark.reviews.height, "mlflow_run_id": benchmark.run_id,
            "history": history.to_dicts()}


def frozen_benchmark(config: RunConfig, store: BenchmarkStore, crowned: list[Version]) -> Benchmark:
    """Return the frozen set; if there is none, freeze the named file or test reviews of the first champion's data.

    Raises:
        ReviewLMError: The named file differs from the set that was frozen.
        EmptyInput: There is nothing to freeze: no champion yet, or its data are not in this store.
    """
    frozen, named = store.find(), config.rescore.benchmark
    if frozen and not named:
        return frozen
    if named:
        reviews, source = _reviews_of_file(config, named), named
        if frozen and digest_of(reviews) != frozen.digest:
            raise ReviewLMError(
                "The file is not the frozen benchmark set", where=named, value=digest_of(reviews),
                cause=f"{frozen.digest} was frozen before", remedy="leave rescore.benchmark empty",
            )
    else:
        reviews, source = _first_test_reviews(config, crowned)
    return frozen or store.freeze(reviews, source)


def _reviews_of_file(config: RunConfig, file: str) -> pl.DataFrame:
    with tempfile.TemporaryDirectory(prefix="reviewlm-benchmark-") as folder:
        ingest([file], Path(folder), config.source)
        form = NormalForm(**config.clean.model_dump())
        return sample_reviews(Path(folder), config.rescore.benchmark_reviews, form).select(COLUMNS)


def _first_test_reviews(config: RunConfig, crowned: list[Version]) -> tuple[pl.DataFrame, str]:
    data = _data_of(config, crowned[0]) if crowned else None
    if data is None:
        raise EmptyInput(
            "There is no benchmark set yet, and the data of the first champion are not in this store",
            remedy="name a file of reviews: --set rescore.benchmark=FILE",
        )
    most = config.rescore.benchmark_reviews
    rows = pl.concat(list(iter_split(data.folder, "test", most))).head(most)  # a random sample: rows are in hash order
    return rows.select(COLUMNS), f"test reviews of {data.digest}"


def _data_of(config: RunConfig, version: Version) -> Artifact | None:
    digest = version.tags.get(DATA_TAG, "")
    return store_of(config).find_usable("prepare", digest) if digest else None


def _row(config: RunConfig, benchmark: Benchmark, version: Version) -> dict[str, Any] | None:
    """Return a version's figures; None, with a warning, if its bundle is lost or damaged, or a score is infinite."""
    try:
        folder = registry_of(config).bundle_folder(version)
        with converted_errors(folder), OpenBundle(config, folder) as opened:
            scores = score_reviews(config, folder, opened, benchmark.reviews, f"benchmark v{version.version}")
    except BundleError as error:
        log.warning("benchmark: version %d cannot be measured: %s", version.version, error)
        return None
    options = config.evaluation
    bits = (scores["nats"] + scores["spelling_nats"]).to_numpy() / LN2
    if not scores["nats"].is_finite().all():
        log.warning("benchmark: version %d gives reviews probability 0; it has no figure", version.version)
        return None
    ratio = ratio_interval(bits, scores["bytes"].to_numpy(), confidence=options.confidence,
                           resamples=options.resamples, seed=options.seed)
    return {
        "version": version.version, "model": version.tags.get("model", version.tags.get("kind", "")),
        "registered": version.created.isoformat(timespec="seconds"), "reviews": benchmark.reviews.height,
        "open_bits_per_byte": ratio.estimate, "lo": ratio.low, "hi": ratio.high,
        "in_training": _in_training(config, benchmark, version), "digest": benchmark.digest,
    }


def _in_training(config: RunConfig, benchmark: Benchmark, version: Version) -> int | None:
    """Return the number of benchmark reviews that the version was trained on; None if its data are not stored here."""
    if (data := _data_of(config, version)) is None:
        return None
    ids = benchmark.reviews["review_id"].to_list()
    table = scan_split(data.folder, "train")
    return int(table.filter(pl.col("review_id").is_in(ids)).select(pl.len()).collect().item())
