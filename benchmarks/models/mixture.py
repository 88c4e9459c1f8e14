"""Measure how much a mixture slows down the prediction of a token, and how much it lowers the perplexity.

The figures are in `docs/concepts/models/mixtures.md`.

    python -m benchmarks.models.mixture --quick
    python -m benchmarks.models.mixture --kn5 BUNDLE --lstm BUNDLE --validation TOKENS --test TOKENS --write

Steps are measured with an n-gram model of made-up text (or the given one) and untrained networks with the sizes of the
presets. With bundles (`store/fit/*/bundle`) and token streams (`store/tokens/*`) of one vocabulary, mixtures of all
methods are tuned on the validation stream and measured on the test stream.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Ratio, Report, arguments, finish, measure, say
from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import load_bundle
from reviewlm.models.mixture.context_weights import ContextWeights
from reviewlm.models.mixture.lm import MixtureLM
from reviewlm.models.mixture.parts import Part
from reviewlm.models.mixture.weights import Fixed
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import MixtureSpec, NGramSpec, RecurrentSpec
from reviewlm.models.streams import TokenStream
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS, EOS
from reviewlm.training.mixture.fitting import tune_weights
from reviewlm.training.mixture.tuning import batches
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.fitting import fit_tables

GOAL = 1.2
SIZES = {"demo": (256, 128), "small": (640, 384)}
"""Hidden size and embedding size of the presets' networks."""
VOCABULARY = 12_000
FIRST_WORD = max(*CONTEXT_IDS, EOS) + 1
TEST_TOKENS = 42_500


class MadeUp:
    """A stream of made-up reviews of 100 words: the word of rank r has a probability ∝ 1 / r.

    Half of the words are determined by the word before, so that contexts of every length are known.
    """

    def __init__(self, reviews: int, seed: int = 1) -> None:
        draw = np.random.default_rng(seed)
        words_RT = FIRST_WORD + np.exp(
            draw.random((reviews, 100)) * np.log(VOCABULARY - FIRST_WORD)
        ).astype(np.int64)
        named_RT = draw.random((reviews, 100)) < 0.5
        for t in range(1, 100):
            after_R = FIRST_WORD + words_RT[:, t - 1] * 7919 % 997
            words_RT[:, t] = np.where(named_RT[:, t], after_R, words_RT[:, t])

        begin_R2 = np.tile([BOS, min(CONTEXT_IDS - {BOS})], (reviews, 1))
        end_R1 = np.full((reviews, 1), EOS)
        self.ids = (
            np.concatenate([begin_R2, np.minimum(words_RT, VOCABULARY - 1), end_R1], 1)
            .ravel()
            .astype(np.uint16)
        )
        self.offsets = np.arange(reviews + 1) * 103

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> np.ndarray:
        """Return the ids of one review."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


def untrained(preset: str, vocabulary_size: int) -> NeuralLM:
    """Return an untrained LSTM of a preset's size."""
    spec = RecurrentSpec(hidden=SIZES[preset][0], embedding=SIZES[preset][1])
    return NeuralLM(spec, NeuralLM.build(spec, torch.ones(vocabulary_size)), vocabulary_size)


