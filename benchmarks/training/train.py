"""Compare training speed with PyTorch's word_language_model: time to equal its perplexity, tokens per second, CPU.

    python -m benchmarks.training.train --data DATA --peer PEERS --quick
    python -m benchmarks.training.train --data DATA --peer PEERS --write        (90 CPU seconds of it, 20 by batch)
    python -m benchmarks.training.train --data DATA --peer PEERS --long --write (15 minutes of the peer)

Ours is what `reviewlm run --minutes` trains: the rule (`tasks/planning/rule.py`) chooses network and length for this
text, the measured speed of this processor, and a number of CPU seconds. The number is found by bisection: the least with
which the *validation* lines have a perplexity below the peer's by `MARGIN`. The peer is measured tuned and with its own
defaults. Tuned, it has as many trials on the same lines: the flags of `tune_peer.py` and others near them. Then both train
once more, and the *test* lines are looked at once.

DATA is a folder with the texts of `benchmarks/line_text.py`. PEERS is a folder with `word_language_model/` and
`wlm_driver.py`, which runs the peer unchanged and reads its perplexity. Both sides get the same lines, vocabulary and
held-out stream (ten streams side by side, the hidden state carried, every word and end of line scored) and one thread
each. CPU seconds of training are counted, without the very first update; a second ratio counts the whole process,
with imports, reading of the text, and kernels. Evaluations are not counted, nor is the probe of the processor's speed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from resource import RUSAGE_CHILDREN
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Ratio, Report, arguments, finish, measure, say
from benchmarks.line_text import LANES, TEXTS, LineText
from benchmarks.processes import cpu_seconds
from benchmarks.training.minutes import planned, recurrent
from benchmarks.training.tune_peer import (
    DEFAULTS,
    RACED,
    SECONDS,
    TUNED,
    drawn_flags,
    search,
)
from reviewlm.core.config.presets import load_config
from reviewlm.models.base import perplexity
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.neural.network import Network
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.tasks.planning.plan import WARM_UP
from reviewlm.tasks.planning.rule import FRAME, PROBE, Data, Machine, Products, choose
from reviewlm.training.context import FitContext, Pace
from reviewlm.training.neural import trainer
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.validation import validation_nats

TRIALS = 5
"""Trials of each side on the validation lines: flags of the tuned peer; times of ours."""
QUICKEST, SLOWEST = 1 / 32, 1 / 4
"""Shares of the peer's time between which ours is sought."""
MARGIN = 0.02
"""Share by which our perplexity of the validation lines is below the peer's, as the test lines differ a little."""
PROBE_SECONDS = 4.0
GOALS: dict[bool, dict[str, float | None]] = {
    False: {
        "tuned": 10.0,
        "plain": 15.0,
        "onednn": 10.0,
    },
    True: {
        "tuned": 6.0,
        "plain": 6.0,
        "onednn": None,
    },
}
KINDS = ("tuned", "plain", "onednn")
"""Kinds of the peer: tuned; with its defaults; with its defaults and products in oneDNN."""
HEAD = 1_000
"""Number of entries in the head of the two-layer networks' softmax."""
BATCHES = (64, 128, 256)
"""Batch sizes of the networks whose speed is measured: a larger batch uses the CPU better but gives fewer updates."""
SPEED_SECONDS = 40
HIDDEN_SIZES = (650, 640)
"""Hidden sizes of the layers whose share of the peak is measured; a multiple of 32 fills the tiles of a processor."""


def chosen(
    lines: LineText,
    machine: Machine,
    seconds: float,
) -> RecurrentSpec:
    """Return the network that `--minutes` trains on a text in so many seconds, with the length that it expects."""
    text_bytes = sum(len(word.encode()) + 1 for line in lines.lines["train"] for word in line)
    held_out = sum(lines.stream(split).tokens for split in ("valid", "test"))
    network = choose(Data(text_bytes, lines.stream("train").tokens, held_out), machine, seconds)
    if network is None:
        raise ValueError(f"the rule has no network for {seconds:.1f} s")

    return _on_lines(planned(network), epochs=network.passes, warmup=WARM_UP)


