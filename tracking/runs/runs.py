"""Write MLflow runs and their data sets, which show what the pipeline did; it never reads its own state from them.

A flow run is a parent run, and the fit of each model is a child run. Prefect and MLflow link to each other. If MLflow
does not answer, what was written waits on this disk (`tracking/runs/publish.py`).

Runs end also after an interrupt or a kill of the process that writes them. While a process has a run open, it holds a
lock beside the record of the run. An interrupted process ends its runs as KILLED. For a killed one, the next command in
the home folder does so.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reviewlm.core.errors import ArtifactError, ReviewLMError, TrackingUnavailable, disk_errors
from reviewlm.core.processes import interrupts
from reviewlm.core.processes.leftovers import hold
from reviewlm.core.sqlite_files import database_file, read_only
from reviewlm.tracking import tags as tag
from reviewlm.tracking.artifacts import ARTIFACTS
from reviewlm.tracking.client import Absent
from reviewlm.tracking.runs.publish import Point, Publisher, read_journal, send_points
from reviewlm.tracking.runs.record import LOCK, PENDING, Records, known_stores, remember_store
from reviewlm.tracking.tags import (
    NAME_LENGTH,
    TAG_LENGTH,
    flatten,
    legal_name,
    metric_name,
    own_metric_name,
    shorten,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

DIGEST_LENGTH = 36
"""Number of characters of a digest that MLflow keeps."""
KILLED = "Killed: the process that wrote this run is gone"
SHOWN_AT_END = (tag.RUN_NAME, tag.OUTCOME, tag.RUN_OUTCOME)
"""Tags by which `Tracker.end_run` decides how it ends a run."""
CUT_SHORT = {"FAILED": "failed", "KILLED": "interrupted"}
"""How a run was cut short, by its status. MLflow has one status for a run that a person interrupted or cancelled, and for
one whose process was killed; names and descriptions tell them apart, as Prefect's messages do."""
_open: dict[Path, tuple[Tracker, str, int | None]] = {}
"""By lock: the connection, the run and the descriptor of the lock."""
_shown: dict[str, dict[str, str]] = {}
"""By run that this process writes: its name, and the decision of its gate."""


LATEST = """
    SELECT latest_metrics.key, CASE WHEN is_nan THEN NULL ELSE value END
    FROM runs LEFT JOIN latest_metrics USING (run_uuid) WHERE run_uuid = ?
"""
"""Metrics of a run; one row without a name if it has none."""


def _metrics_by_sql(file: Path | None, run_id: str) -> dict[str, float] | None:
    """Return MLflow's names and values; None if that run is in no database file that can be read."""
    if file is None or not file.exists():
        return None
    with suppress(sqlite3.Error), read_only(file) as database:
        rows = database.execute(LATEST, (run_id,)).fetchall()
        values = {name: nan if value is None else value for name, value in rows if name}
        return values if rows else None
    return None


def run_tags(
    flow_run_id: str = "",
    flow_run_url: str = "",
    git_commit: str = "",
    description: str = "",
) -> dict[str, str]:
    """Return tags for the flow run in Prefect, the git commit and a description for the UI, without empty ones."""
    tags = {
        tag.FLOW_RUN: flow_run_id,
        tag.FLOW_RUN_URL: flow_run_url,
        tag.COMMIT: git_commit,
        tag.NOTE: description,
    }
    return {name: value for name, value in tags.items() if value}


