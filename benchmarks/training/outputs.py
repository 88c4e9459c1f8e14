"""Measure the cost and the perplexity of each output layer.

The table is in `docs/concepts/models/tuning.md`.

    python -m benchmarks.training.outputs --quick
    python -m benchmarks.training.outputs --source kaggle_yelp_10k.csv.gz --write
    python -m benchmarks.training.outputs --source kaggle_yelp_10k.csv.gz --reviews 4000 --cutoffs 3000 7000 --write

The same LSTM is trained on the same tokens with each output layer, in a new process with one thread. Without a source,
the reviews come from the grammar. Perplexity is exactly normalised for all layers, and measured on held-out reviews.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Report, arguments, finish, measure, say
from benchmarks.small_text import ask_for_reviews, opened, prepare
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.neural.output import CONTEXT_IDS
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.models.streams import unigram_counts
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.neural.sampled_output import training_output

TRAINING = TrainingSpec(
    epochs=1.0,
    batch=16,
    bptt_len=50,
    learning_rate=5e-3,
    evaluations=1,
)
UPDATES = 15
"""Number of updates whose median is the time of an output layer alone."""
SPEC = RecurrentSpec(
    hidden=320,
    embedding=256,
    training=TRAINING,
)


def specs(
    head: int,
    cutoffs: Sequence[int],
    samples: int,
) -> Mapping[str, RecurrentSpec]:
    """Return the network with each output layer; a tree cannot be tied to the embedding, so its rows have size 320."""
    softmax = ObjectiveSpec(output="softmax")
    outputs = {
        "softmax": softmax,
        "adaptive, one tail": ObjectiveSpec(output="adaptive", head=head),
        "adaptive": ObjectiveSpec(
            output="adaptive",
            head=head,
            cutoffs=tuple(cutoffs),
        ),
        "adaptive, shrink 4": ObjectiveSpec(
            output="adaptive",
            head=head,
            cutoffs=tuple(cutoffs),
            shrink=4.0,
        ),
        "hierarchical": ObjectiveSpec(output="hierarchical"),
        "sampled": replace(softmax, estimator="sampled", samples=samples),
        "nce": replace(softmax, estimator="nce", samples=samples),
    }
    named = {
        name: replace(SPEC, objective=objective, tied=name != "hierarchical")
        for name, objective in outputs.items()
    }
    return {**named, "softmax, not tied": replace(SPEC, objective=softmax, tied=False)}


def train(folder: Path, spec: RecurrentSpec) -> dict[str, Any]:
    """Fit one network and return its size, cost and perplexity."""
    vocabulary, *streams = opened(folder)
    with tempfile.TemporaryDirectory() as work:
        began = process_time()
        summary = fit_model(
            spec,
            vocabulary,
            streams[0],
            streams[1],
            FitContext(Path(work)),
        ).summary
        seconds = process_time() - began

    return {
        "vocabulary": vocabulary.size,
        "parameters": int(summary["parameters"]),
        "tokens": int(summary["tokens"]),
        "cpu_s": round(seconds, 1),
        "output_ms": round(output_ms(spec, unigram_counts(streams[0], vocabulary.size)), 2),
        "validation_perplexity": round(summary["validation_perplexity"], 2),
    }


def output_ms(spec: RecurrentSpec, counts_V: np.ndarray) -> float:
    """Return the CPU milliseconds of loss and gradients of the output layer alone, for one window of all streams."""
    torch.manual_seed(1)
    network = NeuralLM.build(spec, torch.from_numpy(counts_V))
    network.output = training_output(network.output, spec.objective, torch.from_numpy(counts_V))
    network.train()
    share_V = np.where(np.isin(np.arange(len(counts_V)), CONTEXT_IDS), 0, counts_V / counts_V.sum())
    positions = spec.training.batch * spec.training.bptt_len
    drawn = np.random.default_rng(1).choice(len(counts_V), positions, p=share_V / share_V.sum())
    targets_N = torch.from_numpy(drawn)
    features_NE = torch.randn(positions, network.output.weight.shape[1], requires_grad=True)
    times = []
    for _ in range(UPDATES):
        network.zero_grad(set_to_none=True)
        began = process_time()
        network.output.loss(features_NE, targets_N, spec.training.precision)[0].backward()
        times.append(process_time() - began)

    return 1000 * median(times)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    ask_for_reviews(parser, 2_000)
    parser.add_argument(
        "--head",
        type=int,
        default=1_000,
        help="entries in the head (default 1000)",
    )
    parser.add_argument(
        "--cutoffs",
        type=int,
        nargs="+",
        default=[3_000],
        help="ranks where a further tail begins (default 3000)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1_024,
        help="negatives of the estimators (default 1024)",
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        metavar="LAYER",
        help="only these rows of the table",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    networks = specs(args.head, args.cutoffs, args.samples)
    if unknown := [name for name in args.layers or () if name not in networks]:
        parser.error(f"--layers {unknown[0]!r} is none of: {', '.join(networks)}")

    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.source, 300 if args.quick else args.reviews)
        for output in args.layers or networks:
            spec = networks[output]
            rows[output] = measure(partial(train, folder, spec), 1).result
            say(f"{output}: {rows[output]}")

    notes = (
        "cpu_s: of the whole fit on one thread, with two measurements on the held-out reviews. output_ms: loss and "
        "gradients of the output layer alone, for the 800 positions of an update. tokens: trained on.",
    )
    finish(
        args,
        Report(
            "outputs",
            "Output layers",
            rows,
            {},
            ("torch", "numpy"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
