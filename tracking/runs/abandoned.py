"""End MLflow runs whose process was killed and could not end them itself.

Every command checks whether there is a file of such a process (`tracking/runs/open_runs.py`), which costs almost no
time. Only if there is one, it asks MLflow. The lock of the file says whether the process lives, also where its number
and the host's name say nothing: a container that is made again has others.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import ReviewLMError, TrackingUnavailable
from core.processes.leftovers import is_elsewhere, is_gone, is_held
from core.storing.sqlite_files import home_database
from tracking.client import ABSENT, error_code
from tracking.logged_models.opening import tracker_at
from tracking.logged_models.unused import RUNNING, runs_of
from tracking.runs.open_runs import MarkedRun, listed_runs, marks_of
from tracking.runs.record import known_stores, store_key
from tracking.runs.runs import Tracker
from tracking.tags import NOTE, PROCESS, stored_name, value_of

HOUR = 3_600_000_000_000
"""An hour in nanoseconds: clocks differ, and a run may start before its process has listed it."""
log = logging.getLogger(__name__)


def end_abandoned(tracker: Tracker) -> list[str]:
    """End the runs of this machine whose process has ended, as KILLED, and return their ids.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    name = stored_name(PROCESS)
    where = f"attributes.status = 'RUNNING' and tags.`{name}` LIKE '{socket.gethostname()} %'"
    runs = tracker.search(where, most=1000)
    ended = [str(run.info.run_id) for run in runs if is_gone(run.data.tags[name])]
    _end(tracker, ended)
    return ended


def _end(tracker: Tracker, run_ids: list[str]) -> None:
    for run_id in run_ids:
        tracker.set_tags(run_id, {NOTE: "Killed: the process that wrote this run is gone"})
        tracker.end_run(run_id, "KILLED")
    if run_ids:
        log.info("%d unfinished runs of killed processes were ended in MLflow", len(run_ids))


def end_left_runs(config: RunConfig) -> None:
    """End the runs that killed processes of this home folder left open.

    If MLflow does not answer, the files stay and the next command tries again. This is no error, because not every
    command needs MLflow.
    """
    left = left_marks(config.home)
    if left:
        with suppress(ReviewLMError):
            end_abandoned(tracker_at(config))  # also those that a full disk kept off the list
            for mark in left:
                for listed in listed_runs(mark):
                    tracker = _tracker_of(config, listed)
                    if tracker is not None and _is_left(tracker, listed):
                        _end(tracker, [listed.run])
                mark.unlink(missing_ok=True)


def _tracker_of(config: RunConfig, listed: MarkedRun) -> Tracker | None:
    """Return the connection to the store of a run; None if the home folder does not know the store any more."""
    configured = tracker_at(config)
    uris = {store_key(uri): uri for uri in (configured.uri, *known_stores(config.home))}
    uri = uris.get(listed.store)
    return Tracker(uri, listed.experiment, configured.artifact_root) if uri else None


def _is_left(tracker: Tracker, listed: MarkedRun) -> bool:
    """Return whether a run is open as the process left it that listed it; another process may have gone on with it."""
    try:
        run_id = tracker.known_id(listed.run)
        run = tracker.ask(lambda client: client.get_run(run_id))
    except ReviewLMError as error:
        if error_code(error) in ABSENT:
            return False
        raise
    return run.info.status == RUNNING and value_of(run.data.tags, PROCESS) == listed.process


def end_unheld(config: RunConfig, now: int) -> list[str]:
    """End the open runs in the home's own database that no living process lists, as KILLED, and return their ids.

    Their files are gone, as after a restored backup. Processes of this machine are asked for as everywhere; runs of
    other machines and containers are ended if the files in the home list all that living processes write.

    Args:
        now: Time in nanoseconds since 1970.

    Raises:
        TrackingUnavailable: MLflow does not answer.
    """
    database = home_database(config.home)
    if database not in known_stores(config.home):
        return []
    tracker = Tracker(database, config.execution.experiment, config.home / "mlartifacts")
    lists = [listed_runs(mark) for mark in held_marks(config.home)]
    if not all(lists):  # a process that is just starting
        return []
    written = {_id_of(config, listed) for each in lists for listed in each}
    ended = []
    for run in runs_of(tracker):
        if run.status == RUNNING and run.started <= now - HOUR and run.id not in written:
            process = tracker.tag(run.id, PROCESS)
            if process and (is_elsewhere(process) or is_gone(process)):
                ended.append(run.id)
    _end(tracker, ended)
    return ended


def _id_of(config: RunConfig, listed: MarkedRun) -> str:
    """Return MLflow's id of a run, also of one that was started while the store did not answer."""
    with suppress(TrackingUnavailable):
        if (tracker := _tracker_of(config, listed)) is not None:
            return tracker.known_id(listed.run)
    return listed.run


def left_marks(home: Path) -> list[Path]:
    """Return the files of processes that ended while they had runs open."""
    return [mark for mark, held in _marks(home) if not held]


def held_marks(home: Path) -> list[Path]:
    """Return the files of living processes that have runs open."""
    return [mark for mark, held in _marks(home) if held]


def _marks(home: Path) -> list[tuple[Path, bool]]:
    """Return each file with whether a process holds it; one of another user that cannot be opened counts as held."""
    marks = []
    with suppress(OSError):
        for mark in marks_of(home).iterdir():
            with suppress(FileNotFoundError):  # removed just now
                try:
                    marks.append((mark, is_held(mark)))
                except PermissionError:
                    marks.append((mark, True))
    return marks
