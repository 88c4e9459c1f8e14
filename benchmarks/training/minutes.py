"""Compare the network that `--minutes` chooses with that of the preset `small` at equal time, on the same reviews.

    python -m benchmarks.training.minutes --clean HOME/store/prepare/DIGEST --seconds 300 --write

`reviewlm run --until prepare --input FILE` makes and prints the digest. Both sides train at the same time, each with
one thread on a core of its own, for the same seconds of processor time; other processes on these cores then take from
both alike. The rule's training finds its length by this clock, as in a run. The preset's number of epochs is set so
that its cosine ends with the time. Each side has its own vocabulary,
Kneser–Ney 5-gram model and gated mixture, as in a run. The measure is open bits per byte, which compares vocabularies.
The `rows` of `tasks/planning/measured.json` are rows of this program (also with `--sides rule`, for other times);
`--law FILE …` fits its law to the rows in files that `--out` wrote.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time, time
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from benchmarks.harness import Report, arguments, finish, say
from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.specs import MixtureSpec, NGramSpec, RecurrentSpec, VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.planning.gain_law import terms
from reviewlm.tasks.planning.plan import settings_of
from reviewlm.tasks.planning.rule import (
    FRAME,
    PROBE,
    ChosenNetwork,
    Data,
    Machine,
    Products,
    choose,
    token_cost,
)
from reviewlm.training.context import CHECKPOINTS, PAUSED, FitContext, Pace
from reviewlm.training.fit import fit_model
from reviewlm.training.mixture.fitting import tune_weights
from reviewlm.training.mixture.tuning import batches, token_nats
from reviewlm.training.neural import pacing, progress
from reviewlm.training.neural.checkpoint import JOURNAL
from reviewlm.training.vocabularies.learn import learn_vocabulary

SIDES = ("rule", "pieces", "small")
"""The rule as it is, the rule's network on `PIECES` instead of words, and that preset."""
PIECES = VocabularySpec(unit="bpe", size=4_000)
SPLITS = ("train", "validation", "test")
PROBE_SECONDS = 3.0
LEAST_WIDTH = 0.02
"""Half of the narrowest interval of the gain: so few runs must not give a narrower one by chance."""
MOST_HELD_OUT = 1_000
"""Reviews of validation and of test, at most; the first ones, which are a random sample."""


def texts_of(
    folder: Path,
    clean: Path,
    side: str,
) -> tuple[Vocabulary, dict[str, TokenStream]]:
    """Train a side's vocabulary on the training reviews and write the token streams of all splits."""
    config = load_config("small" if side == "small" else "minutes")
    [spec] = config.vocabulary.values()
    frames = {split: list(iter_split(clean, split)) for split in SPLITS}
    for split in SPLITS[1:]:
        frames[split] = [pl.concat(frames[split]).head(MOST_HELD_OUT)]

    if side == "pieces":
        spec = PIECES

    texts = (text for frame in frames["train"] for text in frame["text"].to_list())
    vocabulary = learn_vocabulary(texts, spec, NormalForm(), folder)
    for split in SPLITS:
        write_stream(folder / split, vocabulary, frames[split], whole=split != "train")

    return vocabulary, {split: TokenStream.open(folder / split) for split in SPLITS}


def measured_machine(
    spec: RecurrentSpec,
    vocabulary: Vocabulary,
    streams: dict[str, TokenStream],
) -> Machine:
    """Return the speed in tokens per processor second: of the second of two short trainings, which has warmed up."""
    training = replace(
        spec.training,
        schedule="trapezoid",
        final_rate=0.0,
        epochs=1_000.0,
        warmup=0.0,
    )
    for _ in range(2):
        with tempfile.TemporaryDirectory() as work:
            context = FitContext(Path(work), pace=Pace(PROBE_SECONDS))
            fitted = fit_model(
                replace(spec, training=training),
                vocabulary,
                streams["train"],
                streams["validation"],
                context,
            )

    summary = fitted.summary
    products: Products = "bf16" if summary["bf16"] else "float32"
    return Machine(summary["tokens"] / summary["cpu_seconds"], products=products)


