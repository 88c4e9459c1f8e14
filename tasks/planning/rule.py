"""Choose vocabulary, network, dropout, learning rate, batch and length of a training by data, speed and time.

All functions here are pure: equal arguments give equal settings. Times are seconds by the clock. The cost of a training
is counted in *reference seconds*, the seconds that one idle core of the machine of our measurements needs for it, so
that it depends on no other machine. `docs/concepts/models/minutes.md` explains the rule; the figures behind it are in
`measured.json`, beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ConfigError
from reviewlm.models.specs import RecurrentSpec

REFERENCE_SPEED = 24_000.0
REFERENCE_START = 2.5
"""Of the machine of our measurements, idle: tokens per second of the training of `PROBE` on one core; seconds of the
start and the end of a training's process.
"""
Products = Literal["bf16", "float32"]
"""Number format of the products of matrices in a training."""
TOKEN_COSTS: Mapping[Products, tuple[float, float]] = {
    "bf16": (33e-6, 17.5e-6),
    "float32": (57e-6, 112e-6),
}
"""Seconds of a trained token on one idle core: for output, look-ups and dropout; per million weights of the layers. In
bf16 they are those of the machine of our measurements, so *reference seconds*. In float32 they are those of a processor
with AVX2 alone: only their ratio counts, because the speed is measured.
"""
SHAPES = (
    (64, 64),
    (128, 128),
    (192, 128),
    (256, 192),
    (384, 256),
    (512, 256),
    (640, 320),
    (768, 384),
    (1024, 448),
    (1536, 512),
)
"""Cells and embedding of the networks that can be chosen, in the order of their cost."""
SMALLEST_OUTPUT: Mapping[str, Any] = {"head": 150, "cutoffs": [500, 1_500, 4_000]}
OUTPUTS: tuple[tuple[int, Mapping[str, Any], float], ...] = (
    (64, SMALLEST_OUTPUT, 0.36),
    (128, SMALLEST_OUTPUT, 0.52),
)
"""Networks up to so many cells: their output layer, and the first cost of `TOKEN_COSTS` beside that with the frame's output,
measured in float32. In a small network the output takes most of the time; a short head with several tails takes less, and
predicts about as well after a short training.
"""
PROBE = (256, 192)
"""The network whose speed is measured on the user's machine."""
WIDTH = 384
WIDTH_SECONDS = 300.0
WIDTH_BYTES = 4e5
WIDTH_POWER = 0.4
"""A training of 300 reference seconds gets about 384 cells, and the width grows with the 0.4th power of the time. On
400 kB of text there are never more, and this limit grows with the 0.4th power of the text.
"""
RATE = 7e-3
RATE_WIDTH = 384
RATE_POWER = 0.33
"""Learning rate of a network of 384 cells; the power of the cells with which it falls."""
RATE_TOKENS = 1.5e6
RATE_TOKENS_POWER = 0.45
"""A training of fewer tokens has few updates, which have to go further: the power of the tokens with which its rate rises.
"""
DROPOUT_WIDTH = 256
UPDATES = 2_000
"""The batch is as large as this number of updates allows."""
BPTT_LEN = 50
BATCHES = (16, 32, 64, 128)
MOST_PASSES = 60.0
"""A longer training would only repeat what it knows; a run with more time ends early."""
STARTS_AFTER = 5.5
STARTS_AFTER_MODEL = 1.2
"""Time for registration and report, and for each model's samples and audit, in starts of a training's process: like
these they are mostly imports, files and processes, and depend little on the speed of products.
"""
AFTER_TOKEN = 8e-6
"""Reference seconds of a model for each held-out token, besides the products of a network."""
SCORING = 0.5
"""Time of scoring a token relative to training on it: without gradients, and in larger batches."""
LEAST_SLOWNESS = 0.7
THREADS_POWER = 0.45
"""Two threads train networks of this size some 1.4 times as fast as one: 1.37 and 1.39 with 256 and 384 cells."""
LEAST_SECONDS = 3.0
"""Seconds of training below which there is no network, only the n-gram model."""

