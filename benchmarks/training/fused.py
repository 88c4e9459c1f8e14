"""Measure the speed of training beside torch's fused LSTM with a good training loop, in bf16 and in float32.

    python -m benchmarks.training.fused --quick
    python -m benchmarks.training.fused --write

The peer is what an experienced user of PyTorch writes: `nn.LSTM` (oneDNN's fused layer), autocast to bfloat16, the text
cut into lanes once, hidden states carried over, tied embeddings with the full softmax, AdamW in one fused step, the
gradient clipped by its norm in one call, gradients set to None. Sizes, batch, window, dropout (at every position:
inputs, between layers, outputs) and text are those of ours, on one thread and on as many as there are cores.

Ours is measured with the full softmax, which computes the same function, and with the adaptive softmax of two levels
that the presets use. Words per second of wall time count only updates, without the first one, in which kernels are
compiled. The text is made up (`benchmarks/models/mixture.py`), so only the times are meaningful; *train_nats* shows
that both learn.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.harness import Ratio, Report, Run, arguments, finish, interleave
from benchmarks.models.mixture import VOCABULARY
from benchmarks.training.parallel import made_up
from reviewlm.core.environment import available_cores
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext
from reviewlm.training.neural.fused.chosen_layers import train_with_own_layers
from reviewlm.training.neural.trainer import train

NETWORKS = {
    "1 × 320": RecurrentSpec(
        hidden=320,
        embedding=320,
        dropout=0.1,
        condition_on_stars=False,
        training=TrainingSpec(
            batch=32,
            bptt_len=35,
            evaluations=1,
        ),
    ),
    "2 × 640": RecurrentSpec(
        layers=2,
        hidden=640,
        embedding=640,
        dropout=0.2,
        condition_on_stars=False,
        training=TrainingSpec(
            batch=64,
            bptt_len=70,
            evaluations=1,
        ),
    ),
}
UPDATES = {"1 × 320": 150, "2 × 640": 24}
QUICK = 6
"""Factor by which --quick reduces the number of updates."""
OURS = {
    "ours, full softmax": ObjectiveSpec(output="softmax"),
    "ours, two-level softmax": ObjectiveSpec(head=1_000),
}
PEERS = {"torch in bf16": True, "torch in float32": False}
SAME = "ours, full softmax"
"""The contender that computes the same function as the peers."""


def ours(
    spec: RecurrentSpec,
    updates: int,
    threads: int,
) -> dict[str, float]:
    """Train a network with the project's trainer; return words per second and the last loss."""
    torch.set_num_threads(threads)
    training = spec.training
    stream = made_up(updates * training.batch * training.bptt_len, 1)
    torch.manual_seed(training.seed)
    network = NeuralLM.build(spec, torch.from_numpy(np.asarray(unigram_counts(stream, VOCABULARY))))
    train_with_own_layers(network)
    with tempfile.TemporaryDirectory() as work:
        context = FitContext(Path(work), threads=threads)
        summary = train(
            network,
            stream,
            made_up(2_000, 2),
            replace(training, epochs=1.0),
            context,
        )

    return {
        "words_per_s": summary["tokens"] / summary["seconds"],
        "train_nats": round(summary["train_nats"], 3),
    }


