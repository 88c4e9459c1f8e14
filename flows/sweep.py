"""Sweep the options of one model in parallel trials, then fit the best one again with fresh seeds."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, as_completed, wait

from reviewlm.flows.parts import ingest, prepare
from reviewlm.flows.retrain import resolve
from reviewlm.flows.server.parameters import Given, Inputs, Overrides, Preset, on_workers
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.execution.cluster import require_cluster
from reviewlm.tasks.fitting.fit_process import interruptible_fits
from reviewlm.tasks.fitting.sweep import (
    Study,
    SweepPlan,
    best_trial,
    plan_sweep,
    run_seed,
    run_trial,
    study_folder,
    study_in,
    summarise_sweep,
    trials_to_fit,
)
from reviewlm.tasks.records.track import parent_run

PARENT = "parent run"
"""Name of the study's attribute with the MLflow run of its first flow run, which later ones go on with."""


@flow(name="sweep", persist_result=False)
def sweep(
    preset: Preset = "small",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Search the space of the section `sweep`; continue after the trials of an earlier, interrupted run.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews, or the champion's files in a run
            without a preset and in a deployment's run of your own data.
        overrides: Settings as `key=value`, e.g. `sweep.trials=40`, `sweep.space.hidden=128..512:log`.
    """
    config = resolve(preset, input, overrides)
    require_cluster(config.execution)
    plan = plan_sweep(config)
    prepared = prepare(plan.config, ingest(plan.config))
    with ExitStack() as stack:
        study = stack.enter_context(study_in(study_folder(plan, prepared), plan))
        run_id = stack.enter_context(
            parent_run(plan.config, "sweep", study.user_attrs.get(PARENT, ""))
        )
        study.set_user_attr(PARENT, run_id)
        losses = on_workers(fit_trials, plan.config.execution.workers)(
            plan, prepared, study, run_id
        )
        return summarise_sweep(plan, study, losses, run_id)


@flow(
    name="fit-trials",
    flow_run_name="fit-trials: {plan.config.source.title}",
    persist_result=False,
)
def fit_trials(
    plan: Given[SweepPlan],
    prepared: Given[Prepared],
    study: Given[Study],
    parent_run_id: str,
) -> list[float | None]:
    """Fit trials in parallel, one per worker of the configuration, until the study has the wanted number.

    Then fit the best trial again with seeds that the search has not used; return their validation losses.
    """
    running: list[PrefectFuture[Any]] = []
    trials = trials_to_fit(plan, study)
    with ExitStack() as stack, interruptible_fits():
        stack.callback(lambda: wait(running))  # those beside one that ends the sweep
        while True:
            for trial in islice(trials, plan.config.execution.workers - len(running)):
                running.append(
                    run_trial.submit(
                        plan,
                        prepared,
                        study,
                        trial,
                        parent_run_id,
                    )
                )

            if not running:
                break
            done = next(as_completed(list(running)))
            running.remove(done)
            done.result()

        best = best_trial(study)
        running += [
            run_seed.submit(
                plan,
                prepared,
                study,
                best,
                seed,
                parent_run_id,
            )
            for seed in plan.seeds
        ]
        return [future.result() for future in running]