def _on_lines(spec: RecurrentSpec, **training: Any) -> RecurrentSpec:
    """Return a network for a text without ratings and without boundaries of reviews."""
    changed = replace(spec.training, evaluations=1, state_reset_prob=0.0, **training)
    return replace(spec, condition_on_stars=False, training=changed)


def measured_machine(lines: LineText) -> Machine:
    """Return the speed of the rule's probe, in tokens per CPU second of one thread."""
    torch.set_num_threads(1)
    frame = recurrent(load_config(FRAME))
    probe = replace(frame, hidden=PROBE[0], embedding=PROBE[1])
    spec = _on_lines(probe, epochs=1_000.0, warmup=0.0)
    done: Mapping[str, float] = {}
    for _ in range(2):  # the first one loads the kernels
        _, done = _train(_without_validation(lines), spec, 1, Pace(PROBE_SECONDS, evaluations=1))

    products: Products = "bf16" if done["bf16"] else "float32"
    return Machine(done["tokens"] / done["cpu_seconds"], products=products)


def from_files(
    name: str,
    data: Path,
    spec: RecurrentSpec,
    split: str,
) -> dict[str, float]:
    """Read a text, train on it, and return what `ours` does."""
    return ours(TEXTS[name](data), spec, 1, split)


def ours(
    lines: LineText,
    spec: RecurrentSpec,
    threads: int,
    split: str = "valid",
) -> dict[str, float]:
    """Train; return CPU seconds, of the whole process too, tokens per CPU second, and the perplexity of a split."""
    torch.set_num_threads(threads)
    few = {"train": lines.lines["valid"][:300], "valid": lines.lines["valid"][:20]}
    _train(
        LineText(few, lines.words),
        replace(spec, training=replace(spec.training, epochs=1e-9)),
        threads,
    )
    network, done = _train(_without_validation(lines), spec, threads)
    whole = time.process_time()
    nats, _ = validation_nats(network, lines.stream(split, LANES))
    cpu = done["cpu_seconds"]
    return {
        "cpu_s": round(cpu, 2),
        "whole_cpu_s": round(whole, 2),
        "wall_s": round(done["seconds"], 2),
        "tokens": done["tokens"],
        "tokens_per_cpu_s": round(done["tokens"] / cpu),
        "perplexity": round(perplexity(nats), 2),
    }


def _without_validation(lines: LineText) -> LineText:
    """Return a text whose validation takes no time."""
    return LineText({**lines.lines, "valid": lines.lines["valid"][:20]}, lines.words)


def _train(
    lines: LineText,
    spec: RecurrentSpec,
    threads: int,
    pace: Pace | None = None,
) -> tuple[Network, Mapping[str, float]]:
    train = lines.stream("train")
    torch.manual_seed(spec.training.seed)
    network = train_with_own_layers(
        NeuralLM.build(spec, torch.from_numpy(unigram_counts(train, lines.size)))
    )
    with tempfile.TemporaryDirectory() as work:
        context = FitContext(Path(work), threads=threads, pace=pace)
        return network, trainer.train(
            network,
            train,
            lines.stream("valid", LANES),
            spec.training,
            context,
        )


