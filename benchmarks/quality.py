"""What the neural models reach on texts with known figures, within an hour on two cores.

    python -m benchmarks.quality ptb --data DATA --work FOLDER
    python -m benchmarks.quality chicago --data DATA --work FOLDER

Penn Treebank is read as one continuous text, as in the literature, and scored with the state carried from sentence to
sentence. The Chicago reviews are read as the pipeline reads reviews, each scored from a fresh state, beside a modified
Kneser–Ney 5-gram of the same tokens and the mixture of both. FOLDER keeps checkpoints, so that a run that was stopped
goes on, and the weights. The recipes are `RECIPES`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.line_text import LANES, TEXTS, LineText
from evaluation.continuous import continuous_nats
from models.base import FitContext, Progress
from models.mixture.fitting import fit_mixture
from models.mixture.gains import gain_table
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.neural import trainer
from models.neural.course import perplexity
from models.neural.dynamic import DynamicLM
from models.neural.neural_cache import NeuralCacheLM
from models.neural.recurrent import RecurrentLM
from models.neural.validation import validation_nats
from models.ngram.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.specs import (
    DynamicSpec,
    MixtureSpec,
    NeuralCacheSpec,
    NGramSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
)
from models.streams import TokenStream, unigram_counts
from models.vocabulary import GIVEN

RECIPES = {
    "ptb": RecurrentSpec(
        layers=2, hidden=640, embedding=512, remind=False, objective=ObjectiveSpec(head=1_000), variational=True,
        dropout=0.3, input_dropout=0.4, output_dropout=0.45, embedding_dropout=0.05, weight_drop=0.25,
        training=TrainingSpec(
            epochs=24, batch=32, window=35, learning_rate=2.5e-3, weight_decay=0.05, evaluations=8, reset=0.0,
            activation_penalty=1.0, temporal_penalty=0.5,
        ),
    ),
    "chicago": RecurrentSpec(
        hidden=1024, embedding=448, dropout=0.1, objective=ObjectiveSpec(head=1_000),
        training=TrainingSpec(
            epochs=3.1, batch=128, window=35, learning_rate=3.5e-3, weight_decay=0.05, warmup=0.03, schedule="linear",
            final_rate=0.0, evaluations=5,
        ),
    ),
}  # fmt: skip
WHILE_TRAINING = 60
"""Pieces in which the validation text is read while a network trains: side by side they take less time."""
GOALS = {"ptb": 76.0, "chicago": 0.43}
"""Test perplexity on Penn Treebank; share below the Kneser–Ney 5-gram's on the Chicago reviews."""


def train(
    lines: LineText, name: str, spec: RecurrentSpec, work: Path, threads: int
) -> tuple[RecurrentLM, dict[str, Any]]:
    """Train a recipe, or go on with it; return the model and the numbers of the training."""
    torch.set_num_threads(threads)
    streams = _streams(lines, name, WHILE_TRAINING)
    torch.manual_seed(spec.training.seed)
    counts_V = unigram_counts(streams["train"], lines.size)
    network = RecurrentLM.build(spec, torch.from_numpy(counts_V))
    began = time.monotonic()

    def report(news: Progress) -> None:
        figures = {key: round(value, 2) for key, value in news.figures.items()}
        if time.monotonic() - report.last > 60:  # type: ignore[attr-defined]
            report.last = time.monotonic()  # type: ignore[attr-defined]
            say(f"{time.monotonic() - began:.0f} s, {news.step:,} of {news.total:,} tokens: {figures}")

    report.last = began  # type: ignore[attr-defined]
    work.mkdir(parents=True, exist_ok=True)
    context = FitContext(work, threads=threads, report=report)
    summary = dict(trainer.train(network, streams["train"], streams["valid"], spec.training, context).summary)
    model = RecurrentLM(spec, network, lines.size)
    model.save(work)
    return model, summary


def _streams(lines: LineText, name: str, lanes: int = LANES) -> dict[str, TokenStream]:
    if name == "ptb":
        return {split: lines.stream(split, 1 if split == "train" else lanes) for split in lines.lines}
    return {split: lines.reviews(split) for split in lines.lines}


