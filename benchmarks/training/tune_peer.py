"""Tune word_language_model's flags by as many trials as ours had, on the same validation lines.

    python -m benchmarks.training.tune_peer --data DATA --peer PEERS --texts kaggle --write
    python -m benchmarks.training.tune_peer --data DATA --peer PEERS --seconds 900 --trials 12 --write
    python -m benchmarks.training.tune_peer --data DATA --peer PEERS --near --trials 24 --write

This is a random search over the peer's own flags: network, layers, width, tied weights, dropout, optimiser and learning
rate, batch and window. The first two trials are its defaults and a small tied network without dropout, a good first
guess. Each trial has one thread and SECONDS of CPU time. A trial whose perplexity is more than a fifth above the best
after the same time (a sixth of the time or more, up to 210 seconds) is stopped, which saves time and only affects
trials that would not win. Put the best flags into `TUNED`.

With `--near` the search goes on from there: the first trial repeats the flags of `TUNED`, the others change some of
them a little, as one does who tunes by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.harness import Report, arguments, finish, say
from benchmarks.line_text import TEXTS

RACED = ("kaggle", "sentences")
"""Texts of the comparison with the peer."""
SECONDS = {False: 90, True: 900}
"""CPU seconds of the peer, for the short and the long comparison."""
DEFAULTS = ("--emsize", "200", "--nhid", "200")
TUNED_90S = (
    "--model",
    "GRU",
    "--nlayers",
    "1",
    "--emsize",
    "200",
    "--nhid",
    "200",
    "--batch_size",
    "20",
    "--bptt",
    "20",
    "--dropout",
    "0",
    "--tied",
    "--use-optimizer",
    "--lr",
    "0.00559",
    "--clip",
    "1",
)
SLOW = "--model GRU --nlayers 1 --emsize 96 --nhid 96 --bptt 20 --dropout 0 --tied --use-optimizer --lr 0.0085 --clip 1"
TUNED_900S: dict[str, tuple[str, ...]] = {
    "sentences": (
        "--model",
        "GRU",
        "--nlayers",
        "1",
        "--emsize",
        "320",
        "--nhid",
        "320",
        "--batch_size",
        "20",
        "--bptt",
        "25",
        "--dropout",
        "0.4",
        "--tied",
        "--use-optimizer",
        "--lr",
        "0.0015",
        "--clip",
        "0.5",
    ),
    "kaggle": (
        "--model",
        "GRU",
        "--nlayers",
        "1",
        "--emsize",
        "256",
        "--nhid",
        "256",
        "--batch_size",
        "20",
        "--bptt",
        "20",
        "--dropout",
        "0.1",
        "--tied",
        "--use-optimizer",
        "--lr",
        "0.00352",
        "--clip",
        "0.25",
    ),
}
TUNED: dict[bool, dict[str, list[tuple[str, ...]]]] = {
    False: {
        "sentences": [TUNED_90S, (*SLOW.split(), "--batch_size", "20")],
        "kaggle": [TUNED_90S, (*SLOW.split(), "--batch_size", "12")],
    },
    True: {name: [flags] for name, flags in TUNED_900S.items()},
}
"""Flags of the peer by text: the best that `benchmarks/training/tune_peer.py` found on the validation lines, for 90
seconds also the best of a slow processor. All are run, and the best result on the test lines counts, in favour of the
peer."""
TRIALS = 40
"""Number of trials."""
SEED = 13
GUESS = ("--emsize", "200", "--nhid", "200", "--nlayers", "1", "--dropout", "0", "--tied")
BEHIND, JUDGED_FROM = 1.2, 1 / 6
"""Largest ratio of a trial's perplexity to the best one at the same mark, from this share of the time on; a trial above
it is stopped. Earlier, a network with more cells and dropout is behind that wins in the end."""
SIZES: dict[str, tuple[int, ...]] = {
    "--nhid": (48, 64, 80, 96, 128, 160, 200, 256, 320),
    "--batch_size": (8, 10, 12, 16, 20, 24, 32),
    "--bptt": (8, 10, 12, 15, 20, 25, 35),
}
"""Values of flags that `flags_near` moves up or down by one."""


def flags_of(random: Random) -> tuple[str, ...]:
    """Draw flags; learning rates are drawn on a logarithmic scale, from a range in which the optimiser works."""
    width = random.choice((128, 200, 256, 320, 400, 512))
    batch = random.choice((8, 10, 16, 20, 32, 48))
    window = random.choice((15, 20, 25, 35, 50))
    flags = [
        "--model",
        random.choice(("LSTM", "GRU")),
        "--nlayers",
        random.choice(("1", "1", "2")),
        "--emsize",
        str(width),
        "--nhid",
        str(width),
        "--batch_size",
        str(batch),
        "--bptt",
        str(window),
        "--dropout",
        random.choice(("0", "0", "0.1", "0.2")),
    ]
    flags += ["--tied"] if random.random() < 0.8 else []
    adam = random.random() < 0.5
    low, high = (1e-3, 3e-2) if adam else (4.0, 60.0)
    flags += ["--use-optimizer"] if adam else []
    rate = low * (high / low) ** random.random()
    return (*flags, "--lr", f"{rate:.3g}", "--clip", random.choice(("0.25", "0.5", "1")))


def flags_near(random: Random, flags: Sequence[str]) -> tuple[str, ...]:
    """Draw flags close to *flags*: a size stays or moves one step, the rate changes by at most a factor of 2."""
    given = {flag: flags[i + 1] for i, flag in enumerate(flags[:-1]) if flag.startswith("--")}
    drawn = {flag: _step(random, steps, int(given[flag])) for flag, steps in SIZES.items()} | {
        "--model": random.choice((given["--model"], given["--model"], "LSTM", "GRU")),
        "--lr": f"{float(given['--lr']) * 2 ** random.uniform(-1, 1):.3g}",
        "--dropout": random.choice((given["--dropout"], "0", "0.05", "0.1", "0.2")),
        "--clip": random.choice((given["--clip"], "0.25", "0.5", "1")),
    }
    drawn["--emsize"] = drawn["--nhid"]
    return tuple(drawn.get(before, word) for before, word in zip(("", *flags), flags, strict=False))


def _step(
    random: Random,
    steps: Sequence[int],
    now: int,
) -> str:
    at = min(range(len(steps)), key=lambda i: abs(steps[i] - now)) + random.choice((-1, 0, 0, 1))
    return str(steps[max(0, min(at, len(steps) - 1))])


def trial(
    peers: Path,
    text: Path,
    seconds: int,
    flags: Sequence[str],
    best: dict[float, float],
    lock: threading.Lock,
) -> dict[str, Any]:
    """Run the peer on validation lines; return its last mark, with "ended" if the trial was stopped.

    Args:
        peers: Folder of the peer and its driver.
        text: Folder of `train.txt` and `valid.txt`.
        seconds: CPU seconds.
        flags: Flags of the peer.
        best: Smallest perplexity so far, by mark in seconds; it is updated.
        lock: Lock for reading and writing *best*.
    """
    driver = peers / "wlm_driver.py"
    network = peers / "word_language_model"
    command = [sys.executable, *map(str, (driver, network, text, seconds))]
    mark: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*command, "1", str(Path(folder) / "curve.json"), *flags],
            stdout=subprocess.PIPE,
            text=True,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"CPUCLOCK": "1", "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("MARK "):
                continue
            mark = json.loads(line.removeprefix("MARK "))
            with lock:
                at = round(mark["train_s"] / 15) * 15.0
                least = best[at] = min(best.get(at, float("inf")), mark["valid_ppl"])
            # "not <=" instead of ">", so that NaN also stops a trial.
            if seconds * JUDGED_FROM <= at < seconds and not mark["valid_ppl"] <= BEHIND * least:
                process.kill()
                mark["ended"] = True
                break
        process.wait()

    return mark or {"failed": True}


def drawn_flags(trials: int, near: Sequence[str] | None) -> list[tuple[str, ...]]:
    """Return the flags of all trials: from the full ranges, or near the given ones; equal flags are tried once."""
    random = Random(SEED)
    drawn: dict[tuple[str, ...], None] = dict.fromkeys(
        [DEFAULTS, GUESS] if near is None else [tuple(near)]
    )
    while len(drawn) < trials:
        drawn[flags_of(random) if near is None else flags_near(random, near)] = None
    return list(drawn)


def search(
    name: str,
    data: Path,
    peers: Path,
    seconds: int,
    drawn: Sequence[tuple[str, ...]],
    workers: int,
) -> dict[str, Any]:
    """Return the result of each trial on a text by its flags, best first."""
    best: dict[float, float] = {}
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        text = TEXTS[name](data).write(Path(folder))

        def one(flags: tuple[str, ...]) -> dict[str, Any]:
            found = trial(
                peers,
                text,
                seconds,
                flags,
                best,
                lock,
            )
            say(f"{name}: {' '.join(flags)}: {found}")
            return found

        found = dict(zip(drawn, pool.map(one, drawn), strict=True))

    return {f"{name}: {' '.join(flags)}": row for flags, row in sorted(found.items(), key=_rank)}


def _rank(item: tuple[tuple[str, ...], dict[str, Any]]) -> tuple[bool, bool, float]:
    """Return a sort key: complete trials by their perplexity, then stopped trials, then failed ones."""
    row = item[1]
    perplexity = float(row.get("valid_ppl", "inf"))
    return "failed" in row, "ended" in row, perplexity if perplexity == perplexity else float("inf")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the search."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("REVIEWLM_REAL_DATA"),
        help="folder of the texts",
    )
    parser.add_argument(
        "--peer",
        type=Path,
        required=True,
        help="folder of wlm_driver.py and word_language_model/",
    )
    parser.add_argument(
        "--seconds",
        type=int,
        default=90,
        help="CPU seconds of a trial (default 90)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=TRIALS,
        help=f"for each text (default {TRIALS})",
    )
    parser.add_argument("--near", action="store_true", help="try flags near those of TUNED instead")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="trials side by side, one core each (default 1)",
    )
    parser.add_argument(
        "--texts",
        nargs="+",
        choices=RACED,
        default=RACED,
    )
    args: argparse.Namespace = parser.parse_args(argv)
    if args.data is None:
        parser.error("--data (or REVIEWLM_REAL_DATA) must name the folder of the texts")

    if args.trials < 2:
        parser.error("--trials must be at least 2: the defaults and the first guess come first")

    rows: dict[str, Any] = {}
    for name in args.texts[:1] if args.quick else args.texts:
        near = TUNED[args.seconds == SECONDS[True]][name][0] if args.near else None
        drawn = drawn_flags(2 if args.quick else args.trials, near)
        rows |= search(
            name,
            args.data,
            args.peer,
            args.seconds,
            drawn,
            args.workers,
        )

    beside = " near the best flags" if args.near else ""
    title = f"word_language_model, {args.trials} trials{beside} of {args.seconds} CPU seconds, validation perplexity"
    some = args.texts if len(args.texts) < len(RACED) else []
    part = "-".join([f"{args.seconds}s", *["near"] * args.near, *some])
    return finish(
        args,
        Report(
            "tune_peer",
            title,
            rows,
            {},
            ("torch",),
            part=part,
        ),
    )


if __name__ == "__main__":
    main()
