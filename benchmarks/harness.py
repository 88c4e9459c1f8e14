"""Provide the shared parts of all benchmark scripts: measured runs in new processes, the machine, the report.

    runs = interleave({"ours": partial(ours, path), "peer": partial(peer, path)}, threads=2, repeats=3)
    ratios = {"ingest.peer": ratio(runs, "ours", "peer", goal=1.0)}
    finish(args, Report("ingest", "Reading reviews", measurements=summary(runs), ratios=ratios))

Scripts run as modules from the root of the repository: `python -m benchmarks.data.ingest --quick`. A contender is a
module-level function (or a `functools.partial` of one), since it is sent to a new process. For the same reason a script
needs `if __name__ == "__main__":`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import Contender, Run, measure

__all__ = [
    "Ratio",
    "Report",
    "Run",
    "arguments",
    "available",
    "finish",
    "interleave",
    "measure",
    "ratio",
    "say",
    "summary",
]
ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def interleave(
    contenders: Mapping[str, Contender],
    threads: int,
    repeats: int,
) -> dict[str, list[Run]]:
    """Measure all contenders in turn, in *repeats* rounds, so that a slow minute of the machine affects all of them.

    Every second round runs in reverse order. Progress goes to standard error.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            run = measure(contenders[name], threads)
            runs[name].append(run)
            say(
                f"{turn + 1}/{repeats} {name}: {run.wall:.2f} s, {run.cpu:.2f} CPU s, {run.peak_mib:.0f} MiB"
            )
    return runs


def say(line: str) -> None:
    """Write to standard error, since standard output is for the result."""
    print(line, file=sys.stderr, flush=True)


def available(*modules: str) -> bool:
    """Return whether all peers are installed; report a missing one on standard error."""
    lacking = [name for name in modules if find_spec(name) is None]
    if lacking:
        say(f"skipped: {', '.join(lacking)} not installed")
    return not lacking


@dataclass(frozen=True)
class Ratio:
    """Ratio of our result to that of a peer: larger is better for us; *goal* is the target.

    *spread* is the smallest and the largest ratio of a single round.
    """

    value: float
    goal: float | None
    peer: str
    spread: tuple[float, float] | None = None


def ratio(
    runs: Mapping[str, Sequence[Run]],
    ours: str,
    theirs: str,
    goal: float | None,
    measure_of: str = "wall",
) -> Ratio:
    """Return the median over the rounds of theirs / ours, for a field of `Run` for which smaller is better."""
    pairs = zip(runs[ours], runs[theirs], strict=True)
    rounds = [
        getattr(their, measure_of) / max(getattr(our, measure_of), 1e-9) for our, their in pairs
    ]
    return Ratio(
        round(statistics.median(rounds), 3),
        goal,
        theirs,
        (round(min(rounds), 3), round(max(rounds), 3)),
    )


