"""Measure how fast one core generates with a recurrent network, against the usual loop in torch.

    python -m benchmarks.serving.serve --quick
    python -m benchmarks.serving.serve --streams 1 64 --write

The network is an untrained LSTM of two layers of 650 with a vocabulary of 8,971: speed does not depend on the weights.
Every contender draws one token per stream and step from the whole distribution, in one thread:

    eager     torch.nn.LSTM, softmax, torch.multinomial
    float32   the model's step and draw, as texts are written where int8 is slow or loses too much
    int8      the model's step and draw in int8, as texts are written on processors with AVX2
    engine    the whole serving engine in int8: queue, batches, text, tickets

Times are CPU seconds. Contenders take turns in short rounds. A contender's figure is the lower quartile of its steps:
another program on the machine can only slow a step down, most of all by pushing weights out of the processor's cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Ratio, Report, arguments, finish, say
from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import Bundle, in_int8
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.batch import SampledText, TextBatch, uniforms_of
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import EOS, STARS
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.serving.engine.engine import Engine
from reviewlm.serving.engine.requests import EngineLimits, Generation
from reviewlm.training.vocabularies.learn import learn_vocabulary

GOALS = {1: 25.0, 64: 7.0}
SPEC = RecurrentSpec(
    layers=2,
    hidden=650,
    embedding=650,
    objective=ObjectiveSpec(output="softmax"),
)


def network(words: int) -> NeuralLM:
    """Return the untrained network; it never ends a text."""
    torch.manual_seed(1)
    model = NeuralLM(SPEC, NeuralLM.build(SPEC, torch.ones(words, dtype=torch.int64)), words)
    with torch.no_grad():
        model.network.output.bias[EOS] = -1e9
    return model


def eager(model: NeuralLM, streams: int) -> Callable[[], None]:
    """Return a step of the usual loop."""
    size = SPEC.hidden
    lstm = nn.LSTM(size, size, SPEC.layers, batch_first=True).eval()
    output = nn.Linear(size, model.vocabulary_size)
    embedding: Any = model.network.embedding
    memory = [torch.zeros(SPEC.layers, streams, size)] * 2
    ids_B1 = torch.full((streams, 1), STARS[3])

    @torch.no_grad()
    def step() -> None:
        nonlocal ids_B1
        features, memory[:] = lstm(embedding(ids_B1), tuple(memory))
        ids_B1 = torch.multinomial(torch.softmax(output(features[:, 0]), 1), 1)

    return step


def batched(
    model: LanguageModel,
    streams: int,
    quick: bool,
) -> Callable[[], None]:
    """Return a step of a batch of texts."""
    batch: TextBatch[SampledText] = TextBatch(model.step, normalised=not quick)
    texts = [
        SampledText(Sampling(), uniforms_of(1, number, 3, ""), []) for number in range(streams)
    ]
    batch.join(texts, *model.step(np.full(streams, STARS[3]), model.start(streams)))
    return lambda: batch.advance(batch.draw())


def step_ms(
    contenders: dict[str, Callable[[], None]],
    steps: int,
    rounds: int,
) -> dict[str, float]:
    """Return the CPU milliseconds of a step of each contender: the lower quartile."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, step in contenders.items():
            step()  # the other contenders have used the cache
            for _ in range(steps):
                began = process_time()
                step()
                times[name].append(1000 * (process_time() - began))
    return {name: float(np.quantile(found, 0.25)) for name, found in times.items()}


def engine_tokens(
    bundle: Bundle,
    streams: int,
    tokens: int,
) -> float:
    """Return the tokens per CPU second of the whole engine with this number of texts."""
    engine = Engine(bundle, EngineLimits(live=streams, buffer_tokens=tokens + 1))
    asked = Generation(stars=3, max_tokens=tokens)
    for warm in (True, False):
        began = process_time()
        most = 5 if warm else tokens
        tickets = [
            engine.submit(replace(asked, number=number, max_tokens=most))
            for number in range(streams)
        ]
        count = sum(ticket.result().completion_tokens for ticket in tickets)
        seconds = process_time() - began

    engine.close(1)
    return count / seconds


def vocabulary(words: int) -> Vocabulary:
    """Return a vocabulary of this size."""
    text = " ".join(
        "".join(chr(97 + number // 26**k % 26) for k in range(4)) for number in range(words)
    )
    return learn_vocabulary([text], VocabularySpec(size=words, min_count=1), NormalForm())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--streams",
        type=int,
        nargs="+",
        default=[1, 64],
        help="texts at the same time",
    )
    parser.add_argument(
        "--words",
        type=int,
        default=8_971,
        help="entries of the vocabulary",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    torch.set_num_threads(1)
    words = vocabulary(args.words)
    model = network(words.size)
    bundle = Bundle(SPEC, words, model)
    quick = in_int8(model)
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for streams in args.streams:
        contenders = {"eager": eager(model, streams), "float32": batched(model, streams, False)}
        if quick is not None:
            contenders["int8"] = batched(quick, streams, True)
        steps = 2 if args.quick else max(10, 100 // streams)
        found = step_ms(contenders, steps, args.repeats * (2 if args.quick else 8))
        for name, milliseconds in found.items():
            speed = round(1000 * streams / milliseconds)
            rows[f"{name}, {streams} streams"] = {
                "step_ms": round(milliseconds, 3),
                "tokens_per_cpu_s": speed,
            }
            if name != "eager":
                goal = GOALS.get(streams) if name == "int8" else None
                ratios[f"{name}.{streams}"] = Ratio(
                    round(found["eager"] / milliseconds, 2), goal, "eager"
                )
        if quick is not None:
            speed = round(engine_tokens(bundle, streams, 20 if args.quick else 100))
            rows[f"engine, {streams} streams"] = {"tokens_per_cpu_s": speed}
        say(str(rows))

    notes = (
        "CPU time, one thread, lower quartile of the steps; the whole distribution is sampled, temperature 1.",
    )
    finish(
        args,
        Report(
            "serve",
            "Generation on one core",
            rows,
            ratios,
            ("torch", "numba"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
