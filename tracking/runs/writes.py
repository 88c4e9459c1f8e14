"""Send each kind of write to MLflow, so that sending it again changes nothing.

After an outage, writes are often sent again: a request may have arrived although its answer was lost. MLflow does not
detect all duplicates (a run, a logged model, a point without its time). These are searched for first.

Write tables as CSV that a spreadsheet reads as text and numbers, never as formulas.

Excel and similar programs run cells that begin with =, +, - or @, also after a tab or a line break, or with a
full-width form of these signs. Such a text gets an apostrophe in front, which spreadsheets read as "this is text".
Numbers are not changed.

Read metric points from the trainer's journal (`metrics.jsonl`), so that the training loop does not need MLflow.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from core.errors import ReviewLMError
from tracking.connection import Connection
from tracking.logged_models.export import send_model
from tracking.runs.outbox import Write
from tracking.runs.params import metric_name
from tracking.tags import DATASET_USE, KEY, LOGGED_TABLES, MODEL_URI_TAG, stored_name, value_of

if TYPE_CHECKING:
    import polars as pl
    from mlflow import MlflowClient
    from mlflow.entities import Metric

PER_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
WITH_FILES = frozenset({"text", "table", "artifacts", "model"})
"""Kinds of writes with files, which MLflow may keep elsewhere than the rest."""

_FORMULA = re.compile(r"[\s\u200b\ufeff\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+|inf)(?:[eE][+-]?\d+)?%?")

log = logging.getLogger(__name__)
NOT_METRICS = frozenset({"step", "time"})
SETTLED = b'"settled": true'


def send(tracker: Connection, write: Write, again: bool = False) -> str | None:
    """Send a write; return the id of a run, the address of a model, the number of a journal's new points, or None.

    Args:
        write: The write, with MLflow's run ids.
        again: Whether the write was queued, or may have arrived before.

    Raises:
        TrackingUnavailable: MLflow does not answer.
        ReviewLMError: MLflow refuses it, e.g. another value for a parameter.
    """
    return SENDERS[write.kind](tracker, write, again)


def _start(tracker: Connection, write: Write, again: bool) -> str:
    """Start a run, unless it was started before, or the run that it would repeat (`unless`) exists."""
    details = write.details
    if again and (known := tracker.find_run(KEY, write.run_id)):
        return known
    if again and details["unless"] and (known := tracker.find_run(*details["unless"])):
        return known
    with tracker.reaching() as client:
        run = client.create_run(
            tracker.experiment_id, start_time=details["time"], run_name=details["name"],
            tags={**details["tags"], stored_name(KEY): write.run_id},
        )
    return str(run.info.run_id)


def _end(tracker: Connection, write: Write, again: bool) -> None:
    with tracker.reaching() as client:
        client.set_terminated(write.run_id, status=write.details["status"], end_time=write.details["time"])


def _tags(tracker: Connection, write: Write, again: bool) -> None:
    from mlflow.entities import RunTag

    _log(tracker, write.run_id, "tags", [RunTag(key, value) for key, value in write.details["tags"].items()])


def _params(tracker: Connection, write: Write, again: bool) -> None:
    from mlflow.entities import Param

    _log(tracker, write.run_id, "params", [Param(key, value) for key, value in write.details["params"].items()])


def _metrics(tracker: Connection, write: Write, again: bool) -> None:
    """Log metrics that the run does not have yet; with a data set, also as metrics of the run's logged model."""
    points, dataset = [Point(*entry) for entry in write.details["points"]], write.details["dataset"]
    with tracker.reaching() as client:
        data = client.get_run(write.run_id).data
        known = _known_values(client, write.run_id, data.metrics, points)
        new = [point for point in points if not _same(known.get((point.name, point.step)), point.value)]
        model = value_of(data.tags, MODEL_URI_TAG).removeprefix("models:/") if dataset else ""
        tied = {"model_id": model, "dataset_name": dataset[0], "dataset_digest": dataset[1]} if model else {}
    _log(tracker, write.run_id, "metrics", [_metric(point, 0.0, **tied) for point in new])


def _known_values(
    client: MlflowClient, run_id: str, latest: dict[str, float], points: list[Point]
) -> dict[tuple[str, int], float]:
    """Return the values that a run has, by (name, step); only curves need one more request per metric."""
    known = {(name, 0): value for name, value in latest.items()}
    for name in sorted({point.name for point in points if point.step and point.name in latest}):
        history = sorted(client.get_metric_history(run_id, name), key=lambda metric: metric.timestamp)
        known |= {(name, metric.step): metric.value for metric in history}
    return known


def _same(known: float | None, value: float) -> bool:
    """Return whether a value is known already, up to the rounding error of sums in another order."""
    if known is None:
        return False
    return math.isclose(known, value, rel_tol=1e-12) or (math.isnan(known) and math.isnan(value))


def _journal(tracker: Connection, write: Write, again: bool) -> str:
    """Send the points of a journal that the run does not have, and return their number.

    Each tracker asks MLflow once for the steps of a metric and remembers them; after a failure it asks again.
    """
    run_id, points = write.run_id, read_journal(write.files["journal"], write.details["settled"])
    steps = tracker.sent_steps.pop(run_id, {})
    steps = {} if again else steps
    if unknown := {point.name for point in points} - set(steps):
        with tracker.reaching() as client:
            known = client.get_run(run_id).data.metrics
            for name in unknown:
                history = client.get_metric_history(run_id, name) if name in known else ()
                steps[name] = {point.step for point in history}
    new = [point for point in points if point.step not in steps[point.name]]
    _log(tracker, run_id, "metrics", [_metric(point, write.details["time"]) for point in new])
    for point in new:
        steps[point.name].add(point.step)
    tracker.sent_steps[run_id] = steps
    return str(len(new))


