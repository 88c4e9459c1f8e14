"""Log the pipeline to MLflow: one parent run per flow run, one child run per fitted model.

MLflow is a view of the store. Only three things are read back: the id of the run that describes a fit, the registry's
aliases, and the bundles of registered versions. So MLflow may be unreachable for a while; writes wait on this disk
(`tracking/runs/publish.py`). A flow needs MLflow at its start, to detect a wrong address, and for the registry.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_UI_URL
from prefect.states import State

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import CleanConfig, SourceConfig, SplitConfig
from reviewlm.core.environment import home_folder
from reviewlm.core.errors import CheckFailed, NotAuthorized, ReviewLMError, TrackingUnavailable
from reviewlm.core.figures import BITS, amount
from reviewlm.core.output import literal
from reviewlm.core.provenance import git_commit
from reviewlm.core.services.service_list import address_of
from reviewlm.core.store import Artifact
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.evaluation.scoring.metrics import Figures
from reviewlm.models.base import JOURNAL, STATIC
from reviewlm.models.specs import ModelSpec, VocabularySpec, parts_of
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.execution.stage import describe_flow_run, one_log, recorded_stages, started
from reviewlm.tasks.fitting.fit_process import is_interrupted
from reviewlm.tasks.fitting.job import FittedSpec
from reviewlm.tracking import tags as tag
from reviewlm.tracking.logged_models.bundles import has_bundle, log_bundle
from reviewlm.tracking.logged_models.export import CLASSIFIER as CLASSIFIER
from reviewlm.tracking.registry.locating import tracker_at
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.version_settings import VersionSettings as VersionSettings
from reviewlm.tracking.registry.version_settings import on_own_files as on_own_files
from reviewlm.tracking.registry.version_settings import settings_of as settings_of
from reviewlm.tracking.registry.version_settings import settings_of_compared as settings_of_compared
from reviewlm.tracking.registry.versions import CHAMPION as CHAMPION
from reviewlm.tracking.runs.runs import Tracker, end_left_runs, run_tags
from reviewlm.tracking.tags import COMPARISON as COMPARISON
from reviewlm.tracking.tags import RUNNING as RUNNING

log = logging.getLogger(__name__)
NOTE_LENGTH = 7_500
COMPARED = (
    "parameters",
    "tokens",
    "seconds",
    "cpu_seconds",
    "peak_memory",
    "updates",
    "mean_weight/",
    "validation/perplexity",
    "validation_perplexity",
    "ngrams/",
)
"""Beginnings of the figures of a fit by which runs are compared; `fit.json` among the run's files has all."""
PASSED_OVER_LINE = re.compile(rf"^\*\*{tag.PASSED_OVER.capitalize()}\*\*: .*\n\n")
"""What `show_passed_over` writes into a description."""
LINK = "[Prefect run "
"""Beginning of the link to Prefect in a description."""
FIGURES_MARK = "**Figures**: "
FIGURES_LINE = re.compile(rf"\n*^{re.escape(FIGURES_MARK)}.*$", re.MULTILINE)
"""What `explain_figures` writes into a description."""
FORWARD_SECONDS = 20.0


def tracker_of(workspace: Workspace) -> Tracker:
    """Return the tracker of a workspace; it uses SQLite in the home folder unless a tracking URI is given."""
    workspace.home.mkdir(parents=True, exist_ok=True)
    return tracker_at(workspace)


def registry_of(workspace: Workspace, model_name: str) -> Registry:
    """Return the registry of a registered model; in a flow, wait until MLflow answers and has what waits."""
    tracker = tracker_of(workspace)
    if FlowRunContext.get() is not None or TaskRunContext.get() is not None:
        tracker.wait(workspace.execution.tracking_patience)
    return Registry(tracker, model_name)


def prefect_tags() -> dict[str, str]:
    """Return the tags that link an MLflow run to its Prefect flow run; empty outside a flow."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return {}
    run = context.flow_run
    base = PREFECT_UI_URL.value() or address_of(home_folder(), "prefect")
    return {**run_tags(str(run.id), f"{base}/runs/flow-run/{run.id}"), tag.FLOW_RUN_NAME: run.name}


def tracking_was_away(
    task: Any,
    run: Any,
    state: State[Any],
) -> bool:
    """Return whether Prefect may retry a failed task: only if MLflow could not be reached."""
    try:
        state.result()
    except Exception as error:
        return isinstance(error, TrackingUnavailable) and not isinstance(error, NotAuthorized)
    return False


def prefect_link() -> str:
    """Return a Markdown link to the Prefect flow run, for a run's description; empty outside a flow."""
    of = prefect_tags()
    if of:
        return f"{LINK}{literal(of[tag.FLOW_RUN_NAME])}]({of[tag.FLOW_RUN_URL]})"
    return ""


