"""Run one fit of a sweep: watch it, prune it if the pruner says so, show it as a child of the sweep's MLflow run.

The child run has the options and curves of the fit, but no logged model, to save the space of hundreds of models that
are never registered. The fits themselves are in the store, so `reviewlm run` with the winner's options takes the bundle
from there and logs it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect import State
from prefect.states import Completed

from core.config.run_config import RunConfig
from core.config.search_space import Value, with_options
from core.errors import FitError, InputError, ReviewLMError, TrackingUnavailable
from core.store import Artifact
from evaluation.reports.run_results import journal_lines
from models.specs import ModelSpec
from tasks.data.prepare import Prepared
from tasks.fitting.fit import FitPlan, build_fit, plan_fit
from tasks.fitting.fit_process import interrupted
from tasks.fitting.listeners import FORWARD_SECONDS, EnoughSeen
from tasks.fitting.warm_start import champion_digest
from tasks.stage import stage
from tasks.sweep_study import RunningTrial, Study
from tasks.track import JOURNAL, ended_on_error, parameters_of, prefect_tags, tracker_of
from tracking.registry.change import ChampionChanged
from tracking.runs.open_runs import reopen_run
from tracking.runs.runs import Tracker
from tracking.tags import NOTE, START_TAG, SWEEP_BEST, SWEEP_STATE, SWEEP_TRIAL

CHAMPION_NOTE = "champion"
"""Name of the study's note with the digest of the champion that its fits start from."""
log = logging.getLogger(__name__)


@dataclass
class TrialRun:
    """MLflow run of one fit of a sweep."""

    tracker: Tracker
    run_id: str
    forwarded: float = 0.0

    def begin(self, plan: FitPlan) -> None:
        """Tag the run with the starting point of a fit that is configured to start from the champion."""
        if plan.start.note:
            self.tracker.set_tags(self.run_id, {START_TAG: plan.start.note})

    def forward(self, journal: Path, now: bool = True) -> None:
        """Send new lines of the journal; with *now* false, at most every `FORWARD_SECONDS`."""
        if not journal.is_file() or (not now and time.monotonic() - self.forwarded < FORWARD_SECONDS):
            return
        self.forwarded = time.monotonic()
        try:
            self.tracker.log_journal(self.run_id, journal, settled=not now)
        except TrackingUnavailable as error:
            if now:
                raise
            log.warning("%s; its figures follow later", error.what)

    def end(self, state: str, reason: str = "", facts: Mapping[str, float] | None = None) -> None:
        """End the run as complete, pruned or failed."""
        self.tracker.log_metrics(self.run_id, {f"fit/{name}": value for name, value in (facts or {}).items()})
        note = {NOTE: f"{state.capitalize()}: {reason}"[:4000]} if reason else {}
        self.tracker.set_tags(self.run_id, {SWEEP_STATE: state, **note})
        self.tracker.end_run(self.run_id, "FAILED" if state == "failed" else "FINISHED")


@contextmanager
def trial_run(
    config: RunConfig, prepared: Prepared, spec: ModelSpec | None, values: Mapping[str, Value], name: str,
    parent_run_id: str, known: str = "",
) -> Iterator[TrialRun]:
    """Yield the run of one fit: a new child of the sweep's run, or the run *known* of an interrupted attempt."""
    tracker = tracker_of(config)
    if known and reopen_run(tracker, known):
        run_id = known
        tracker.set_tags(run_id, {NOTE: ""})  # remove the note of the interrupt
    else:
        run_id = tracker.start_run(name, {SWEEP_TRIAL: name, **prefect_tags()}, parent_run_id)
    with ended_on_error(tracker, run_id):
        options = parameters_of(config, spec, prepared) if spec else {}
        tracker.log_params(run_id, {"sweep": dict(values), **options})
        tracker.set_tags(run_id, {SWEEP_STATE: "running"})
        yield TrialRun(tracker, run_id)


@stage("trial", run_name="trial {asked.number}")
def run_trial(
    config: RunConfig, base: ModelSpec, prepared: Prepared, study: Study, asked: RunningTrial, parent_run_id: str
) -> State[None]:
    """Fit one trial; a fit that fails or is pruned ends the trial, not the sweep.

    Raises:
        ReviewLMError: An error that concerns every trial, e.g. a full disk; a rerun repeats this trial.
    """
    try:
        try:
            spec, reason = with_options(base, asked.values), ""
        except ValueError as error:
            spec, reason = None, f"the options cannot be combined: {error}"
        name = f"trial {asked.number}"
        with trial_run(config, prepared, spec, asked.values, name, parent_run_id, asked.run_id) as run:
            asked.describe(run.run_id)
            if spec is None:
                return _failed(study, asked, run, reason)
            return _fit_trial(config, spec, prepared, study, asked, run)
    except BaseException:
        try:
            study.give_back(asked)
        except Exception as error:  # e.g. a full disk: raise the first error; the next run repeats the trial
            log.warning("trial %d could not be returned to the study: %s", asked.number, error)
        raise


