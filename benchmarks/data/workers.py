"""Compare the wall time of the data stages with one Dask worker and with two, and with threads.

    python -m benchmarks.data.workers [--quick] [--json] [--write] [--repeats 3] [--reviews 200000]

Runs `reviewlm run --until prepare` on four files of synthetic reviews, each time in an empty home folder: with one
thread, with the workers of a cluster on this machine, one and two of them, with one thread each, and with a thread for
each core. The cluster runs before the command starts. All contenders run in turn, every second round in reverse order;
the figures are medians. All must have made the same results. No other program may run on the machine.

*speed-up* is the time with one worker by that with two, of the stages of which workers do parts. The command itself
works, too: it reads what they have written, and does all other stages. So with two cores two workers and the command
share them, and with three or more each has one.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.data.scale import prepare, stages
from benchmarks.harness import Ratio, Report, arguments, available, finish, say
from benchmarks.processes import ContenderFailed
from core.environment import available_cores
from corpus.synthetic.synth import write_reviews

FILES, REVIEWS, QUICK_REVIEWS, SEED = 4, 200_000, 40_000, 1
UNIT = "word"
SHARED = ("read", "prepare", "vocabulary", "tokens")
"""Stages of which workers do parts."""
ONE, TWO = "one worker", "two workers"
CONTENDERS = {"one thread": (1, 0), ONE: (1, 1), TWO: (1, 2), "a thread for each core": (0, 0)}
"""Threads of the command and workers of the cluster."""
WHOLE, OF_WORKERS = "whole command", "stages with parts for workers"
START_SECONDS = 60.0
Seconds = dict[str, float]


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[str]:
    """Run a scheduler and so many workers with one thread each; give its address when all are there.

    Raises:
        ContenderFailed: They do not start.
    """
    from distributed import Client

    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    lean = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    options: dict[str, Any] = {"env": lean, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [[*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]]
    one = [*dask, "worker", address, "--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--no-dashboard"]
    commands += [one] * workers
    processes = [subprocess.Popen(command, **options) for command in commands]
    try:
        try:
            with Client(address, timeout=START_SECONDS) as client:
                client.wait_for_workers(workers, timeout=START_SECONDS)
        except (OSError, TimeoutError) as error:
            raise ContenderFailed(f"no Dask cluster: {error}") from error
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(source: Path, folder: Path, threads: int, workers: int) -> tuple[Seconds, set[str]]:
    """Run the command in an empty home; return the seconds of its stages, and the digests of its results.

    Args:
        source: Folder with the raw files.
        folder: Where home and cluster may write; both are removed.
        threads: Threads of the command; 0: one for each core.
        workers: Workers of the cluster; 0: threads do all work.
    """
    home, settings = folder / "home", [f"execution.threads={threads}"]
    try:
        if not workers:
            return _run(source, home, settings)
        with cluster(workers, folder) as address:
            return _run(source, home, [*settings, "execution.engine=dask", f"execution.dask_address={address}"])
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(source: Path, home: Path, settings: list[str]) -> tuple[Seconds, set[str]]:
    log, seconds = prepare([source], home, [UNIT], settings)
    table = {name: row["wall_s"] for name, row in stages(home, log).items()}
    digests = {f"{file.parent.parent.name}/{file.parent.name}" for file in home.glob("store/*/*/manifest.json")}
    return with_sums(table, seconds), digests


def with_sums(table: Mapping[str, float], seconds: float) -> Seconds:
    """Return the seconds of the stages with those of the whole command, and of all stages that workers take part in."""
    shared = sum(value for name, value in table.items() if name.split()[0] in SHARED)
    return {**table, OF_WORKERS: round(shared, 1), WHOLE: round(seconds, 1)}


def report_of(found: Mapping[str, Sequence[Seconds]]) -> tuple[dict[str, dict[str, Any]], dict[str, Ratio]]:
    """Return the medians of each stage by contender, and the speed-up of a second worker over the rounds."""
    names = list(dict.fromkeys(name for rounds in found.values() for one in rounds for name in one))
    table: dict[str, dict[str, Any]] = {
        name: {f"{who}, s": round(median(one.get(name, 0.0) for one in rounds), 1) for who, rounds in found.items()}
        for name in names
    }
    pairs = zip(found[ONE], found[TWO], strict=True)
    gains = sorted(one[OF_WORKERS] / max(two[OF_WORKERS], 0.1) for one, two in pairs)
    spread = (round(gains[0], 3), round(gains[-1], 3))
    return table, {"workers.speed-up": Ratio(round(median(gains), 3), None, ONE, spread)}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark with the options of the command line."""
    parser = arguments("The data stages with one worker and with two")
    parser.add_argument("--reviews", type=int, help=f"reviews to write ({REVIEWS:,}; --quick: {QUICK_REVIEWS:,})")
    args = parser.parse_args(argv)
    if not available("distributed", "prefect_dask"):
        parser.error("pip install -c constraints.txt -e '.[dask]'")
    found: dict[str, list[Seconds]] = {name: [] for name in CONTENDERS}
    made: set[frozenset[str]] = set()
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "reviews", Path(name) / "run"
        source.mkdir()
        folder.mkdir()
        each = (args.reviews or (QUICK_REVIEWS if args.quick else REVIEWS)) // FILES
        for number in range(FILES):
            write_reviews(source / f"{number}.jsonl", each, SEED + number, workers=available_cores())
        for turn in range(args.repeats):
            for who in list(CONTENDERS)[:: -1 if turn % 2 else 1]:
                seconds, digests = measured(source, folder, *CONTENDERS[who])
                say(f"{turn + 1}/{args.repeats} {who}: {seconds}")
                found[who].append(seconds)
                made.add(frozenset(digests))
    if len(made) != 1:
        raise ContenderFailed("the contenders have made different results")
    table, ratios = report_of(found)
    notes = (__doc__ or "").split("\n\n")[2:]
    packages = ("polars", "distributed", "prefect-dask", "prefect")
    return finish(args, Report("workers", "Data stages with one worker and with two", table, ratios, packages, notes))


if __name__ == "__main__":
    main()
