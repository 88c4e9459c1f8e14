"""Measure a training on a GPU within eight minutes: speed, profiles, the tests of the device, a perplexity.

    python -m benchmarks.training.gpu --data DATA --write
    python -m benchmarks.training.gpu --pretended --write

This module runs the parts and writes the page; `gpu_updates.py` measures the updates. DATA is the folder of the real
text: the Chicago reviews and Penn Treebank are read only if it holds them. A part that would begin in the last minute
is left out, tests and training end when their time is over, and a part that fails takes nothing from the others.
`--quick` takes four minutes at most: the smallest and the largest network, and no real text.

With `--pretended`, no GPU is needed: it counts the operators and the waits of the host of one update, and runs the
tests of the device on tensors that only say they are on one.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import ROOT, Report, arguments, finish, say
from benchmarks.line_text import LANES, penn_treebank
from benchmarks.models.ngram_text import CRAWL
from benchmarks.training.gpu_updates import (
    GPU,
    counted,
    profile,
    speed,
    speed_of_reviews,
    writing,
    zipf_text,
)
from reviewlm.core.processes.children import end_child, start_child
from reviewlm.models.base import perplexity
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.device import free_cached_memory, require_device
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext, FitProgress
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.trainer import train
from reviewlm.training.neural.validation import validation_nats

MOST_SECONDS = 480
QUICK_SECONDS = 240
LAST_SECONDS, TEST_SECONDS = 60, 180
"""Time at the end in which nothing begins; time of the tests."""
WORDS = 30_000
TOKENS = 4_000_000
SIZES = ((640, 128), (640, 512), (640, 1024), (1536, 256), (1536, 512), (1536, 1024))
"""Cells of a layer and rows of the batch."""
SMALLEST = SIZES[0]
LARGEST = SIZES[-1]
BY_REVIEW = (640, 512)
"""The same where every review starts from an empty memory."""
WRITING = (640, 64)
"""Cells of a layer, and texts that are drawn side by side."""
REAL = ((640, 1024), (1536, 512), (1536, 1024))
"""The same that read real text."""
TESTED = (
    "tests/models/neural",
    "tests/training/neural",
    "tests/models/sampling/test_sampling_on_gpu.py",
    "tests/serving/engine/test_engine_on_gpu.py",
)
"""Files and folders with tests of the device."""
OUTCOME = re.compile(
    r"^(\S+\.py::.+?) +(?:(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b|$)", re.MULTILINE
)
"""A test's line in pytest's output; without an outcome while the test runs."""
TESTS = "tests marked gpu"
DOCUMENTS = 100
"""Parts of Penn Treebank's training text, shuffled in every epoch so that windows begin at other tokens."""
TREEBANK = RecurrentSpec(
    layers=2,
    hidden=1152,
    embedding=640,
    condition_on_stars=False,
    objective=ObjectiveSpec(output="softmax"),
    dropout=0.3,
    input_dropout=0.6,
    output_dropout=0.65,
    weight_drop=0.4,
    training=TrainingSpec(
        epochs=50,
        batch=64,
        bptt_len=70,
        learning_rate=2.5e-3,
        beta1=0.0,
        beta2=0.999,
        weight_decay=0.05,
        warmup=0.02,
        schedule="constant",
        ema=0.9995,
        evaluations=5,
        state_reset_prob=0.01,
    ),
)
"""The first half of the training in benchmarks/results/2026-11-26-gpu-recipes.md, after which it over-fitted."""
NOTE_OF_COUNTS = (
    "Operators are kernels and copies. At a wait, the host stands still until the GPU has done what is queued. The "
    "network has 8 cells a layer and 300 words, which changes neither number. Each kernel is counted; a CUDA graph is "
    "launched as a whole. The counts before were made with a first version of the pretended GPU; those of the GRU are "
    "today's where it goes position by position."
)
Part = Callable[[], dict[str, Any]]


def treebank(data: Path, until: float) -> dict[str, Any]:
    """Return the perplexities on Penn Treebank of one network, `TREEBANK`, trained on the GPU.

    Args:
        until: End of its time, by `time.monotonic`.

    Raises:
        TimeoutError: The training would have gone on after that.
    """

    def stop_late(progress: FitProgress) -> None:
        if time.monotonic() > until:
            raise TimeoutError(
                f"{progress.step:,} of {progress.total:,} tokens when its time was over"
            )

    lines = penn_treebank(data)
    spec = TREEBANK
    streams = {
        split: lines.stream(split, DOCUMENTS if split == "train" else LANES)
        for split in ("train", "valid", "test")
    }
    counts_V = torch.from_numpy(
        np.asarray(unigram_counts(streams["train"], lines.size), dtype=np.int64)
    )
    torch.manual_seed(spec.training.seed)
    network = train_with_own_layers(RecurrentNetwork(spec, counts_V).to(GPU))
    with tempfile.TemporaryDirectory() as work:
        context = FitContext(Path(work), "cuda", report=stop_late)
        found = train(
            network,
            streams["train"],
            streams["valid"],
            spec.training,
            context,
        )

    reached = {
        f"{split} perplexity": round(perplexity(validation_nats(network, streams[split])[0]), 2)
        for split in ("valid", "test")
    }
    return reached | {name: round(found[name], 1) for name in ("seconds", "tokens_per_second")}