FRAME = "minutes"
"""The preset that the rule fills in."""
BASELINE = "kn5"
NETWORK = "lstm"
MIXTURE = "kn5+lstm"
VOCABULARY = "word"
"""Names of its models and its vocabulary."""


@dataclass(frozen=True)
class Data:
    """Sizes of the prepared data; tokens are those of the chosen vocabulary.

    Args:
        train_bytes: UTF-8 bytes of the training reviews.
        held_out_tokens: Tokens of the validation and test reviews.
    """

    train_bytes: int
    train_tokens: int
    held_out_tokens: int


@dataclass(frozen=True)
class ChosenNetwork:
    """Chosen network and its training.

    Args:
        hidden: Cells of its one LSTM layer.
        embedding: Features of an entry.
        dropout: Share of features that is dropped.
        learning_rate: Of the updates before its decay.
        batch: Streams side by side.
        passes: Expected passes over the training reviews.
        seconds: Time of the training.
        cost: Its reference seconds.
    """

    hidden: int
    embedding: int
    dropout: float
    learning_rate: float
    batch: int
    passes: float
    seconds: float
    cost: float


def weights(hidden: int, embedding: int) -> float:
    """Return the millions of weights in the layers of a network: the four gates and the projection."""
    return (4 * hidden * (embedding + hidden) + hidden * embedding) / 1e6


def output_of(hidden: int) -> Mapping[str, Any]:
    """Return the options of the output layer of a network of so many cells that differ from the frame's."""
    return next((options for most, options, _ in OUTPUTS if hidden <= most), {})


def output_cost(hidden: int) -> float:
    """Return the cost of that output layer beside the frame's."""
    return next((share for most, _, share in OUTPUTS if hidden <= most), 1.0)


def token_cost(
    hidden: int,
    embedding: int,
    products: Products = "bf16",
    output: float = 1.0,
) -> float:
    """Return the seconds of training on one token (`TOKEN_COSTS`): in bf16, reference seconds.

    Args:
        output: Cost of the output layer beside the frame's (`output_cost`).
    """
    fixed, per_weight = TOKEN_COSTS[products]
    return fixed * output + per_weight * weights(hidden, embedding)


@dataclass(frozen=True)
class Machine:
    """Measured speed of the trainings on a machine.

    Args:
        tokens_per_second: Of the training of `PROBE`.
        threads: Of that training.
        products: Number format of its products.
        start: Seconds of the start and the end of its process.
    """

    tokens_per_second: float
    threads: int = 1
    products: Products = "bf16"
    start: float = REFERENCE_START

    @property
    def slowness(self) -> float:
        """Seconds that this machine needs for a reference second of work, by the training of `PROBE`."""
        return REFERENCE_SPEED * self.threads**THREADS_POWER / self.tokens_per_second

    def speed(self, hidden: int, embedding: int) -> float:
        """Return the tokens per second of the training of another network."""
        seconds = token_cost(hidden, embedding, self.products, output_cost(hidden))
        return self.tokens_per_second * token_cost(*PROBE, self.products) / seconds


def reference_machine(cores: int) -> Machine:
    """Return the machine of our measurements, idle, with so many cores."""
    return Machine(REFERENCE_SPEED * cores**THREADS_POWER, cores)


def width_for(cost: float, train_bytes: float) -> float:
    """Return the cells that suit a training of so many reference seconds on so many bytes."""
    by_time = WIDTH * (max(cost, 1e-9) / WIDTH_SECONDS) ** WIDTH_POWER
    by_text = WIDTH * (max(train_bytes, 1.0) / WIDTH_BYTES) ** WIDTH_POWER
    return min(by_time, by_text)


