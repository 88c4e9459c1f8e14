"""Measure the effect of each kind of dropout on a small network and a small text.

The table is in `benchmarks/results/2026-11-21-dropout.md`.

    python -m benchmarks.training.dropout --quick
    python -m benchmarks.training.dropout --source kaggle_yelp_10k.csv.gz --write

The same LSTM reads the same few reviews many times, so that it overfits without dropout. Each row applies dropout in
another place. Every fit runs in a new process with one thread. Both perplexities are those of the weights with the best
result on the held-out reviews, measured without dropout.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.harness import Report, arguments, finish, measure, say
from benchmarks.small_text import ask_for_reviews, opened, prepare
from reviewlm.models.base import perplexity
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.neural.validation import validation_nats

PLAIN = RecurrentSpec(
    hidden=192,
    embedding=128,
    dropout=0.0,
    objective=ObjectiveSpec(head=500),
    training=TrainingSpec(
        epochs=12,
        batch=16,
        bptt_len=35,
        learning_rate=6e-3,
        evaluations=12,
        schedule="linear",
    ),
)
SHARE, WORDS, WEIGHTS = 0.4, 0.2, 0.5
"""Dropout rates of the features, of the vocabulary and of the recurrent weights."""
LOCKED = replace(PLAIN, dropout=SHARE, variational=True)
ROWS: Mapping[str, RecurrentSpec] = {
    "none": PLAIN,
    f"features, each position anew, {SHARE:g}": replace(PLAIN, dropout=SHARE),
    f"features, locked, {SHARE:g}": LOCKED,
    f"words of the embedding, {WORDS:g}": replace(PLAIN, embedding_dropout=WORDS),
    f"recurrent weights, {WEIGHTS:g}": replace(PLAIN, weight_drop=WEIGHTS),
    "locked, words and weights": replace(LOCKED, embedding_dropout=WORDS, weight_drop=WEIGHTS),
}


def fit(folder: Path, spec: RecurrentSpec) -> dict[str, Any]:
    """Fit one network and return its perplexities on the training and the held-out reviews."""
    vocabulary, train, held_out = opened(folder)
    with tempfile.TemporaryDirectory() as work:
        result = fit_model(
            spec,
            vocabulary,
            train,
            held_out,
            FitContext(Path(work)),
        )

    summary = result.summary
    network = cast(NeuralLM, result.model).network
    return {
        "train_perplexity": round(perplexity(validation_nats(network, train)[0]), 1),
        "held_out_perplexity": round(summary["validation_perplexity"], 1),
        "best_after_epochs": round(summary["best_tokens"] / train.tokens, 1),
        "cpu_s": round(summary["cpu_seconds"], 1),
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    ask_for_reviews(parser, 600)
    args: argparse.Namespace = parser.parse_args(argv)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.source, args.reviews, held_out=5)
        for dropped, spec in ROWS.items():
            few = replace(spec, training=replace(spec.training, epochs=1, evaluations=1))
            rows[dropped] = measure(partial(fit, folder, few if args.quick else spec), 1).result
            say(f"{dropped}: {rows[dropped]}")
        vocabulary, train, held_out = opened(folder)

    notes = (
        f"One LSTM layer of {PLAIN.hidden} cells, {PLAIN.embedding} features, {vocabulary.size:,} entries; "
        f"{train.tokens:,} training and {held_out.tokens:,} held-out tokens; "
        f"{1 if args.quick else PLAIN.training.epochs} epochs, one seed. The text is so small that the figures say "
        "which places help and how much they differ, not what a model of a real corpus gains.",
    )
    return finish(
        args,
        Report(
            "dropout",
            "What each kind of dropout does",
            rows,
            {},
            ("torch",),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