def _text(tracker: Connection, write: Write, again: bool) -> None:
    with tracker.reaching() as client:
        client.log_text(write.run_id, write.details["text"], write.details["file"])


def _table(tracker: Connection, write: Write, again: bool) -> None:
    """Write a table as JSON, which the UI shows as a table, and as CSV in the same folder."""
    details = write.details
    with tracker.reaching() as client:
        client.log_text(write.run_id, details["json"], details["file"])
        client.log_text(write.run_id, details["csv"], Path(details["file"]).with_suffix(".csv").as_posix())
        known = json.loads(client.get_run(write.run_id).data.tags.get(LOGGED_TABLES, "[]"))
        entry = {"path": details["file"], "type": "table"}
        if entry not in known:
            client.set_tag(write.run_id, LOGGED_TABLES, json.dumps([*known, entry]))


def _artifacts(tracker: Connection, write: Write, again: bool) -> None:
    with tracker.reaching() as client:
        client.log_artifacts(write.run_id, str(write.files["folder"]), write.details["path"] or None)


def _datasets(tracker: Connection, write: Write, again: bool) -> None:
    """Record data sets as inputs of a run, with a second try after a conflict.

    MLflow checks whether it knows a data set and then inserts it. If two runs log the same one at the same time, the
    slower one fails, and finds the data set on its second try.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(name=entry["name"], digest=entry["digest"], source_type="local", **entry["facts"]),
            [InputTag(DATASET_USE, entry["context"])],
        )
        for entry in write.details["datasets"]
    ]
    for last in (False, True):
        try:
            with tracker.reaching() as client:
                client.log_inputs(write.run_id, datasets=inputs)
            return
        except ReviewLMError as error:
            if last or "unique constraint" not in str(error.__cause__).lower():
                raise


def _model(tracker: Connection, write: Write, again: bool) -> str:
    return send_model(tracker, write)


SENDERS: dict[str, Callable[[Connection, Write, bool], str | None]] = {
    "start": _start, "end": _end, "tags": _tags, "params": _params, "metrics": _metrics, "journal": _journal,
    "text": _text, "table": _table, "artifacts": _artifacts, "datasets": _datasets, "model": _model,
}


def table_texts(frame: pl.DataFrame) -> dict[str, str]:
    """Return a table as JSON in MLflow's form and as CSV."""
    rows = {"columns": frame.columns, "data": [list(row) for row in frame.rows()]}
    return {"json": json.dumps(rows, ensure_ascii=False, default=str), "csv": csv_text(frame)}


def _metric(point: Point, time: float, **tied: str) -> Metric:
    from mlflow.entities import Metric

    return Metric(point.name, point.value, int((point.time or time) * 1000), point.step, **tied)


def _log(tracker: Connection, run_id: str, kind: str, entries: list[Any]) -> None:
    """Log tags, params or metrics in as few requests as MLflow allows."""
    size = PER_BATCH[kind]
    with tracker.reaching() as client:
        for start in range(0, len(entries), size):
            batch: dict[str, Any] = {kind: entries[start : start + size]}
            client.log_batch(run_id, **batch)


def csv_text(table: pl.DataFrame) -> str:
    """Return a table as CSV; texts and column names that a spreadsheet would run are marked as text."""
    texts = [name for name, kind in table.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    marked = table.with_columns(
        pl.col(name).cast(pl.String).map_elements(as_text, return_dtype=pl.String, skip_nulls=True) for name in texts
    )
    return marked.rename({name: as_text(name) for name in marked.columns}).write_csv()


def as_text(cell: str) -> str:
    """Return the cell, with an apostrophe in front if a spreadsheet would run it as a formula."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


@dataclass(frozen=True)
class Point:
    """A value of a metric. `step` counts training tokens; `time` is seconds since 1970, 0 if unknown."""

    name: str
    value: float
    step: int
    time: float


def read_journal(path: Path, settled: bool = False) -> list[Point]:
    """Return the journal's points in order, one per (name, step); if a point is repeated, the last value counts.

    A trainer that resumes from its checkpoint writes some steps again. A line without a newline is still being written
    and is left for the next call. A line that is not JSON was damaged by a crash and is skipped with a warning. A
    journal that does not exist yet has no points.

    Args:
        path: `metrics.jsonl`.
        settled: Return only points that the trainer will not take back. A training that diverges returns to its last
            good checkpoint, cuts the journal there and writes other values for the same steps.
    """
    points = {(point.name, point.step): point for point in _points(path, settled)} if path.is_file() else {}
    return list(points.values())


def _points(path: Path, settled: bool) -> Iterator[Point]:
    lines = path.read_bytes().split(b"\n")[:-1]
    if settled:
        lines = lines[: max((number for number, line in enumerate(lines, start=1) if SETTLED in line), default=0)]
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, KeyError, TypeError):
            if line.strip():
                log.warning("%s line %d is not a journal entry; skipped", path, number)
            continue
        time = entry.get("time", 0.0)
        seconds = float(time) if isinstance(time, int | float) and math.isfinite(time) else 0.0
        for name, value in entry.items():
            if name not in NOT_METRICS and isinstance(value, int | float) and not isinstance(value, bool):
                yield Point(metric_name(name), float(value), step, seconds)
