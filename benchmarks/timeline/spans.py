"""Read from a home folder when each stage, task and flow of a run began and ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from benchmarks.data.scale import manifests
from reviewlm.core.sqlite_files import read_only
from reviewlm.flows.server.tables import FILE

TRAINING = "training"
EVALUATION = "evaluation"
OTHER = "other stages"
TASKS, NO_STAGE = "tasks beside their stages", "no stage"
"""Parts of a run: every second belongs to one of them."""
PARTS = (OTHER, TRAINING, EVALUATION, TASKS, NO_STAGE)
OF_TRAINING = frozenset({"fit", "pace", "plan"})
OF_EVALUATION = frozenset(
    {
        "floor",
        "score",
        "samples",
        "observe",
        "reference",
        "audit",
        "intervals",
        "stars",
    }
)
CHECKED_LATE = frozenset({"predictions", "samples"})
"""Suites of expectations about results of the evaluation."""
START = "start"
BETWEEN = "between stages"
END = "end"
TIME = "%Y-%m-%d %H:%M:%S.%f"
"""Form of a time (UTC) in Prefect's tables; its texts sort as the times do."""
RUNS = """
    SELECT run.id, flow.name, run.start_time, run.end_time, run.parent_task_run_id
    FROM flow_run AS run JOIN flow ON flow.id = run.flow_id WHERE run.start_time >= ? ORDER BY run.start_time
"""
TASK_RUNS = """
    SELECT id, name, dynamic_key, start_time, end_time, flow_run_id
    FROM task_run WHERE start_time >= ? ORDER BY start_time
"""


class Layer(IntEnum):
    """What a span is about. A moment counts for the spans of the lowest layer that it has."""

    STAGE = 0
    """The store builds an artifact."""
    TASK = 1
    """Prefect runs a task: it looks in the store, writes to MLflow, registers, waits for its turn."""
    STEP = 2
    """A flow that another flow has called: `prepare`, `evaluate`."""
    FLOW = 3
    """The flow of the command."""
    COMMAND = 4
    """The command itself: imports, the start of the server, what it prints at its end."""


@dataclass(frozen=True)
class Span:
    """Time from *begin* to *end* (seconds since 1970), with the row of the table and the part of the run it is of."""

    layer: Layer
    row: str
    begin: float
    end: float
    part: str = NO_STAGE


def spans_of(
    home: Path,
    began: float,
    ended: float,
) -> list[Span]:
    """Return all spans of a command that ran in a home folder between two times."""
    found = [*_stages(home, began), *_prefect(home / FILE, began, ended)]
    return [*found, *command_spans(found, began, ended)]


def command_spans(
    spans: Sequence[Span],
    began: float,
    ended: float,
) -> list[Span]:
    """Return the spans of the command: until the first of others, up to the last one, and after it."""
    first = min((one.begin for one in spans), default=ended)
    last = max((one.end for one in spans), default=ended)
    moments = {
        START: (began, first),
        BETWEEN: (first, last),
        END: (last, ended),
    }
    return [Span(Layer.COMMAND, name, *of) for name, of in moments.items() if of[0] < of[1]]


def _stages(home: Path, since: float) -> Iterator[Span]:
    for one in manifests(home, since):
        # Several artifacts of a stage are one row, but those of different models are not alike.
        row = f"fit {one['facts']['name']}" if one["stage"] == "fit" else str(one["stage"])
        yield Span(
            Layer.STAGE,
            row,
            one["created"],
            one["created"] + one["seconds"],
            part_of(one),
        )


def part_of(manifest: Mapping[str, Any]) -> str:
    """Return the part of a run that a stage belongs to; a check belongs to what it checks."""
    stage = manifest["stage"]
    suite = manifest["options"].get("suite")
    if stage in OF_EVALUATION or (stage == "check" and suite in CHECKED_LATE):
        return EVALUATION
    return TRAINING if stage in OF_TRAINING else OTHER


def _prefect(
    file: Path,
    began: float,
    ended: float,
) -> Iterator[Span]:
    """Give the tasks and flows of Prefect's database; nothing if the run has used one elsewhere."""
    if not file.is_file():
        return

    since = datetime.fromtimestamp(began, UTC).strftime(TIME)
    with read_only(file) as database:
        runs = database.execute(RUNS, (since,)).fetchall()
        tasks = database.execute(TASK_RUNS, (since,)).fetchall()

    flows = {number: name for number, name, *_ in runs}
    called_by = {caller for *_, caller in runs if caller}
    for _, name, begin, end, caller in runs:
        row = f"{name}, between {'tasks' if caller else 'steps'}"
        yield Span(
            Layer.STEP if caller else Layer.FLOW, row, _seconds(begin, ended), _seconds(end, ended)
        )

    for number, name, key, begin, end, flow in tasks:
        if number not in called_by:  # else it stands for the flow that it has called
            row = f"{flows.get(flow, '')}: {task_name(name, key)}"
            yield Span(
                Layer.TASK,
                row,
                _seconds(begin, ended),
                _seconds(end, ended),
                TASKS,
            )


def task_name(name: str, key: str) -> str:
    """Return the first word of a task run's name, without the first letters of its key, which Prefect adds."""
    return name.removesuffix(f"-{key[:3]}").partition(" ")[0]


def _seconds(time: str | None, otherwise: float) -> float:
    """Return a time of Prefect's tables as seconds since 1970; *otherwise* if it has none, as after a crash."""
    return datetime.strptime(time, TIME).replace(tzinfo=UTC).timestamp() if time else otherwise
