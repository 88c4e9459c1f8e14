"""Evaluate fitted models: score the same test reviews, compute figures, draw samples, build the comparison table."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow

from core.config.run_config import RunConfig
from core.environment import available_cores
from core.processes.memory import return_freed
from flows.server.parameters import Given
from flows.server.workers import on_workers
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated, compare_models
from tasks.evaluation.evaluate import measure, score_in_turn
from tasks.fitting.fit import device_of
from tasks.fitting.fitted import Fitted
from tasks.measuring.processes import model_processes
from tasks.stage import step

AT_A_TIME = 2
"""Models that are measured at the same time, where `execution.workers` does not ask for more."""


def evaluate(config: RunConfig, prepared: Prepared, fitted: list[Fitted], parent_run_id: str) -> Evaluated:
    """Return the measured models in the order of *fitted*, with comparison table, grammar floor and samples."""
    # Much of it is Python of one thread, so two at a time keep two cores busy, however many fits run at a time. On a
    # GPU, measure one model at a time: a second one would need memory of its own.
    beside = max(config.execution.workers, min(AT_A_TIME, available_cores()))
    workers = 1 if device_of(config) == "cuda" else beside
    several = f"score, sample and audit {len(fitted)} models, then compare them"
    said = several if len(fitted) > 1 else "score, sample and audit the model"
    with step("evaluate", said), model_processes(config, held_out_tokens(prepared, fitted)):
        evaluated = on_workers(measure_models, workers)(config, prepared, fitted, parent_run_id)
    return_freed()  # before the gate and the figures, which do not fit into the gaps
    return evaluated


def held_out_tokens(prepared: Prepared, fitted: Sequence[Fitted]) -> int:
    """Return how many tokens some models are scored on, all together."""
    streams = [prepared.tokens[model.spec.vocabulary] for model in fitted]
    return sum(int(stream[split].facts["tokens"]) for stream in streams for split in ("validation", "test"))


@flow(name="evaluate", flow_run_name="{config.title}", persist_result=False)
def measure_models(
    config: Given[RunConfig], prepared: Given[Prepared], fitted: Given[list[Fitted]], parent_run_id: str
) -> Evaluated:
    """Score one model after the other, because their speeds are compared; then measure the rest side by side.

    What was slow to score is slow to measure, so that begins first: else it would end alone.
    """
    scored = score_in_turn(config, prepared, fitted)
    slowest_first = sorted(scored, key=lambda both: -both[1][0].artifact.facts["score_seconds"])
    futures = {model.spec.name: measure.submit(config, model, scores, prepared) for model, scores in slowest_first}
    return compare_models(config, prepared, [futures[model.spec.name].result() for model in fitted], parent_run_id)
