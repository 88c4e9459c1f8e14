"""Give each moment of a run, its CPU seconds and its memory, to the stages that ran."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.process_log import CPU, SERVER_CPU, ProcessLog
from benchmarks.timeline.spans import Layer, Span

Interval = tuple[float, float]


@dataclass
class Row:
    """What one row of the table sums up.

    Attributes:
        layer: Layer of its spans.
        begin: When its first span began.
        times: How many spans it has.
        stage_seconds: Sum of the lengths of its spans; those that run at the same time all count.
        intervals: When it ran and no lower layer did; what touches is joined.
        share: Seconds of these, with those that several spans share divided among them: all rows together are the run.
        cpu: CPU seconds of the command and its workers, divided in the same way.
        server: CPU seconds of Prefect's server, divided in the same way.
        busy: CPU seconds of all processes while it ran, not divided.
        peak: Most resident MiB of the command and its workers while it ran; None if no sample was taken.
    """

    layer: Layer
    begin: float
    times: int = 0
    stage_seconds: float = 0.0
    intervals: list[Interval] = field(default_factory=list)
    share: float = 0.0
    cpu: float = 0.0
    server: float = 0.0
    busy: float = 0.0
    peak: int | None = None

    @property
    def wall(self) -> float:
        """Seconds in which it ran."""
        return sum(end - begin for begin, end in self.intervals)

    def cells(self, began: float, ended: float) -> dict[str, Any]:
        """Return its figures for the table of a run between two times."""
        return {
            "times": self.times,
            "begin, s": round(self.begin - began, 1),
            "wall, s": round(self.wall, 2),
            "share, %": round(100 * self.share / (ended - began), 1),
            "CPU s": round(self.cpu, 2),
            "server's CPU s": round(self.server, 2),
            "cores busy": round(self.busy / self.wall, 2) if self.wall else None,
            "peak, MiB": self.peak,
        }


def attribute(
    spans: Sequence[Span],
    log: ProcessLog,
    began: float,
    ended: float,
    row_of: Callable[[Span], str],
) -> dict[str, Row]:
    """Return the rows of a run between two times, in the order of their beginning.

    Each moment counts for the spans of the lowest layer that runs, in equal parts: which process works for which stage
    is not known. What never is of the lowest layer has no row.
    """
    rows: dict[str, Row] = {}
    for span in sorted(spans, key=lambda one: one.begin):
        row = rows.setdefault(row_of(span), Row(span.layer, span.begin))
        row.times = row.times + 1
        row.stage_seconds = row.stage_seconds + span.end - span.begin

    moments = sorted(
        {began, ended, *(at for one in spans for at in (one.begin, one.end) if began < at < ended)}
    )
    pieces = list(pairwise(moments))
    for piece, cpu, server in zip(
        pieces, _used(log, moments, CPU), _used(log, moments, SERVER_CPU), strict=True
    ):
        running = [one for one in spans if one.begin <= piece[0] and one.end >= piece[1]]
        lowest = min((one.layer for one in running), default=None)
        names = [row_of(one) for one in running if one.layer == lowest]
        for name in names:
            row = rows[name]
            row.share += (piece[1] - piece[0]) / len(names)
            row.cpu = row.cpu + cpu / len(names)
            row.server = row.server + server / len(names)
        for name in set(names):
            rows[name].busy += cpu + server
            _append(rows[name].intervals, piece)

    for row in rows.values():
        seen = [peak for one in row.intervals if (peak := log.peak(*one)) is not None]
        row.peak = max(seen, default=None)

    return {name: row for name, row in rows.items() if row.intervals}


def _used(
    log: ProcessLog,
    moments: Sequence[float],
    what: int,
) -> list[float]:
    return [after - before for before, after in pairwise(log.at(moments, what))]


def _append(intervals: list[Interval], piece: Interval) -> None:
    """Add a later piece to intervals; join it with the last one if they touch."""
    if intervals and intervals[-1][1] == piece[0]:
        intervals[-1] = (intervals[-1][0], piece[1])
    else:
        intervals.append(piece)


def beside(
    rows: Mapping[str, Row],
    one: str,
    other: str,
) -> float | None:
    """Return the seconds of the spans of one row by those of another; None if one of them is missing."""
    return (
        rows[one].stage_seconds / rows[other].stage_seconds if {one, other} <= rows.keys() else None
    )
