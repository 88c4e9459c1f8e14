"""Measure a training on a GPU: the tests of the device, a profile, tokens per second, and the perplexity it reaches.

    python -m benchmarks.gpu --data DATA
    python -m benchmarks.gpu --pretended

The whole takes at most eight minutes: what has not begun by then is left out. With `--pretended`, no GPU is needed: it
counts the operators and the waits of the host of one update. Penn Treebank is trained only if DATA holds it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import ROOT, Report, arguments, finish, say
from benchmarks.line_text import LANES, penn_treebank
from models.base import FitContext
from models.neural.device import free_cached_memory, require_device
from models.neural.recurrent import RecurrentNetwork
from models.neural.training.plan import Plan
from models.neural.training.state import TrainingState
from models.neural.training.step import TrainingStep
from models.neural.training.throughput import Meter, product_peak
from models.neural.training.trainer import train
from models.neural.training.training_metrics import perplexity
from models.neural.training.validation import validation_nats
from models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from models.streams import TokenStream, unigram_counts

MOST_SECONDS = 480.0
GPU = torch.device("cuda", 0)
WORDS, TOKENS = 30_000, 4_000_000
POSITIONS, HEAD = 70, 2_000
SIZES = ((640, 128), (640, 512), (640, 1024), (1536, 256), (1536, 512), (1536, 1024))
"""Cells of a layer and rows of the batch; cells are multiples of 64, as the matrix units of a GPU want them."""
BY_REVIEW = (640, 512)
"""The same where every review starts from an empty memory."""
WARM, TIMED, PROFILED = 10, 40, 20
SMALL, LARGE = (64, 35), (512, 70)
"""Batch and positions of the updates that are counted."""
TESTED = ("tests/models/neural",)
DOCUMENTS = 100
"""Parts of Penn Treebank's training text, shuffled in every epoch so that windows begin at other tokens."""
TREEBANK = RecurrentSpec(
    layers=2, hidden=1152, embedding=448, condition_on_stars=False, objective=ObjectiveSpec(output="softmax"),
    variational=True, dropout=0.4, input_dropout=0.55, output_dropout=0.6, embedding_dropout=0.15, weight_drop=0.5,
    training=TrainingSpec(
        epochs=90, batch=64, bptt_len=70, learning_rate=2e-3, weight_decay=0.05, warmup=0.02, final_rate=0.0,
        evaluations=10, state_reset_prob=0.0, activation_penalty=2.0, temporal_penalty=1.0,
    ),
)  # fmt: skip


def zipf_text(words: int, tokens: int) -> TokenStream:
    """Return reviews of a hundred tokens whose words are drawn by Zipf's law; nothing is to be learned from them.

    Ids are in the order of the words' counts, as in a vocabulary.
    """
    rng = np.random.default_rng(1)
    share_V = 1 / np.arange(1, words - 8)
    ids = rng.choice(words - 9, tokens, p=share_V / share_V.sum())
    rank_V = np.empty(words - 9, np.int64)
    rank_V[np.argsort(-np.bincount(ids, minlength=words - 9), kind="stable")] = np.arange(words - 9)
    ids = (9 + rank_V[ids]).astype(np.uint16)
    offsets = np.arange(0, tokens + 1, 100)
    ids[offsets[:-1]], ids[offsets[1:] - 1] = 1, 2
    header = {
        "tokens": tokens, "vocabulary_size": words, "vocabulary_digest": "zipf", "boundary_policy": "made",
        "sha256": {"ids.bin": ""},
    }  # fmt: skip
    return TokenStream(Path("zipf"), header, ids, offsets.astype(np.int64))


def spec_of(hidden: int, batch: int, positions: int, stateful: bool = True) -> RecurrentSpec:
    """Return two LSTM layers with a two-level softmax."""
    training = TrainingSpec(epochs=100, batch=batch, bptt_len=positions, stateful=stateful)
    return RecurrentSpec(
        kind="lstm", layers=2, hidden=hidden, embedding=hidden, dropout=0.3, objective=ObjectiveSpec(head=HEAD),
        training=training,
    )  # fmt: skip


@contextmanager
def training_of(spec: RecurrentSpec, stream: TokenStream) -> Iterator[tuple[TrainingState, Iterator[None]]]:
    """Yield the state of a training on the GPU, and an iterator that makes one update at each step."""
    torch.manual_seed(1)
    counts_V = torch.from_numpy(np.asarray(unigram_counts(stream, stream.vocabulary_size), dtype=np.int64))
    state = TrainingState(RecurrentNetwork(spec, counts_V).to(GPU).train(), spec.training, 10_000)
    step = TrainingStep(state, lambda figures: None)

    def updates() -> Iterator[None]:
        for window, keep_B in Plan(stream, spec.training).rest_of_epoch(0):
            step(window, keep_B)
            state.metrics.updates += 1
            yield

    yield state, updates()
    state.settle()


def speed(hidden: int, batch: int, stream: TokenStream, stateful: bool = True) -> dict[str, Any]:
    """Return tokens per second of a training, and its share of the measured peak of matrix products."""
    spec = spec_of(hidden, batch, POSITIONS, stateful)
    free_cached_memory()
    torch.cuda.reset_peak_memory_stats()
    with training_of(spec, stream) as (state, updates):
        for _ in range(WARM):
            next(updates)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(TIMED):
            next(updates)
        torch.cuda.synchronize()
        rate = TIMED * spec.training.batch * spec.training.bptt_len / (time.perf_counter() - began)
        taken = torch.cuda.max_memory_reserved()
        meter = Meter(state.network)
        peak = product_peak(GPU, torch.bfloat16, torch.get_num_threads())
    return {
        "tokens/s": round(rate), "TFLOP/s": round(rate * meter.operations / 1e12, 1),
        "bf16 peak TFLOP/s": round(peak / 1e12, 1), "share of peak": float(f"{rate * meter.operations / peak:.3g}"),
        "peak GPU MB": round(taken / 1e6),
    }  # fmt: skip


