"""What the pipeline tells MLflow: one parent run per flow run, one child run per fitted model.

MLflow is a view of the store: nothing is read back from it but the id of the run that describes a fit, the registry's
aliases and the bundles of registered versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.settings import PREFECT_UI_URL
from prefect.states import State

from models.specs import ModelSpec
from reviewlm.config import RunConfig
from reviewlm.errors import CheckFailed, ReviewLMError, TrackingUnavailable
from reviewlm.store import Artifact
from tasks.prepare import Prepared
from tasks.stage import git_commit
from tracking.export import log_bundle
from tracking.registry import Registry
from tracking.reopen import reopen_run
from tracking.runs import Tracker, run_tags

JOURNAL = "metrics.jsonl"
FIT_TAG = "reviewlm.fit"
DATA_TAG = "data"
"""Of a registered version: the digest of the prepared data set that its model was trained on."""


def tracker_of(config: RunConfig) -> Tracker:
    """Return the tracker of a configuration: SQLite in the home folder unless a tracking URI is given."""
    home = config.home
    home.mkdir(parents=True, exist_ok=True)
    uri = config.execution.tracking_uri or f"sqlite:///{home / 'mlflow.db'}"
    return Tracker(uri, config.execution.experiment, home / "mlartifacts")


def registry_of(config: RunConfig) -> Registry:
    """Return the model registry of a configuration."""
    return Registry(tracker_of(config), config.promotion.model_name)


def prefect_tags() -> dict[str, str]:
    """Return the tags that lead from an MLflow run to its Prefect flow run; empty outside a flow."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return {}
    run = context.flow_run
    base = PREFECT_UI_URL.value() or "http://127.0.0.1:4200"
    return {**run_tags(str(run.id), f"{base}/runs/flow-run/{run.id}"), "prefect.flow_run_name": run.name}


def tracking_was_away(task: Any, run: Any, state: State[Any]) -> bool:
    """Return whether a failed task may be tried again: only where MLflow could not be reached."""
    try:
        state.result()
    except TrackingUnavailable:
        return True
    except Exception:
        return False
    return False


@contextmanager
def parent_run(config: RunConfig, name: str, known: str = "") -> Iterator[str]:
    """Open the MLflow run of a flow run; it ends FINISHED, or FAILED (KILLED) with the error in its description.

    *known* is the run that an earlier flow run has left and that this one goes on with, if it is still there.
    """
    tracker = tracker_of(config)
    tags = {**prefect_tags(), **run_tags(git_commit=git_commit()), "reviewlm.preset": config.preset}
    run_id = known if known and reopen_run(tracker, known) else tracker.start_run(name, tags, None)
    with ended_on_error(tracker, run_id):
        tracker.log_params(run_id, {"preset": config.preset, "seed": config.seed, "models": len(config.models)})
        tracker.log_text(run_id, config.model_dump_json(indent=2), "config.json")
        yield run_id
    tracker.end_run(run_id, "FINISHED")


@contextmanager
def ended_on_error(tracker: Tracker, run_id: str) -> Iterator[None]:
    """End a run as FAILED, or as KILLED where it was interrupted, if the block does not come to its end."""
    try:
        yield
    except BaseException as error:
        failed = isinstance(error, Exception)
        with suppress(ReviewLMError):  # an MLflow that is away must not hide what happened
            note = f"{'Failed' if failed else 'Interrupted'}: {error or type(error).__name__}"
            tracker.set_tags(run_id, {"mlflow.note.content": note[:4000]})
            if isinstance(error, CheckFailed) and Path(error.report).is_file():
                tracker.log_folder(run_id, Path(error.report).parent, "data_docs/failed")
            tracker.end_run(run_id, "FAILED" if failed else "KILLED")
        raise


@dataclass
class ModelRun:
    """The MLflow run of one fit: new, or the one that described it the first time."""

    tracker: Tracker
    run_id: str
    known: bool

    @property
    def link(self) -> str:
        """The run's page."""
        return self.tracker.link(self.run_id)

    def forward(self, journal: Path, settled: bool = True) -> None:
        """Send what is new in the trainer's journal; while it is written, only what a divergence cannot take back."""
        if not self.known and journal.is_file():
            self.tracker.log_journal(self.run_id, journal, settled)

    def complete(self, artifact: Artifact, bundle: str) -> None:
        """Log the fitted model and its summary, once."""
        if self.known:
            return
        self.forward(artifact.folder / JOURNAL, settled=False)
        summary = artifact.facts.get("summary", {})
        self.tracker.log_metrics(self.run_id, {f"fit/{name}": value for name, value in summary.items()})
        uri = log_bundle(self.tracker, self.run_id, artifact.folder / bundle)
        self.tracker.set_tags(self.run_id, {"reviewlm.model_uri": uri})
        self.tracker.end_run(self.run_id, "FINISHED")


@contextmanager
def open_model_run(
    config: RunConfig, spec: ModelSpec, digest: str, prepared: Prepared, parent_run_id: str, there: bool
) -> Iterator[ModelRun]:
    """Yield the run that describes the fit *digest*: a finished one is linked, else a child run is started.

    A fit that is not *there* and will be built anew gets a new run too: its bundle may differ from the one that the old
    run logged, and what the gate measures must be what is registered.
    """
    tracker = tracker_of(config)
    finished_run = tracker.find_run(FIT_TAG, digest, "FINISHED") if there else None
    if finished_run:
        tracker.set_tags(parent_run_id, {f"reviewlm.child.{spec.name}": finished_run})
        yield ModelRun(tracker, finished_run, known=True)
        return
    tags = {FIT_TAG: digest, "reviewlm.kind": spec.kind, **prefect_tags()}
    run_id = tracker.start_run(spec.name, tags, parent_run_id)
    with ended_on_error(tracker, run_id):
        tracker.log_params(run_id, parameters_of(config, spec, prepared))
        for split in ("train", "validation", "test"):
            stream = prepared.tokens[spec.vocabulary][split]
            name = f"{spec.vocabulary}-{split}"
            tracker.log_dataset(run_id, stream.folder / "documents.parquet", name, stream.digest, split)
        tracker.log_folder(run_id, prepared.vocabularies[spec.vocabulary].folder, "tokenizer")
        tracker.set_tags(parent_run_id, {f"reviewlm.child.{spec.name}": run_id})
        yield ModelRun(tracker, run_id, known=False)


OBJECTIVES = {
    "ngram": {"output": "relative frequencies with discounts"},
    "mixture": {"output": "weights tuned on validation"},
    "cache": {"output": "weights tuned on validation"},
    "neural_cache": {"output": "theta, window and weights tuned on validation"},
    "dynamic": {"output": "rate and decay tuned on validation"},
}
"""Of kinds of models that have no output layer of their own."""


def parameters_of(config: RunConfig, spec: ModelSpec, prepared: Prepared) -> dict[str, Any]:
    """Return the four choices of a recipe, each its own section: data, architecture, objective, optimiser."""
    architecture = asdict(spec)
    objective = architecture.pop("objective", OBJECTIVES.get(spec.kind, {}))
    optimiser = architecture.pop("training", {})
    data = {
        "clean": config.clean.model_dump(mode="json"),
        "split": config.split.model_dump(mode="json"),
        "vocabulary": asdict(config.vocabulary[spec.vocabulary]),
        "fingerprint": prepared.clean.digest,
    }
    return {"data": data, "architecture": architecture, "objective": objective, "optimiser": optimiser}