def tests(seconds: float) -> dict[str, Any]:
    """Run the tests of the device, at most so long; return how they ended, and as `outcomes` the outcome of each.

    The outcome of a test that ran when the time was over is "not ended".
    """
    free_cached_memory()
    program = ["-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider", *TESTED]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        child = start_child(
            program,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code: int | str = child.wait(seconds)
        except subprocess.TimeoutExpired:
            code = f"ended after {seconds:.0f} s"
        finally:
            end_child(child)
        output.seek(0)
        written = output.read()

    lines = written.strip().splitlines()
    say("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED", "E  "))))
    outcomes = {
        name: (outcome or "not ended").lower() for name, outcome in OUTCOME.findall(written)
    }
    return {
        "exit code": code,
        "result": lines[-1].strip("= ") if lines else "",
        "outcomes": outcomes,
    }


def parts(
    data: Path | None,
    quick: bool,
    until: float,
) -> dict[str, Part]:
    """Return the parts by name, the cheapest first.

    Args:
        until: End of the time of the last part, by `time.monotonic`.
    """
    stream = zipf_text(WORDS, TOKENS)
    found: dict[str, Part] = {}
    for hidden, batch in (SMALLEST, LARGEST) if quick else SIZES:
        found[f"2 × {hidden}, batch {batch}"] = partial(speed, hidden, batch, stream)

    if not quick:
        hidden, batch = BY_REVIEW
        found[f"2 × {hidden}, batch {batch}, by review"] = partial(
            speed,
            hidden,
            batch,
            stream,
            stateful=False,
        )
        found[f"GRU 2 × {hidden}, batch {batch}, by review"] = partial(
            speed,
            hidden,
            batch,
            stream,
            False,
            "gru",
        )
        found["2 × {}, {} texts drawn".format(*WRITING)] = partial(writing, *WRITING, stream)

    for hidden, batch in (SMALLEST, LARGEST):
        found[f"profile of an update, 2 × {hidden}, batch {batch}"] = partial(
            profile, hidden, batch, stream
        )

    if data and (data / CRAWL).exists() and not quick:
        for hidden, batch in REAL:
            found[f"2 × {hidden}, batch {batch}, Chicago reviews"] = partial(
                speed_of_reviews, hidden, batch, data
            )

    found[TESTS] = lambda: tests(min(TEST_SECONDS, until - time.monotonic()))
    if data and (data / "ptb_lm_benchmark").is_dir() and not quick:
        found["Penn Treebank"] = partial(treebank, data, until)

    return found


def measured(data: Path | None, quick: bool = False) -> dict[str, dict[str, Any]]:
    """Run all parts on the GPU; leave out what would begin too late."""
    require_device("cuda:0")
    end = time.monotonic() + (QUICK_SECONDS if quick else MOST_SECONDS)
    found: dict[str, dict[str, Any]] = {}
    for name, part in parts(data, quick, end - LAST_SECONDS / 2).items():
        at = time.monotonic()
        if at > end - LAST_SECONDS:
            found[name] = {"left out": "no time"}
            continue
        try:
            found[name] = part() | {"part took s": round(time.monotonic() - at, 1)}
        except Exception as error:  # the other parts are worth having
            found[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        say(f"{name}: {found[name]}")

    return found


def pretended(quick: bool, end: float) -> dict[str, dict[str, Any]]:
    """Count the operators of an update, and run the tests of the device, on a pretended GPU.

    Args:
        end: End of the time, by `time.monotonic`.
    """
    found = counted(quick)
    say(str(found))
    return found | {TESTS: tests(end - LAST_SECONDS / 2 - time.monotonic())}


def table_of(outcomes: Mapping[str, str]) -> str:
    """Return the tests and their outcomes as a table, those that passed last."""
    lines = ["| test | outcome |", "|---|---|"]
    for name, outcome in sorted(outcomes.items(), key=lambda one: one[1] == "passed"):
        escaped = name.replace("|", r"\|")
        lines.append(f"| `{escaped}` | {outcome} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark."""
    parser: argparse.ArgumentParser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of the real text, for Penn Treebank and the Chicago reviews",
    )
    parser.add_argument(
        "--pretended", action="store_true", help="count the operators of an update, without a GPU"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # as in a fit on a GPU
    if not args.pretended and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --pretended counts without one")

    most = QUICK_SECONDS if args.quick else MOST_SECONDS
    # Whatever hangs ends with the time, with the lines that hung; what was found until then has been printed.
    faulthandler.dump_traceback_later(most, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        found = (
            pretended(args.quick, time.monotonic() + most)
            if args.pretended
            else measured(args.data, args.quick)
        )
    finally:
        faulthandler.cancel_dump_traceback_later()

    notes = [NOTE_OF_COUNTS] * args.pretended + [table_of(found[TESTS].pop("outcomes", {}))]
    device = "a pretended GPU" if args.pretended else torch.cuda.get_device_name(GPU)
    part = "pretended" if args.pretended else ""
    return finish(
        args,
        Report(
            "gpu",
            f"A training on {device}",
            found,
            {},
            ("torch",),
            notes,
            part,
        ),
    )


if __name__ == "__main__":
    main()
