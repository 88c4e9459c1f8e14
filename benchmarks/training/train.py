"""Compare training speed with PyTorch's word_language_model: time to equal its perplexity, tokens per second, CPU.

    python -m benchmarks.training.train --data DATA --peer PEERS --quick
    python -m benchmarks.training.train --data DATA --peer PEERS --write        (90 CPU seconds of it, 20 by batch)
    python -m benchmarks.training.train --data DATA --peer PEERS --long --write (15 minutes of the peer)

The peer is measured twice: tuned by as many trials as ours on the same validation text (`tune_peer.py` finds
its flags), and with its own defaults. Perplexity is that of the *test* lines, on which neither was tuned.

DATA is a folder with the texts of `benchmarks/line_text.py`. PEERS is a folder with `word_language_model/` and
`wlm_driver.py`, which runs the peer unchanged and reads its perplexity. Both sides get the same lines, vocabulary and
held-out stream (ten streams side by side, the hidden state carried, every word and end of line scored) and one thread
each. CPU seconds of training are counted. Evaluations and the very first update, which loads and compiles kernels, are
not counted on either side.

Ours gets a budget in passes over the text, at which its schedule ends. The time to the peer's perplexity is that of the
smallest budget that reaches it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Ratio, Report, arguments, finish, measure, say
from benchmarks.line_text import LANES, TEXTS, LineText
from reviewlm.models.base import perplexity
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.neural.network import Network
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext
from reviewlm.training.neural import trainer
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.validation import validation_nats

SHORT = RecurrentSpec(
    kind="gru",
    name="gru",
    hidden=256,
    embedding=192,
    dropout=0.0,
    condition_on_stars=False,
    objective=ObjectiveSpec(head=300, cutoffs=(1_200, 3_500)),
    training=TrainingSpec(
        batch=32,
        bptt_len=35,
        learning_rate=2e-2,
        weight_decay=0.1,
        beta1=0.5,
        beta2=0.999,
        clip=0.5,
        schedule="linear",
        final_rate=0.0,
        evaluations=1,
        state_reset_prob=0.0,
    ),
)
"""Recipe for a few seconds: a small layer, no dropout, a high learning rate, little momentum, a small head."""
SMALL = replace(
    SHORT,
    hidden=96,
    embedding=96,
    training=replace(SHORT.training, learning_rate=4.5e-2),
    objective=replace(SHORT.objective, head=150, cutoffs=(500, 1_500, 4_000)),
)
"""Recipe for up to about 200,000 tokens, all that a slow processor reads in a few seconds."""
MIDDLE = replace(SHORT, training=replace(SHORT.training, learning_rate=1.4e-2))
"""Recipe for about ten seconds: the learning rate of `SHORT` is too high for longer budgets."""
LONG = replace(SHORT, dropout=0.05, training=replace(SHORT.training, learning_rate=1e-2))
"""Recipe for about a minute: a little dropout, a lower learning rate."""
LONGEST = replace(
    SHORT,
    kind="lstm",
    name="lstm",
    hidden=320,
    embedding=256,
    dropout=0.4,
    input_dropout=0.0,
    objective=replace(SHORT.objective, head=400),
    training=replace(SHORT.training, learning_rate=9e-3),
)
"""Recipe for several passes over a short text, where a larger network must be kept from overfitting."""
BUDGETS: dict[bool, dict[str, Sequence[tuple[RecurrentSpec, float]]]] = {
    False: {
        "sentences": [
            *product([SMALL], (0.26, 0.3, 0.34, 0.38, 0.42)),
            *product([SHORT], (0.36, 0.44, 0.54)),
            *product([MIDDLE], (0.65, 0.72, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)),
        ],
        "kaggle": [
            *product([SMALL], (0.04, 0.05, 0.06, 0.07, 0.08)),
            *product([SHORT], (0.1, 0.12, 0.14, 0.16, 0.18, 0.24)),
            *product([MIDDLE], (0.3, 0.36, 0.42)),
        ],
    },
    True: {
        "sentences": [*product([LONGEST], (1.6, 2.0, 2.3, 2.6, 2.9, 3.2, 3.6, 4.2, 5.0))],
        "kaggle": [*product([LONG], (0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.6))],
    },
}
"""Recipes and passes over the text to try, for the short and the long time of the peer."""
SECONDS = {False: 90, True: 900}
GOALS: dict[bool, dict[str, float | None]] = {
    False: {
        "tuned": 10.0,
        "tuned onednn": None,
        "plain": 15.0,
        "onednn": 10.0,
    },
    True: {
        "tuned": 6.0,
        "tuned onednn": None,
        "plain": 6.0,
        "onednn": None,
    },
}
KINDS = ("tuned", "tuned onednn", "plain", "onednn")
"""Kinds of the peer: with the tuned flags or with its defaults, and each with products in oneDNN."""
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
HELD_OUT = "test"
"""Split that the comparison uses; neither our recipes nor the peer's flags were chosen on it."""
HEAD = 1_000
"""Number of entries in the head of the two-layer networks' softmax."""
BATCHES = (64, 128, 256)
"""Batch sizes of the networks whose speed is measured: a larger batch uses the CPU better but gives fewer updates."""
SPEED_SECONDS = 40
HIDDEN_SIZES = (650, 640)
"""Hidden sizes of the layers whose share of the peak is measured; a multiple of 32 fills the tiles of a processor."""


