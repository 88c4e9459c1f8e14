"""Fit word vectors: ingest → prepare → embed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parts import ingest, prepare
from flows.retrain import resolve
from flows.server.parameters import Inputs, Overrides, Preset
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
        prepared = prepare(config, dataset, [config.embedding.vocabulary])
        log_inputs(config, prepared, run_id)
        with step("embed", "fit word vectors"):
            built = fit_vectors(config, prepared)
        facts, tracker = built.artifact.facts, tracker_of(config)
        tracker.log_params(run_id, {"embedding": config.embedding.model_dump(mode="json")})
        tracker.log_metrics(run_id, {name: float(facts[name]) for name in ("ranked", "mean_cosine", "words")})
        return {
            "vectors": str(built.artifact.folder), "digest": built.artifact.digest, **facts, "reused": built.reused,
            "mlflow_run_id": run_id, "mlflow_page": tracker.link(run_id),
        }  # fmt: skip
