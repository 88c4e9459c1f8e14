"""Compare n-gram counts and a network on the same window of four words.

The table is in `benchmarks/results/2026-11-23-memory.md`.

    python -m benchmarks.training.window --quick
    python -m benchmarks.training.window --source kaggle_yelp_10k.csv.gz --write

A Kneser–Ney 5-gram model is compared with a small NPLM, which reads the text once or several times.
Without a source the reviews come from the grammar. Held-out tokens are divided by whether they occur in the training
text together with the four tokens before them. Every fit runs in a new process with one thread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.harness import Report, arguments, finish, measure, say
from benchmarks.small_text import ask_for_reviews, opened, prepare
from reviewlm.models.specs import ModelSpec, NGramSpec, NPLMSpec, TrainingSpec
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from reviewlm.training.mixture.tuning import batches, token_nats

ORDER = 5
PASSES = (1, 4, 12)
"""Numbers of passes over the training text."""


def nplm(passes: int) -> NPLMSpec:
    """Return the specification of a small network; the checkpoint best on held-out text is kept."""
    training = TrainingSpec(
        epochs=passes,
        batch=32,
        evaluations=max(2, passes),
    )
    return NPLMSpec(
        context=ORDER - 1,
        embedding=64,
        hidden=128,
        training=training,
    )


def windows(ids_T: np.ndarray) -> Iterator[bytes]:
    """Yield each token of a review with the four tokens before it, or fewer at the beginning."""
    for t in range(len(ids_T)):
        yield np.asarray(ids_T[max(0, t + 1 - ORDER) : t + 1], np.int64).tobytes()


def held_out_figures(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    """Fit a model; return its perplexity on all held-out tokens, on those with a seen window, and on the others."""
    vocabulary, train, held_out = opened(folder)
    began = process_time()
    with tempfile.TemporaryDirectory() as work:
        model = fit_model(
            spec,
            vocabulary,
            train,
            held_out,
            FitContext(Path(work)),
        ).model

    seconds = process_time() - began
    known = {window for number in range(len(train)) for window in windows(train.document(number))}
    nats = []
    seen = []
    for batch in batches(held_out, held_out.tokens * 2):
        nats.append(token_nats([model], batch)[:, 0])
        seen.append(
            np.array([[window in known for window in windows(row)] for row in batch.ids_BT])[
                batch.scored_BT
            ]
        )

    nats_T = np.concatenate(nats)
    seen_T = np.concatenate(seen)
    perplexities = {
        "all": nats_T,
        "seen": nats_T[seen_T],
        "unseen": nats_T[~seen_T],
    }
    return {
        **{name: round(float(np.exp(some.mean())), 2) for name, some in perplexities.items()},
        "seen_share": round(float(seen_T.mean()), 3),
        "held_out_tokens": len(nats_T),
        "train_tokens": train.tokens,
        "vocabulary": vocabulary.size,
        "cpu_s": round(seconds, 1),
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    ask_for_reviews(parser, 1_000)
    args: argparse.Namespace = parser.parse_args(argv)
    specs: dict[str, ModelSpec] = {"kn5": NGramSpec(order=ORDER)}
    specs |= {f"nplm, {passes} passes": nplm(passes) for passes in ((1,) if args.quick else PASSES)}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, args.source, 100 if args.quick else args.reviews)
        for model, spec in specs.items():
            rows[model] = measure(partial(held_out_figures, folder, spec), 1).result
            say(f"{model}: {rows[model]}")

    notes = (
        "Perplexities of held-out reviews: of all tokens, of those that stand in the training text behind the same "
        "four tokens (seen), and of the others. The NPLM's best state was chosen on these very reviews. cpu_s: of the "
        "fit.",
    )
    finish(
        args,
        Report(
            "window",
            "Counts and a network on the same window",
            rows,
            {},
            ("torch", "numpy"),
            notes,
        ),
    )
    return rows


if __name__ == "__main__":
    main()
