"""Plan a run for a time budget: vocabulary by the amount of text, then network and length by speed and time."""

from __future__ import annotations

import logging

from core.config.run_config import RunConfig
from core.store import Artifact
from tasks.data.prepare import Prepared
from tasks.fitting.fit_process import interruptible_fits
from tasks.planning.pace import keep_time
from tasks.planning.plan import PlanRequest, RunPlan, configuration, make_plan
from tasks.stage import step

log = logging.getLogger(__name__)


def plan(config: RunConfig, request: PlanRequest, dataset: Artifact, prepared: Prepared) -> tuple[RunConfig, RunPlan]:
    """Return the configuration with all chosen settings, and the plan; the network is trained up to its decay.

    Raises:
        ConfigError: The time does not suffice.
    """
    with step("plan", "measure the speed, choose the settings, train as long as the time allows"), interruptible_fits():
        made = make_plan(config, request, dataset, prepared)
        log.info("plan: %s", made.in_words())
        log.info("expected on validation: %s", made.expected.in_words())
        if advice := made.advice():
            log.info("%s", advice)
        return keep_time(configuration(config, request, made.settings), request, made, prepared), made