def planned(network: ChosenNetwork) -> RecurrentSpec:
    """Return the frame's network with the settings that a run would have."""
    return recurrent(load_config(FRAME, settings_of(network)))


def recurrent(config: RunConfig) -> RecurrentSpec:
    """Return the recurrent network of a configuration."""
    return next(spec for spec in config.models if isinstance(spec, RecurrentSpec))


def paced(
    spec: RecurrentSpec,
    vocabulary: Vocabulary,
    streams: dict[str, TokenStream],
    folder: Path,
    seconds: float,
) -> tuple[RecurrentSpec, Any]:
    """Fit a network in these seconds, as the stages `pace` and `fit` do; return it with the options it then has."""
    for name in ("pace", "fit"):
        (folder / name).mkdir()

    def fit(spec: RecurrentSpec, context: FitContext) -> Any:
        return fit_model(
            spec,
            vocabulary,
            streams["train"],
            streams["validation"],
            context,
        )

    found = fit(spec, FitContext(folder / "pace", pace=Pace(seconds))).summary
    for made, known in ((PAUSED, CHECKPOINTS), (JOURNAL, JOURNAL)):
        (folder / "pace" / made).rename(folder / "fit" / known)

    spec = replace(
        spec, training=replace(spec.training, epochs=found["epochs"], warmup=found["warmup"])
    )
    return spec, fit(spec, FitContext(folder / "fit"))


def bits(model: Any, stream: TokenStream) -> float:
    """Return a model's open bits per byte."""
    nats = sum(
        float(token_nats([model], batch)[:, 0].sum())
        for batch in batches(stream, 2 * stream.tokens)
    )
    documents = stream.documents
    return (
        (nats + float(documents["spelling_nats"].sum()))
        / float(documents["bytes"].sum())
        / math.log(2)
    )


def run_side(
    clean: Path,
    side: str,
    seconds: float,
) -> dict[str, Any]:
    """Fit one side's models and return its row."""
    clock = SimpleNamespace(monotonic=process_time)
    pacing.time = clock  # type: ignore[assignment]
    progress.time = clock  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary, streams = texts_of(folder, clean, side)
        train = streams["train"]
        held_out = streams["validation"]
        config = load_config("small" if side == "small" else "minutes")
        spec = recurrent(config)
        size = int(train.facts["bytes"])
        if side != "small":
            probe = replace(spec, hidden=PROBE[0], embedding=PROBE[1])
            machine = measured_machine(probe, vocabulary, streams)
            data = Data(size, train.tokens, held_out.tokens + streams["test"].tokens)
            network = choose(data, machine, seconds)
            assert network is not None
            spec, network_lm = paced(
                planned(network),
                vocabulary,
                streams,
                folder,
                seconds,
            )
        else:
            machine = measured_machine(spec, vocabulary, streams)
            passes = seconds * machine.tokens_per_second / train.tokens
            spec = replace(spec, training=replace(spec.training, epochs=passes))
            (work := folder / "fit").mkdir()
            network_lm = fit_model(
                spec,
                vocabulary,
                train,
                held_out,
                FitContext(work),
            )
        kn5 = fit_model(
            NGramSpec(order=5),
            vocabulary,
            train,
            held_out,
            FitContext(folder),
        ).model
        parts = [Part("kn5", NGramSpec(order=5), kn5), Part("lstm", spec, network_lm.model)]
        mixture = MixtureLM(
            parts,
            tune_weights(MixtureSpec(parts=("kn5", "lstm"), method="gated"), parts, held_out)[0],
        )
        found = network_lm.summary
        row = {
            "side": side,
            "reviews": len(train),
            "train_bytes": size,
            "vocabulary": vocabulary.size,
            "hidden": spec.hidden,
            "embedding": spec.embedding,
            "dropout": spec.dropout,
            "batch": spec.training.batch,
            "passes": round(spec.training.epochs, 2),
            "cpu_s": round(found["cpu_seconds"], 1),
            "tokens": round(found["tokens"]),
            "train_nats": round(found["train_nats"], 3),
            "validation_nats": round(found["validation_nats"], 4),
        }
        for split in ("validation", "test"):
            for label, model in (("kn5", kn5), ("lstm", network_lm.model), ("mixture", mixture)):
                row[f"{label} {split}"] = round(bits(model, streams[split]), 4)

    return row


