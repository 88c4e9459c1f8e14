"""Sweep the options of one model in parallel trials, then fit the best trials again with fresh seeds."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, as_completed, wait

from flows.ingest import ingest
from flows.prepare import prepare
from flows.retrain import resolve
from flows.server.parameters import Given, Inputs, Overrides, Preset, on_workers
from tasks.data.prepare import Prepared
from tasks.fitting.fit import limits_of_fits
from tasks.fitting.fit_process import interruptible_fits
from tasks.fitting.pool_runs import require_pool
from tasks.limits import require_limits
from tasks.sweep import (
    PARENT,
    Finalist,
    SweepPlan,
    finalist,
    finalists_of,
    open_study,
    plan_sweep,
    summarise_sweep,
)
from tasks.sweep_study import Study, database_errors
from tasks.sweep_trial import run_seed, run_trial
from tasks.track import parent_run

WAIT_SECONDS = 1.0
"""Pause in seconds between two checks of what other processes do."""


@flow(name="sweep", persist_result=False)
def sweep(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Search the space of the section `sweep`; continue after the trials of an earlier, interrupted run.

    Several runs with the same parameters share one study and work in parallel, e.g. on several workers of a pool.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus; in a deployment's run of a
            preset that is not the demo's, the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `sweep.trials=40`, `sweep.space.hidden=128..512:log`.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    require_pool(config)
    plan = plan_sweep(config)
    prepared = prepare(plan.config, ingest(plan.config))
    study = open_study(plan, prepared)
    with ExitStack() as stack:
        with study.lock("parent"):  # of runs that start together, one opens the MLflow run; the others reuse it
            run_id = stack.enter_context(parent_run(plan.config, "sweep", study.note(PARENT)))
            study.remember(PARENT, run_id)
        stack.enter_context(database_errors(study.folder))
        workers = plan.config.execution.workers
        on_workers(fit_trials, workers)(plan, prepared, study, run_id)
        with study.lock("finals"):
            finalists = on_workers(fit_finalists, workers)(plan, prepared, study, run_id)
            return summarise_sweep(plan, study, finalists, run_id)


@flow(name="fit-trials", flow_run_name="{plan.config.title}", persist_result=False)
def fit_trials(
    plan: Given[SweepPlan], prepared: Given[Prepared], study: Given[Study], parent_run_id: str
) -> None:
    """Fit trials in parallel, one per worker of the configuration, until the study has the wanted number."""
    running: list[PrefectFuture[Any]] = []
    with study.joined(), ExitStack() as stack:
        stack.callback(lambda: wait(running))  # otherwise trials that still run would be taken for a dead process's
        with interruptible_fits():
            while True:
                while len(running) < plan.config.execution.workers and (asked := study.ask()) is not None:
                    running.append(run_trial.submit(plan.config, plan.base, prepared, study, asked, parent_run_id))
                if running:
                    done = next(as_completed(list(running)))
                    running.remove(done)
                    done.result()
                elif study.busy():  # another process fits a trial; if it dies, take the trial over
                    time.sleep(WAIT_SECONDS)
                    study.give_up_dead()
                else:
                    return


@flow(name="fit-finalists", flow_run_name="{plan.config.title}", persist_result=False)
def fit_finalists(
    plan: Given[SweepPlan], prepared: Given[Prepared], study: Given[Study], parent_run_id: str
) -> list[Finalist]:
    """Fit the best trials again with seeds that the search has not used."""
    best, confidence = finalists_of(plan, study), plan.config.sweep.confidence
    with interruptible_fits():
        fits = {
            (trial.number, seed): run_seed.submit(
                plan.config, plan.base, prepared, study, trial.number, trial.values, seed, parent_run_id
            )
            for trial in best
            for seed in plan.seeds
        }
        losses = {key: future.result() for key, future in fits.items()}
    return [finalist(trial, [losses[trial.number, seed] for seed in plan.seeds], confidence) for trial in best]