def summary(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each contender.

    These are the medians of wall and CPU seconds with their extremes, the highest peak, and the result of the last run
    if it is a mapping.
    """
    table: dict[str, dict[str, Any]] = {}
    for name, of_name in runs.items():
        row: dict[str, Any] = {"runs": len(of_name)}
        for what in ("wall", "cpu"):
            seconds = [getattr(run, what) for run in of_name]
            row[f"{what}_s"] = round(statistics.median(seconds), 3)
            row[f"{what}_s_range"] = [round(min(seconds), 3), round(max(seconds), 3)]
        row["peak_mib"] = round(max(run.peak_mib for run in of_name))
        row["base_mib"] = round(max(run.base_mib for run in of_name))
        if of_name and isinstance(of_name[-1].result, dict):
            row |= of_name[-1].result
        table[name] = row

    return table


@dataclass(frozen=True)
class Report:
    """Results of a benchmark.

    Attributes:
        name: Name of the script, and first part of every ratio's name.
        title: Sentence that says what was measured.
        measurements: Any JSON values, usually `summary(runs)`.
        ratios: Ratios by name; larger is better for us.
        packages: Distributions whose versions are shown.
        notes: Texts about method and meaning; each becomes a paragraph.
        part: Name of the page, for a script that writes several pages; "" if it writes one.
    """

    name: str
    title: str
    measurements: dict[str, Any]
    ratios: dict[str, Ratio]
    packages: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    part: str = ""


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of all benchmarks: --quick, --json, --write, --repeats."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller data, at most 4 minutes")
    parser.add_argument(
        "--json", action="store_true", help="the last line of standard output is one JSON object"
    )
    parser.add_argument(
        "--write", action="store_true", help="write benchmarks/results/DATE-NAME.md"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="rounds of all contenders (default 3)",
    )
    return parser


def finish(args: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Show the report in the requested form, and return it as the JSON object."""
    # Absolute paths are shortened to names: the user's folders mean nothing to other readers.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = " ".join([f"python -m {_program(report.name)}", *words])
    found = {
        "machine": machine(),
        "versions": versions(report.packages),
        "command": command,
        "measurements": report.measurements,
        "ratios": {name: asdict(one) for name, one in report.ratios.items()},
    }
    page = markdown(report, found)
    if args.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = (
            RESULTS
            / f"{date.today():%Y-%m-%d}-{'-'.join(filter(None, (report.name, report.part)))}.md"
        )
        path.write_text(page, encoding="utf-8")
        say(f"written: {path}")

    print(json.dumps(found) if args.json else page)
    return found


def _program(name: str) -> str:
    """Return the module that was started, or this script's name where another program has called it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (
        spec.name.removesuffix(".__main__")
        if spec and spec.name.startswith("benchmarks.")
        else f"benchmarks.{name}"
    )


def markdown(report: Report, found: Mapping[str, Any]) -> str:
    """Return the report as a page: machine, ratios, measurements, notes."""
    box = found["machine"]
    lines = [
        f"# {report.title}",
        "",
        f"`{found['command']}`, {date.today():%Y-%m-%d}.",
        "",
        f"Machine: {box['cpu']}, {box['cores']} cores, {box['memory_gib']} GiB, {box['system']}; load average at the "
        f"end {box['load']}. Versions: "
        + ", ".join(f"{name} {one}" for name, one in found["versions"].items())
        + ".",
        "",
        "| ratio (larger is better for us) | value | single rounds | goal | reached |",
        "|---|---|---|---|---|",
    ]
    for name, one in report.ratios.items():
        rounds = f"{one.spread[0]:.2f} to {one.spread[1]:.2f}" if one.spread else ""
        reached = "" if one.goal is None else ("yes" if one.value >= one.goal else "no")
        lines.append(
            f"| {name} | {one.value:.2f} | {rounds} | {'' if one.goal is None else one.goal} | {reached} |"
        )

    tables = {name: row for name, row in report.measurements.items() if isinstance(row, Mapping)}
    columns = list(dict.fromkeys(key for row in tables.values() for key in row))
    lines += ["", "| |" + "|".join(columns) + "|", "|" + "---|" * (len(columns) + 1)]
    lines += [
        f"| {name} |" + "|".join(_cell(row.get(key)) for key in columns) + "|"
        for name, row in tables.items()
    ]
    plain = {name: value for name, value in report.measurements.items() if name not in tables}
    lines += [""] + [f"- {name}: {_cell(value)}" for name, value in plain.items()]
    for note in report.notes:
        lines += ["", note]

    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " to ".join(map(_cell, value)) if len(value) == 2 else ", ".join(map(_cell, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def machine() -> dict[str, Any]:
    """Return CPU, cores, memory, system, Python and the load average of the last minute."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu
        )
    except OSError:
        pass  # not Linux

    return {
        "cpu": cpu,
        "cores": len(psutil.Process().cpu_affinity())
        if sys.platform == "linux"
        else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of distributions, "absent" for those not installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
