"""Connect to one MLflow store and one experiment, and send read requests with retries."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import NotAuthorized, ReviewLMError, TrackingUnavailable, without_password
from core.services.service_list import address_of
from core.storing.sqlite_files import database_file
from tracking.artifacts import folder_of, new_address
from tracking.client import PRESENT, error_code, is_of_bucket, open_client, reaching, require_whole
from tracking.tags import EXPERIMENT_KIND, stored_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

UI_VARIABLE = "REVIEWLM_MLFLOW_URL"
TRAINING_VIEW = "workflowType=machine_learning"
"""Query of a link. Without it the UI opens pages about agents and traces."""
TRAINING = "custom_model_development"
"""Kind of the experiment. Without it the UI guesses, and shows models as agent versions, with traces and judges."""
READ_PAUSES = (0.5, 2.0)
"""Seconds before a read request is repeated: a connection may break although nothing is wrong."""
Answer = TypeVar("Answer")


class Connection:
    """A connection that opens on first use, works in several threads and processes at once, and can be pickled.

    Args:
        uri: `sqlite:///ABSOLUTE/FILE`, `postgresql://…`, or the address of an MLflow server.
        experiment: Created if it does not exist.
        artifact_root: Artifact folder of a store without a server. Its parent folder also holds the registry's lock and
            the queued writes.
        ui: Address of the MLflow UI for links. If empty: REVIEWLM_MLFLOW_URL, else the server itself, else the address
            that `services start` gives it in this home folder.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: Path, ui: str = "") -> None:
        self.uri, self.experiment, self.artifact_root = uri, experiment, Path(artifact_root).absolute()
        self._ui = ui
        self._connect()

    def _connect(self) -> None:
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._whole = False
        self._lock = threading.RLock()
        self.sent_steps: dict[str, dict[str, set[int]]] = {}
        """By run, the steps of each of its curves that MLflow is known to have."""

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "experiment": self.experiment, "artifact_root": self.artifact_root, "_ui": self._ui}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    @property
    def ui(self) -> str:
        """Address of the MLflow UI, for links."""
        named = self._ui or os.environ.get(UI_VARIABLE) or (self.uri if self.uri.startswith("http") else "")
        return (named or address_of(self.artifact_root.parent, "mlflow")).rstrip("/")

    @property
    def runs_page(self) -> str:
        """Address of the page with the runs of the experiment."""
        return f"{self.ui}/#/experiments/{self.experiment_id}/runs?{TRAINING_VIEW}"

    @property
    def shown(self) -> str:
        """Address of the store without its password, for display."""
        return without_password(self.uri)

    @property
    def client(self) -> MlflowClient:
        """MLflow's client of this store; call it inside `with tracker.reaching():`."""
        with self._lock:
            if self._client is None:
                self._client = open_client(self.uri, self.artifact_root)
            return self._client

    def require_whole(self) -> None:
        """Check once, without importing MLflow, that a SQLite file is whole and current (`client.require_whole`)."""
        if not self._whole and database_file(self.uri):
            require_whole(self.uri)
        self._whole = True

    @contextmanager
    def reaching(self) -> Iterator[MlflowClient]:
        """Yield the client and turn its errors into the project's own."""
        client = self.client
        with reaching(self.uri):
            yield client

    def ask(self, question: Callable[[MlflowClient], Answer], patient: bool = True) -> Answer:
        """Return the answer to a read request; with *patient*, repeat it after short pauses.

        Raises:
            TrackingUnavailable: MLflow does not answer.
        """
        for pause in READ_PAUSES if patient else ():
            try:
                with self.reaching() as client:
                    return question(client)
            except TrackingUnavailable as error:
                if not self.worth_waiting(error):
                    raise
                time.sleep(pause)
        with self.reaching() as client:
            return question(client)

    def may_come_back(self, error: TrackingUnavailable) -> bool:
        """Return whether a write may wait: the store is no local file, or it is locked, or what failed is a bucket."""
        return database_file(self.uri) is None or "locked" in error.cause or is_of_bucket(error)

    def worth_waiting(self, error: TrackingUnavailable) -> bool:
        """Return whether the store may soon answer without user action; False if the credentials are wrong."""
        return self.may_come_back(error) and not isinstance(error, NotAuthorized)

    def answers(self, run_id: str = "") -> bool:
        """Return whether MLflow answers now; with a run, also the place of its artifacts, e.g. a bucket."""
        try:
            self.ask(lambda client: client.search_experiments(max_results=1), patient=False)
            if run_id:
                self.ask(lambda client: client.list_artifacts(run_id), patient=False)
        except ReviewLMError:  # a bucket that is not there is refused with the code of a missing run
            return False
        return True

    @property
    def experiment_id(self) -> str:
        """Id of the experiment, which is created, or restored after a deletion, if needed."""
        with self._lock:
            if not self._experiment_id:
                self._experiment_id = self._find_experiment() or self._create_experiment()
            return self._experiment_id

    def _find_experiment(self) -> str:
        with self.reaching() as client:
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is None:
                return ""
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            if EXPERIMENT_KIND not in experiment.tags:
                client.set_experiment_tag(experiment.experiment_id, EXPERIMENT_KIND, TRAINING)
            return str(experiment.experiment_id)

    def _create_experiment(self) -> str:
        here = None if self.uri.startswith("http") else new_address(self.uri, self.artifact_root)
        try:
            with self.reaching() as client:
                tags = {EXPERIMENT_KIND: TRAINING}
                return str(client.create_experiment(self.experiment, artifact_location=here, tags=tags))
        except ReviewLMError as error:
            if error_code(error) in PRESENT:  # another process was faster
                return self._find_experiment()
            raise

    def folder_of(self, address: str) -> Path | None:
        """Return the folder of an address of this store; None if it is not on this machine."""
        return folder_of(address, self.uri)

    def find_run(self, tag: str, value: str, status: str = "") -> str | None:
        """Return the id of the newest run with this tag (and status, e.g. "FINISHED"), or None if there is none."""
        run = self.newest_run(tag, value, status)
        return None if run is None else str(run.info.run_id)

    def newest_run(self, tag: str, value: str, status: str = "") -> Run | None:
        """Return the newest run with this tag (and status), with all its tags, or None if there is none."""
        condition = f" and attributes.status = '{status}'" if status else ""
        quote = '"' if "'" in value else "'"  # MLflow's filter language has no escape character
        runs = self.search(f"tags.`{stored_name(tag)}` = {quote}{value}{quote}{condition}", most=1)
        return runs[0] if runs else None

    def search(self, where: str, most: int) -> list[Run]:
        """Return the newest runs of the experiment that a filter of MLflow selects."""
        order = ["attributes.start_time DESC"]
        return list(self.ask(lambda client: client.search_runs(
            [self.experiment_id], where, max_results=most, order_by=order)))
