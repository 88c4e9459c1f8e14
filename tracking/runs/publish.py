"""Publish runs: send MLflow what their records hold, so that publishing again adds nothing.

Whatever is written to a run goes into its record on this disk first (`tracking/runs/record.py`) and is then published.
If MLflow does not answer, the record waits for the next write, the next flow, or `reviewlm home sync`. A request
may have arrived although its answer was lost. MLflow accepts a point twice, with its time, as one; it does not detect a
run or a logged model that is sent again: these are searched for first.

Metric points come from the trainer's journal (`metrics.jsonl`), so that the training loop does not need MLflow.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reviewlm.core.errors import ArtifactError, ReviewLMError, TrackingUnavailable, disk_errors
from reviewlm.models.base import journal_lines
from reviewlm.tracking.client import Connection
from reviewlm.tracking.logged_models.export import send_model
from reviewlm.tracking.runs.record import PENDING, Record, Records, remember_store
from reviewlm.tracking.tags import (
    DATASET_USE,
    KEY,
    LOGGED_TABLES,
    MODEL_URI_TAG,
    metric_name,
    stored_name,
    value_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAUSE = 30.0
"""Seconds between attempts to reach a store that did not answer: each attempt makes the user wait."""
WAIT_PAUSE = 2.0
NOT_METRICS = frozenset({"step", "time"})
SETTLED = "settled"
log = logging.getLogger(__name__)
LOCAL = re.compile(rf"{PENDING}[0-9a-f]{{32}}")
_away_until: dict[str, float] = {}
"""By store that did not answer this process: when to try again (monotonic clock)."""
LOOKED_AT = ("files", "tables")
"""Parts that hold up no other: MLflow may keep files at another place, which is away for longer."""


class Unknown(TrackingUnavailable):
    """A run is named that MLflow does not know yet."""


class Point(NamedTuple):
    """A value of a metric, with name and digest of the data set that it was measured on, "" for none.

    `step` counts training tokens; `time` is seconds since 1970.
    """

    name: str
    value: float
    step: int
    time: float
    dataset: str = ""
    digest: str = ""


class Publisher(Connection):
    """A connection whose writes go through records, and wait in them while MLflow does not answer."""

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_root: Path,
    ) -> None:
        super().__init__(uri, experiment, artifact_root)
        self.records = Records(self.artifact_root.parent, self.uri)
        self.sent: dict[str, dict[tuple[str, int], float]] = {}
        """By run: the values that this process has sent, by metric and step."""

    def write(self, run: str, put: Callable[[Path], object] | None = None, **part: Any) -> Record:
        """Add a part to the record of a run and publish it; return the record with what is left.

        Args:
            run: Its id, or its local name.
            put: Writes files of the run below a folder, at the paths that they have in MLflow.
            part: Fields of the record.

        Raises:
            TrackingUnavailable: The local database cannot be used, so that waiting would not help.
            ReviewLMError: MLflow refuses it, or *run* is no run.
        """
        with self._lock:
            if self.uri in _away_until and not self.is_paused:
                self.sync()
            with self.records.lock(run):
                record = self.records.read(run)
                if record is None:
                    if run.startswith(PENDING) and "start" not in part:
                        raise ReviewLMError(
                            "MLflow does not know this run", where=self.shown, value=run
                        )

                    record = Record(run, self.experiment, "" if run.startswith(PENDING) else run)

                before = copy.deepcopy(record)
                if put is not None:
                    with disk_errors(folder := self.records.files(run)):
                        folder.mkdir(parents=True, exist_ok=True)
                        put(folder)

                    record.files = True

                record.merge(part)
                self.records.write(record)  # a process that is killed from here on loses nothing
                try:
                    self._publish(record, first=not before.waits)
                except Exception:  # not an interrupt, which ends this process
                    self.records.write(before)
                    raise

                return record

    def _publish(self, record: Record, first: bool = False) -> None:
        """Publish a record, and store what is left of it, with copies of the models that it names."""
        error = None
        if not self.is_paused:
            error = publish(self, record, first)

        if error is not None and not isinstance(error, Unknown):
            _away_until[self.uri] = time.monotonic() + PAUSE
            log.warning(
                "MLflow (%s) cannot be reached (%s); runs wait in %s and are published when it is back",
                self.shown,
                error.cause or error.what,
                self.records.folder,
            )

        if record.waits:
            remember_store(self)
            self.records.keep_models(record)

        self.records.write(record)

    def sync(self) -> int:
        """Publish all runs of this store and experiment, and return how many MLflow has not everything of."""
        with self._lock:
            _away_until.pop(self.uri, None)
            waited = self.waiting()
            # Twice: the tag of a parent may name a child that is only now started.
            for named in 2 * waited:
                with self.records.lock(named.run):
                    record = self.records.read(named.run)
                    if record is not None and record.waits:  # otherwise another process was faster
                        self._publish(record)

                if self.is_paused and not self.answers():
                    return len(self.waiting())
                _away_until.pop(self.uri, None)

            left = len(self.waiting())
            if done := len(waited) - left:
                log.info(
                    "MLflow (%s) has what waited of %d runs; %d still wait", self.shown, done, left
                )

            return left

    def waiting(self) -> list[Record]:
        """Return the runs of this store and experiment that MLflow has not everything of."""
        return [
            record
            for record in self.records.all()
            if record.waits and record.experiment == self.experiment
        ]

    @property
    def is_paused(self) -> bool:
        """Whether the next attempt must still wait because the store did not answer."""
        return time.monotonic() < _away_until.get(self.uri, 0.0)

    def wait(self, seconds: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait until MLflow answers and has all that waited, except for files that are only looked at.

        Raises:
            TrackingUnavailable: This takes longer than *seconds*, or waiting would not help.
            NotAuthorized: MLflow rejects the credentials; raised at once.
        """
        deadline = time.monotonic() + seconds
        warned = False
        while True:
            try:
                with self.reaching() as client:
                    client.search_experiments(max_results=1)
                if self.sync() and (left := sum(record.holds_up for record in self.waiting())):
                    raise TrackingUnavailable(
                        "Some runs are not in MLflow yet", where=self.shown, value=left
                    )

                return
            except TrackingUnavailable as error:
                if time.monotonic() + WAIT_PAUSE > deadline or not self.worth_waiting(error):
                    raise

            if not warned:
                log.warning(
                    "MLflow (%s) cannot be reached; waiting up to %.0f s for it",
                    self.shown,
                    seconds,
                )
                warned = True

            sleep(WAIT_PAUSE)

    def known_id(self, run: str) -> str:
        """Return MLflow's id of a run that may have been started while MLflow did not answer.

        Raises:
            TrackingUnavailable: MLflow does not know the run yet.
        """
        if not run.startswith(PENDING):
            return run
        record = self.records.read(run)
        if record is None or not record.run_id:
            raise Unknown("MLflow does not know this run yet", where=self.shown, value=run)
        return record.run_id


