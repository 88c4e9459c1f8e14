"""Train the models: fit one model per spec of the configuration, each with its own MLflow run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, as_completed

from core.config.run_config import RunConfig
from core.processes.memory import return_freed
from flows.server.parameters import Given, on_workers
from tasks.data.prepare import Prepared
from tasks.evaluation.intervals import estimate_floor
from tasks.fitting.fit import fit, fitted_parts, relative_cost
from tasks.fitting.fit_process import interruptible_fits
from tasks.fitting.job import Fitted
from tasks.stage import step
from tasks.track import log_inputs


@flow(name="fit-models", flow_run_name="{config.title}", persist_result=False)
def fit_models(
    config: Given[RunConfig], prepared: Given[Prepared], parent_run_id: str, classifiers: bool = False
) -> list[Fitted]:
    """Return the fitted models, or classifiers, in the configuration's order.

    Fit the baseline first, then the others, the most expensive first. A model with parts, such as a mixture, or a
    classifier that starts from a language model, is fitted as soon as its parts are.
    """
    asked = config.classification.models if classifiers else config.models
    needed = {name for spec in asked for name in getattr(spec, "parts", ())}
    specs = [*asked, *(spec for spec in config.models if spec.name in needed and spec not in asked)]
    waiting = sorted(specs, key=lambda spec: (spec.name != config.baseline, -relative_cost(spec)))
    running: list[tuple[Any, PrefectFuture[Fitted]]] = []
    fitted: list[tuple[Any, Fitted]] = []
    with interruptible_fits():
        while len(fitted) < len(specs):
            parts_there = {spec.name: one for spec, one in fitted if spec in config.models}
            for spec in tuple(waiting):
                if (parts := fitted_parts(spec, parts_there)) is not None:
                    waiting.remove(spec)
                    running.append((spec, fit.submit(config, spec, prepared, parent_run_id, parts)))
            done = next(as_completed([future for _, future in running]))
            fitted += [(spec, future.result()) for spec, future in running if future is done]
            running = [pair for pair in running if pair[1] is not done]
    return [one for spec in asked for other, one in fitted if other is spec]


def train(config: RunConfig, prepared: Prepared, parent_run_id: str) -> list[Fitted]:
    """Fit the models in parallel, one per worker of the configuration.

    The floor of the evaluation is estimated meanwhile: it is Python code of seconds, and this process only waits.
    """
    count, most = len(config.models), config.execution.workers
    with step("train", f"fit {count} models, at most {most} at a time" if count > 1 else "fit the model"):
        log_inputs(config, prepared, parent_run_id)
        with ThreadPoolExecutor(1, thread_name_prefix="floor") as beside:
            floor = beside.submit(copy_context().run, estimate_floor, config, prepared)
            floor.add_done_callback(lambda done: return_freed())  # the fits need what it and the data stages had
            fitted = on_workers(fit_models, config.execution.workers)(config, prepared, parent_run_id)
            floor.result()
        return fitted