def peer(
    peers: Path,
    text: Path,
    seconds: int,
    onednn: bool,
    flags: Sequence[str] = DEFAULTS,
) -> dict[str, float]:
    """Run word_language_model for *seconds* CPU seconds on one thread; return its last mark on `valid.txt`.

    "whole_cpu_s" is the time of its process without its evaluations.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "curve.json"
        command = [
            sys.executable,
            str(peers / "wlm_driver.py"),
            str(peers / "word_language_model"),
            str(text),
            str(seconds),
            "1",
            str(out),
            *flags,
        ]
        variables = {"CPUCLOCK": "1", "OMP_NUM_THREADS": "1"} | (
            {"WLM_ONEDNN": "1"} if onednn else {}
        )
        before = cpu_seconds(RUSAGE_CHILDREN)
        ran = subprocess.run(
            command,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if not out.exists():
            raise RuntimeError(f"the peer said nothing: {ran.stderr[-2000:]}")
        whole = cpu_seconds(RUSAGE_CHILDREN) - before
        curve = json.loads(out.read_text(encoding="utf-8"))["curve"]
        evaluated = sum(mark["eval_s"] for mark in curve)
        return {**curve[-1], "whole_cpu_s": round(whole - evaluated, 1)}


def least(
    reaches: Callable[[float], bool],
    low: float,
    high: float,
    trials: int,
) -> float | None:
    """Return the least number that reaches a target, by bisection of the ratio of both ends; None if no trial did."""
    found = None
    for _ in range(trials):
        middle = math.sqrt(low * high)
        if reaches(middle):
            found = high = middle
        else:
            low = middle

    return found


def trials_of_peer(
    name: str,
    data: Path,
    peers: Path,
    long: bool,
    kind: str,
) -> dict[tuple[str, ...], dict[str, float]]:
    """Return the last mark of each trial of the peer on the validation lines by its flags, best first."""
    if kind == "tuned":
        known = TUNED[long][name]
        near = drawn_flags(TRIALS, known[-1])
        drawn = list(dict.fromkeys([*reversed(known), *near]))[:TRIALS]
        found = search(
            name,
            data,
            peers,
            SECONDS[long],
            drawn,
            1,
        )
        return {tuple(row.split()[1:]): mark for row, mark in found.items()}
    with tempfile.TemporaryDirectory() as folder:
        text = TEXTS[name](data).write(Path(folder))
        return {DEFAULTS: peer(peers, text, SECONDS[long], kind == "onednn")}


def compare(
    name: str,
    data: Path,
    peers: Path,
    long: bool,
    kinds: Sequence[str] = KINDS,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return the rows and ratios of one text."""
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    lines = TEXTS[name](data)
    machine = measure(partial(measured_machine, lines), 1).result
    say(f"{name}: {machine}")
    for kind in kinds:
        found_rows, found_ratios = _compare_with(
            name,
            data,
            peers,
            long,
            kind,
            lambda seconds: chosen(lines, machine, seconds),
        )
        rows |= found_rows
        ratios |= found_ratios

    return rows, ratios