def publish(
    tracker: Publisher,
    record: Record,
    first: bool = False,
) -> TrackingUnavailable | None:
    """Send what a record holds and remove it from the record; return why something stays that cannot be sent now.

    Args:
        tracker: Connection to the store.
        record: The record; the caller holds its lock and stores it afterwards.
        first: Raise what MLflow refuses, instead of noting it in the record.

    Raises:
        ArtifactError: The disk or the store's tables are at fault.
        TrackingUnavailable: The local database cannot be used, so that waiting would not help.
        ReviewLMError: MLflow refuses a part (only with *first*).
    """
    away = None
    for kind, send in SENDERS.items():
        part = getattr(record, kind)
        # The UI learns of tables once their files are there.
        if not part or (kind == "tables" and record.files):
            continue
        none = None
        if kind not in ("start", "end"):
            none = type(part)()

        try:
            with tracker.reaching() as client:
                send(tracker, client, record)
            setattr(record, kind, none)
        except TrackingUnavailable as error:
            if not isinstance(error, Unknown) and not tracker.may_come_back(error):
                raise
            away = error
            if kind not in LOOKED_AT:
                break
        except ArtifactError:
            raise
        except Exception as error:
            if first:
                raise
            log.warning("MLflow rejected '%s' of run %s: %s", kind, record.run, error)
            record.refused.append({"kind": kind, "reason": str(error)[:1000]})
            setattr(record, kind, none)
            if kind == "start":
                break

    return away