def ours(
    lines: LineText,
    spec: RecurrentSpec,
    threads: int,
) -> dict[str, float]:
    """Train; return the CPU seconds, the tokens per CPU second, and the perplexity of the held-out lines."""
    torch.set_num_threads(threads)
    few = {"train": lines.lines["valid"][:300], "valid": lines.lines["valid"][:20]}
    _train(
        LineText(few, lines.words),
        replace(spec, training=replace(spec.training, epochs=1e-9)),
        threads,
    )
    network, done = _train(lines, spec, threads)
    nats, _ = validation_nats(network, lines.stream(HELD_OUT, LANES))
    cpu = done["cpu_seconds"]
    return {
        "cpu_s": round(cpu, 2),
        "wall_s": round(done["seconds"], 2),
        "tokens": done["tokens"],
        "tokens_per_cpu_s": round(done["tokens"] / cpu),
        "perplexity": round(perplexity(nats), 2),
    }


def _train(
    lines: LineText,
    spec: RecurrentSpec,
    threads: int,
) -> tuple[Network, Mapping[str, float]]:
    train = lines.stream("train")
    torch.manual_seed(spec.training.seed)
    network = train_with_own_layers(
        NeuralLM.build(spec, torch.from_numpy(unigram_counts(train, lines.size)))
    )
    with tempfile.TemporaryDirectory() as work:
        context = FitContext(Path(work), threads=threads)
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
) -> list[dict[str, float]]:
    """Run word_language_model for *seconds* CPU seconds on one thread; return its curve on `valid.txt`."""
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
        ran = subprocess.run(
            command,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if not out.exists():
            raise RuntimeError(f"the peer said nothing: {ran.stderr[-2000:]}")
        return json.loads(out.read_text(encoding="utf-8"))["curve"]


def time_to(
    lines: LineText,
    target: float,
    budgets: Sequence[tuple[RecurrentSpec, float]],
    name: str,
) -> dict[str, Any]:
    """Return our run with the smallest budget that reaches a perplexity; the last run if none does."""
    found: dict[str, Any] = {}
    for recipe, epochs in budgets:
        spec = replace(recipe, training=replace(recipe.training, epochs=epochs))
        run = measure(partial(ours, lines, spec, 1), 1).result
        found = {
            "epochs": epochs,
            "rate": spec.training.learning_rate,
            **run,
        }
        say(f"{name}: ours {found}")
        if found["perplexity"] <= target:
            return found
    return found | {"reached": False}


def compare(
    lines: LineText,
    name: str,
    peers: Path,
    long: bool,
    kinds: Sequence[str] = KINDS,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return the rows and ratios of one text."""
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    with tempfile.TemporaryDirectory() as folder:
        text = lines.write(Path(folder))
        # The peer's driver scores this file.
        (text / "valid.txt").write_bytes((text / f"{HELD_OUT}.txt").read_bytes())
        for kind in kinds:
            runs = []
            for flags in TUNED[long][name] if kind.startswith("tuned") else [DEFAULTS]:
                runs.append(
                    (
                        peer(
                            peers,
                            text,
                            SECONDS[long],
                            kind.endswith("onednn"),
                            flags,
                        )[-1],
                        flags,
                    )
                )
                say(f"{name}: peer {kind} {runs[-1]}")
            their, flags = min(runs, key=lambda run: run[0]["valid_ppl"])
            own = time_to(lines, their["valid_ppl"], BUDGETS[long][name], name)
            rows[f"{name}: word_language_model, {kind}"] = {
                "cpu_s": their["train_s"],
                "tokens": their["tokens"],
                "tokens_per_cpu_s": their["tok_s"],
                "perplexity": their["valid_ppl"],
                "flags": " ".join(flags),
            }
            rows[f"{name}: ours, to the perplexity of word_language_model, {kind}"] = own
            value = their["train_s"] / own["cpu_s"] if own.get("reached", True) else 0.0
            ratios[f"train.{name}.{'long' if long else 'short'}.{kind.replace(' ', '_')}"] = Ratio(
                round(value, 2), GOALS[long][kind], f"word_language_model, {kind}"
            )

    return rows, ratios


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
        choices=sorted(BUDGETS[False]),
        default=sorted(BUDGETS[False]),
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
        lines = TEXTS[name](args.data)
        rows, found = compare(
            lines,
            name,
            args.peer,
            args.long,
            args.kinds,
        )
        measurements |= rows
        ratios |= found
        # Speeds hardly depend on the text, so one text is enough; --quick skips them to save time.
        if not (args.long or args.quick) and "plain" in args.kinds and name == args.texts[0]:
            rows, found = _speed(
                lines, name, args.peer, rows[f"{name}: word_language_model, plain"]
            )
            measurements |= rows
            ratios |= found

    some = args.texts if len(args.texts) < len(BUDGETS[args.long]) else []
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
            )[-1]["tok_s"]
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
