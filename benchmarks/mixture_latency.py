"""Measure what the learned weights of a mixture cost per token, against its LSTM alone.

    python -m benchmarks.mixture_latency --model reviewlm-demo@champion --streams 1 64

The model is a registered mixture of n-gram model and network; `--network 2 650` puts an untrained LSTM of two layers of
650 in place of its network, because the share of the n-gram model depends on the size of the network. Both contenders
read a token of each stream per step: one that they draw from the whole distribution (generation), or a given one
(reading). Times are CPU seconds, in one thread. Contenders take turns in short rounds. A contender's figure is the
lower quartile of its steps, because another program on the machine can only slow a step down.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.serve import step_ms
from core.config.presets import load_config
from models.base import LanguageModel
from models.bundles.bundle import Bundle
from models.neural.lm import NeuralLM
from models.neural.recurrent import RecurrentLM
from models.sampling import Sampling
from models.sampling.batch import SampledText, TextBatch, uniforms_of
from models.specs import ObjectiveSpec, RecurrentSpec
from models.tokens.vocabulary import BOS, STARS
from tracking.logged_models.opening import open_version

GOAL = 0.83
"""Speed of the mixture relative to its LSTM: 1 / 1.2."""


def contenders_of(bundle: Bundle) -> dict[str, LanguageModel]:
    """Return the mixture and its network."""
    networks: dict[str, LanguageModel] = {
        part.name: part.model for part in getattr(bundle.model, "parts", ()) if isinstance(part.model, NeuralLM)
    }
    if not networks:
        raise SystemExit(f"'{bundle.spec.name}' is of kind '{bundle.spec.kind}', no mixture with a network")
    return {bundle.spec.name: bundle.model, **networks}


def with_network(bundle: Bundle, layers: int, hidden: int) -> Bundle:
    """Return the mixture with untrained LSTMs of this size in place of its networks."""
    size = bundle.vocabulary.size
    spec = RecurrentSpec(layers=layers, hidden=hidden, embedding=hidden, objective=ObjectiveSpec(output="softmax"))
    torch.manual_seed(1)
    network = RecurrentLM(spec, RecurrentLM.build(spec, torch.ones(size, dtype=torch.int64)), size)
    mixture: Any = bundle.model
    parts = [replace(part, model=network) if isinstance(part.model, NeuralLM) else part for part in mixture.parts]
    return replace(bundle, model=type(mixture).from_facts(parts, mixture.facts()))


def generation(model: LanguageModel, streams: int) -> Callable[[], None]:
    """Return a step that draws and reads a token of each stream; texts go on after their end."""
    batch: TextBatch[SampledText] = TextBatch(model.step)
    texts = [SampledText(Sampling(), uniforms_of(1, number, 3, ""), []) for number in range(streams)]
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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", default="champion", help="registered version")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64], help="texts at the same time")
    parser.add_argument("--network", type=int, nargs=2, metavar=("LAYERS", "HIDDEN"), help="another, untrained network")
    args: argparse.Namespace = parser.parse_args(argv)
    torch.set_num_threads(1)
    bundle, _ = open_version(load_config("small", ["execution.device=cpu"]), args.model)
    if args.network:
        bundle = with_network(bundle, *args.network)
    models = contenders_of(bundle)
    rows: dict[str, Any] = {}
    ratios: dict[str, Ratio] = {}
    for streams in args.streams:
        for work, make in (("generation", generation), ("reading", reading)):
            steps = {name: make(model, streams) for name, model in models.items()}
            found = step_ms(steps, 5 if args.quick else 40, args.repeats * (2 if args.quick else 8))
            mixture, *networks = found
            for name, milliseconds in found.items():
                rows[f"{name}, {work}, {streams} streams"] = {"step_ms": round(milliseconds, 3)}
            ratios[f"{work}.{streams}"] = Ratio(round(found[networks[0]] / found[mixture], 2), GOAL, networks[0])
        say(str(rows))
    notes = ("CPU time, one thread, lower quartile of the steps; ratio: time of the network / time of the mixture.",)
    finish(args, Report("mixture_latency", "Latency of a learned mixture", rows, ratios, ("torch",), notes))


if __name__ == "__main__":
    main()
