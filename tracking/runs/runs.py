"""Runs in MLflow: a view of what the pipeline did. Nothing of the pipeline's own state is ever read back from here.

A flow run is a parent run, each model's fit a child of it; links lead both ways between Prefect and MLflow. What is
written while MLflow is away waits on this disk (`tracking/runs/delivery.py`).
"""

from __future__ import annotations

import getpass
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ReviewLMError, TrackingUnavailable
from tracking.connection import Connection
from tracking.runs import delivery, open_runs
from tracking.runs.outbox import Outbox, Write
from tracking.runs.params import TAG_LENGTH, flatten, legal_name, shorten
from tracking.runs.writes import table_texts

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
PARENT, NOTE, COMMIT = "mlflow.parentRunId", "mlflow.note.content", "mlflow.source.git.commit"
FLOW_RUN, FLOW_RUN_URL = "prefect.flow_run_id", "prefect.flow_run_url"
TRAINING_VIEW = "workflowType=machine_learning"
"""Without it the UI opens with pages about agents and traces."""
DIGEST_LENGTH = 36
"""As much of a digest as MLflow keeps."""


def run_tags(
    flow_run_id: str = "", flow_run_url: str = "", git_commit: str = "", description: str = ""
) -> dict[str, str]:
    """Return the tags that tie a run to Prefect, the code and a description shown in the UI; empty ones left out."""
    tags = {FLOW_RUN: flow_run_id, FLOW_RUN_URL: flow_run_url, COMMIT: git_commit, NOTE: description}
    return {name: value for name, value in tags.items() if value}