def _start(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    """Start a run, unless it was started before."""
    assert record.start is not None
    tags = {**_known_tags(tracker, record.start["tags"]), stored_name(KEY): record.run}
    run = tracker.newest_run(KEY, record.run)
    began = record.start["time"]
    name = record.start["name"]
    run = run or client.create_run(
        tracker.experiment_id,
        start_time=began,
        run_name=name,
        tags=tags,
    )
    record.run_id = str(run.info.run_id)


def _tags(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    from mlflow.entities import RunTag

    tags = _known_tags(tracker, record.tags)
    client.log_batch(record.run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _known_tags(tracker: Publisher, tags: dict[str, str]) -> dict[str, str]:
    """Return tags with MLflow's ids in place of the local names of runs."""
    known = {}
    for name, value in tags.items():
        known[name] = value
        if LOCAL.fullmatch(value):
            record = tracker.records.read(value)
            if record and (record.start or record.run_id):  # else MLflow has refused the run
                known[name] = tracker.known_id(value)

    return known


def _params(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    from mlflow.entities import Param

    client.log_batch(
        record.run_id, params=[Param(name, value) for name, value in record.params.items()]
    )


def _inputs(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    """Record data sets as inputs of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for entry in record.inputs:
        dataset = Dataset(
            name=entry["name"],
            digest=entry["digest"],
            source_type="local",
            **entry["facts"],
        )
        inputs.append(DatasetInput(dataset, [InputTag(DATASET_USE, entry["context"])]))
    tracker.ask(lambda client: client.log_inputs(record.run_id, datasets=inputs))


def _models(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    for model in record.models:
        send_model(
            tracker,
            record.run_id,
            model["name"],
            Path(model["bundle"]),
            Path(model["package"]),
        )


def _points(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    send_points(tracker, record.run_id, [Point(*entry) for entry in record.points.values()])


def send_points(
    tracker: Publisher,
    run_id: str,
    points: list[Point],
) -> None:
    """Send points, except those that this process has sent before, and figures at step 0 that the run has already.

    Figures of a data set become metrics of the run's logged model too.
    """
    from mlflow.entities import Metric

    sent = tracker.sent.setdefault(run_id, {})
    metrics = []
    new = [point for point in points if sent.get((point.name, point.step)) != point.value]
    with tracker.reaching() as client:
        data = None
        if any(not point.step for point in new):
            data = client.get_run(run_id).data

        model = ""
        if data:
            model = value_of(data.tags, MODEL_URI_TAG).removeprefix("models:/")

        for name, value, step, seconds, dataset, digest in new:
            tied = {}
            if dataset and model:
                tied = {
                    "model_id": model,
                    "dataset_name": dataset,
                    "dataset_digest": digest,
                }

            if step or data is None or data.metrics.get(name) != value:
                metrics.append(
                    Metric(
                        name,
                        value,
                        int(1000 * seconds),
                        step,
                        **tied,
                    )
                )
        client.log_batch(run_id, metrics)

    sent.update({(point.name, point.step): point.value for point in new})


def _tables(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    """Name tables to the UI."""
    logged = json.loads(client.get_run(record.run_id).data.tags.get(LOGGED_TABLES, "[]"))
    new = [
        entry for path in record.tables if (entry := {"path": path, "type": "table"}) not in logged
    ]
    client.set_tag(record.run_id, LOGGED_TABLES, json.dumps([*logged, *new]))


def _files(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    folder = tracker.records.files(record.run)
    client.log_artifacts(record.run_id, str(folder))
    shutil.rmtree(folder, ignore_errors=True)


def _end(
    tracker: Publisher,
    client: MlflowClient,
    record: Record,
) -> None:
    assert record.end is not None
    client.set_terminated(record.run_id, status=record.end["status"], end_time=record.end["time"])


SENDERS: dict[str, Callable[[Publisher, Any, Record], None]] = {
    "start": _start,
    "tags": _tags,
    "params": _params,
    "inputs": _inputs,
    "models": _models,
    "points": _points,
    "files": _files,
    "tables": _tables,
    "end": _end,
}
"""By part of a record, in the order in which parts need each other."""


def read_journal(path: Path, settled: bool = False) -> list[Point]:
    """Return the journal's points in order, one per (name, step); if a point is repeated, the last value counts.

    A trainer that resumes from its checkpoint writes some steps again.

    Args:
        path: `metrics.jsonl`.
        settled: Return only points that the trainer will not take back. A training that diverges, or is killed, returns
            to a checkpoint, cuts the journal there and writes other values for the same steps. The checkpoint of the
            last mark may not be written yet; that of the mark before is.
    """
    lines = journal_lines(path)
    if settled:
        marks = [number for number, line in enumerate(lines, start=1) if line.get(SETTLED)]
        lines = lines[: marks[-2] if len(marks) > 1 else 0]

    points: dict[tuple[str, int], Point] = {}
    for line in lines:
        for name, value in line.items():
            if (
                name not in NOT_METRICS
                and isinstance(value, int | float)
                and not isinstance(value, bool)
            ):
                point = Point(
                    metric_name(name), float(value), int(line["step"]), float(line.get("time", 0.0))
                )
                points[point.name, point.step] = point

    return list(points.values())