def _compare_with(
    name: str,
    data: Path,
    peers: Path,
    long: bool,
    kind: str,
    spec_for: Callable[[float], RecurrentSpec],
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return rows and ratios of one kind of the peer: trials of both sides, then the look at the test lines."""
    rows: dict[str, Any] = {}
    tried = trials_of_peer(
        name,
        data,
        peers,
        long,
        kind,
    )
    flags = next(iter(tried))
    target = tried[flags]["valid_ppl"] * (1 - MARGIN)
    for number, (words, mark) in enumerate(tried.items(), 1):
        rows[f"{name}: word_language_model, {kind}, validation {number}"] = _row(mark, words)

    def reaches(seconds: float) -> bool:
        spec = spec_for(seconds)
        run = measure(partial(from_files, name, data, spec, "valid"), 1).result
        row = {**_recipe(spec, seconds), **run}
        rows[f"{name}: ours, {kind}, validation, {seconds:.2f} s"] = row
        say(f"{name}: ours {row}, to reach {target:.2f}")
        return bool(run["perplexity"] <= target)

    low, high = (share * SECONDS[long] for share in (QUICKEST, SLOWEST))
    seconds = least(reaches, low, high, TRIALS)
    found_rows, ratios = _look(
        name,
        data,
        peers,
        long,
        kind,
        flags,
        None if seconds is None else (seconds, spec_for(seconds)),
    )
    return rows | found_rows, ratios


def _look(
    name: str,
    data: Path,
    peers: Path,
    long: bool,
    kind: str,
    flags: Sequence[str],
    found: tuple[float, RecurrentSpec] | None,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return rows and ratios of the only look at the test lines, in which both sides train again.

    Args:
        name: Name of the text.
        data: Folder of the texts.
        peers: Folder of the peer.
        long: Whether the peer has its long time.
        kind: Of the peer.
        flags: Best flags of its trials.
        found: Least time of ours that was enough on the validation lines, with its network; None if none was.
    """
    part = f"train.{name}.{'long' if long else 'short'}.{kind}"
    with tempfile.TemporaryDirectory() as folder:
        text = TEXTS[name](data).write(Path(folder))
        # The peer's driver scores this file.
        (text / "valid.txt").write_bytes((text / "test.txt").read_bytes())
        their = peer(peers, text, SECONDS[long], kind == "onednn", flags)

    rows = {f"{name}: word_language_model, {kind}, test": _row(their, flags)}
    if found is None:
        return rows, {part: Ratio(0.0, GOALS[long][kind], f"word_language_model, {kind}")}

    seconds, spec = found
    own = measure(partial(from_files, name, data, spec, "test"), 1).result
    reached = own["perplexity"] <= their["valid_ppl"]
    rows[f"{name}: ours, {kind}, test"] = {**_recipe(spec, seconds), **own, "reached": reached}
    ratios = {}
    for what, ending, goal in (
        ("cpu_s", "", GOALS[long][kind]),
        ("whole_cpu_s", ".with_start_and_data", None),
    ):
        value = rows[f"{name}: word_language_model, {kind}, test"][what] / own[what]
        value = round(value, 2) if reached else 0.0
        ratios[part + ending] = Ratio(value, goal, f"word_language_model, {kind}")

    return rows, ratios


def _row(mark: Mapping[str, float], flags: Sequence[str]) -> dict[str, Any]:
    """Return the row of a mark of the peer."""
    names = {
        "train_s": "cpu_s",
        "whole_cpu_s": "whole_cpu_s",
        "tokens": "tokens",
        "tok_s": "tokens_per_cpu_s",
        "valid_ppl": "perplexity",
        "ended": "ended",
    }
    figures = {label: mark[what] for what, label in names.items() if what in mark}
    return {**figures, "recipe": " ".join(flags)}


def _recipe(spec: RecurrentSpec, seconds: float) -> dict[str, Any]:
    """Return the chosen recipe as part of a row."""
    training = spec.training
    words = (
        f"{spec.kind} {spec.hidden}, embedding {spec.embedding}, head {spec.objective.head}, rate "
        f"{training.learning_rate:g}, batch {training.batch}, dropout {spec.dropout:g}, {training.epochs:.3f} passes"
    )
    return {"given_s": round(seconds, 2), "recipe": words}


def comparable(
    lines: LineText,
    hidden: int,
    batch: int,
    threads: int,
    seconds: float,
) -> dict[str, float]:
    """Return the speed of a two-layer network of the peer's size, from about *seconds* seconds of training."""
    spec = RecurrentSpec(
        layers=2,
        hidden=hidden,
        embedding=hidden,
        dropout=0.2,
        condition_on_stars=False,
        objective=ObjectiveSpec(head=HEAD),
        training=TrainingSpec(
            batch=batch,
            bptt_len=35,
            evaluations=1,
            state_reset_prob=0.0,
            epochs=0.02,
        ),
    )
    lines = LineText({**lines.lines, "valid": lines.lines["valid"][:200]}, lines.words)
    probe = ours(lines, spec, threads)
    epochs = 0.02 * max(1.0, seconds / max(probe["wall_s"], 1e-3))
    return ours(lines, replace(spec, training=replace(spec.training, epochs=epochs)), threads)


def gemm_peak(threads: int) -> float:
    """Return the speed of a bf16 product of 2048³ in GF/s, best of ten; a multiply-add counts as two operations."""
    torch.set_num_threads(threads)
    a, b = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - started)
    return 2 * 2048**3 / best / 1e9


