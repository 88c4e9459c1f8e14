"""Stage `pace`: train until the time left forces the decay, then make the length found a setting of the run.

The learning rate stays full until the time left is just enough for its decay and for the stages that follow
(`training/neural/pacing.py`). Its length is then known: it becomes a setting of the run, and the fit,
an ordinary one, continues from the state reached here. So the clock decides about a setting, once, and about nothing
else: the same settings give the same network, with or without this stage.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.store import Store
from reviewlm.models.specs import RecurrentSpec, identity
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.execution.limits import gpu_slot
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import run_stage, stage_task
from reviewlm.tasks.fitting.fit import FitSettings, plan_fit, remove
from reviewlm.tasks.fitting.fit_process import run_job
from reviewlm.tasks.planning.plan import PlanRequest, RunPlan
from reviewlm.tasks.planning.rule import NETWORK, Machine
from reviewlm.tasks.records.track import JOURNAL
from reviewlm.training.context import CHECKPOINTS, PAUSED, Pace

KEPT = (
    "epochs",
    "warmup",
    "updates",
    "all_updates",
    "tokens",
    "seconds",
    "stopped_by_time",
    "stopped_by_validation",
    "stopped_by_end",
)
LEAST_SHARE = 0.3
"""Share of the planned training that is made even where the time is over."""
log = logging.getLogger(__name__)


@stage_task("pace")
def keep_time(
    config: RunConfig,
    request: PlanRequest,
    plan: RunPlan,
    prepared: Prepared,
) -> tuple[RunConfig, RunPlan]:
    """Return the configuration with the length that the network's training has in the time left, and what ended it."""
    spec = next((spec for spec in config.models if spec.name == NETWORK), None)
    network = plan.network
    if network is None or not isinstance(spec, RecurrentSpec):
        return config, plan
    if not _is_free(spec, plan):
        return config, replace(plan, ended_by="user")

    settings = FitSettings.of(config)

    def make(work: Path) -> dict[str, Any]:
        # The clock of a training begins at its first update.
        left = request.seconds_left() - plan.start
        seconds = max(LEAST_SHARE * network.seconds + plan.after, left)
        trial = Machine(plan.tokens_per_second, products=plan.products)
        speed = trial.speed(spec.hidden, spec.embedding)
        fit = plan_fit(settings, spec, prepared)
        cluster = fit.on_cluster()
        if cluster:
            speed = 0.0  # that of a node says nothing about this machine, which does what follows

        job = fit.job(work, Pace(seconds, after=plan.after, tokens_per_second=speed))
        slot: AbstractContextManager[tuple[int, ...]] = nullcontext(())
        if not cluster:
            slot = gpu_slot(job.device, job.ranks)

        with slot as gpus, progress(spec.name, 1, "tokens", planned=network.seconds) as report:
            summary = (cluster or run_job)(
                replace(job, gpus=gpus),
                lambda news: report(news.step, news.figures, total=news.total),
            )

        lengths = {name: summary[name] for name in KEPT}
        whole = plan_fit(settings, _of_length(spec, summary), prepared)
        store = Store.of(config.home)
        if store.find_usable("fit", whole.digest) is None:
            store.hand_over(whole.digest, {CHECKPOINTS: work / PAUSED, JOURNAL: work / JOURNAL})

        for leftover in work.iterdir():
            remove(leftover)

        return {"fit": whole.digest, **lengths}

    inputs = plan_fit(settings, spec, prepared).inputs
    options = {"spec": identity(spec), "minutes": request.minutes}
    built = run_stage(
        config.workspace,
        "pace",
        options,
        inputs,
        make,
        spec.name,
        resumable=True,
    )
    facts = built.artifact.facts
    if facts["stopped_by_validation"]:
        log.info("%s: validation no longer improves, so the training ends early", spec.name)

    models = tuple(_of_length(spec, facts) if one is spec else one for one in config.models)
    return config.model_copy(update={"models": models}), replace(plan, ended_by=_end_of(facts))


def _end_of(pace: Mapping[str, float]) -> str:
    """Return the reason why a paced training ended, in the words of `RunPlan.ended_by`."""
    if pace["stopped_by_validation"]:
        return "validation"
    return "time" if pace["stopped_by_time"] else "length"


def _of_length(spec: RecurrentSpec, pace: Mapping[str, float]) -> RecurrentSpec:
    """Return the network with the length that a paced training found."""
    training = replace(spec.training, epochs=pace["epochs"], warmup=pace["warmup"])
    return replace(spec, training=training)


def _is_free(spec: RecurrentSpec, plan: RunPlan) -> bool:
    """Return whether the length of the training is the plan's; warn if the user has set it."""
    planned = f"models.{NETWORK}.training.epochs={spec.training.epochs}" in plan.settings
    free = spec.training.schedule == "trapezoid" and planned
    if not free:
        log.warning(
            "the length of the training is set by you, so the run may take more or less than the time given"
        )
    return free
