"""Measure what a person waits for in the first hour: commands, the demo, a small run.

    python -m benchmarks.first_hour [--only ROW …] [--data FOLDER] [--quick] [--repeats N] [--write] [--json]

Each row is a `reviewlm` command, or a program, run as a user runs it. The rows share one home folder, in the order of
the table, and empty folders for compiled kernels and for what is kept once a machine: the first rows are those of a new
installation. `make install` fills both folders, in a row of its own. *wall* is the time to the end of the command;
*CPU* the processor seconds of the command, all its processes and Prefect's server. A row is repeated, and its median
counts, unless it is that of a first time.

The ratios are goal by figure: 1 or more means that the goal is reached. Goals hold on a machine that is idle otherwise,
on the slowest processor at hand. `--data` names the folder of real texts; without it the rows that need them are left
out. What the demo's model answers to one client and to many is in the rows of `benchmarks.serving.clients`, with its
ratios; `--only` leaves them out. 600,000 reviews are measured by `benchmarks.data.scale`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.process_log import CPU, SERVER_CPU, run_logged
from benchmarks.serving import clients
from benchmarks.serving.made_home import made_texts
from reviewlm.core.empty_databases import CACHE_VARIABLE
from reviewlm.corpus.synthetic.synth import write_reviews

KAGGLE = "kaggle_yelp_10k.csv.gz"
MADE, TEXTS, LINES = "reviews.jsonl", "texts.txt", "lines.txt"
"""Files that the rows read: 5,000 reviews of the grammar as a user's export would have them, three texts, and 300 reviews
of one line each."""
COMPRESSED = 300
SMALLER = ("--set", "source.synthetic.reviews=300")
"""Setting of `--quick`: a corpus that shows whether the rows run, not how fast the product is."""
Figure = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Row:
    """A command that a person waits for.

    Attributes:
        name: Name of the row.
        words: Words after `reviewlm`, or after the program.
        goals: Goal in seconds by figure.
        repeats: Whether the command takes as long each time, so that it is repeated.
        home: Name of the home folder; rows of one name share it.
        program: Module that is run.
    """

    name: str
    words: tuple[str, ...]
    goals: dict[Figure, float]
    repeats: bool = True
    home: str = "demo"
    program: str = "reviewlm.cli"


@dataclass(frozen=True)
class Seconds:
    """Seconds of one command.

    Attributes:
        wall: Time to its end.
        cpu: Processor seconds of all its processes and of Prefect's server.
    """

    wall: float
    cpu: float


def rows_of(
    data: Path | None,
    folder: Path,
    quick: bool,
) -> Iterator[Row]:
    """Yield the rows in the order in which they run.

    Args:
        data: Folder of real texts; None leaves out the rows that need them.
        folder: Folder with `MADE` and `TEXTS`.
        quick: Use a smaller corpus for the demo.
    """
    smaller = SMALLER if quick else ()
    model = ("--model", "reviewlm-demo")
    yield Row("cache of the installation", (), {}, repeats=False, program="reviewlm.fill_cache")
    yield Row("demo", ("demo", *smaller), {"wall": 150.0}, repeats=False)
    again = ("run", "--preset", "demo", *smaller)
    goals: dict[Figure, float] = {"wall": 8.0, "cpu": 12.0}
    # The first run after a promotion finds a new champion, so it decides; a later one has nothing to do.
    yield Row("demo, first again", again, goals, repeats=False)
    yield Row("demo, nothing changed", again, goals)
    yield Row("suggest, first", ("suggest", *model, "the food was"), {"cpu": 6.0}, repeats=False)
    yield Row("suggest", ("suggest", *model, "the food was"), {"cpu": 3.0})
    yield Row("generate", ("generate", *model, "--n", "3"), {"cpu": 3.0})
    yield Row("score", ("score", *model, str(folder / TEXTS)), {"cpu": 3.0})
    yield Row("help", ("--help",), {"wall": 0.45})
    yield Row("history", ("history",), {"wall": 0.8})
    yield Row("doctor", ("doctor",), {"wall": 0.8})
    yield Row(
        "compress 300 reviews",
        (
            "write",
            str(folder / LINES),
            str(folder / "lines.rlm"),
            "--model",
            "reviewlm-demo@champion",
        ),
        {"cpu": 10.0},
        repeats=False,
        program="reviewlm.course.uses.compression",
    )
    prepare = ("run", "--until", "prepare", "--input", str(folder / MADE))
    yield Row(
        "prepare 5,000 reviews, new home",
        prepare,
        {"wall": 12.0},
        repeats=False,
        home="prepare",
    )
    yield Row(
        "prepare 5,000 reviews, next home",
        prepare,
        {"wall": 12.0},
        repeats=False,
        home="next",
    )
    if data is None:
        return

    file = str(data / KAGGLE)
    fit = ("models", "classify", "fit", "--input", file)
    yield Row(
        "classify fit, 10,000 reviews",
        fit,
        {"cpu": 60.0},
        repeats=False,
        home="classify",
    )
    yield Row("classify fit, nothing changed", fit, {"cpu": 12.0}, home="classify")
    minutes = ("run", "--input", file, "--minutes", "5")
    yield Row(
        "run --minutes 5",
        minutes,
        {"wall": 315.0},
        repeats=False,
        home="minutes",
    )


def measure(
    row: Row,
    folder: Path,
    repeats: int,
) -> list[Seconds]:
    """Run the command of a row, once or several times."""
    environment = {
        "REVIEWLM_HOME": str(folder / row.home),
        "NUMBA_CACHE_DIR": str(folder / "kernels"),
        CACHE_VARIABLE: str(folder / "cache"),
    }
    runs = []
    for turn in range(repeats if row.repeats else 1):
        log = run_logged(row.words, environment, row.program)
        first = log.samples[0]
        last = log.samples[-1]
        runs.append(Seconds(last.time - first.time, last[CPU] + last[SERVER_CPU]))
        say(f"{row.name}, {turn + 1}: {runs[-1].wall:.2f} s, {runs[-1].cpu:.2f} CPU s")

    return runs


def median(runs: Sequence[Seconds], figure: Figure) -> float:
    """Return the median of a figure over the runs of a row."""
    return statistics.median(getattr(run, figure) for run in runs)


def ratios_of(rows: Sequence[Row], runs: dict[str, list[Seconds]]) -> dict[str, Ratio]:
    """Return goal by figure for each goal of the rows."""
    ratios = {}
    for row in rows:
        for figure, goal in row.goals.items():
            seconds = max(median(runs[row.name], figure), 1e-3)
            name = f"first_hour.{row.name}.{figure}"
            ratios[name] = Ratio(round(goal / seconds, 3), 1.0, f"{goal:g} s")
    return ratios


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = arguments("What a person waits for in the first hour")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="ROW",
        help="these rows alone, by name",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("REVIEWLM_REAL_DATA"),
        help="folder of real texts (default: REVIEWLM_REAL_DATA)",
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        table, ratios = _measure_rows(args, Path(folder))

    report = Report(
        "first_hour",
        "What a person waits for in the first hour",
        table,
        ratios,
        ("prefect", "mlflow", "torch", "numba"),
        notes=(__doc__ or "").split("\n\n")[2:],
    )
    return finish(args, report)


def _measure_rows(
    args: argparse.Namespace, folder: Path
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    began = time.monotonic()
    write_reviews(folder / MADE, 5_000, seed=1)
    (folder / TEXTS).write_text("the food was great\nwe waited an hour\nnever again\n")
    lines = [" ".join(text.split()) for text in made_texts(COMPRESSED)]
    (folder / LINES).write_text("\n".join(lines) + "\n")
    say(f"5,000 reviews made in {time.monotonic() - began:.1f} s")

    rows = [
        row
        for row in rows_of(args.data, folder, args.quick)
        if not args.only or row.name in args.only
    ]
    if not rows:
        raise SystemExit(f"no row is named {args.only}")

    runs = {row.name: measure(row, folder, args.repeats) for row in rows}
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        table[row.name] = {
            "runs": len(runs[row.name]),
            "wall_s": round(median(runs[row.name], "wall"), 2),
            "cpu_s": round(median(runs[row.name], "cpu"), 2),
            "goals": ", ".join(f"{figure} {goal:g}" for figure, goal in row.goals.items()),
        }

    ratios = ratios_of(rows, runs)
    if not args.only:
        share = 0.25 if args.quick else 1.0
        answered = clients.measured(folder / "demo", "reviewlm-demo", args.repeats, share)
        table |= clients.table_of(answered)
        ratios |= clients.ratios_of(answered)

    return table, ratios


if __name__ == "__main__":
    main(sys.argv[1:])