def side_by_side(args: argparse.Namespace, sides: Sequence[str]) -> dict[str, Any]:
    """Run the sides at the same time, each in a process on its own core; return the rows by side."""
    cores = sorted(os.sched_getaffinity(0))
    started = []
    for number, side in enumerate(sides):
        command = [
            sys.executable,
            "-P",
            "-m",
            "benchmarks.training.minutes",
            "--clean",
            str(args.clean),
            "--side",
            side,
            "--seconds",
            str(args.seconds),
        ]
        pin = ["taskset", "-c", str(cores[number % len(cores)])] if len(sides) > 1 else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*pin, *command],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        started.append(process)

    rows = {}
    for side, process in zip(sides, started, strict=True):
        written = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"the side {side} failed")
        rows[side] = json.loads(written.splitlines()[-1])
        say(f"{side}: {rows[side]}")

    return rows


def law(files: Sequence[Path]) -> dict[str, Any]:
    """Fit the law of `tasks/planning/gain_law.py` to rows; its width is that of texts that were left out."""
    rows = [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if row["side"] == "rule"]
    costs = [row["tokens"] * token_cost(row["hidden"], row["embedding"]) for row in rows]
    x_NK = np.array(
        [terms(cost, row["train_bytes"]) for cost, row in zip(costs, rows, strict=True)]
    )
    y_N = np.array([1 - row["mixture validation"] / row["kn5 validation"] for row in rows])
    solved_K = np.linalg.lstsq(x_NK, y_N, rcond=None)[0]
    left_out = []
    for size in {row["train_bytes"] for row in rows}:
        own_N = np.array([row["train_bytes"] == size for row in rows])
        without_K = np.linalg.lstsq(x_NK[~own_N], y_N[~own_N], rcond=None)[0]
        left_out += list(y_N[own_N] - x_NK[own_N] @ without_K)

    misses_N = np.abs(left_out)
    width = max(LEAST_WIDTH, float(np.quantile(misses_N, 0.8)))
    return {
        "coefficients": [round(float(a), 6) for a in solved_K],
        "half_width": round(width, 4),
        "held": int((misses_N <= width).sum()),
        "of": len(misses_N),
        "seconds": [round(min(costs)), round(max(costs))],
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the comparison, or one side of it, or fit the law."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--clean", type=Path, help="folder of the prepared reviews, HOME/store/prepare/DIGEST"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=300.0,
        help="processor seconds of each training",
    )
    parser.add_argument(
        "--sides",
        choices=SIDES,
        nargs="+",
        default=["rule", "small"],
        help="sides to run",
    )
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="append the rows to this file")
    parser.add_argument(
        "--law",
        type=Path,
        nargs="+",
        help="fit the law to the rows of these files",
    )
    args = parser.parse_args(argv)
    if args.law:
        say(json.dumps(found := law(args.law)))
        return found

    if args.clean is None or not args.clean.is_dir():
        parser.error("--clean must name the folder of prepared reviews")

    if args.side:
        row = run_side(args.clean, args.side, args.seconds)
        print(json.dumps(row))
        return row

    begun = time()
    rows = side_by_side(args, args.sides)
    if args.out:
        with args.out.open("a", encoding="utf-8") as file:
            file.writelines(
                json.dumps({**row, "seconds": args.seconds}) + "\n" for row in rows.values()
            )

    took = f"{time() - begun:.0f} s"
    notes = (
        f"{args.seconds:g} processor seconds of training for each side; the comparison took {took}.",
    )
    finish(
        args,
        Report(
            "minutes",
            "Settings for a time",
            rows,
            {},
            ("torch", "numpy", "tokenizers"),
            notes,
        ),
    )
    return rows


if __name__ == "__main__":
    main()
