"""Runs in MLflow: a view of what the pipeline did. Nothing of the pipeline's own state is ever read back from here.

A flow run is a parent run, each model's fit a child of it; links lead both ways between Prefect and MLflow.
"""

from __future__ import annotations

import getpass
import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviewlm.errors import ReviewLMError
from tracking.client import PRESENT, error_code, open_client, reaching
from tracking.journal import Point, read_journal
from tracking.params import TAG_LENGTH, flatten, legal_name, shorten

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = logging.getLogger(__name__)
PARENT, NOTE, COMMIT = "mlflow.parentRunId", "mlflow.note.content", "mlflow.source.git.commit"
FLOW_RUN, FLOW_RUN_URL = "prefect.flow_run_id", "prefect.flow_run_url"
METRICS_PER_BATCH, PER_BATCH = 1000, 100
DEFAULT_UI, UI_VARIABLE = "http://127.0.0.1:5000", "REVIEWLM_MLFLOW_URL"


def run_tags(
    flow_run_id: str = "", flow_run_url: str = "", git_commit: str = "", description: str = ""
) -> dict[str, str]:
    """Return the tags that tie a run to Prefect, the code and a description shown in the UI; empty ones left out."""
    tags = {FLOW_RUN: flow_run_id, FLOW_RUN_URL: flow_run_url, COMMIT: git_commit, NOTE: description}
    return {name: value for name, value in tags.items() if value}