def shape_for(
    data: Data,
    machine: Machine,
    seconds: float,
) -> tuple[int, int]:
    """Return cells and embedding of the network whose training in so many seconds suits its own width best."""

    def misfit(shape: tuple[int, int]) -> float:
        seconds_of_token = token_cost(*shape, output=output_cost(shape[0]))
        cost = seconds * machine.speed(*shape) * seconds_of_token
        return abs(math.log(shape[0] / width_for(cost, data.train_bytes)))

    return min(SHAPES, key=misfit)


def dropout_for(passes: float, hidden: int) -> float:
    """Return the dropout: none below one pass, 0.1 for one, 0.07 more with each doubling, at most 0.5.

    A small network learns less by heart: below `DROPOUT_WIDTH` cells its passes count for less, as its cells do.
    """
    passes *= min(1.0, hidden / DROPOUT_WIDTH)
    if passes < 1:
        return 0.0
    return round(min(0.5, 0.1 + 0.07 * math.log2(passes)), 2)


def learning_rate_for(hidden: int, tokens: float) -> float:
    """Return the learning rate for so many cells and trained tokens."""
    by_width = RATE * (RATE_WIDTH / hidden) ** RATE_POWER
    return round(by_width * max(1.0, RATE_TOKENS / tokens) ** RATE_TOKENS_POWER, 5)


def batch_for(tokens: float) -> int:
    """Return the largest batch with which so many tokens still give `UPDATES` updates, or the smallest one."""
    return max(
        (batch for batch in BATCHES if batch * BPTT_LEN * UPDATES <= tokens), default=BATCHES[0]
    )


def seconds_after(
    network: ChosenNetwork | None,
    data: Data,
    machine: Machine,
) -> float:
    """Return the seconds from the end of the training to the end of the run.

    Args:
        network: The network; None if there is only the n-gram model.
        data: Sizes of the data.
        machine: The one that does what follows.
    """
    models = 1
    scoring = 0.0
    if network is not None:
        models = 3
        scoring = SCORING / machine.speed(network.hidden, network.embedding)

    starts = STARTS_AFTER + STARTS_AFTER_MODEL * models
    a_token = AFTER_TOKEN * models * max(machine.slowness, LEAST_SLOWNESS) + scoring
    return starts * machine.start + data.held_out_tokens * a_token


def choose(
    data: Data,
    machine: Machine,
    seconds: float,
) -> ChosenNetwork | None:
    """Return the network for the time left after all else; None if the time is too short for one."""
    if seconds < LEAST_SECONDS or data.train_tokens < BATCHES[0] * BPTT_LEN:
        return None

    hidden, embedding = shape_for(data, machine, seconds)
    speed = machine.speed(hidden, embedding)
    tokens = min(seconds * speed, MOST_PASSES * data.train_tokens)
    passes = tokens / data.train_tokens
    cost = tokens * token_cost(hidden, embedding)
    return ChosenNetwork(
        hidden,
        embedding,
        dropout_for(passes, hidden),
        learning_rate_for(hidden, tokens),
        batch_for(tokens),
        passes,
        tokens / speed,
        cost,
    )


def require_frame(config: RunConfig) -> None:
    """Refuse a preset whose models the rule cannot fill in.

    Raises:
        ConfigError: It does not extend the preset `minutes`, or changes what the rule relies on.
    """
    kinds = {spec.name: spec.kind for spec in config.models}
    schedules = {
        spec.training.schedule for spec in config.models if isinstance(spec, RecurrentSpec)
    }
    units = {name: spec.unit for name, spec in config.vocabulary.items()}
    vectors = [spec.name for spec in config.models if getattr(spec, "vectors", "")]
    frame = {
        BASELINE: "ngram",
        NETWORK: "lstm",
        MIXTURE: "mixture",
    }
    if (kinds, schedules, units, vectors) != (frame, {"trapezoid"}, {VOCABULARY: "word"}, []):
        raise ConfigError(
            "--minutes chooses the models itself, so it cannot use this preset's",
            where="--preset",
            value=config.preset,
            remedy=f'leave out --preset, or use one that begins with extends = "{FRAME}" and '
            "changes no models, starts from no word vectors and has a vocabulary of words",
        )