def _fit_trial(
    config: RunConfig, spec: ModelSpec, prepared: Prepared, study: Study, asked: RunningTrial, run: TrialRun
) -> State[None]:
    plan, watch = _plan(config, spec, prepared, study), _Watch(
        asked, run, spec.training.evaluations  # type: ignore[union-attr]
    )
    run.begin(plan)
    try:
        built = build_fit(config, plan, prepared, watch)
    except EnoughSeen as seen:
        run.end("pruned", str(seen))
        study.prune(asked, str(seen))
        log.info("trial %d is pruned: %s", asked.number, seen)
        return Completed(name="Pruned", message=str(seen))
    except (FitError, InputError) as error:
        if interrupted():
            raise
        return _failed(study, asked, run, f"{type(error).__name__}: {error.what}")
    watch.catch_up(built.artifact.folder / JOURNAL)
    summary = built.artifact.facts["summary"]
    run.forward(built.artifact.folder / JOURNAL)
    run.end("complete", "", summary)
    study.complete(asked, summary["validation_nats"], summary)
    log.info("trial %d: validation perplexity %.4g", asked.number, summary["validation_perplexity"])
    return Completed(name="Reused" if built.reused else "Completed", message=f"fit {built.artifact.digest}")


def _plan(config: RunConfig, spec: ModelSpec, prepared: Prepared, study: Study) -> FitPlan:
    """Return the plan of a fit of a sweep.

    Raises:
        ChampionChanged: The sweep's trials started from another champion, so their losses cannot be compared with this
            fit's.
    """
    plan = plan_fit(config, spec, prepared)
    if champion_digest(config, spec) != study.note(CHAMPION_NOTE):
        raise ChampionChanged(
            "The champion that the trials start from was replaced while the sweep was running", where=study.folder,
            remedy="run the command again: it starts a new study from the new champion",
        )
    return plan


def _failed(study: Study, asked: RunningTrial, run: TrialRun, reason: str) -> State[None]:
    run.end("failed", reason)
    study.fail(asked, reason)
    log.warning("trial %d failed: %s", asked.number, reason)
    return Completed(name="Failed", message=reason)  # the trial failed, not the task


class _Watch:
    """Listener that reports a fit's validation losses to the study, and stops the fit if the study prunes it."""

    def __init__(self, asked: RunningTrial, run: TrialRun, evaluations: int) -> None:
        self.asked, self.run, self.evaluations, self.seen = asked, run, evaluations, 0

    def __call__(self, journal: Path) -> None:
        """Read new evaluations from the journal of a running fit and report them.

        Raises:
            EnoughSeen: The trial is pruned. It is never pruned at its last evaluation, because it is finished then.
        """
        for evaluation, nats in self._new(journal):
            self.asked.report(evaluation, nats)
            if evaluation < self.evaluations and self.asked.hopeless():
                self.run.forward(journal)
                raise EnoughSeen(f"at evaluation {evaluation} of {self.evaluations}, validation {nats:.4f} nats")
        self.run.forward(journal, now=False)

    def catch_up(self, journal: Path) -> None:
        """Report the remaining evaluations of a finished fit."""
        for evaluation, nats in self._new(journal):
            self.asked.report(evaluation, nats)

    def _new(self, journal: Path) -> Iterator[tuple[int, float]]:
        if not journal.is_file():
            return
        reached = [line["validation/nats"] for line in journal_lines(journal) if "validation/nats" in line]
        for evaluation, nats in list(enumerate(reached, start=1))[self.seen :]:
            self.seen = evaluation
            yield evaluation, nats


@stage("seed", run_name="trial {number} seed {seed}")
def run_seed(
    config: RunConfig, base: ModelSpec, prepared: Prepared, study: Study, number: int, values: Mapping[str, Value],
    seed: int, parent_run_id: str,
) -> float | None:
    """Fit a trial's options with another seed; return the validation loss in nats per token, None if the fit failed."""
    spec, name = with_options(base, {**values, "training.seed": seed}), f"trial {number} seed {seed}"
    if loss := study.note(f"{name} nats"):
        return float(loss)
    with trial_run(config, prepared, spec, values, name, parent_run_id, study.note(name)) as run:
        study.remember(name, run.run_id)
        fitted = fit_shown(config, _plan(config, spec, prepared, study), prepared, run)
        if fitted is None:
            return None
        loss = repr(fitted.facts["summary"]["validation_nats"])
        study.remember(f"{name} nats", loss)
    return float(loss)


def fit_shown(config: RunConfig, plan: FitPlan, prepared: Prepared, run: TrialRun) -> Artifact | None:
    """Fit a model to its end, log it to its run and end the run; return the artifact, None if the fit failed."""
    run.begin(plan)
    try:
        built = build_fit(config, plan, prepared, lambda path: run.forward(path, now=False))
    except (FitError, InputError) as error:
        if interrupted():
            raise
        run.end("failed", error.what)
        log.warning("%s", error)
        return None
    run.forward(built.artifact.folder / JOURNAL)
    run.end("complete", "", built.artifact.facts["summary"])
    return built.artifact


def mark_best(config: RunConfig, study: Study, run_id: str) -> None:
    """Tag the run of the best trial, and remove the mark from the previous best."""
    tracker, before = tracker_of(config), study.note(SWEEP_BEST)
    marks = {before: "false"} if before and before != run_id else {}
    for run, best in {**marks, run_id: "true"}.items():
        try:
            tracker.set_tags(run, {SWEEP_BEST: best})
        except ReviewLMError as error:  # e.g. the run was deleted in MLflow
            log.warning("a trial's run cannot be tagged: %s", error)
    study.remember(SWEEP_BEST, run_id)