def run_name(source: SourceConfig, what: str) -> dict[str, str]:
    """Return the tag with the name of a parent run: *what* it does or has registered, data, day and time.

    A list of runs shows some twenty characters and a column with the time, so what differs comes first:
    "lstm v3, yelp.csv, 30 Nov 18:31".
    """
    return {tag.RUN_NAME: f"{what}, {source.title}, {started():{tag.RUN_TIME}}"}


def show_retrain(
    tracker: Tracker,
    run_ids: Sequence[str],
    most_bits: float | None = None,
    adaptation: str = "",
) -> None:
    """Let MLflow's page of models show these models' runs, which one retrain has compared; skip it if MLflow is away.

    It leaves out those with more than *most_bits* per byte, and those that adapt in another way than *adaptation*, if
    these are given.
    """
    retrain = f"{started():%Y-%m-%d %H:%M}"
    for run_id in run_ids:
        tracker.set_tags(run_id, {tag.RETRAIN: retrain})
    with suppress(TrackingUnavailable):
        tracker.show_models_of(retrain, most_bits, adaptation)


def explain_figures(
    tracker: Tracker,
    run_id: str,
    explanation: str,
) -> None:
    """Say in the description of a model's run what its figures are measured against; skip it if MLflow is away.

    It stands before the link to Prefect: MLflow's page folds what comes after the first lines.
    """
    with suppress(TrackingUnavailable):
        before = tracker.tag(run_id, tag.NOTE)
        note = FIGURES_LINE.sub("", before)
        if explanation:
            about, link, address = note.partition(f"\n\n{LINK}")
            note = f"{about}\n\n{FIGURES_MARK}{explanation}{link}{address}"[:NOTE_LENGTH]
        if note != before:
            tracker.set_tags(run_id, {tag.NOTE: note})


def show_passed_over(
    tracker: Tracker,
    run_id: str,
    reason: str,
) -> None:
    """Say in name and description of a model's run why the newest retrain passed the model over; "": it did not.

    Otherwise the best bar of a chart would look like the model that should be in use. What has become of a model that
    was registered stays in its name. Skipped if MLflow is away.
    """
    with suppress(TrackingUnavailable):
        name = tracker.tag(run_id, tag.RUN_NAME)
        before = tag.outcome_in(name)
        if before not in ("", tag.PASSED_OVER):
            return

        note = PASSED_OVER_LINE.sub("", tracker.tag(run_id, tag.NOTE))
        outcome = ""
        if reason:
            outcome = tag.PASSED_OVER
            note = f"**{outcome.capitalize()}**: {literal(reason)}\n\n{note}"[:NOTE_LENGTH]
        if outcome or before:
            shown = tag.name_with_outcome(name, outcome)
            tracker.set_tags(run_id, {tag.RUN_NAME: shown, tag.NOTE: note})


@contextmanager
def parent_run(
    config: RunConfig,
    name: str,
    earlier: str = "",
    outcome: str = "",
) -> Iterator[str]:
    """Open the MLflow run of a flow run. It ends as FINISHED, or as FAILED or KILLED with the error in its description.

    Its name is that of `run_name`.

    Args:
        name: What it does.
        earlier: Run of an earlier flow run, reopened if it exists.
        outcome: Its `outcome` until the gate, or its result, says another one.
    """
    tracker = tracker_of(config.workspace)
    begun = started()
    # Detect a wrong address now, not after hours of work.
    tracker.wait(config.execution.tracking_patience)
    end_left_runs(config.home)  # also those of another container
    describe_flow_run(config.title, config.preset, config.source)
    facts = {
        tag.PRESET: config.preset,
        tag.FLOW: name,
        tag.RUN_DATA: config.source.title,
    }
    if outcome:
        facts[tag.RUN_OUTCOME] = outcome
    described = run_tags(git_commit=git_commit(), description=prefect_link())
    tags = {
        **prefect_tags(),
        **described,
        **facts,
    }
    run_id = ""
    if earlier and tracker.reopen_run(earlier):
        run_id = earlier
    if run_id:
        tracker.set_tags(run_id, facts | run_name(config.source, name))
    else:
        run_id = tracker.start_run(run_name(config.source, name)[tag.RUN_NAME], tags, None)

    if FlowRunContext.get() is not None:
        create_link_artifact(
            tracker.link(run_id), "MLflow run", "mlflow-run", "Figures and files of this run"
        )

    with one_log(), recorded_stages(begun), ended_on_error(tracker, run_id):
        tracker.log_params(run_id, {"preset": config.preset, "seed": config.seed})
        log_settings(config, run_id)
        yield run_id

    add_to_description(tracker, run_id, prefect_link())
    tracker.end_run(run_id, "FINISHED")
    waiting = tracker.sync()
    if waiting:
        log.warning(
            "%d runs wait for MLflow; the next run or `reviewlm home sync` publishes them", waiting
        )