def profile(stream: TokenStream) -> dict[str, Any]:
    """Return per update: launches, waits of the host and milliseconds; print the most expensive operators."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    with training_of(spec_of(*SIZES[0], POSITIONS), stream) as (_, updates):
        for _ in range(WARM):
            next(updates)
        torch.cuda.synchronize()
        with recorded(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            began = time.perf_counter()
            for _ in range(PROFILED):
                next(updates)
            torch.cuda.synchronize()
            seconds = time.perf_counter() - began
    rows = found.key_averages()
    say(rows.table(sort_by="self_device_time_total", row_limit=25))
    called = {row.key: row.count for row in rows}
    kinds = {"launches": "LaunchKernel", "copies": "MemcpyAsync", "waits": "Synchronize"}
    counts = {kind: sum(n for name, n in called.items() if word in name) for kind, word in kinds.items()}
    return {name: round(n / PROFILED, 1) for name, n in counts.items()} | {"ms": round(1e3 * seconds / PROFILED, 2)}


def treebank(data: Path) -> dict[str, Any]:
    """Return the perplexities on Penn Treebank of one network, `TREEBANK`, trained on the GPU."""
    lines, spec = penn_treebank(data), TREEBANK
    streams = {
        split: lines.stream(split, DOCUMENTS if split == "train" else LANES) for split in ("train", "valid", "test")
    }
    counts_V = torch.from_numpy(np.asarray(unigram_counts(streams["train"], lines.size), dtype=np.int64))
    torch.manual_seed(spec.training.seed)
    network = RecurrentNetwork(spec, counts_V).to(GPU)
    with tempfile.TemporaryDirectory() as work:
        found = train(network, streams["train"], streams["valid"], spec.training, FitContext(Path(work), "cuda"))
    reached = {
        f"{split} perplexity": round(perplexity(validation_nats(network, streams[split])[0]), 2)
        for split in ("valid", "test")
    }
    return reached | {name: round(found[name], 1) for name in ("seconds", "tokens_per_second")}


def tests() -> dict[str, Any]:
    """Run the tests of the device; return how they ended."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *TESTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    say("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))))
    return {"exit code": done.returncode, "result": lines[-1].strip("= ") if lines else done.stderr[-200:]}


def counted() -> dict[str, dict[str, Any]]:
    """Return the operators and waits of the third update, with the waits' lines, for a small and a large batch."""
    from tests.pretended_gpu.device import pretended_gpu

    stream, table = zipf_text(300, 200_000), {}
    for batch, positions in (SMALL, LARGE):
        spec = replace(spec_of(8, batch, positions), objective=ObjectiveSpec(head=100))
        with pretended_gpu() as counts, training_of(spec, stream) as (_, updates):
            for _ in range(3):
                counts.clear()
                next(updates)
            where = ", ".join(f"{kind} ({line})" for kind, line in counts.waits)
            table[f"batch {batch}, window {positions}"] = {
                "operators": sum(counts.operators.values()), "waits": sum(counts.waits.values()), "at": where,
            }  # fmt: skip
    return table


def measured(data: Path | None) -> dict[str, Any]:
    """Run all parts on the GPU, the cheapest first; leave out what would begin too late."""
    require_device("cuda:0")
    began, stream, found = time.monotonic(), zipf_text(WORDS, TOKENS), dict[str, Any]()
    parts: dict[str, Any] = {
        f"2 × {hidden}, batch {batch}": lambda hidden=hidden, batch=batch: speed(hidden, batch, stream)
        for hidden, batch in SIZES
    }
    hidden, batch = BY_REVIEW
    parts[f"2 × {hidden}, batch {batch}, by review"] = lambda: speed(hidden, batch, stream, stateful=False)
    parts |= {"profile of an update": lambda: profile(stream), "tests marked gpu": tests}
    if data is not None and (data / "ptb_lm_benchmark").is_dir():
        parts["Penn Treebank"] = lambda: treebank(data)
    for name, part in parts.items():
        if time.monotonic() - began > MOST_SECONDS - 180:
            found[name] = {"left out": "no time"}
            continue
        at = time.monotonic()
        try:
            found[name] = part() | {"part took s": round(time.monotonic() - at, 1)}
        except Exception as error:  # the other parts are worth having
            found[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        say(f"{name}: {found[name]}")
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark."""
    parser: argparse.ArgumentParser = arguments((__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real data, for Penn Treebank")
    parser.add_argument("--pretended", action="store_true", help="count the operators of an update, without a GPU")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # as in a fit on a GPU
    if not args.pretended and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --pretended counts without one")
    found = counted() if args.pretended else measured(args.data)
    device = "a pretended GPU" if args.pretended else torch.cuda.get_device_name(GPU)
    part = "pretended" if args.pretended else ""
    return finish(args, Report("gpu", f"A training on {device}", found, {}, ("torch",), part=part))


if __name__ == "__main__":
    main()
