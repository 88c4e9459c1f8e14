"""Measure where every second of a run goes, and draw it as a Gantt.

    python -m benchmarks.timeline [--home FOLDER] [--figure FILE] [--name NAME] [--goal-seconds S] [--write] [--json]
                                  -- run --preset demo

Runs `reviewlm` with the words after `--` as a user would, in an empty home folder that is removed afterwards, or in the
one that `--home` names, and samples its processes ten times a second. `benchmarks/process_log.py` says how the CPU
seconds of processes are counted that end between two samples.

Rows: a plain name is a *stage* while the store builds its artifacts (from their manifests). `FLOW: TASK` is a task of
Prefect while no stage is built: it looks in the store, writes to MLflow, or waits. `FLOW, between tasks` is a flow
while none of its tasks runs, `FLOW, between steps` the command's own flow while none of the flows runs that it calls.
`start` is all before the first flow (imports, Prefect's server), `end` all after the last. Tasks and flows are from
Prefect's database in the home. Where a run uses a server elsewhere, they are missing, and the time between two stages
is `between stages`.

Each moment counts for the first of these kinds that runs, in equal parts for all of that kind that run: all shares
together are 100 %, and so are those of the parts of the run ("all of"). *wall* is the time in which any of the row
runs. *CPU s* are those of the command and its workers. *cores busy* are all CPU seconds of all processes while it runs,
by its wall: also of other stages that run at the same time, and of the server. *peak* is the resident memory of the
command and its workers together; pages that processes share count for each of them. *private memory* leaves out pages
of mapped files, so the code of libraries, which the system holds once and may take back; pages that processes share
since a fork count once. It is read twice a second.

*evaluation* is the sum of the seconds of evaluation stages (with the floor, the checks of predictions and samples, and
the intervals of the gate) by that of training stages. Goals: 10 %; a peak of 1.2 GiB; a wall time of `--goal-seconds`.
The ratios are goal by figure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Ratio, Report, finish, say
from benchmarks.process_log import PRIVATE, SERVER, ProcessLog, run_logged
from benchmarks.timeline.figure import draw
from benchmarks.timeline.rows import Row, attribute, beside
from benchmarks.timeline.spans import EVALUATION, PARTS, TRAINING, spans_of
from reviewlm.flows.server.tables import FILE

GOAL_SHARE = 0.10
GOAL_MIB = 1_228.8
WHOLE = "whole run"
Table = dict[str, Any]


def run(words: Sequence[str], home: Path) -> tuple[ProcessLog, float, float]:
    """Run `reviewlm` with these words in a home folder; return the samples, and when it began and ended.

    What it prints goes to standard error.

    Raises:
        ContenderFailed: It ended with an error.
    """
    began = time.time()
    log = run_logged(words, {"REVIEWLM_HOME": str(home), "PREFECT_HOME": str((home / FILE).parent)})
    return log, began, log.samples[-1].time


def table_of(
    rows: Mapping[str, Row],
    parts: Mapping[str, Row],
    log: ProcessLog,
    began: float,
    ended: float,
) -> Table:
    """Return the table of a run: its rows, its parts, and the whole."""
    table: Table = {name: row.cells(began, ended) for name, row in rows.items()}
    for name in PARTS:
        if name in parts:
            table[f"all of: {name}"] = {**parts[name].cells(began, ended), "times": None}

    used = log.samples[-1].cpu
    of_server = log.samples[-1].server_cpu
    table[WHOLE] = {
        "begin, s": 0.0,
        "wall, s": round(ended - began, 2),
        "share, %": 100.0,
        "CPU s": round(used, 2),
        "server's CPU s": round(of_server, 2),
        "cores busy": round((used + of_server) / (ended - began), 2),
        "peak, MiB": peak_of(log),
    }
    if share := beside(parts, EVALUATION, TRAINING):
        table["evaluation beside training, % of its stages' seconds"] = round(100 * share, 1)

    table["peak of private memory, MiB"] = log.peak(began, ended, PRIVATE)
    table["peak of Prefect's server, MiB"] = log.peak(began, ended, SERVER)
    table["CPU seconds of the sampling itself, in no row"] = round(log.own_cpu, 2)
    return table


def peak_of(log: ProcessLog) -> int:
    """Return the most resident MiB of command and workers, never less than the kernel's mark of the command alone."""
    return round(max(log.peak(0, time.time()) or 0, log.high_water))


def ratios_of(
    parts: Mapping[str, Row],
    log: ProcessLog,
    wall: float,
    goal_seconds: float | None,
) -> dict[str, Ratio]:
    """Return the goals by what was measured; none of the evaluation if nothing was trained or evaluated."""
    ratios = {"timeline.memory": Ratio(round(GOAL_MIB / max(peak_of(log), 1), 3), 1.0, "1.2 GiB")}
    if share := beside(parts, EVALUATION, TRAINING):
        ratios["timeline.evaluation"] = Ratio(round(GOAL_SHARE / share, 3), 1.0, "10 % of training")
    if goal_seconds:
        ratios["timeline.wall"] = Ratio(round(goal_seconds / wall, 3), 1.0, f"{goal_seconds:g} s")
    return ratios


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    given = sys.argv[1:] if argv is None else argv
    own, words = (
        (given[: given.index("--")], given[given.index("--") + 1 :])
        if "--" in given
        else (given, [])
    )
    parser = argparse.ArgumentParser(
        description="Where every second of a run goes",
        usage="python -m benchmarks.timeline [options] -- run ...",
    )
    parser.add_argument(
        "--home", type=Path, help="run in this home folder and keep it (default: an empty one)"
    )
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="draw the Gantt: SVG or PNG",
    )
    parser.add_argument("--name", default="", help="part of the page's name: DATE-timeline-NAME.md")
    parser.add_argument(
        "--goal-seconds",
        type=float,
        metavar="S",
        help="goal of the wall time",
    )
    parser.add_argument(
        "--json", action="store_true", help="the last line of standard output is one JSON object"
    )
    parser.add_argument(
        "--write", action="store_true", help="write benchmarks/results/DATE-timeline-NAME.md"
    )
    args = parser.parse_args(own)
    words = words[1:] if words[:1] == ["reviewlm"] else words
    if not words:
        parser.error("name the command after `--`: -- run --preset demo")

    with tempfile.TemporaryDirectory() as empty:
        home = (args.home or Path(empty) / "home").absolute()
        log, began, ended = run(words, home)
        spans = spans_of(home, began, ended)

    rows = attribute(
        spans,
        log,
        began,
        ended,
        lambda span: span.row,
    )
    parts = attribute(
        spans,
        log,
        began,
        ended,
        lambda span: span.part,
    )
    if args.figure:
        draw(
            rows,
            log,
            began,
            ended,
            GOAL_MIB,
            args.figure,
        )
        say(f"written: {args.figure}")

    named = " ".join(Path(word).name if Path(word).is_absolute() else word for word in words)
    return finish(
        args,
        Report(
            "timeline",
            f"Every second of `reviewlm {named}`",
            table_of(
                rows,
                parts,
                log,
                began,
                ended,
            ),
            ratios_of(parts, log, ended - began, args.goal_seconds),
            ("prefect", "mlflow", "torch"),
            notes=(__doc__ or "").split("\n\n")[2:],
            part=args.name,
        ),
    )


if __name__ == "__main__":
    main()
