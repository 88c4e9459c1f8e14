"""Run the whole pipeline: ingest → prepare → (plan) → train → evaluate → promote."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, Literal, cast

from prefect import flow
from prefect.runtime import deployment
from prefect.states import Completed

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.core.environment import busy
from reviewlm.core.services.join import RETRAINED, SKIPPED
from reviewlm.core.store import Artifact
from reviewlm.flows.parts import evaluate, held_out_tokens, ingest, prepare, train
from reviewlm.flows.server.parameters import Given, Inputs, Minutes, Overrides, PresetOrNone
from reviewlm.tasks.data.card import log_card
from reviewlm.tasks.data.drift import measure_drift, sentence_of
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.evaluation.compare import log_gain, log_headline
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.evaluation.processes import model_processes
from reviewlm.tasks.execution.cluster import require_cluster
from reviewlm.tasks.execution.limits import SameRetrainWaits, one_retrain
from reviewlm.tasks.execution.stage import (
    announce,
    conclude,
    describe_flow_run,
    one_log,
    recorded_stages,
    step,
)
from reviewlm.tasks.fitting.fit_process import interruptible_fits
from reviewlm.tasks.planning.pace import keep_time
from reviewlm.tasks.planning.plan import (
    PlanRequest,
    RunPlan,
    configuration,
    make_plan,
    with_canaries,
)
from reviewlm.tasks.planning.rule import require_frame
from reviewlm.tasks.planning.verdict import why_no_network
from reviewlm.tasks.promotion.choose import choose_challenger, why_passed_over
from reviewlm.tasks.promotion.evidence import warn_of_other_family
from reviewlm.tasks.promotion.language import LanguageModels, tell_provable_gain
from reviewlm.tasks.promotion.promote import Promotion, promote_challenger
from reviewlm.tasks.records.finished_run import FinishedRun
from reviewlm.tasks.records.result_lines import account_lines, result_lines
from reviewlm.tasks.records.run_report import make_report
from reviewlm.tasks.records.run_summary import (
    describe_fitted,
    describe_prepared,
    end_of_part,
    summarise,
    verdict_of,
)
from reviewlm.tasks.records.track import (
    CHAMPION,
    RUNNING,
    log_settings,
    on_own_files,
    parent_run,
    settings_of,
    show_passed_over,
    tracker_of,
)

Until = Literal["prepare", "train", "evaluate"] | None
"""Part of a run after which it ends; None: run to the end."""
log = logging.getLogger(__name__)


@flow(name="retrain", persist_result=False)
def retrain(
    preset: PresetOrNone = "small",
    input: Inputs = None,
    overrides: Overrides = None,
    minutes: Minutes = None,
    until: Until = None,
) -> dict[str, Any]:
    """Train, evaluate and register models from reviews; reuse every stage whose inputs have not changed.

    One retrain of a home and of a Prefect server runs at a time. A deployment's run ends at once if one with equal
    parameters waits already.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews, or the champion's files in a run
            without a preset and in a deployment's run of your own data.
        overrides: Settings as `key=value`, e.g. `models.lstm.hidden=650`.
        minutes: Time of the whole run, for which the settings are chosen; the preset must be `minutes` or extend it.
            None: as preset and overrides say.
        until: Part after which the run ends, without a promotion: prepare, train or evaluate.
    """
    request = None
    if minutes is not None:
        request = PlanRequest(minutes, tuple(overrides or ()))

    given = {
        "preset": preset,
        "input": input,
        "overrides": overrides,
        "minutes": minutes,
    }
    try:
        config = resolve(preset, input, overrides)
        # A command never ends for an equal run that waits: its user wants its result. The record begins before the wait
        # for another retrain, so that all durations of a run have one start.
        with one_log(), recorded_stages():
            result = run_pipeline(config, request, given if deployment.id else None, until)
            if until is not None:
                lines = (
                    result_lines(result)
                    if until == "evaluate"
                    else account_lines(result["account"])
                )
                return conclude(result, end_of_part(result, until), lines)
            # Alerts wait for the want of this event.
            announce(
                RETRAINED, config.promotion.model_name, {"sentence": f"Retrained: {config.title}"}
            )
            return conclude(result, verdict_of(result), result_lines(result))
    except SameRetrainWaits as same:
        log.info("%s", same)
        return cast(
            Any,
            Completed(
                name=SKIPPED,
                message=str(same),
                data={"skipped": str(same)},
            ),
        )


def resolve(
    preset: str,
    input: list[str] | None,
    overrides: list[str] | None,
) -> RunConfig:
    """Return the configuration that a flow's parameters describe, without a preset the champion's; name the run.

    Models of the embedded corpus never get the name of the user's, whatever the preset: the first would become
    champion, and the gate would refuse each later model of real reviews. A command of a user who names no files runs on
    that corpus and registers as the demo. A deployment's run must not: nobody would notice.
    """
    if not preset:
        config = settings_of((CHAMPION,), "", input or [], overrides or []).config
        config = config.with_input(config.source.input)
    else:
        config = load_config(preset, overrides or []).with_input(input or [])
        if not config.source.input and config.promotion.model_name == OWN_MODEL and deployment.id:
            config = on_own_files(preset, overrides or [])
        config = config.named_by_data()

    describe_flow_run(config.title, config.preset, config.source)
    return config


def run_pipeline(
    config: RunConfig,
    request: PlanRequest | None = None,
    given: Mapping[str, Any] | None = None,
    until: Until = None,
) -> dict[str, Any]:
    """Run all stages under one MLflow parent run, when no other whole retrain of the home or the server runs.

    Args:
        request: Choose settings for its time; None: those of the configuration.
        given: Parameters of a deployment's run.
        until: Part after which the run ends; None: run to the end.

    Raises:
        SameRetrainWaits: This run is not needed.
    """
    if request:
        require_frame(config)

    require_cluster(config.execution)
    alone: AbstractContextManager[None] = nullcontext()
    if not until:
        alone = one_retrain(config.home, given)

    with alone, parent_run(config, until or "retrain", outcome="" if until else RUNNING) as run_id:
        warn_of_other_family(config.workspace, config.promotion, config.source)
        dataset = ingest(config)
        drift = None
        if not until:  # for the user; the gate only records it
            drift = measure_drift(config, dataset, run_id)

        if request:
            config = with_canaries(config.preset, config.source, request, dataset)
        prepared = prepare(config, dataset)
        if until == "prepare":
            return describe_prepared(dataset, prepared)
        tell_provable_gain(config.promotion, config.split, prepared.clean)
        made: RunPlan | None = None
        if request:
            config, made = plan(config, request, dataset, prepared)
            log_settings(config, run_id)
        log_card(config.workspace, prepared.card, prepared.tokens, run_id)
        fitted = train(config, prepared, run_id)
        if until == "train":
            return describe_fitted(fitted, run_id, dataset, prepared)
        promotion: Promotion | None = None
        # The gate opens the challenger in a process that the evaluation has left.
        with model_processes(config.execution, held_out_tokens(prepared, fitted)):
            evaluated = evaluate(config, prepared, fitted, run_id)
            if until is None:
                drift_sentence = "" if drift is None else sentence_of(drift)
                promotion = promote(
                    config,
                    prepared,
                    evaluated,
                    run_id,
                    drift_sentence,
                    why_no_network(asdict(made)) if made else "",
                )

        run = FinishedRun(
            config,
            dataset,
            prepared,
            evaluated,
            promotion,
            run_id,
            made,
        )
        return summarise(run, make_report(run))


def plan(
    config: RunConfig,
    request: PlanRequest,
    dataset: Artifact,
    prepared: Prepared,
) -> tuple[RunConfig, RunPlan]:
    """Return the configuration with all chosen settings, and the plan; its network is trained up to its decay.

    The vocabulary follows from the amount of text; network and length of the training follow from speed and time.
    """
    with interruptible_fits():
        with step("plan", "measure the speed and choose the settings"):
            if sentence := busy():
                log.warning("plan: %s, so times are longer than usual", sentence)
            made = make_plan(config, request, dataset, prepared)
            log.info("plan: %s", made.in_words())
            log.info("expected on validation: %s", made.expected.in_words())

        what = "fit the n-gram model"
        if made.network is not None:
            what = "train the network as long as the time allows"

        with step("train", what):
            planned = configuration(config.preset, config.source, request, made.settings)
            return keep_time(planned, request, made, prepared)


@flow(
    name="promote",
    flow_run_name="promote: {config.source.title}",
    persist_result=False,
)
def promote(
    config: Given[RunConfig],
    prepared: Given[Prepared],
    evaluated: Given[Evaluated],
    parent_run_id: str,
    drift: str = "",
    no_network: str = "",
) -> Promotion:
    """Register the challenger, run the gate and return the decision. A refused promotion is not an error."""
    held_out = held_out_tokens(prepared, [model.fitted for model in evaluated.models])
    with (
        step("promote", "choose the challenger and run the gate"),
        model_processes(config.execution, held_out),
    ):
        challenger = choose_challenger(config.workspace, config.promotion, prepared, evaluated)
        log_headline(config.workspace, evaluated, challenger.name, parent_run_id)
        promotion = promote_challenger(
            LanguageModels(
                config,
                prepared,
                evaluated,
                challenger,
                drift,
                no_network=no_network,
            ),
            parent_run_id,
        )
        if promotion.challenger != challenger.name:  # the baseline was tried after it
            log_headline(config.workspace, evaluated, promotion.challenger, parent_run_id)
        log_gain(config.workspace, promotion.decision, parent_run_id)
        for model in evaluated.models:
            reason = why_passed_over(model.name, promotion.decision.passed_over)
            show_passed_over(tracker_of(config.workspace), model.fitted.run_id, reason)

        return promotion


@flow(name="promote-only", persist_result=False)
def promote_only(
    preset: PresetOrNone = "",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Compare the best model of a configuration with the champion; build first what the store does not have yet.

    Without a preset or input, the champion's own settings and data are used. If the user has no registered model yet,
    these come from the demo's champion. A model trained on the user's files is still registered as the user's model.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the champion's files in their current state.
        overrides: Settings as `key=value`, e.g. `promotion.min_relative_gain=0.01`.
    """
    chosen = settings_of((CHAMPION,), preset, input or [], overrides or [])
    config = chosen.config.with_input(chosen.config.source.input)
    result = run_pipeline(config if chosen.version else config.named_by_data())
    return conclude(result, verdict_of(result), result_lines(result))