def log_settings(config: RunConfig, run_id: str) -> None:
    """Log the configuration; that of a run for a time budget replaces that of the run's start."""
    tracker_of(config.workspace).log_text(run_id, config.model_dump_json(indent=2), "config.json")


def add_to_description(
    tracker: Tracker,
    run_id: str,
    text: str,
) -> None:
    """Append a paragraph to a run's description if it is not there yet; do nothing if MLflow does not answer."""
    with suppress(TrackingUnavailable):
        note = tracker.tag(run_id, tag.NOTE)
        if text and text not in note:
            beginning = note[: NOTE_LENGTH - len(text)]
            tracker.set_tags(run_id, {tag.NOTE: f"{beginning}\n\n{text}".strip()})


@contextmanager
def ended_on_error(tracker: Tracker, run_id: str) -> Iterator[None]:
    """End a run as FAILED if the block raises, or as KILLED if it was interrupted."""
    try:
        yield
    except BaseException as error:
        # An interrupt causes exceptions too.
        failed = isinstance(error, Exception) and not is_interrupted()
        outcome = "Failed" if failed else "Interrupted"
        with suppress(ReviewLMError):  # an unreachable MLflow must not hide the error
            reason = f"{error or type(error).__name__}"
            note = f"{outcome}: {reason}"[:3500]
            note = f"{note}\n\n{prefect_link()}".strip()
            decided = ""
            with suppress(ReviewLMError):
                decided = tracker.tag(run_id, tag.OUTCOME)
            if decided:  # its text is the decision
                add_to_description(tracker, run_id, note)
            else:
                brief = _kind_of(error) if failed else "interrupted"
                tracker.set_tags(run_id, {tag.NOTE: note, tag.RUN_REASON: brief})

            if isinstance(error, CheckFailed) and Path(error.report).is_file():
                tracker.log_folder(run_id, Path(error.report).parent, "data_docs/failed")
            tracker.end_run(run_id, "FAILED" if failed else "KILLED")

        raise


def _kind_of(error: BaseException) -> str:
    """Return the kind of an error in at most 20 letters, for the column of reasons: "check failed", "out of memory"."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*", type(error).__name__)
    return " ".join(words).lower()[:20] or "error"


@dataclass
class ModelRun:
    """MLflow run of one fit: a new one, or (*known*) the finished one that already describes the fit."""

    tracker: Tracker
    run_id: str
    known: bool
    followed: float = field(default_factory=time.monotonic)

    def follow(self, journal: Path) -> None:
        """Forward the journal of a running fit, at most every `FORWARD_SECONDS`."""
        if time.monotonic() - self.followed > FORWARD_SECONDS:
            self.followed = time.monotonic()
            try:
                self.forward(journal)
            except TrackingUnavailable as error:  # the journal keeps the points; the fit continues
                log.warning("%s; its figures follow later", error.what)

    def forward(self, journal: Path, settled: bool = True) -> None:
        """Send new points of a fit's journal; with *settled*, only points that a later divergence cannot take back."""
        if not self.known and journal.is_file():
            self.tracker.log_journal(self.run_id, journal, settled)

    def complete(self, artifact: Artifact, bundle: str) -> None:
        """Log the fitted model and its summary, once."""
        if self.known:
            return

        self.forward(artifact.folder / JOURNAL, settled=False)
        summary = artifact.facts.get("summary", {})
        compared = {}
        for name, value in summary.items():
            if name.startswith(COMPARED):
                compared[f"fit/{name}"] = value

        self.tracker.log_metrics(self.run_id, compared)
        self.tracker.log_text(self.run_id, json.dumps(summary, indent=1), "fit.json")
        log_bundle(
            self.tracker,
            self.run_id,
            artifact.folder / bundle,
            str(artifact.facts.get("name", "model")),
        )
        self.tracker.end_run(self.run_id, "FINISHED")