def beside_kneser_ney(lines: LineText, model: RecurrentLM, work: Path) -> dict[str, dict[str, Any]]:
    """Return perplexities of the network, a modified Kneser–Ney 5-gram and their gated mixture on the test reviews."""
    streams = _streams(lines, "chicago")
    kn5 = NGramLM.from_counts(count_ngrams(streams["train"], 5, lines.size, GIVEN))
    parts = [Part("kn5", NGramSpec(order=5), kn5), Part("lstm", model.spec, model)]
    spec = MixtureSpec(parts=("kn5", "lstm"), method="gated")
    (aside := work / "mixture").mkdir(exist_ok=True)  # not the folder of the network, whose journal it would begin anew
    mixture = fit_mixture(spec, parts, streams["valid"], FitContext(aside)).model
    assert isinstance(mixture, MixtureLM)
    row = gain_table(mixture, streams["test"], limit=len(streams["test"].ids)).row(-1, named=True)
    return {"test reviews": {name: round(value, 4) for name, value in row.items() if name != "context"}}


def adapting(lines: LineText, model: RecurrentLM, dynamic: bool) -> dict[str, dict[str, Any]]:
    """Return perplexities of the test text read as one stream: static, with a continuous cache, and dynamic if asked.

    Parameters are chosen on the validation text, read the same way.
    """
    train, valid, test = (lines.stream(split) for split in ("train", "valid", "test"))
    part, rows = Part("static", model.spec, model), {}
    cache = NeuralCacheLM.tuned(NeuralCacheSpec(across=True), part, valid)
    cached = continuous_nats(cache.model, test)
    rows["one continuous stream, static"] = {"perplexity": perplexity(cached.static_nats / cached.tokens)}
    rows["one continuous stream, continuous cache"] = {"perplexity": perplexity(cached.nats / cached.tokens)}
    if dynamic:
        learned = DynamicLM.tuned(DynamicSpec(across=True), part, train, valid)
        sums = continuous_nats(learned.model, test)
        rows["one continuous stream, dynamic evaluation"] = {"perplexity": perplexity(sums.nats / sums.tokens)}
    return {name: {"perplexity": round(row["perplexity"], 2)} for name, row in rows.items()}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run a recipe and report what it reaches."""
    parser = arguments(__doc__ or "")
    parser.add_argument("text", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=os.environ.get("REVIEWLM_REAL_DATA"), help="folder of the texts")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints and weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dynamic", action="store_true", help="dynamic evaluation too; some twenty minutes (ptb)")
    parser.add_argument("--epochs", type=float, help="instead of the recipe's")
    args: argparse.Namespace = parser.parse_args(argv)
    if args.data is None:
        parser.error("--data (or REVIEWLM_REAL_DATA) must name the folder of the texts")
    spec = RECIPES[args.text]
    epochs = args.epochs or (0.02 if args.quick else spec.training.epochs)
    spec = replace(spec, training=replace(spec.training, epochs=epochs))
    lines = TEXTS[args.text](args.data)
    work = args.work / ("quick" if args.quick else args.text)
    model, summary = train(lines, args.text, spec, work, args.threads)
    rows: dict[str, Any] = {"training": {name: round(value, 3) for name, value in summary.items()}}
    reached = {
        split: _static(model, stream) for split, stream in _streams(lines, args.text).items() if split != "train"
    }
    rows["perplexity"] = reached
    say(str(rows))
    if args.text == "ptb":
        rows |= adapting(lines, model, args.dynamic)
        ratio = Ratio(round(GOALS["ptb"] / reached["test"], 3), 1.0, f"test perplexity {GOALS['ptb']}")
    else:
        rows |= beside_kneser_ney(lines, model, work)
        below = 1 - rows["test reviews"]["perplexity lstm"] / rows["test reviews"]["perplexity kn5"]
        ratio = Ratio(round(below / GOALS["chicago"], 3), 1.0, f"{GOALS['chicago']:.0%} below the 5-gram")
        rows["perplexity"]["below the 5-gram"] = round(below, 4)
    title = {"ptb": "Penn Treebank", "chicago": "Chicago reviews"}[args.text]
    ratios = {f"quality.{args.text}": ratio}
    return finish(args, Report("quality", title, rows, ratios, ("torch", "numba"), part=args.text))


def _static(model: RecurrentLM, stream: TokenStream) -> float:
    """Return the perplexity with fixed weights; of a continuous text in lanes, with the state carried along each."""
    return round(perplexity(validation_nats(model.network, stream)[0]), 2)


if __name__ == "__main__":
    main()
