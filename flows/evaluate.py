"""Evaluate fitted models: score the same test reviews, compute figures, draw samples, build the comparison table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow

from core.config.run_config import RunConfig
from core.environment import available_cores
from core.processes.memory import return_freed
from core.store import Built
from flows.server.parameters import Given, on_workers
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated, compare_models
from tasks.evaluation.evaluate import (
    Measured,
    audit,
    measure,
    observe,
    score,
    write_samples,
)
from tasks.fitting.fit import device_of
from tasks.fitting.job import Fitted
from tasks.measuring.processes import model_processes
from tasks.stage import step

AT_A_TIME = 2
"""Works with models that are done at the same time, where `execution.workers` does not ask for more."""


def evaluate(config: RunConfig, prepared: Prepared, fitted: list[Fitted], parent_run_id: str) -> Evaluated:
    """Return the measured models in the order of *fitted*, with comparison table, grammar floor and samples."""
    # Much of it is Python of one thread, so two at a time keep two cores busy, however many fits run at a time. On a
    # GPU, do one work at a time: a second model would need memory of its own.
    at_a_time = max(config.execution.workers, min(AT_A_TIME, available_cores()))
    workers = 1 if device_of(config) == "cuda" else at_a_time
    several = f"score, sample and audit {len(fitted)} models, then compare them"
    work = several if len(fitted) > 1 else "score, sample and audit the model"
    with (
        step("evaluate", work),
        model_processes(config, held_out_tokens(prepared, fitted)),
    ):
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
) -> Evaluated:  # fmt: skip
    """Score one model after the other, because their speeds are compared; then do all other works side by side.

    The works of one model do not wait for each other. What was slow to score, and is slow to measure, comes first: else
    it would end alone.

    Raises:
        Exception: That of the first model with a work that failed, after all others are measured.
    """
    scored = {model.spec.name: score(config, model, prepared) for model in fitted}

    def seconds(model: Fitted) -> float:
        return float(scored[model.spec.name][0].artifact.facts["score_seconds"])

    models = sorted(fitted, key=seconds, reverse=True)
    works = [_submitted(config, model, scored[model.spec.name], prepared) for model in models]
    measured: dict[str, Measured] = {}
    failed: list[Exception] = []
    for model, each in zip(models, works, strict=True):
        try:
            observed, audited, samples = (work.result() for work in each)
        except Exception as error:
            failed.append(error)
        else:
            name = model.spec.name
            measured[name] = measure(config, model, scored[name], observed, audited, samples)
    if failed:
        raise failed[0]
    return compare_models(config, prepared, [measured[model.spec.name] for model in fitted], parent_run_id)


def _submitted(
    config: RunConfig, fitted: Fitted, scores: tuple[Built, Built], prepared: Prepared
) -> tuple[Any, Any, Any]:
    """Return the futures of a model's observation, audit and samples."""
    return (
        observe.submit(config, fitted, scores, prepared),
        audit.submit(config, fitted, prepared),
        write_samples.submit(config, fitted),
    )