def flops_per_token(
    hidden: int,
    layers: int,
    head: int,
    entries: int,
    tail_share: float,
) -> float:
    """Return the floating-point operations of the matrix products in training on one token: 6 per used weight."""
    return 6.0 * (
        layers * 8 * hidden * hidden + hidden * (head + 1 + tail_share * (entries - head))
    )


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark."""
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
        "--long", action="store_true", help="15 minutes of the peer instead of 90 seconds"
    )
    parser.add_argument(
        "--texts",
        nargs="+",
        choices=RACED,
        default=RACED,
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=KINDS,
        help="of the peer; speeds need 'plain'",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    if args.data is None:
        parser.error("--data (or REVIEWLM_REAL_DATA) must name the folder of the texts")

    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for name in args.texts[:1] if args.quick else args.texts:
        rows, found = compare(
            name,
            args.data,
            args.peer,
            args.long,
            args.kinds,
        )
        measurements |= rows
        ratios |= found
        # Speeds hardly depend on the text, so one text is enough; --quick skips them to save time.
        if not (args.long or args.quick) and "plain" in args.kinds and name == args.texts[0]:
            rows, found = _speed(
                TEXTS[name](args.data),
                name,
                args.peer,
                rows[f"{name}: word_language_model, plain, test"],
            )
            measurements |= rows
            ratios |= found

    some = args.texts if len(args.texts) < len(RACED) else []
    part = "-".join(["long"] * args.long + some)
    title = "Training beside word_language_model"
    return finish(
        args,
        Report(
            "train",
            title,
            measurements,
            ratios,
            ("torch", "numba"),
            part=part,
        ),
    )


def _speed(
    lines: LineText,
    name: str,
    peers: Path,
    plain: Mapping[str, float],
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return rows and ratios of tokens per second at the peer's size and of two larger layers.

    Args:
        lines: The text.
        name: Name of the text.
        peers: Folder of the peer.
        plain: Result of the peer with its default flags and batch.
    """
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    with tempfile.TemporaryDirectory() as folder:
        text = lines.write(Path(folder))
        for batch in BATCHES:
            their = peer(
                peers,
                text,
                SPEED_SECONDS,
                False,
                (*DEFAULTS, "--batch_size", str(batch)),
            )["tok_s"]
            own = measure(
                partial(
                    comparable,
                    lines,
                    200,
                    batch,
                    1,
                    8.0,
                ),
                1,
            ).result
            rows[f"{name}: word_language_model, plain, batch {batch}"] = {"tokens_per_cpu_s": their}
            rows[f"{name}: ours, 2 × 200, batch {batch}"] = own
            for beside, speed, goal in (
                ("its own batch", plain["tokens_per_cpu_s"], 5.0),
                ("the same", their, None),
            ):
                value = round(own["tokens_per_cpu_s"] / speed, 2)
                which = f"train.{name}.tokens_per_core.{batch}" + (
                    ".same_batch" if goal is None else ""
                )
                ratios[which] = Ratio(value, goal, f"2 × 200, plain, {beside}")

    found, shares = _shares_of_the_peak(lines, name)
    return rows | found, ratios | shares


def _shares_of_the_peak(lines: LineText, name: str) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return rows and ratios of two large layers: the share of the peak by batch size, and two threads against one."""
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    peak = measure(partial(gemm_peak, 1), 1).result
    counts = unigram_counts(lines.stream("train"), lines.size)
    in_tail = 1 - np.sort(counts)[-HEAD:].sum() / counts.sum()
    for hidden, batch in product(HIDDEN_SIZES, BATCHES):
        run = rows[f"{name}: ours, 2 × {hidden}, batch {batch}"] = _speed_of(
            lines, hidden, batch, 1
        )
        work = (
            flops_per_token(
                hidden,
                2,
                HEAD,
                lines.size,
                in_tail,
            )
            * run["tokens_per_cpu_s"]
            / 1e9
        )
        which = f"train.{name}.peak_share.{hidden}.{batch}"
        ratios[which] = Ratio(round(work / peak, 3), 0.5, f"bf16 product, {peak:.0f} GF/s a core")

    hidden = HIDDEN_SIZES[0]
    for batch in BATCHES:
        one = rows[f"{name}: ours, 2 × {hidden}, batch {batch}"]
        both = rows[f"{name}: ours, 2 × {hidden}, batch {batch}, 2 threads"] = _speed_of(
            lines, hidden, batch, 2
        )
        value = both["tokens"] / both["wall_s"] * one["wall_s"] / one["tokens"]
        ratios[f"train.{name}.two_threads.{batch}"] = Ratio(
            round(value, 2), 1.8, f"one thread, 2 × {hidden}"
        )

    return rows, ratios


def _speed_of(
    lines: LineText,
    hidden: int,
    batch: int,
    threads: int,
) -> dict[str, float]:
    found: dict[str, float] = measure(
        partial(
            comparable,
            lines,
            hidden,
            batch,
            threads,
            12.0,
        ),
        threads,
    ).result
    return found


if __name__ == "__main__":
    main()
