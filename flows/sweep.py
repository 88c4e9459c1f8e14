"""Sweep the options of one model in parallel trials, then fit the best trials again with fresh seeds."""

from __future__ import annotations

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
from tasks.fitting.on_cluster import require_cluster
from tasks.fitting.warm_start import champion_digest
from tasks.limits import require_limits
from tasks.sweep import (
    CHAMPION,
    Finalist,
    SweepPlan,
    finalist,
    finalists_of,
    number_of,
    plan_sweep,
    run_seed,
    run_trial,
    study_of,
    summarise_sweep,
)
from tasks.sweep_study import NUMBER, Study, study_errors
from tasks.track import parent_run

PARENT = "parent run"
"""Name of the study's note with the MLflow run of its first flow run, which later ones go on with."""


@flow(name="sweep", persist_result=False)
def sweep(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Search the space of the section `sweep`; continue after the trials of an earlier, interrupted run.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus; in a deployment's run of a
            preset that is not the demo's, the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `sweep.trials=40`, `sweep.space.hidden=128..512:log`.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    require_cluster(config)
    plan = plan_sweep(config)
    prepared = prepare(plan.config, ingest(plan.config))
    with study_of(plan, prepared) as study, ExitStack() as stack:
        run_id = stack.enter_context(parent_run(plan.config, "sweep", study.note(PARENT)))
        stack.enter_context(study_errors(study.folder))
        study.remember(PARENT, run_id)
        study.remember(CHAMPION, champion_digest(plan.config, plan.base))
        workers = plan.config.execution.workers
        on_workers(fit_trials, workers)(plan, prepared, study, run_id)
        finalists = on_workers(fit_finalists, workers)(plan, prepared, study, run_id)
        return summarise_sweep(plan, study, finalists, run_id)


@flow(name="fit-trials", flow_run_name="{plan.config.title}", persist_result=False)
def fit_trials(
    plan: Given[SweepPlan], prepared: Given[Prepared], study: Given[Study], parent_run_id: str
) -> None:
    """Fit trials in parallel, one per worker of the configuration, until the study has the wanted number."""
    running: list[PrefectFuture[Any]] = []
    with ExitStack() as stack, interruptible_fits():
        stack.callback(lambda: wait(running))  # those beside one that ends the sweep
        while True:
            while len(running) < plan.config.execution.workers and (trial := study.ask()) is not None:
                number = trial.user_attrs[NUMBER]
                running.append(run_trial.submit(plan, prepared, study, trial, number, parent_run_id))
            if not running:
                return
            done = next(as_completed(list(running)))
            running.remove(done)
            done.result()


@flow(name="fit-finalists", flow_run_name="{plan.config.title}", persist_result=False)
def fit_finalists(
    plan: Given[SweepPlan], prepared: Given[Prepared], study: Given[Study], parent_run_id: str
) -> list[Finalist]:
    """Fit the best trials again with seeds that the search has not used."""
    best, confidence = finalists_of(plan, study), plan.config.evaluation.confidence
    with interruptible_fits():
        fits = {
            (trial.number, seed): run_seed.submit(
                plan, prepared, study, number_of(trial), trial.params, seed, parent_run_id
            )
            for trial in best
            for seed in plan.seeds
        }
        losses = {key: future.result() for key, future in fits.items()}
    return [finalist(trial, [losses[trial.number, seed] for seed in plan.seeds], confidence) for trial in best]
