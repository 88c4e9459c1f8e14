"""Compare ways to train on all cores, in words per second of wall time.

The table is in `docs/concepts/models/tuning.md`.

    python -m benchmarks.training.parallel --quick
    python -m benchmarks.training.parallel --write

With C cores: one process with one thread; one process with C threads; C ranks with one thread that train one network
(`training/neural/data_parallel.py`); and C fits at once with one thread each, which give C models. All use the
same batch, on made-up reviews (`benchmarks/models/mixture.py`), so only the times are meaningful. The time of updates
counts, that of evaluations does not. No other program may run on the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Empty
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Ratio, Report, Run, arguments, finish, interleave
from benchmarks.models.mixture import VOCABULARY, MadeUp
from reviewlm.core.environment import available_cores
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import RecurrentSpec, TrainingSpec
from reviewlm.models.streams import TokenStream, unigram_counts
from reviewlm.tasks.fitting.fit_process import environment_of
from reviewlm.training.context import FitContext
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.trainer import train

GOAL = 1.8
NETWORKS = {
    "1 × 320": RecurrentSpec(
        hidden=320,
        embedding=256,
        training=TrainingSpec(
            batch=20,
            bptt_len=50,
            evaluations=1,
        ),
    ),
    "2 × 650": RecurrentSpec(
        layers=2,
        hidden=650,
        embedding=650,
        training=TrainingSpec(
            batch=64,
            bptt_len=35,
            evaluations=1,
        ),
    ),
}
UPDATES = {"1 × 320": 300, "2 × 650": 60}
QUICK = 10
"""Factor by which --quick reduces the number of updates."""
START_SECONDS = 300.0
"""Seconds to wait for the next result from the processes of a contender, including their start."""


def made_up(tokens: int, seed: int) -> TokenStream:
    """Return a stream of about *tokens* made-up tokens."""
    made = MadeUp(max(2, tokens // 101), seed)
    header = {
        "tokens": 101 * len(made),
        "vocabulary_digest": "made up",
        "vocabulary_size": VOCABULARY,
        "boundary_policy": "made up",
        "sha256": {"ids.bin": f"seed {seed}"},
    }
    return TokenStream(Path("made up"), header, made.ids, made.offsets)


def fit(
    number: int,
    threads: int,
    where: dict[str, Any],
    spec: RecurrentSpec,
    updates: int,
    done: Any,
) -> None:
    """Train one network, alone or as one rank of several; report words per second and the last loss.

    Args:
        number: Number of this process.
        threads: Number of threads of this process.
        where: Fields of `FitContext`.
        spec: Specification of the network.
        updates: Approximate number of updates.
        done: Queue for the result.
    """
    torch.set_num_threads(threads)
    training = spec.training
    stream = made_up(updates * training.batch * training.bptt_len, 1)
    torch.manual_seed(training.seed)
    network = NeuralLM.build(spec, torch.from_numpy(np.asarray(unigram_counts(stream, VOCABULARY))))
    train_with_own_layers(network)
    context = FitContext(threads=threads, **where)
    summary = train(
        network,
        stream,
        made_up(2_000, 2),
        replace(training, epochs=1.0),
        context,
    )
    done.put((number, summary["tokens"] / summary["seconds"], summary["train_nats"]))


def together(
    spec: RecurrentSpec,
    processes: int,
    threads: int,
    ranks: int,
    updates: int,
) -> dict[str, float]:
    """Run *processes* fits, or ranks of one fit, at once; return the words per second of all together."""
    os.environ.update(environment_of(threads, ranks))
    spawn = multiprocessing.get_context("spawn")
    done = spawn.Queue()
    found: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        workers = []
        for number in range(processes):
            work = Path(folder) / str(0 if ranks > 1 else number)
            work.mkdir(exist_ok=True)
            where = {
                "work": work,
                "rank": number if ranks > 1 else 0,
                "ranks": ranks,
            }
            where["init_method"] = f"file://{folder}/meeting"
            workers.append(
                spawn.Process(target=fit, args=(number, threads, where, spec, updates, done))
            )
            workers[-1].start()
        try:
            while len(found) < processes:
                number, speed, nats = done.get(timeout=START_SECONDS)
                found[number] = (speed, nats)
        except Empty:
            raise RuntimeError(
                f"{processes} processes: only {sorted(found)} came to their end"
            ) from None
        finally:
            for worker in workers:
                worker.join(timeout=10)
                worker.kill()

    speeds = [speed for speed, _ in found.values()]
    return {
        "words_per_s": round(speeds[0] if ranks > 1 else sum(speeds)),
        "models": processes // ranks,
        "train_nats": round(found[0][1], 4),
    }


def contenders(
    name: str,
    cores: int,
    updates: int,
) -> dict[str, partial[dict[str, float]]]:
    """Return the ways to train a network, by their names in the table."""
    spec = NETWORKS[name]
    return {
        f"{name}: 1 process, 1 thread": partial(
            together,
            spec,
            1,
            1,
            1,
            updates,
        ),
        f"{name}: 1 process, {cores} threads": partial(
            together,
            spec,
            1,
            cores,
            1,
            updates,
        ),
        f"{name}: {cores} ranks, 1 thread each": partial(
            together,
            spec,
            cores,
            1,
            cores,
            updates,
        ),
        f"{name}: {cores} fits at once, 1 thread each": partial(
            together,
            spec,
            cores,
            1,
            1,
            updates,
        ),
    }


def rows_and_ratios(
    name: str,
    runs: dict[str, list[Run]],
    cores: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, Ratio]]:
    """Return the medians, and the speed-up of each way over one thread."""
    speeds = {
        which: [run.result["words_per_s"] for run in of_which] for which, of_which in runs.items()
    }
    rows = {
        which: {
            "words_per_s": round(median(found)),
            "range": [min(found), max(found)],
            "models": runs[which][-1].result["models"],
            "train_nats": runs[which][-1].result["train_nats"],
        }
        for which, found in speeds.items()
    }
    single, *others = speeds
    key = name.replace(" × ", "x")
    ratios = {}
    for which, label in zip(others, ("threads", "ranks", "fits"), strict=True):
        rounds = [own / one for own, one in zip(speeds[which], speeds[single], strict=True)]
        goal = GOAL if cores == 2 else None
        spread = round(min(rounds), 3), round(max(rounds), 3)
        ratios[f"parallel.{key}.{label}"] = Ratio(round(median(rounds), 3), goal, single, spread)

    return rows, ratios


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=sorted(NETWORKS),
        default=sorted(NETWORKS),
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=available_cores(),
        help="default: all",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for name in args.networks:
        updates = UPDATES[name] // (QUICK if args.quick else 1)
        ways = contenders(name, args.cores, updates)
        runs = interleave(ways, threads=args.cores, repeats=1 if args.quick else args.repeats)
        rows, found = rows_and_ratios(name, runs, args.cores)
        measurements |= rows
        ratios |= found

    note = "`range` is that of the rounds. `models` is how many trained models a run leaves."
    return finish(
        args,
        Report(
            "parallel",
            "Ways to train on all cores",
            measurements,
            ratios,
            ("torch",),
            notes=(note,),
        ),
    )


if __name__ == "__main__":
    main()