class Tracker(Publisher):
    """A connection that writes the runs of one experiment.

    While a server or a remote database does not answer, writes wait in the run's record. A run that is started in this
    time has an id that begins with "pending-", which all methods accept. Methods that read raise TrackingUnavailable.
    With a local SQLite file, writes wait only while it is locked. After any other failure all methods raise
    TrackingUnavailable, because only the user can repair the file.
    """

    def start_run(
        self,
        name: str,
        tags: Mapping[str, Any] | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Start a run and return its id; with a parent, the UI shows it below that run."""
        all_tags = {
            tag.USER: user_name(),
            tag.SOURCE_NAME: "reviewlm",
            tag.SOURCE_TYPE: "PROJECT",
        }
        if parent_run_id:
            all_tags[tag.PARENT] = parent_run_id

        all_tags |= tags or {}
        shown = shorten(name, NAME_LENGTH)
        details = {
            "name": shown,
            "tags": _tags(all_tags),
            "time": _now(),
        }
        local = PENDING + uuid.uuid4().hex  # until MLflow gives it an id
        run_id = self._open_run(local, start=details) or local
        given = {name: str(all_tags[name]) for name in SHOWN_AT_END if name in all_tags}
        _shown[run_id] = {**given, tag.RUN_NAME: shown}
        if run_id != local:
            self._open_run(run_id)
            self._forget(local)

        return run_id

    def reopen_run(self, run_id: str) -> bool:
        """Set an earlier process's run back to RUNNING; return False if it does not exist or is marked as deleted."""
        known_id = self.known_id(run_id)
        try:
            with self.reaching() as client:
                if client.get_run(known_id).info.lifecycle_stage == "deleted":
                    return False
                self._open_run(run_id)  # first: whoever ends the former process's runs looks at it
                client.update_run(known_id, status="RUNNING")
        except Absent:
            return False

        return True

    def _open_run(self, run: str, **part: Any) -> str:
        """Record that this process writes a run, with a part of its record; return MLflow's id, "" if not known yet."""
        remember_store(self)
        file = self.records.folder / run / LOCK
        with disk_errors(file):
            with self.records.lock(run):  # not while another process ends it
                file.parent.mkdir(parents=True, exist_ok=True)
                descriptor = hold(file)
            if descriptor is not None:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.fstat(descriptor).st_ino).encode())
            _open[file] = self, run, descriptor

        try:
            run_id = self.write(run, open=True, **part).run_id
        except BaseException:
            self._forget(run)
            raise

        interrupts.at_interrupt(end_open_runs)
        return run_id

    def _forget(self, run: str) -> None:
        """Remove the record of a run that has another name, or could not be opened."""
        _release(self.records.folder / run / LOCK)
        self.records.forget(run)

    def end_run(
        self,
        run_id: str,
        status: str = "FINISHED",
        *,
        cut_short: str = "",
        **part: Any,
    ) -> None:
        """End a run as FINISHED, FAILED or KILLED; *part* of its record is written with it.

        The name of a run that was cut short says first how: *cut_short*, or by default `CUT_SHORT` of its status. If its
        gate had decided, only its report is missing: then it is FINISHED, as the version that it promoted is in use.
        """
        shown = _shown.pop(run_id, {})
        if shown.get(tag.OUTCOME):
            status = "FINISHED"
        if status != "FINISHED":
            word = cut_short or CUT_SHORT[status]
            tags = dict(part.get("tags", {}))
            if name := shown.get(tag.RUN_NAME):
                tags[tag.RUN_NAME] = f"{word} {name}"
            if shown.get(tag.RUN_OUTCOME) == tag.RUNNING:
                tags[tag.RUN_OUTCOME] = word
            part["tags"] = tags

        self.write(
            run_id,
            end={"status": status, "time": _now()},
            open=False,
            **part,
        )
        _release(self.records.folder / run_id / LOCK)

    def end_left(self, run: str) -> None:
        """End a run as KILLED if the process that has it open is gone."""
        with self.records.lock(run):
            record = self.records.read(run)  # another process may have ended it, or gone on with it
            if record is None or not self.records.is_left(record):
                return
            try:
                with suppress(TrackingUnavailable):
                    _shown[run] = {name: self.tag(run, name) for name in SHOWN_AT_END}
                note = {tag.stored_name(tag.NOTE): KILLED}
                self.end_run(run, "KILLED", cut_short="killed", tags=note)
            except TrackingUnavailable:  # of the local database: the next command tries again
                return
            except ReviewLMError:  # deleted in MLflow
                self.records.forget(run)

            (self.records.folder / run / LOCK).unlink(missing_ok=True)

    def set_tags(self, run_id: str, tags: Mapping[str, Any]) -> None:
        """Set tags; a value that is too long is shortened, with a note at its end."""
        _shown.setdefault(run_id, {}).update(
            {name: tags[name] for name in SHOWN_AT_END if name in tags}
        )
        self.write(run_id, tags=_tags(tags))

    def tag(self, run_id: str, name: str) -> str:
        """Return the value of a run's tag, or "" if the run does not have it."""
        known_id = self.known_id(run_id)
        return tag.value_of(
            self.ask(lambda client: client.get_run(known_id).data.tags), legal_name(name)
        )

    def has_tag(
        self,
        run_id: str,
        name: str,
        value: str,
    ) -> bool:
        """Return whether a run has a tag with this value; False also while MLflow does not answer.

        The caller may then write the same results a second time; this changes nothing.
        """
        try:
            return self.tag(run_id, name) == value
        except TrackingUnavailable:
            return False

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each of a run's metrics, under our names (`reviewlm.tracking.tags.metric_name`).

        A local database is read directly: to import MLflow takes seconds.
        """
        known_id = self.known_id(run_id)
        stored = _metrics_by_sql(database_file(self.uri), known_id)
        if stored is None:
            stored = self.ask(lambda client: client.get_run(known_id).data.metrics)
        return {own_metric_name(name): value for name, value in stored.items()}

    def log_params(self, run_id: str, nested: Mapping[str, Any]) -> None:
        """Log nested settings as dotted parameters (see `reviewlm.tracking.tags.flatten`).

        A parameter never changes: MLflow accepts the same value again, and refuses another value.
        """
        self.write(run_id, params=flatten(nested))

    def log_metrics(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        step: int | None = None,
        dataset: tuple[str, str] | None = None,
    ) -> None:
        """Log metrics in one batch, without those that this process has logged before.

        Illegal characters of names are replaced ("hit@1" → "hit_at_1").

        Args:
            step: Step of a point on a curve.
            dataset: Name and digest of the data set of the measurement. The metrics then also belong to the run's
                logged model, so that the Models page compares models on that data set.
        """
        now = time.time()
        tied: tuple[str, ...] = ()
        if dataset:
            tied = (dataset[0], dataset[1][:DIGEST_LENGTH])

        points = []
        for name, value in metrics.items():
            points.append(
                Point(
                    metric_name(name),
                    float(value),
                    step or 0,
                    now,
                    *tied,
                )
            )

        self._write_points(run_id, points)

    def _write_points(self, run_id: str, points: list[Point]) -> None:
        if entries := {f"{point.step} {point.name}": list(point) for point in points}:
            self.write(run_id, points=entries)

    def log_journal(
        self,
        run_id: str,
        journal: Path,
        settled: bool = False,
    ) -> None:
        """Send the trainer's journal; a repeated call creates no duplicates.

        MLflow cannot delete a point. So while the training runs, send only *settled* points, which the trainer does not
        take back. They never wait: the journal keeps them.

        Raises:
            TrackingUnavailable: MLflow does not answer (only with *settled*).
        """
        points = read_journal(Path(journal), settled)
        if not settled:
            self._write_points(run_id, points)
        elif self.is_paused:
            raise TrackingUnavailable("MLflow did not answer a moment ago", where=self.shown)
        else:
            send_points(self, self.known_id(run_id), points)

    def log_figure(
        self,
        run_id: str,
        figure: Figure,
        file: str,
    ) -> None:
        """Save a matplotlib figure as an image under the run, e.g. "plots/loss.png"."""
        self.write(run_id, lambda folder: figure.savefig(_made(folder / file)))

    def log_text(
        self,
        run_id: str,
        text: str,
        file: str,
        **part: Any,
    ) -> None:
        """Save a text under the run, e.g. "decision.md"; *part* of its record is written with it."""
        self.write(
            run_id, lambda folder: _made(folder / file).write_text(text, encoding="utf-8"), **part
        )

    def log_table(
        self,
        run_id: str,
        frame: pl.DataFrame,
        file: str,
    ) -> None:
        """Save a table as `file` (.json), which the UI shows as a table; a repeated call replaces it."""
        rows = {"columns": frame.columns, "data": [list(row) for row in frame.rows()]}
        self.log_text(
            run_id, json.dumps(rows, default=str, ensure_ascii=False), file, tables=[file]
        )

    def log_folder(
        self,
        run_id: str,
        folder: Path,
        path: str = "",
    ) -> None:
        """Copy the files of a folder, with its subfolders, to `path` under the run's artifacts."""
        if not folder.is_dir():
            logging.getLogger(__name__).warning(
                "%s is gone, so MLflow does not get its files", folder
            )
            return
        self.write(run_id, lambda files: shutil.copytree(folder, files / path, dirs_exist_ok=True))

    def log_datasets(self, run_id: str, datasets: Sequence[tuple[Path, str, str, str]]) -> None:
        """Record data sets as inputs of a run, with the store's digests; only descriptions are stored, not the rows.

        Args:
            datasets: For each data set: its Parquet file; its name in the UI, e.g. "reviews"; the artifact's digest
                (MLflow keeps 36 characters of it); and its use: "training", "validation", "test".
        """
        described = [
            {
                "name": name,
                "digest": digest[:DIGEST_LENGTH],
                "context": context,
                "facts": describe(file),
            }
            for file, name, digest, context in datasets
        ]
        self.write(run_id, inputs=described)

    def link(self, run_id: str, file: str = "") -> str:
        """Return the address of a run in the MLflow UI, or of the UI itself while MLflow does not know the run.

        With *file*, the page shows that file of the run.
        """
        try:
            path = f"experiments/{self.experiment_id}/runs/{self.known_id(run_id)}"
        except TrackingUnavailable:
            return self.ui

        if file:
            path += f"/artifacts/{file}"
        return self.page(path)


