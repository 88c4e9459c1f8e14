"""Fit word vectors: ingest → clean → vocabulary → token streams → embed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from flows.ingest import ingest
from flows.retrain import resolve
from flows.server.parameters import Given, Inputs, Overrides, Preset, on_workers
from tasks.data.prepare import VOCABULARY_FILE, Prepared, check_table, clean_and_split, tokenize, train_vocabulary
from tasks.embed import embed as fit_vectors
from tasks.embed import require_vocabulary
from tasks.stage import step
from tasks.track import log_inputs, parent_run, tracker_of


@flow(name="embed", persist_result=False)
def embed(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Fit word vectors; return where they are and their figures, which the MLflow run of the flow has too.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`.
    """
    config = resolve(preset, input, overrides)
    require_vocabulary(config)
    with parent_run(config, "embed") as run_id:
        dataset = ingest(config)
        with step("embed", "fit word vectors"):
            prepared = on_workers(prepare_words, config.execution.workers)(config, dataset)
            log_inputs(config, prepared, run_id)
            built = fit_vectors(config, prepared)
        facts, tracker = built.artifact.facts, tracker_of(config)
        tracker.log_params(run_id, {"embedding": config.embedding.model_dump(mode="json")})
        tracker.log_metrics(run_id, {name: float(facts[name]) for name in ("ranked", "mean_cosine", "words")})
        return {
            "vectors": str(built.artifact.folder), "digest": built.artifact.digest, **facts, "reused": built.reused,
            "mlflow_run_id": run_id, "mlflow_page": tracker.link(run_id),
        }  # fmt: skip


@flow(name="prepare-words", flow_run_name="{config.title}", persist_result=False)
def prepare_words(config: Given[RunConfig], dataset: Given[Artifact]) -> Prepared:
    """Clean and check the data, and encode training and validation reviews with one vocabulary.

    No canaries are planted, and no data card is drawn: the cleaned reviews take its place.
    """
    name = config.embedding.vocabulary
    clean = clean_and_split(config, dataset)
    checks = tuple(check_table(config, *what) for what in (("raw", dataset), ("clean", clean)))
    vocabulary = train_vocabulary(config, name, clean)
    file = str(vocabulary.folder / VOCABULARY_FILE)
    streams = {split: tokenize.submit(config, file, split, clean, name) for split in ("train", "validation")}
    tokens = {split: stream.result() for split, stream in streams.items()}
    return Prepared(clean, clean, {name: vocabulary}, {name: tokens}, checks)