class Tracker(Connection):
    """Writes runs of one experiment.

    While a server or a database elsewhere is away, what is written waits and is sent later; a run that is started
    meanwhile has an id that begins with "pending-", which every method takes. Reading needs MLflow: such methods raise
    TrackingUnavailable. Of the local SQLite file every method does, for nothing will bring it back but a person.
    """

    def _connect(self) -> None:
        super()._connect()
        self.sent_steps: dict[tuple[str, str], set[int]] = {}
        self.outbox = Outbox(self.artifact_root.parent / "outbox", self.uri, self.experiment)

    def wait(self, seconds: float = 0.0) -> None:
        """Return once MLflow answers and has all that waited for it; TrackingUnavailable after *seconds*."""
        delivery.wait_for(self, seconds)

    def flush(self) -> int:
        """Send what waits for MLflow and return how many writes still do."""
        with self._lock:
            return delivery.flush(self)

    def write(self, write: Write) -> str | None:
        """Send a write or keep it; see `tracking.runs.delivery.deliver`."""
        with self._lock:
            return delivery.deliver(self, write)

    def known_id(self, run_id: str) -> str:
        """Return MLflow's id of a run that may have been started while it was away.

        Raises:
            TrackingUnavailable: It is still away.
        """
        try:
            return delivery.real_id(self.outbox, run_id)
        except ReviewLMError as error:
            raise TrackingUnavailable("MLflow does not know this run yet", where=self.shown, value=run_id) from error

    def start_run(
        self, name: str, tags: Mapping[str, Any] | None = None, parent_run_id: str | None = None,
        unless: tuple[str, str, str] | None = None,
    ) -> str:
        """Start a run and return its id; with a parent the UI shows it below that run.

        *unless* is the tag, its value and the status of a run that this one would only repeat. It is asked for where
        the run had to wait for MLflow.
        """
        own = {"mlflow.user": _user(), "mlflow.source.name": "reviewlm", "mlflow.source.type": "PROJECT"}
        own |= open_runs.process_tags()
        if parent_run_id:
            own[PARENT] = parent_run_id
        details = {"name": name, "tags": {**own, **_tags(tags or {})}, "time": _now(), "unless": unless}
        local = delivery.new_run()
        with open_runs.starting():
            run_id = self.write(Write("start", local, details)) or local
            open_runs.opened(self, run_id)
        return run_id

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.write(Write("end", run_id, {"status": status, "time": _now()}))
        open_runs.ended(self, run_id)

    def set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags; a value that is too long is shortened with a word."""
        self.write(Write("tags", run_id, {"tags": _tags(tags)}))

    def tag(self, run_id: str, name: str) -> str:
        """Return a run's tag, empty if it has none of that name."""
        known = self.known_id(run_id)
        return str(self.ask(lambda client: client.get_run(known).data.tags.get(legal_name(name), "")))

    def has_tag(self, run_id: str, name: str, value: str) -> bool:
        """Return whether a run has this very tag; False also while MLflow is away.

        What is then written a second time changes nothing.
        """
        try:
            return self.tag(run_id, name) == value
        except TrackingUnavailable:
            return False

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each of a run's metrics."""
        known = self.known_id(run_id)
        return dict(self.ask(lambda client: client.get_run(known).data.metrics))

    def log_params(self, run_id: str, nested: Mapping[str, Any]) -> None:
        """Log nested settings as dotted parameters (see `tracking.runs.params.flatten`).

        A parameter never changes: the same value again is fine, another value is refused by MLflow.
        """
        self.write(Write("params", run_id, {"params": flatten(nested)}))

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], step: int | None = None, dataset: tuple[str, str] | None = None
    ) -> None:
        """Log figures in one batch; a figure that the run has already is left out.

        Illegal characters of names are replaced ("hit@1" → "hit_at_1").

        Args:
            run_id: The run.
            metrics: Figures by name.
            step: Of a curve.
            dataset: Name and digest of the data set that they were measured on. They then belong to the run's logged
                model too, which makes the Models page compare models on that data set.
        """
        self.log_curves(run_id, [(name, value, step or 0) for name, value in metrics.items()], dataset)

    def log_curves(
        self, run_id: str, points: Iterable[tuple[str, float, int]], dataset: tuple[str, str] | None = None
    ) -> None:
        """Log (name, value, step) of many points in as few requests as MLflow allows."""
        now = time.time()
        stamped = [[legal_name(name), float(value), step, now] for name, value, step in points]
        tied = [dataset[0], dataset[1][:DIGEST_LENGTH]] if dataset else None
        if stamped:
            self.write(Write("metrics", run_id, {"points": stamped, "dataset": tied}))

    def log_journal(self, run_id: str, journal: Path, settled: bool = False) -> int:
        """Forward the trainer's journal and return how many points were new; calling it again doubles nothing.

        MLflow cannot forget a point: of a training that still runs, forward what is *settled* only. That never waits in
        the outbox, for the journal itself keeps it.

        Raises:
            TrackingUnavailable: *settled*, and MLflow does not answer.
        """
        write = Write("journal", run_id, {"settled": settled, "time": time.time()}, {"journal": Path(journal)})
        if settled:
            with self._lock:
                return delivery.deliver_now(self, write)
        return int(self.write(write) or 0)

    def log_figure(self, run_id: str, figure: Figure, file: str) -> None:
        """Save a matplotlib figure as an image under the run, e.g. "plots/loss.png"."""
        path = Path(file)
        with tempfile.TemporaryDirectory() as folder:
            figure.savefig(Path(folder) / path.name)
            self.log_folder(run_id, Path(folder), str(path.parent) if path.parent.name else "")

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Save a text under the run, e.g. "decision.md"."""
        self.write(Write("text", run_id, {"text": text, "file": file}))

    def log_table(self, run_id: str, frame: pl.DataFrame, file: str) -> None:
        """Save a table as `file` (.json, which the UI shows as one) and as CSV beside it; logging again replaces it."""
        self.write(Write("table", run_id, {"file": file, **table_texts(frame)}))

    def log_folder(self, run_id: str, folder: Path, path: str) -> None:
        """Copy a folder (e.g. Data Docs, a vocabulary) below *path* of the run's artifacts."""
        self.write(Write("artifacts", run_id, {"path": path}, {"folder": Path(folder)}))

    def log_datasets(self, run_id: str, datasets: Sequence[tuple[pl.DataFrame | Path, str, str, str]]) -> None:
        """Record data sets as inputs of a run under our own digests; only their descriptions are stored, not the rows.

        Args:
            run_id: The run.
            datasets: Of each one the table, or the path of a Parquet file or of any other file or folder; its name in
                the UI, e.g. "reviews"; the artifact's digest (MLflow keeps 36 characters of it); and what it was used
                for: "training", "validation", "test".
        """
        from tracking.runs.datasets import describe

        described = [
            {"name": name, "digest": digest[:DIGEST_LENGTH], "context": context, "facts": describe(frame)}
            for frame, name, digest, context in datasets
        ]
        self.write(Write("datasets", run_id, {"datasets": described}))

    def link(self, run_id: str) -> str:
        """Return the address of a run in the MLflow UI; of the UI itself while MLflow does not know the run."""
        try:
            return f"{self.ui}/#/experiments/{self.experiment_id}/runs/{self.known_id(run_id)}?{TRAINING_VIEW}"
        except TrackingUnavailable:
            return self.ui

    def find_run(self, tag: str, value: str, status: str = "") -> str | None:
        """Return the id of the newest run with this tag (and status, e.g. "FINISHED"), None if there is none."""
        wanted = f" and attributes.status = '{status}'" if status else ""
        quote = '"' if "'" in value else "'"  # MLflow's filter language knows no escape
        found = self.ask(
            lambda client: client.search_runs(
                [self.experiment_id], f"tags.`{tag}` = {quote}{value}{quote}{wanted}", max_results=1,
                order_by=["attributes.start_time DESC"],
            )
        )
        return str(found[0].info.run_id) if found else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _now() -> int:
    return int(time.time() * 1000)


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {legal_name(name): shorten(str(value), TAG_LENGTH) for name, value in tags.items()}
