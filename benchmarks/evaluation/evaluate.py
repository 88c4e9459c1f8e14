"""Measure the overhead of the score stage over the model's own work, and its memory.

The figures are in `benchmarks/results/2026-11-20-evaluate.md`.

    python -m benchmarks.evaluation.evaluate --quick
    python -m benchmarks.evaluation.evaluate --source kaggle_yelp_10k.csv.gz --reviews 10000 --write

Ours is the whole stage after model and stream are open: batches, scores, the tokens of the observed reviews, figures,
files. It is compared with a bare loop of `model.score` over the same batches, which are ready in memory. An n-gram
model and an LSTM are measured, each in its own process with one thread. They are fitted on one half of the reviews and
score the other half. The n-gram model is so fast that it gets a stream that repeats the reviews. Memory is that of its
stage, on the reviews once and repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.harness import Ratio, Report, arguments, finish, interleave, measure, say
from benchmarks.small_text import ask_for_reviews, prepare
from reviewlm.evaluation.scoring.score import (
    TOKENS_PER_BATCH,
    drawn_reviews,
    score_into_folder,
    windows,
)
from reviewlm.models.bundles.bundle import Bundle, load_bundle, save_bundle
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import NGramSpec, ObjectiveSpec, RecurrentSpec
from reviewlm.models.streams import (
    DOCUMENTS,
    HEADER,
    IDS,
    OFFSETS,
    TokenStream,
    side_by_side,
    unigram_counts,
)
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model

OBSERVED = 200
GOAL = 0.9
STREAMS = {"ngram": "repeated", "lstm": "validation"}
COPIES = 8


def fit(folder: Path) -> None:
    """Write the bundles of both models; the LSTM is not trained, since its speed does not depend on its weights."""
    vocabulary = Vocabulary.load(folder / "vocabulary")
    train, held = (TokenStream.open(folder / name) for name in ("train", "validation"))
    with tempfile.TemporaryDirectory() as work:
        ngram = NGramSpec(order=5)
        model = fit_model(
            ngram,
            vocabulary,
            train,
            held,
            FitContext(Path(work)),
        ).model

    save_bundle(
        folder / "ngram",
        ngram,
        vocabulary,
        model,
        [],
        {},
    )
    torch.manual_seed(1)
    lstm = RecurrentSpec(
        hidden=256,
        embedding=128,
        objective=ObjectiveSpec(output="softmax"),
    )
    network = NeuralLM.build(lstm, torch.from_numpy(unigram_counts(train, vocabulary.size)))
    save_bundle(
        folder / "lstm",
        lstm,
        vocabulary,
        NeuralLM(lstm, network, vocabulary.size),
        [],
        {},
    )


def repeat(folder: Path, copies: int) -> None:
    """Write *copies* copies of the held-out stream as one stream."""
    source = folder / "validation"
    target = folder / "repeated"
    target.mkdir()
    stream = TokenStream.open(source)
    lengths_D = np.tile(np.diff(stream.offsets), copies)
    np.save(target / OFFSETS, np.concatenate([[0], np.cumsum(lengths_D)]))
    pl.concat([stream.documents] * copies).write_parquet(target / DOCUMENTS)
    with (target / IDS).open("wb") as file:
        for _ in range(copies):
            with (source / IDS).open("rb") as once:
                shutil.copyfileobj(once, file)

    header = {
        **stream.facts,
        "ids": stream.facts["ids"] * copies,
        "tokens": stream.tokens * copies,
    }
    (target / HEADER).write_text(json.dumps(header), encoding="utf-8")


def stage(
    folder: Path,
    kind: str,
    name: str,
) -> dict[str, Any]:
    """Run the whole score stage; return tokens and CPU seconds."""
    bundle = load_bundle(folder / kind)
    stream = TokenStream.open(folder / name)
    with tempfile.TemporaryDirectory() as work:
        return _timed(stream, lambda: _record(bundle, stream, Path(work)))


def forward(
    folder: Path,
    kind: str,
    name: str,
) -> dict[str, Any]:
    """Score the same batches, ready in memory, with the model alone; return tokens and CPU seconds."""
    bundle = load_bundle(folder / kind)
    stream = TokenStream.open(folder / name)
    ready = [
        list(windows(stream, rows_B, max(1, TOKENS_PER_BATCH // len(rows_B))))
        for rows_B in side_by_side(np.diff(stream.offsets), TOKENS_PER_BATCH)
    ]

    def loop() -> None:
        for batch in ready:
            state = bundle.model.start(len(batch[0].rows_B))
            for window in batch:
                _, state = bundle.model.score(window.ids_BT, state)

    return _timed(stream, loop)


def _record(
    bundle: Bundle,
    stream: TokenStream,
    folder: Path,
) -> None:
    score_into_folder(bundle, stream, folder, drawn_reviews(stream, OBSERVED, seed=1).tolist())


def _timed(stream: TokenStream, work: Callable[[], None]) -> dict[str, Any]:
    began = process_time()
    work()
    seconds = process_time() - began
    return {
        "tokens": stream.tokens,
        "pass_cpu_s": round(seconds, 4),
        "tokens_per_s": round(stream.tokens / seconds),
    }


def ratio_of(
    ours: Sequence[dict[str, Any]],
    bare: Sequence[dict[str, Any]],
    kind: str,
) -> Ratio:
    """Return the stage's tokens per CPU second as a share of those of the bare loop."""
    rounds = [
        theirs["pass_cpu_s"] / own["pass_cpu_s"] for own, theirs in zip(ours, bare, strict=True)
    ]
    spread = round(min(rounds), 3), round(max(rounds), 3)
    return Ratio(round(median(rounds), 3), GOAL, f"a bare loop of the {kind} model's score", spread)


def memory(folder: Path) -> dict[str, Any]:
    """Return the peak memory of the n-gram stage on the reviews once and repeated."""
    found: dict[str, Any] = {}
    for name in ("validation", "repeated"):
        run = measure(partial(stage, folder, "ngram", name), 1)
        reviews = len(TokenStream.open(folder / name))
        found[f"memory, {name}"] = {
            "reviews": reviews,
            "peak_mib": round(run.peak_mib),
            **run.result,
        }
        say(f"memory, {name}: {found[f'memory, {name}']}")

    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    ask_for_reviews(parser, 8_000)
    args: argparse.Namespace = parser.parse_args(argv)
    measured: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(
            folder,
            args.source,
            min(args.reviews, 2_000) if args.quick else args.reviews,
            held_out=2,
        )
        fit(folder)
        repeat(folder, COPIES)
        for kind, text in STREAMS.items():
            contenders = {
                "stage": partial(stage, folder, kind, text),
                "bare": partial(forward, folder, kind, text),
            }
            runs = interleave(contenders, 1, args.repeats)
            results = {which: [run.result for run in of_which] for which, of_which in runs.items()}
            for which, of_which in results.items():
                measured[f"{kind} {which}"] = sorted(of_which, key=_seconds)[len(of_which) // 2]
            ratios[f"evaluate.{kind}"] = ratio_of(results["stage"], results["bare"], kind)
        measured |= memory(folder)

    notes = (
        "pass_cpu_s: CPU seconds once model and stream are open, of the middle round. The ratio is the stage's speed "
        "as a share of the bare loop's.",
        "Peaks are of the whole process, interpreter and libraries in it.",
    )
    finish(
        args,
        Report(
            "evaluate",
            "The score stage beside a bare loop",
            measured,
            ratios,
            ("torch", "numpy"),
            notes,
        ),
    )


def _seconds(result: dict[str, Any]) -> float:
    return float(result["pass_cpu_s"])


if __name__ == "__main__":
    main()