class FusedLM(nn.Module):
    """The language model of the peer: embedding, `nn.LSTM`, tied output layer."""

    def __init__(self, spec: RecurrentSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, spec.embedding)
        self.lstm = nn.LSTM(
            spec.embedding,
            spec.hidden,
            spec.layers,
            dropout=spec.dropout if spec.layers > 1 else 0.0,
        )
        self.bias = nn.Parameter(torch.zeros(VOCABULARY))
        self.dropout = nn.Dropout(spec.dropout)
        nn.init.normal_(self.embedding.weight, std=spec.embedding**-0.5)

    def forward(self, ids_TB: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the logits (T, B, V) of the next words, and the hidden state after the window."""
        hidden_TBH, state = self.lstm(self.dropout(self.embedding(ids_TB)), state)
        return functional.linear(self.dropout(hidden_TBH), self.embedding.weight, self.bias), state


def peer(
    spec: RecurrentSpec,
    updates: int,
    threads: int,
    bf16: bool,
) -> dict[str, float]:
    """Train the peer's network; return words per second and the mean loss of the last quarter of the updates."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    training = spec.training
    model = FusedLM(spec).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, fused=True)
    losses: list[float] = []
    state = None
    began = 0.0
    for ids_TB, targets_TB in _windows(updates, training):
        if len(losses) == 1:
            began = perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits_TBV, state = model(ids_TB, state)
        loss = functional.cross_entropy(logits_TBV.float().flatten(0, 1), targets_TB.flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimiser.step()
        state = tuple(each.detach() for each in state)
        losses.append(loss.item())

    words = (len(losses) - 1) * training.batch * training.bptt_len
    late = losses[-max(1, len(losses) // 4) :]
    return {"words_per_s": words / (perf_counter() - began), "train_nats": round(mean(late), 3)}


def _windows(updates: int, training: TrainingSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets (T, B) of successive windows of the lanes."""
    span = training.bptt_len
    lanes = training.batch
    ids = np.asarray(made_up(updates * lanes * span, 1).ids, np.int64)
    length = len(ids) // lanes
    ids_LB = torch.from_numpy(ids[: length * lanes]).view(lanes, length).t().contiguous()
    for start in range(0, length - span, span):
        yield ids_LB[start : start + span], ids_LB[start + 1 : start + span + 1]


def contenders(
    name: str,
    threads: int,
    updates: int,
) -> dict[str, Callable[[], dict[str, float]]]:
    """Return the ways to train a network, by their names."""
    spec = NETWORKS[name]
    found: dict[str, Callable[[], dict[str, float]]] = {
        which: partial(ours, replace(spec, objective=objective), updates, threads)
        for which, objective in OURS.items()
    }
    return found | {
        which: partial(
            peer,
            spec,
            updates,
            threads,
            bf16,
        )
        for which, bf16 in PEERS.items()
    }


def rows_and_ratios(
    name: str,
    threads: int,
    runs: dict[str, list[Run]],
) -> tuple[dict[str, dict[str, Any]], dict[str, Ratio]]:
    """Return the medians of each contender, and our speed over that of each peer with the same function."""
    speeds = {
        which: [run.result["words_per_s"] for run in of_which] for which, of_which in runs.items()
    }
    rows = {
        f"{name}, {threads} thread{'s' * (threads > 1)}: {which}": {
            "words_per_s": round(median(found)),
            "range": [round(min(found)), round(max(found))],
            "train_nats": runs[which][-1].result["train_nats"],
            "peak_mib": round(max(run.peak_mib for run in runs[which])),
        }
        for which, found in speeds.items()
    }
    ratios = {}
    for which, label in zip(PEERS, ("bf16", "float32"), strict=True):
        rounds = [own / other for own, other in zip(speeds[SAME], speeds[which], strict=True)]
        spread = round(min(rounds), 3), round(max(rounds), 3)
        key = f"fused.{name.replace(' × ', 'x')}.{threads}.{label}"
        ratios[key] = Ratio(round(median(rounds), 3), None, which, spread)

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
    args: argparse.Namespace = parser.parse_args(argv)
    measurements: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for name in args.networks:
        updates = UPDATES[name] // (QUICK if args.quick else 1)
        for threads in sorted({1, available_cores()}):
            runs = interleave(
                contenders(name, threads, updates), threads, 1 if args.quick else args.repeats
            )
            rows, found = rows_and_ratios(name, threads, runs)
            measurements |= rows
            ratios |= found

    notes = (__doc__ or "").split("\n\n")[2:]
    title = "Training beside torch's fused LSTM"
    return finish(
        args,
        Report(
            "fused",
            title,
            measurements,
            ratios,
            ("torch",),
            notes=notes,
        ),
    )


if __name__ == "__main__":
    main()
