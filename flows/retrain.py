"""Run the whole pipeline: ingest → prepare → train → evaluate → promote."""

from __future__ import annotations

from typing import Any

from prefect import flow

from core.config.presets import load_config
from core.config.run_config import RunConfig
from flows.evaluate import evaluate
from flows.ingest import ingest
from flows.prepare import prepare
from flows.promote import promote
from flows.train import train
from tasks.data.card import log_card
from tasks.data.drift import measure_drift
from tasks.data.family import warn_of_other_family
from tasks.reporting.report import make_report
from tasks.reporting.summary import RunSummary, summarise
from tasks.stage import describe_flow_run
from tasks.tracking.track import parent_run


@flow(name="retrain", persist_result=False)
def retrain(
    preset: str = "small", input: list[str] | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Train, evaluate and register models from reviews; reuse every stage whose inputs have not changed.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`, e.g. `models.lstm.hidden=650`.
    """
    return run_pipeline(resolve(preset, input, overrides)).to_dict()


def resolve(preset: str, input: list[str] | None, overrides: list[str] | None) -> RunConfig:
    """Return the configuration that a flow's parameters describe, and name the flow run after it."""
    config = load_config(preset, overrides or []).with_input(input or [])
    describe_flow_run(config)
    return config


def run_pipeline(config: RunConfig) -> RunSummary:
    """Run all stages under one MLflow parent run."""
    with parent_run(config, "retrain") as run_id:
        warn_of_other_family(config)
        dataset = ingest(config)
        drift = measure_drift(config, dataset, run_id)  # for the user; the gate only records it
        prepared = prepare(config, dataset)
        log_card(config, prepared.card, prepared.tokens, prepared.vocabularies, run_id)
        fitted = train(config, prepared, run_id)
        evaluated = evaluate(config, prepared, fitted, run_id)
        promotion = promote(config, prepared, evaluated, run_id, drift)
        report = make_report(config, dataset, prepared, evaluated, promotion, run_id)
        return summarise(config, prepared, evaluated, promotion, run_id, report)