def step_times(
    bundle: Path | None,
    text: Path | None,
    preset: str,
    streams: int,
    rounds: int,
) -> dict[str, float]:
    """Return CPU milliseconds of one step of the parts and of their mixtures: medians of rounds of 50, interleaved."""
    torch.set_num_threads(1)
    if bundle:
        kn5 = load_bundle(bundle).model
        ids_N = np.asarray(TokenStream.open(text or bundle).ids).astype(np.int64)
    else:
        made = MadeUp(10_000)
        counts = count_ngrams(made, 5, VOCABULARY, CONTEXT_IDS)
        ids_N = made.ids.astype(np.int64)
        kn5 = NGramLM(fit_tables(counts, NGramSpec(order=5)).tables)

    lstm = untrained(preset, kn5.vocabulary_size)
    parts = [Part("kn5", NGramSpec(order=5), kn5), Part("lstm", lstm.spec, lstm)]
    models: dict[str, LanguageModel] = {
        "kn5": kn5,
        "lstm": lstm,
        "linear": MixtureLM(parts, Fixed(np.array([0.3, 0.7]))),
        "gated": MixtureLM(parts, ContextWeights.with_equal_weights(parts)),
    }
    ids_BT = ids_N[: len(ids_N) // streams * streams].reshape(streams, -1)[:, : 50 * (rounds + 1)]
    states = {name: model.start(streams) for name, model in models.items()}
    found: dict[str, list[float]] = {name: [] for name in models}
    for first in range(0, ids_BT.shape[1] - 49, 50):
        for name, model in models.items():
            began = process_time()
            state = states[name]
            for t in range(first, first + 50):
                _, state = model.step(ids_BT[:, t], state)
            found[name].append(20 * (process_time() - began))
            states[name] = state

    # The first round warms up.
    return {f"{name}_ms": round(median(times[1:]), 3) for name, times in found.items()}


def quality(
    kn5: Path,
    lstm: Path,
    validation: Path,
    test: Path,
) -> dict[str, dict[str, Any]]:
    """Tune mixtures of all methods and measure their perplexities."""
    torch.set_num_threads(1)
    parts = [
        Part(name, None, load_bundle(path).model) for name, path in (("kn5", kn5), ("lstm", lstm))
    ]
    held_out = TokenStream.open(validation)
    unseen = TokenStream.open(test)
    rows = {}
    for method in ("linear", "gated"):
        spec = MixtureSpec(parts=("kn5", "lstm"), method=method)  # type: ignore[arg-type]
        model = MixtureLM(parts, tune_weights(spec, parts, held_out)[0])
        began = process_time()
        figures = perplexities_of(model, unseen, TEST_TOKENS)
        milliseconds = round(1000 * (process_time() - began) / figures["tokens"], 3)
        rows[f"{method} on test"] = {**figures, "cpu_ms_per_token": milliseconds}

    return rows


def perplexities_of(
    model: MixtureLM,
    stream: TokenStream,
    limit: int,
) -> dict[str, Any]:
    """Return the perplexities of a mixture and its parts on about *limit* tokens of a stream, and their number."""
    columns = []
    for batch in batches(stream, limit):
        scores, _ = model.attribute(batch.ids_BT, model.start(len(batch.ids_BT)))
        nats_BTX = np.concatenate([scores.nats_BT[..., None], scores.part_nats_BTP], -1)
        columns.append(nats_BTX[batch.scored_BT])

    nats_TX = np.concatenate(columns)
    names = ["perplexity", *(f"perplexity {name}" for name in model.names)]
    return {
        "tokens": len(nats_TX),
        **dict(zip(names, np.exp(nats_TX.mean(0)).round(4).tolist(), strict=True)),
    }


def ratios_of(rows: dict[str, dict[str, float]]) -> dict[str, Ratio]:
    """Return the goal as a multiple of the gated mixture's step, by size and number of streams: 1 or more meets it."""
    return {
        f"mixture.step.{name}": Ratio(
            round(GOAL * row["lstm_ms"] / row["gated_ms"], 3), 1.0, f"{GOAL} × the LSTM's"
        )
        for name, row in rows.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    for name, what in (("kn5", "bundle of an n-gram model"), ("lstm", "bundle of a network")):
        parser.add_argument(f"--{name}", type=Path, help=what)

    for name in ("validation", "test"):
        parser.add_argument(f"--{name}", type=Path, help=f"folder of the {name} split's tokens")

    args: argparse.Namespace = parser.parse_args(argv)
    given = [args.kn5, args.lstm, args.validation, args.test]
    if any(given) and not all(given):
        parser.error("--kn5, --lstm, --validation and --test belong together")

    steps: dict[str, dict[str, Any]] = {}
    for preset in SIZES:
        for streams in (1, 16):
            contender = partial(
                step_times,
                args.kn5,
                args.test,
                preset,
                streams,
                5 if args.quick else 11,
            )
            row = measure(contender, 1).result
            row |= {
                f"{name} ×": round(row[f"{name}_ms"] / row["lstm_ms"], 2)
                for name in ("linear", "gated")
            }
            steps[f"{preset}, {streams} streams"] = row
            say(f"{preset}, {streams} streams: {row}")

    tables = measure(partial(quality, *given), 1).result if all(given) else {}
    notes = (
        "Steps: CPU milliseconds on one thread, medians of interleaved rounds; the networks have the presets' sizes.",
        "Perplexities per token.",
    )
    finish(
        args,
        Report(
            "mixture",
            "Mixtures",
            {**steps, **tables},
            ratios_of(steps),
            ("torch", "numpy"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