@contextmanager
def open_model_run(
    config: RunConfig,
    spec: FittedSpec,
    digest: str,
    prepared: Prepared,
    parent_run_id: str,
    there: bool,
) -> Iterator[ModelRun]:
    """Yield the run that describes the fit *digest*: link a finished run, or else start a child run.

    A finished run is not linked if the files of its logged model are gone or damaged: the gate could not score that
    model and would always refuse it. Then a new run describes the fit and logs the model again.

    A fit that is not in the store (*there* is false) also gets a new run. Its new bundle may differ from the one that
    the old run logged, and the gate must measure the bundle that is registered. The run of a killed fit stays KILLED:
    the new one gets the whole journal.
    """
    tracker = tracker_of(config.workspace)
    finished_run = _finished_run(tracker, spec.name, digest) if there else ""
    if finished_run:
        tracker.set_tags(parent_run_id, {f"{tag.CHILD}{spec.name}": finished_run})
        yield ModelRun(tracker, finished_run, known=True)
        return

    unit = config.vocabulary[spec.vocabulary].unit
    tags = {
        tag.FIT_TAG: digest,
        tag.KIND: spec.kind,
        tag.UNIT: unit,
        tag.PRESET: config.preset,
    }
    tags |= run_tags(description=prefect_link())
    tags |= prefect_tags()
    name = f"{spec.name}, {started():{tag.RUN_TIME}}"  # charts show the models of several retrains
    run_id = tracker.start_run(name, tags, parent_run_id)
    with ended_on_error(tracker, run_id):
        tracker.log_params(
            run_id,
            parameters_of(
                config.vocabulary,
                config.clean,
                config.split,
                spec,
                prepared,
            ),
        )
        streams = prepared.tokens[spec.vocabulary].items()
        datasets = [dataset_of(spec.vocabulary, split, stream) for split, stream in streams]
        tracker.log_datasets(run_id, datasets)
        tracker.log_folder(run_id, prepared.vocabularies[spec.vocabulary].folder, "tokenizer")
        tracker.set_tags(parent_run_id, {f"{tag.CHILD}{spec.name}": run_id})
        yield ModelRun(tracker, run_id, known=False)


def dataset_of(
    vocabulary: str,
    split: str,
    stream: Artifact,
) -> tuple[Path, str, str, str]:
    """Return a token stream in the form of `Tracker.log_datasets`: table, name, digest, context (the split)."""
    return stream.folder / "documents.parquet", f"{vocabulary}-{split}", stream.digest, split


def log_inputs(
    workspace: Workspace,
    prepared: Prepared,
    parent_run_id: str,
) -> None:
    """Log the prepared reviews and every token stream as inputs of a flow's run."""
    datasets = [(prepared.clean.folder / TABLE, "reviews", prepared.clean.digest, "prepared")]
    for name, splits in prepared.tokens.items():
        for split, stream in splits.items():
            datasets.append(dataset_of(name, split, stream))

    tracker_of(workspace).log_datasets(parent_run_id, datasets)


def _finished_run(
    tracker: Tracker,
    name: str,
    digest: str,
) -> str:
    """Return the newest finished run of a fit; "" without one, or, with a warning, if its logged model is not whole.

    Where MLflow does not answer, there is no such run, or its files count as whole.
    """
    run_id = ""
    with suppress(TrackingUnavailable):
        run = tracker.newest_run(tag.FIT_TAG, digest, "FINISHED")
        if run:
            run_id = str(run.info.run_id)
            if not has_bundle(tracker, tag.value_of(run.data.tags, tag.MODEL_URI_TAG)):
                log.warning(
                    "'%s': the files of its logged model (MLflow run %s) are gone or damaged; the store still "
                    "has the fit, so it is logged again, and a new version can be registered. A version that was "
                    "registered from them stays lost: `reviewlm history` lists the others",
                    name,
                    run_id,
                )
                return ""

    return run_id


def model_note(spec: ModelSpec, figures: Figures) -> str:
    """Return a model run's description: the model, its figures on the test reviews, a link to the Prefect run."""
    model = f"**{spec.name}**: {spec.kind} on {figures.unit} tokens, {figures.adaptation}"
    parts = parts_of(spec)
    if parts:
        model += f", built on {', '.join(parts)}"
    bits = f"{BITS.number(figures.open_bits_per_byte)} {BITS.words}"
    perplexities = f"{amount(figures.perplexity)} a token, {amount(figures.word_perplexity)} a word"
    note = f"{model}. Test reviews: {bits}, perplexity {perplexities}."
    if figures.adaptation != STATIC:
        note += " It adapts to the review it is measured on: compare it only with other adapting models."
    return f"{note}\n\n{prefect_link()}".strip()


def parameters_of(
    vocabulary_settings: Mapping[str, VocabularySpec],
    clean: CleanConfig,
    split: SplitConfig,
    spec: FittedSpec,
    prepared: Prepared,
) -> dict[str, Any]:
    """Return the parameters in four sections: data, architecture, objective, optimiser."""
    architecture = asdict(spec)
    objective = architecture.pop("objective", {})
    optimiser = architecture.pop("training", {})
    vocabulary = asdict(vocabulary_settings[spec.vocabulary])
    data = {
        "clean": clean.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "vocabulary": vocabulary,
        "fingerprint": prepared.clean.digest,
    }
    return {
        "data": data,
        "architecture": architecture,
        "objective": objective,
        "optimiser": optimiser,
    }
