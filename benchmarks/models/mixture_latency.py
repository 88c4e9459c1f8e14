"""Measure what the learned weights of a mixture cost per token, against its LSTM alone.

    python -m benchmarks.models.mixture_latency --model reviewlm-demo@champion --streams 1 64
    python -m benchmarks.models.mixture_latency --model M --network 2 650 --numbers float32 int8 --write

The model is a registered mixture of n-gram model and network; `--network 2 650` puts an untrained LSTM of two layers of
650 in place of its network, because the share of the n-gram model depends on the size of the network. Both contenders
read a token of each stream per step: one that they draw from the whole distribution (generation), or a given one
(reading). Times are CPU seconds, in one thread. Contenders take turns in short rounds. A contender's figure is the
lower quartile of its steps, because another program on the machine can only slow a step down.

In int8 the steps and the draw are those of the server's texts that need not be exact. The n-gram model and the weights
have no int8: they cost what they cost in float32, while the network gets cheaper, so the ratio is lower.
`beyond_network_ms` is what they cost, the sum over the vocabulary included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.serving.serve import step_ms
from reviewlm.core.config.presets import load_config
from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import Bundle, in_int8
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.sampling import Sampling
from reviewlm.models.sampling.batch import SampledText, TextBatch, uniforms_of
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec
from reviewlm.models.tokens.special import BOS, STARS
from reviewlm.tracking.registry.opening import open_version

GOAL = 0.83
"""Speed of the mixture relative to its LSTM: 1 / 1.2."""


def contenders_of(bundle: Bundle) -> dict[str, LanguageModel]:
    """Return the mixture and its network."""
    networks: dict[str, LanguageModel] = {
        part.name: part.model
        for part in getattr(bundle.model, "parts", ())
        if isinstance(part.model, NeuralLM)
    }
    if not networks:
        raise SystemExit(
            f"'{bundle.spec.name}' is of kind '{bundle.spec.kind}', no mixture with a network"
        )

    return {bundle.spec.name: bundle.model, **networks}


def with_network(
    bundle: Bundle,
    layers: int,
    hidden: int,
) -> Bundle:
    """Return the mixture with untrained LSTMs of this size in place of its networks."""
    size = bundle.vocabulary.size
    spec = RecurrentSpec(
        layers=layers,
        hidden=hidden,
        embedding=hidden,
        objective=ObjectiveSpec(output="softmax"),
    )
    torch.manual_seed(1)
    network = NeuralLM(spec, NeuralLM.build(spec, torch.ones(size, dtype=torch.int64)), size)
    mixture: Any = bundle.model
    parts = [
        replace(part, model=network) if isinstance(part.model, NeuralLM) else part
        for part in mixture.parts
    ]
    return replace(bundle, model=type(mixture).from_facts(parts, mixture.facts()))


def all_in_int8(models: Mapping[str, LanguageModel]) -> dict[str, LanguageModel]:
    """Return the models as the server steps them in int8; of a mixture, only the networks are."""
    quick = {name: in_int8(model) for name, model in models.items()}
    if None in quick.values():
        raise SystemExit(
            "int8 is not used here: the model has no network that can be stepped in int8"
        )
    return {name: model for name, model in quick.items() if model is not None}


def generation(
    model: LanguageModel,
    streams: int,
    quick: bool = False,
) -> Callable[[], None]:
    """Return a step that draws and reads a token of each stream; texts go on after their end.

    *quick* draws as the server does in int8.
    """
    batch: TextBatch[SampledText] = TextBatch(model.step, normalised=not quick)
    texts = [
        SampledText(Sampling(), uniforms_of(1, number, 3, ""), []) for number in range(streams)
    ]
    prefix = model.step(np.full(streams, BOS), model.start(streams))[1]
    batch.join(texts, *model.step(np.full(streams, STARS[3]), prefix))
    return lambda: batch.advance(batch.draw())


def reading(model: LanguageModel, streams: int) -> Callable[[], None]:
    """Return a step that only reads a token, as after a typed word."""
    state: Any = model.start(streams)
    ids = np.random.default_rng(1).integers(9, min(model.vocabulary_size, 1_000), (4_096, streams))
    number = 0

    def step() -> None:
        nonlocal state, number
        _, state = model.step(ids[number % len(ids)], state)
        number += 1

    return step


def measure(
    models: Mapping[str, LanguageModel],
    numbers: str,
    streams: int,
    rounds: int,
    quick: bool,
) -> tuple[dict[str, Any], dict[str, Ratio]]:
    """Return the rows and ratios of one number format and number of texts; *quick*: few steps a round."""
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for work, make in (
        ("generation", partial(generation, quick=numbers == "int8")),
        ("reading", reading),
    ):
        found = step_ms(
            {name: make(model, streams) for name, model in models.items()},
            5 if quick else 40,
            rounds,
        )
        mixture, network, *_ = found
        for name, milliseconds in found.items():
            rows[f"{name}, {numbers}, {work}, {streams} streams"] = {
                "step_ms": round(milliseconds, 3)
            }
        own = round(found[mixture] - found[network], 3)
        rows[f"{mixture}, {numbers}, {work}, {streams} streams"]["beyond_network_ms"] = own
        ratios[f"{numbers}.{work}.{streams}"] = Ratio(
            round(found[network] / found[mixture], 2), GOAL, network
        )

    return rows, ratios


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", default="champion", help="registered version")
    parser.add_argument(
        "--streams",
        type=int,
        nargs="+",
        default=[1, 64],
        help="texts at the same time",
    )
    parser.add_argument(
        "--network",
        type=int,
        nargs=2,
        metavar=("LAYERS", "HIDDEN"),
        help="another, untrained network",
    )
    parser.add_argument(
        "--numbers",
        nargs="+",
        default=["float32"],
        choices=["float32", "int8"],
        help="number formats",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = load_config("small", ["execution.device=cpu"])
    bundle, _ = open_version(config.workspace, config.promotion.model_name, args.model)
    own = (
        "its own"
        if args.network is None
        else "an untrained LSTM of {} layers of {}".format(*args.network)
    )
    if args.network:
        bundle = with_network(bundle, *args.network)

    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for numbers in args.numbers:
        models = contenders_of(bundle)
        models = all_in_int8(models) if numbers == "int8" else models
        for streams in args.streams:
            rounds = args.repeats * (2 if args.quick else 8)
            more_rows, more_ratios = measure(
                models,
                numbers,
                streams,
                rounds,
                args.quick,
            )
            rows = rows | more_rows
            ratios = ratios | more_ratios
            say(str(more_rows))

    notes = (
        "CPU time, one thread, lower quartile of the steps; ratio: time of the network / time of the mixture. The goal "
        "0.83 is a mixture that takes 1.2 times as long as its network.",
        f"Network: {own}; vocabulary of {bundle.vocabulary.size:,} entries.",
        "The n-gram model and the weights of a mixture have no int8: `beyond_network_ms` is about the same in both "
        "number formats, and the ratio is lower in int8 because the network takes less time.",
    )
    finish(
        args,
        Report(
            "mixture_latency",
            "Latency of a learned mixture",
            rows,
            ratios,
            ("torch", "numba"),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