def _release(file: Path) -> None:
    _, _, descriptor = _open.pop(file, (None, "", None))
    if descriptor is not None:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def end_open_runs() -> None:
    """End all runs that this process has open as KILLED, the newest first, with a note."""
    for _ in range(2):  # twice: a run that another thread was starting has MLflow's id only now
        for tracker, run_id, _ in list(_open.values())[::-1]:
            with suppress(ReviewLMError):
                tracker.end_run(run_id, "KILLED", tags={tag.stored_name(tag.NOTE): "Interrupted"})


def end_left_runs(home: Path) -> None:
    """End the runs that killed processes of this home folder left open, as KILLED.

    Where MLflow does not answer, their ends wait like all other writes.
    """
    for uri in known_stores(home):
        with suppress(ArtifactError):  # whoever writes the run says what is wrong with its record
            records = Records(home, uri)
            for record in filter(records.is_left, records.all()):
                Tracker(uri, record.experiment, home / ARTIFACTS).end_left(record.run)


def user_name() -> str:
    """Return the name of this process's user, or the number of one without a name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _made(file: Path) -> Path:
    """Return a file whose folder exists."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _now() -> int:
    return int(time.time() * 1000)


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {
        tag.stored_name(legal_name(name)): shorten(str(value), TAG_LENGTH)
        for name, value in tags.items()
    }


def describe(file: Path) -> dict[str, str]:
    """Describe a data set for MLflow without loading its rows, as JSON texts: `source`, `schema` (not known), `profile`."""
    import polars as pl

    table = pl.scan_parquet(file)
    profile = {
        "num_rows": int(table.select(pl.len()).collect().item()),
        "columns": table.collect_schema().names(),
    }
    return {
        "source": json.dumps({"uri": file.absolute().as_uri()}),
        "schema": "",
        "profile": json.dumps(profile),
    }
