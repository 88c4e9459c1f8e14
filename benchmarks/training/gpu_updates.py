"""Time, profile and count single updates of a training on a GPU, for `benchmarks/training/gpu.py`.

All networks here have two LSTM layers and a two-level softmax. Cells are multiples of 64, as the matrix units of a GPU
want them. The text is made, or that of the Chicago reviews, whose words need the softmax's tail less often.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.harness import say
from benchmarks.line_text import chicago_reviews
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.device import free_cached_memory
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.batch import SampledText, TextBatch, uniforms_of
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import TokenStream, unigram_counts
from reviewlm.models.tokens.special import BOS
from reviewlm.training.neural.batches import Plan
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.state import TrainingState
from reviewlm.training.neural.step import TrainingStep

GPU = torch.device("cuda", 0)
POSITIONS = 70
HEAD = 2_000
WARM = 10
TIMED = 40
PROFILED = 20
WRITTEN = 200
"""Tokens of a text."""
Kind = Literal["lstm", "gru"]
COUNTED: tuple[tuple[tuple[int, int], Kind], ...] = (
    ((64, 35), "lstm"),
    ((512, 70), "lstm"),
    ((512, 70), "gru"),
)
"""Batch, positions and layer of the updates that are counted; of the GRU, every review starts from an empty memory."""
BEFORE = {
    ((64, 35), "lstm"): (214, 12),
    ((512, 70), "lstm"): (1_302, 76),
    ((512, 70), "gru"): (5_762, 1),
}
"""Operators and waits of these updates before they were made fewer. They were counted with a first version of the
pretended GPU; those of the GRU with this one, where it goes position by position.
"""
OFTEN = 3
"""Words of the Chicago reviews that occur as often are known."""


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
        "tokens": tokens,
        "vocabulary_size": words,
        "vocabulary_digest": "zipf",
        "boundary_policy": "made",
        "sha256": {"ids.bin": ""},
    }
    return TokenStream(Path("zipf"), header, ids, offsets.astype(np.int64))


@cache
def real_text(data: Path) -> TokenStream:
    """Return the training reviews of the Chicago area."""
    return chicago_reviews(data, OFTEN).reviews("train")


def spec_of(
    hidden: int,
    batch: int,
    positions: int,
    stateful: bool = True,
    kind: Kind = "lstm",
) -> RecurrentSpec:
    """Return two recurrent layers with a two-level softmax."""
    training = TrainingSpec(
        epochs=100,
        batch=batch,
        bptt_len=positions,
        stateful=stateful,
    )
    return RecurrentSpec(
        kind=kind,
        layers=2,
        hidden=hidden,
        embedding=hidden,
        dropout=0.3,
        objective=ObjectiveSpec(head=HEAD),
        training=training,
    )


@contextmanager
def training_of(
    spec: RecurrentSpec, stream: TokenStream
) -> Iterator[tuple[TrainingState, Iterator[None]]]:
    """Yield the state of a training on the GPU, and an iterator that makes one update at each step."""
    torch.manual_seed(1)
    counts_V = torch.from_numpy(
        np.asarray(unigram_counts(stream, stream.vocabulary_size), dtype=np.int64)
    )
    network = RecurrentNetwork(spec, counts_V).to(GPU).train()
    train_with_own_layers(network)
    state = TrainingState(network, spec.training, 10_000)
    step = TrainingStep(state, lambda figures: None)

    def updates() -> Iterator[None]:
        for window, keep_B in Plan(stream, spec.training, ahead=True).rest_of_epoch(0):
            step(window, keep_B)
            state.metrics.updates += 1
            yield

    yield state, updates()
    state.settle()


def speed(
    hidden: int,
    batch: int,
    stream: TokenStream,
    stateful: bool = True,
    kind: Kind = "lstm",
) -> dict[str, Any]:
    """Return tokens per second and peak memory of a training."""
    spec = spec_of(
        hidden,
        batch,
        POSITIONS,
        stateful,
        kind,
    )
    free_cached_memory()
    torch.cuda.reset_peak_memory_stats()
    with training_of(spec, stream) as (_, updates):
        for _ in range(WARM):
            next(updates)
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(TIMED):
            next(updates)
        torch.cuda.synchronize()
        rate = TIMED * spec.training.batch * spec.training.bptt_len / (time.perf_counter() - began)
        taken = torch.cuda.max_memory_reserved()

    return {
        "words": stream.vocabulary_size,
        "tokens/s": round(rate),
        "peak GPU MB": round(taken / 1e6),
    }


def speed_of_reviews(
    hidden: int,
    batch: int,
    data: Path,
) -> dict[str, Any]:
    """Return the same as `speed` for real text."""
    return speed(hidden, batch, real_text(data))


def profile(
    hidden: int,
    batch: int,
    stream: TokenStream,
) -> dict[str, Any]:
    """Return per update: launches, waits of the host and milliseconds; print the most expensive operators."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorded

    with training_of(spec_of(hidden, batch, POSITIONS), stream) as (_, updates):
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
    kinds = {
        "launches": "LaunchKernel",
        "copies": "MemcpyAsync",
        "waits": "Synchronize",
    }
    counts = {
        kind: sum(n for name, n in called.items() if word in name) for kind, word in kinds.items()
    }
    return {name: round(n / PROFILED, 1) for name, n in counts.items()} | {
        "ms": round(1e3 * seconds / PROFILED, 2)
    }