class Tracker:
    """Writes runs of one experiment.

    Connects on first use, may be used from several threads and processes at once, and can be pickled. Every method
    raises TrackingUnavailable where MLflow does not answer; calling it again is safe.

    Args:
        uri: `sqlite:///ABSOLUTE/FILE`, or the address of an MLflow server.
        experiment: Created where it does not exist.
        artifact_root: Where a SQLite store keeps artifacts (a server decides itself), and the registry its lock.
        ui: Address of the MLflow UI for links; empty means REVIEWLM_MLFLOW_URL, the server itself or port 5000 here.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: Path, ui: str = "") -> None:
        self.uri, self.experiment, self.artifact_root = uri, experiment, Path(artifact_root).absolute()
        served = uri if uri.startswith("http") else DEFAULT_UI
        self.ui = (ui or os.environ.get(UI_VARIABLE) or served).rstrip("/")
        self._connect()

    def _connect(self) -> None:
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._sent: dict[str, set[tuple[str, int]]] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "experiment": self.experiment, "artifact_root": self.artifact_root, "ui": self.ui}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    @property
    def client(self) -> MlflowClient:
        """MLflow's client of this store; its calls belong inside `with tracker.reaching():`."""
        with self._lock:
            if self._client is None:
                self._client = open_client(self.uri)
            return self._client

    @contextmanager
    def reaching(self) -> Iterator[MlflowClient]:
        """Give the client and turn its errors into ours."""
        client = self.client
        with reaching(self.uri):
            yield client

    @property
    def experiment_id(self) -> str:
        """The experiment's id; created, or brought back from the bin, where needed."""
        with self._lock:
            if not self._experiment_id:
                self._experiment_id = self._find_experiment() or self._create_experiment()
            return self._experiment_id

    def _find_experiment(self) -> str:
        with self.reaching() as client:
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                return ""
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def _create_experiment(self) -> str:
        here = None if self.uri.startswith("http") else self.artifact_root.as_uri()
        try:
            with self.reaching() as client:
                return str(client.create_experiment(self.experiment, artifact_location=here))
        except ReviewLMError as error:
            if error_code(error) in PRESENT:  # another process was faster
                return self._find_experiment()
            raise

    def start_run(self, name: str, tags: Mapping[str, Any] | None = None, parent_run_id: str | None = None) -> str:
        """Start a run and return its id; with a parent the UI shows it below that run."""
        own = {"mlflow.user": _user(), "mlflow.source.name": "reviewlm", "mlflow.source.type": "PROJECT"}
        if parent_run_id:
            own[PARENT] = parent_run_id
        with self.reaching() as client:
            run = client.create_run(self.experiment_id, run_name=name, tags={**own, **_tags(tags or {})})
        return str(run.info.run_id)

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        with self.reaching() as client:
            client.set_terminated(run_id, status=status)

    def set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags; a value that is too long is shortened with a word."""
        from mlflow.entities import RunTag

        with self.reaching() as client:
            for batch in _batches([RunTag(key, value) for key, value in _tags(tags).items()], PER_BATCH):
                client.log_batch(run_id, tags=batch)

    def tag(self, run_id: str, name: str) -> str:
        """Return a run's tag, empty if it has none of that name."""
        with self.reaching() as client:
            return str(client.get_run(run_id).data.tags.get(legal_name(name), ""))

    def log_params(self, run_id: str, nested: Mapping[str, Any]) -> None:
        """Log nested settings as dotted parameters (see `tracking.params.flatten`).

        A parameter never changes: the same value again is fine, another value is refused by MLflow.
        """
        from mlflow.entities import Param

        with self.reaching() as client:
            for batch in _batches([Param(key, value) for key, value in flatten(nested).items()], PER_BATCH):
                client.log_batch(run_id, params=batch)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures in one batch; illegal characters of names are replaced ("hit@1" → "hit_at_1")."""
        points = [Point(legal_name(name), float(value), step or 0, 0.0) for name, value in metrics.items()]
        self._log_points(run_id, points)

    def log_journal(self, run_id: str, journal: Path, settled: bool = False) -> int:
        """Forward the trainer's journal and return how many points were new; calling it again doubles nothing.

        MLflow cannot forget a point: of a training that still runs, forward what is *settled* only.
        What MLflow already has is asked once per run and process, then remembered; after a failure it is asked again,
        because the failed request may have arrived.
        """
        points = read_journal(journal, settled)
        with self._lock:
            try:
                sent = self._sent_points(run_id, {point.name for point in points})
                new = [point for point in points if (point.name, point.step) not in sent]
                self._log_points(run_id, new)
            except Exception:
                self._sent.pop(run_id, None)
                raise
            sent.update((point.name, point.step) for point in new)
        return len(new)

    def _sent_points(self, run_id: str, names: set[str]) -> set[tuple[str, int]]:
        sent = self._sent.get(run_id)
        if sent is None:
            with self.reaching() as client:
                known = names & set(client.get_run(run_id).data.metrics)
                sent = {(name, metric.step) for name in known for metric in client.get_metric_history(run_id, name)}
            self._sent[run_id] = sent
        return sent

    def _log_points(self, run_id: str, points: Iterable[Point]) -> None:
        now = time.time()
        with self.reaching() as client:
            for batch in _batches([_metric(point, now) for point in points], METRICS_PER_BATCH):
                client.log_batch(run_id, metrics=batch)

    def log_figure(self, run_id: str, figure: Figure, file: str) -> None:
        """Save a matplotlib figure as an image under the run, e.g. "plots/loss.png"."""
        with self.reaching() as client:
            client.log_figure(run_id, figure, file)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Save a text under the run, e.g. "decision.md"."""
        with self.reaching() as client:
            client.log_text(run_id, text, file)

    def log_table(self, run_id: str, frame: pl.DataFrame, file: str) -> None:
        """Save a table as `file` (.json, which the UI shows as one) and as CSV beside it; logging again replaces it."""
        rows = {"columns": frame.columns, "data": [list(row) for row in frame.rows()]}
        self.log_text(run_id, json.dumps(rows, ensure_ascii=False, default=str), file)
        text = io.StringIO()
        frame.write_csv(text)
        self.log_text(run_id, text.getvalue(), str(Path(file).with_suffix(".csv")))
        with self._lock, self.reaching() as client:
            known = json.loads(client.get_run(run_id).data.tags.get("mlflow.loggedArtifacts", "[]"))
            entry = {"path": file, "type": "table"}
            if entry not in known:
                client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([*known, entry]))

    def log_folder(self, run_id: str, folder: Path, path: str) -> None:
        """Copy a folder (e.g. Data Docs, a vocabulary) below *path* of the run's artifacts."""
        with self.reaching() as client:
            client.log_artifacts(run_id, str(folder), path)

    def log_dataset(self, run_id: str, frame: pl.DataFrame | Path, name: str, digest: str, context: str) -> None:
        """Record a data set as input of a run under our own digest; only its description is stored, not its rows.

        Args:
            run_id: The run.
            frame: The table, or the path of a Parquet file or of any other file or folder.
            name: Shown in the UI, e.g. "reviews".
            digest: The artifact's digest (MLflow keeps 36 characters of it).
            context: What it was used for: "training", "validation", "test".
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        from tracking.datasets import describe

        facts = describe(frame)
        data = Dataset(name=name, digest=digest[:36], source_type="local", **facts)
        # MLflow looks whether it knows the data set and then inserts it: of two runs that log the same one at once, the
        # slower fails, and finds it on the second try.
        for last in (False, True):
            try:
                with self.reaching() as client:
                    client.log_inputs(run_id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", context)])])
                return
            except ReviewLMError as error:
                if last or "UNIQUE constraint" not in error.cause:
                    raise

    def run_experiment(self, run_id: str) -> str:
        """Return the id of the experiment that a run belongs to."""
        with self.reaching() as client:
            return str(client.get_run(run_id).info.experiment_id)

    def link(self, run_id: str) -> str:
        """Return the address of a run in the MLflow UI."""
        return f"{self.ui}/#/experiments/{self.experiment_id}/runs/{run_id}"

    def find_run(self, tag: str, value: str, status: str = "") -> str | None:
        """Return the id of the newest run with this tag (and status, e.g. "FINISHED"), None if there is none."""
        wanted = f" and attributes.status = '{status}'" if status else ""
        quote = '"' if "'" in value else "'"  # MLflow's filter language knows no escape
        with self.reaching() as client:
            found = client.search_runs(
                [self.experiment_id],
                f"tags.`{tag}` = {quote}{value}{quote}{wanted}",
                max_results=1,
                order_by=["attributes.start_time DESC"],
            )
        return str(found[0].info.run_id) if found else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {legal_name(name): shorten(str(value), TAG_LENGTH) for name, value in tags.items()}


def _metric(point: Point, now: float) -> Metric:
    from mlflow.entities import Metric

    return Metric(point.name, point.value, int((point.time or now) * 1000), point.step)


def _batches(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
