"""Measure the perplexity of neural models on Penn Treebank and the Chicago reviews, in about an hour on two cores.

    python -m benchmarks.training.quality ptb --data DATA --work FOLDER
    python -m benchmarks.training.quality chicago --data DATA --work FOLDER
    python -m benchmarks.training.quality ptb-awd --data DATA --work FOLDER

Penn Treebank is read as one continuous text, as in the literature, and scored with the hidden state carried from
sentence to sentence. The figure is that of one network. `--members 2 --threads 1` trains two side by side, one per
core, which differ only in their seeds: the worse one counts, and the mean of their probabilities is shown too. The
Chicago reviews are read as in the pipeline, and each is scored from an initial state. They are compared with a modified
Kneser–Ney 5-gram model of the same tokens and the mixture of both. FOLDER keeps the weights, and checkpoints, so that a
stopped run can resume. The recipes are `RECIPES`; `ptb-awd` and `ptb-awd-640` train with that of AWD-LSTM.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.line_text import LANES, TEXTS, LineText
from benchmarks.models.mixture import perplexities_of
from benchmarks.training.members import MEAN, perplexities, streams_of, train_side_by_side
from reviewlm.models.base import perplexity
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import (
    MixtureSpec,
    NeuralCacheSpec,
    NGramSpec,
    ObjectiveSpec,
    RecurrentSpec,
    TrainingSpec,
)
from reviewlm.models.streams import TokenStream
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.mixture.caches import tuned_neural_cache
from reviewlm.training.mixture.fitting import tune_weights
from reviewlm.training.neural.validation import validation_nats
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import fit_tables

AWD = RecurrentSpec(
    layers=3,
    hidden=1150,
    embedding=400,
    condition_on_stars=False,
    objective=ObjectiveSpec(output="softmax"),
    variational=True,
    dropout=0.25,
    input_dropout=0.4,
    output_dropout=0.4,
    embedding_dropout=0.1,
    weight_drop=0.5,
    training=TrainingSpec(
        epochs=6,
        batch=20,
        bptt_len=70,
        random_window=True,
        optimizer="nt_asgd",
        learning_rate=10.0,
        clip=0.25,
        weight_decay=1.2e-6,
        warmup=0.0,
        schedule="constant",
        evaluations=24,
        state_reset_prob=0.0,
        activation_penalty=2.0,
        temporal_penalty=1.0,
    ),
)
"""AWD-LSTM for Penn Treebank with the options that its authors give (Merity et al. 2017), but for three: 6 epochs, not
500, an estimate of what an hour allows; evaluations more often than once an epoch, else its average could not begin;
and a rate of 10, not 30. The last layer has the size of the others and is projected to the embedding: with that the
perplexity exceeded a million at 30, and without it (embeddings of 640) it stayed at that of the words' frequencies,
690, for an epoch. This was seen with `ptb-awd-640`; the three layers of 1,150 were not trained.
"""
QUICK_EPOCHS = 0.02
TOLD = (
    "updates",
    "tokens",
    "seconds",
    "cpu_seconds",
    "train_nats",
    "peak_memory_megabytes",
    "wall_s",
    "cpu_s",
)
"""Numbers of a training that the page shows; `seconds` and `cpu_seconds` only count the updates."""


@dataclass(frozen=True)
class Recipe:
    """Training recipe for a text.

    Attributes:
        title: Title of the page.
        text: Name of the text in `TEXTS`.
        goal: Target: test perplexity of a continuous text; for reviews the share below that of the Kneser–Ney 5-gram.
        documents: See `streams_of`; None: the text is read as reviews.
        threads: Number of threads of each network.
        spec: Specification of each network.
    """

    title: str
    text: str
    goal: float
    documents: int | None
    threads: int
    spec: RecurrentSpec

    @property
    def continuous(self) -> bool:
        """Whether the text is read as one text, not as reviews."""
        return self.documents is not None


RECIPES = {
    "ptb": Recipe(
        "Penn Treebank",
        "ptb",
        69.0,
        100,
        2,
        RecurrentSpec(
            layers=2,
            hidden=768,
            embedding=512,
            condition_on_stars=False,
            objective=ObjectiveSpec(head=1_000),
            dropout=0.28,
            input_dropout=0.57,
            output_dropout=0.62,
            weight_drop=0.35,
            training=TrainingSpec(
                epochs=33,
                batch=48,
                bptt_len=70,
                learning_rate=2.8e-3,
                weight_decay=0.05,
                beta1=0.0,
                beta2=0.999,
                warmup=0.02,
                schedule="constant",
                ema=0.9993,
                evaluations=8,
                state_reset_prob=0.01,
            ),
        ),
    ),
    "ptb-awd": Recipe(
        "Penn Treebank, AWD-LSTM",
        "ptb",
        74.0,
        1,
        1,
        AWD,
    ),
    "ptb-awd-640": Recipe(
        "Penn Treebank, AWD-LSTM's recipe for two layers of 640",
        "ptb",
        74.0,
        1,
        1,
        replace(
            AWD,
            layers=2,
            hidden=640,
            training=replace(AWD.training, epochs=14),
        ),
    ),
    "chicago": Recipe(
        "Chicago reviews",
        "chicago",
        0.5,
        None,
        2,
        RecurrentSpec(
            hidden=1024,
            embedding=512,
            dropout=0.1,
            input_dropout=0.0,
            objective=ObjectiveSpec(head=2_000),
            training=TrainingSpec(
                epochs=3.4,
                batch=96,
                bptt_len=35,
                learning_rate=6e-3,
                weight_decay=0.05,
                beta1=0.5,
                beta2=0.999,
                warmup=0.02,
                schedule="linear",
                final_rate=0.0,
                evaluations=4,
                stateful=False,
            ),
        ),
    ),
}


def of_reviews(
    recipe: Recipe,
    lines: LineText,
    models: Sequence[NeuralLM],
    work: Path,
) -> tuple[dict[str, Any], Ratio]:
    """Return the perplexities on reviews of a network, of the 5-gram model and of their mixture, and the ratio."""
    (model,) = models
    streams = streams_of(lines, recipe.documents)
    reached = {split: fresh_perplexity(model, streams[split]) for split in ("valid", "test")}
    say(str(reached))
    rows = beside_kneser_ney(lines, model)
    below = 1 - rows["test reviews"]["perplexity lstm"] / rows["test reviews"]["perplexity kn5"]
    rows = {"perplexity": {**reached, "below the 5-gram": round(below, 4)}, **rows}
    return rows, Ratio(round(below / recipe.goal, 3), 1.0, f"{recipe.goal:.0%} below the 5-gram")


def fresh_perplexity(model: NeuralLM, stream: TokenStream) -> float:
    """Return the perplexity of reviews, each from an initial state, with fixed weights."""
    return round(perplexity(validation_nats(model.network, stream)[0]), 2)


def beside_kneser_ney(lines: LineText, model: NeuralLM) -> dict[str, dict[str, Any]]:
    """Return perplexities of the network, a modified Kneser–Ney 5-gram and their gated mixture on the test reviews."""
    streams = streams_of(lines, documents=None)
    kn5 = NGramLM(
        fit_tables(
            count_ngrams(streams["train"], 5, lines.size, CONTEXT_IDS), NGramSpec(order=5)
        ).tables
    )
    parts = [Part("kn5", NGramSpec(order=5), kn5), Part("lstm", model.spec, model)]
    spec = MixtureSpec(parts=("kn5", "lstm"), method="gated")
    mixture = MixtureLM(parts, tune_weights(spec, parts, streams["valid"])[0])
    return {"test reviews": perplexities_of(mixture, streams["test"], len(streams["test"].ids))}


def of_continuous(
    recipe: Recipe,
    lines: LineText,
    models: Sequence[NeuralLM],
) -> tuple[dict[str, Any], Ratio]:
    """Return the perplexities of the networks and of the mean of their probabilities on a continuous text.

    The text is read in lanes, as in word_language_model, and as one stream: static, and with a continuous cache of each
    network, whose parameters are chosen on the validation text, read the same way.
    """
    rows = {
        f"weights fixed, {split}": perplexities(models, lines.stream(split, LANES))
        for split in ("valid", "test")
    }
    say(str(rows))
    valid = lines.stream("valid")
    test = lines.stream("test")
    parts = [Part("static", model.spec, model) for model in models]
    rows["one continuous stream, static"] = perplexities(models, test)
    cached = [tuned_neural_cache(NeuralCacheSpec(), part, valid).model for part in parts]
    rows["one continuous stream, continuous cache"] = perplexities(cached, test)
    reached = max(value for name, value in rows["weights fixed, test"].items() if name != MEAN)
    return rows, Ratio(
        round(recipe.goal / reached, 3), 1.0, f"test perplexity {recipe.goal} of one network"
    )


def _count(word: str) -> int:
    """Read a whole number above 0."""
    if (number := int(word)) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not above 0")
    return number


def _passes(word: str) -> float:
    """Read a number above 0."""
    if not 0 < (number := float(word)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{word} is not above 0 and finite")
    return number


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run a recipe and report its perplexities."""
    parser = arguments(__doc__ or "")
    parser.add_argument("text", choices=sorted(RECIPES))
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("REVIEWLM_REAL_DATA"),
        help="folder of the texts",
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder of checkpoints and weights",
    )
    parser.add_argument("--threads", type=_count, help="of each network, instead of the recipe's")
    parser.add_argument("--members", type=_count, help="networks side by side (ptb; default 1)")
    parser.add_argument("--epochs", type=_passes, help="instead of the recipe's")
    parser.add_argument(
        "--seed",
        type=_count,
        default=1,
        help="of the first network (default 1)",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    recipe = RECIPES[args.text]
    if args.data is None or not args.data.is_dir():
        parser.error(
            f"--data (or REVIEWLM_REAL_DATA) must name the folder of the texts, not {args.data}"
        )

    if not recipe.continuous and args.members:
        parser.error("--members is for a text that is read as one: ptb")

    members = args.members or 1
    threads = args.threads or recipe.threads
    epochs = args.epochs or (QUICK_EPOCHS if args.quick else recipe.spec.training.epochs)
    spec = replace(
        recipe.spec, training=replace(recipe.spec.training, epochs=epochs, seed=args.seed)
    )
    lines = TEXTS[recipe.text](args.data)
    part = args.text + (f"-seed-{args.seed}" if args.seed > 1 else "")
    work = args.work / (f"quick-{part}" if args.quick else part)
    models, numbers = train_side_by_side(
        lines,
        recipe.documents,
        spec,
        work,
        members,
        threads,
    )
    rows: dict[str, Any] = {
        name: {key: round(of[key], 3) for key in TOLD if key in of} for name, of in numbers.items()
    }
    say(str(rows))
    if recipe.continuous:
        found, ratio = of_continuous(recipe, lines, models)
    else:
        found, ratio = of_reviews(recipe, lines, models, work)

    ratios = {f"quality.{args.text}": ratio}
    return finish(
        args,
        Report(
            "quality",
            recipe.title,
            rows | found,
            ratios,
            ("torch", "numba"),
            part=part,
        ),
    )


if __name__ == "__main__":
    main()