def writing(
    hidden: int,
    texts: int,
    stream: TokenStream,
) -> dict[str, Any]:
    """Return tokens per second of texts that are drawn side by side from a network that has learned nothing."""
    torch.manual_seed(1)
    spec = spec_of(hidden, 1, POSITIONS)
    counts_V = unigram_counts(stream, stream.vocabulary_size)
    network = RecurrentNetwork(spec, torch.from_numpy(np.asarray(counts_V, dtype=np.int64))).to(GPU)
    model = NeuralLM(spec, network, stream.vocabulary_size)
    for length in (WARM, WRITTEN):
        batch: TextBatch[SampledText] = TextBatch(model.step)
        begun = [
            SampledText(Sampling(0.8, top_p=0.95), uniforms_of(1, number, 0, ""), [])
            for number in range(texts)
        ]
        batch.join(begun, *model.step(np.full(texts, BOS, np.int64), model.start(texts)))
        torch.cuda.synchronize()
        began = time.perf_counter()
        tokens = sum(1 for _ in batch.write(length))
        seconds = time.perf_counter() - began

    return {
        "words": stream.vocabulary_size,
        "tokens": tokens,
        "tokens/s": round(tokens / seconds),
    }


def counted(quick: bool = False) -> dict[str, dict[str, Any]]:
    """Return the operators and waits of the third update, before and now, for a small and a large batch.

    The lines at which the host waits are those of now. The GPU is pretended; only the small batch is counted if it must
    be quick.
    """
    from tests.pretended_gpu.device import pretended_gpu

    stream = zipf_text(300, 200_000)
    table = {}
    for size, kind in COUNTED[:1] if quick else COUNTED:
        (batch, positions), (operators, waits) = size, BEFORE[size, kind]
        spec = replace(
            spec_of(
                8,
                batch,
                positions,
                kind == "lstm",
                kind,
            ),
            objective=ObjectiveSpec(head=100),
        )
        with pretended_gpu() as counts, training_of(spec, stream) as (_, updates):
            for _ in range(3):
                counts.clear()
                next(updates)
            where = ", ".join(f"{what} ({line})" for what, line in counts.waits)
            table[f"batch {batch}, window {positions}" + ", GRU by review" * (kind == "gru")] = {
                "operators before": operators,
                "operators": sum(counts.operators.values()),
                "waits before": waits,
                "waits": sum(counts.waits.values()),
                "at": where,
            }

    return table
