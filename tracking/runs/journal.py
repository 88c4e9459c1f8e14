"""Read metric points from the trainer's journal (`metrics.jsonl`), so that the training loop does not need MLflow."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracking.runs.params import metric_name

log = logging.getLogger(__name__)
NOT_METRICS = frozenset({"step", "time"})
SETTLED = b'"settled": true'


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
