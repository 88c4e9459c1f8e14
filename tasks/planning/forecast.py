"""Say before a run how long it takes about, and which time for `--minutes` suits the data.

The forecast is that of the rule for `--minutes` (`rule.py`) on idle cores like those of our measurements. A run with
`--minutes` measures its machine and its data, and keeps its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reviewlm.core.config.sections.data import SplitConfig
from reviewlm.models.specs import ModelSpec, NPLMSpec, RecurrentSpec
from reviewlm.tasks.planning.gain_law import gain
from reviewlm.tasks.planning.rule import (
    SCORING,
    ChosenNetwork,
    Data,
    Machine,
    choose,
    reference_machine,
    seconds_after,
)

MINUTES = (5, 10, 15, 30, 60, 120, 240, 480, 960)
"""Times of which one is advised."""
WORTHWHILE_GAIN = 0.02
"""Share of the n-gram model's bits that twice the time must save to be advised."""
START_SECONDS = 20.0
"""Time of any run before its training, without reading and preparing reviews."""
REVIEWS_PER_SECOND = 20_000.0
"""Reviews that are read and prepared in a second on two idle cores."""
TOKENS_PER_BYTE = 0.21
"""Words in a byte of English reviews: a word or mark has 4.8 bytes, with the space before it."""


@dataclass(frozen=True)
class RunForecast:
    """Advised time of a run, and its expected network and gain.

    Attributes:
        minutes: Advised time for `--minutes`.
        hidden: Cells of the network that fits it; 0: none does.
        passes: Number of passes of the training over the training reviews.
        saves: Share of the n-gram model's bits that it saves.
        twice: The same share with twice the time.
        preset_minutes: Time of a run with the preset; None if its networks are of kinds that the rule does not know.
    """

    minutes: int
    hidden: int
    passes: float
    saves: float
    twice: float
    preset_minutes: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return all as JSON values."""
        return vars(self).copy()


def forecast_run(
    split: SplitConfig,
    models: Sequence[ModelSpec],
    reviews: int,
    bytes_of_review: float,
    cores: int,
) -> RunForecast:
    """Return the forecast for so many reviews of this mean length, on so many idle cores."""
    data = _sizes(split, reviews * bytes_of_review)
    before = START_SECONDS + reviews / REVIEWS_PER_SECOND
    machine = reference_machine(cores)
    networks = {}
    for m in (*MINUTES, 2 * MINUTES[-1]):
        networks[m] = _network(data, 60.0 * m - before, machine)

    saved = {m: _saved_share(network, data) for m, network in networks.items()}
    enough = []
    for m in MINUTES:
        # 20 minutes, the double of 10, are not among them: the longest time stands for it.
        saved_in_twice = saved.get(2 * m, saved[MINUTES[-1]])
        if networks[m] and saved_in_twice - saved[m] < WORTHWHILE_GAIN:
            enough.append(m)

    advised = enough[0] if enough else MINUTES[-1]
    hidden = 0
    passes = 0.0
    network = networks[advised]
    if network:
        hidden = network.hidden
        passes = network.passes

    twice = saved.get(2 * advised, saved[advised])
    minutes = _minutes_of_preset(models, data, before, machine)
    return RunForecast(
        advised,
        hidden,
        passes,
        saved[advised],
        twice,
        minutes,
    )


def _sizes(split: SplitConfig, text_bytes: float) -> Data:
    """Return the expected sizes of the splits of so much text."""
    held_out = split.validation + split.test
    train_bytes = text_bytes * (1 - held_out)
    return Data(
        int(train_bytes),
        int(train_bytes * TOKENS_PER_BYTE),
        int(text_bytes * held_out * TOKENS_PER_BYTE),
    )


def _network(
    data: Data,
    seconds: float,
    machine: Machine,
) -> ChosenNetwork | None:
    """Return the network for the seconds after the data are prepared; the time after it depends on it."""
    network = choose(data, machine, seconds - seconds_after(None, data, machine))
    # Three rounds: a smaller network takes less time after its training, which is then left for a larger one.
    for _ in range(3):
        if network is not None:
            network = choose(data, machine, seconds - seconds_after(network, data, machine))
    return network


def _saved_share(network: ChosenNetwork | None, data: Data) -> float:
    """Return the share of bits that a network is expected to save; 0 without one."""
    if network:
        return gain(network.cost, data.train_bytes)
    return 0.0


def _minutes_of_preset(
    models: Sequence[ModelSpec],
    data: Data,
    before: float,
    machine: Machine,
) -> float | None:
    """Return the minutes of a run with the models of a configuration, if its networks are recurrent."""
    if any(isinstance(spec, NPLMSpec) for spec in models):
        return None

    train = 0.0
    after = seconds_after(None, data, machine)
    for spec in models:
        if not isinstance(spec, RecurrentSpec):
            continue
        speed = machine.speed(spec.hidden, spec.embedding)
        train += spec.training.epochs * data.train_tokens / speed
        after += SCORING * data.held_out_tokens / speed

    return (before + train + after) / 60
