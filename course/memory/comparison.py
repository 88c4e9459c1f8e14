"""Compare networks with and without an external memory: equal parameters, updates and choice of the learning rate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from course.memory.end_to_end import EndToEndMemoryNetwork
from course.memory.external_memory import ExternalMemoryNetwork
from course.toy_training import CASES, TANH, Build, ToyCase
from models.neural.network import Network
from models.neural.recurrent import RecurrentNetwork
from models.specs import RecurrentSpec

MOST_UNITS = 4_096
HOPS = 1, 2, 3
"""Numbers of hops that are compared."""


def plain_network(spec: RecurrentSpec, counts_V: Tensor) -> Network:
    """Return a network without a memory; its embeddings start with standard deviation 1, as those of the memory's do.

    The small ones of the language models (`EMBEDDING_STD`) would be a disadvantage: they delay the learning.
    """
    network = RecurrentNetwork(spec, counts_V)
    nn.init.normal_(network.embedding.weight)
    return network


PLAIN = {name: replace(case, build=plain_network) for name, case in CASES.items()}
"""The networks of the other toy tasks."""


def association_cases(slots: int) -> dict[str, ToyCase]:
    """Return the networks that are compared on association, that with the memory first."""
    return {"memory": ToyCase(TANH, 5e-3, partial(ExternalMemoryNetwork, slots=slots)), **PLAIN}


def implication_cases() -> dict[str, ToyCase]:
    """Return the networks that are compared on implication, those with hops first; all of them have equal sizes."""
    hops = {f"hops {hops}": ToyCase(TANH, 1e-2, partial(EndToEndMemoryNetwork, hops=hops)) for hops in HOPS}
    return {**hops, **PLAIN}


def parameters_of(build: Build, spec: RecurrentSpec, entries: int) -> int:
    """Return the number of parameters of a network; the random stream of torch does not change."""
    with torch.random.fork_rng(devices=[]):
        return sum(one.numel() for one in build(spec, torch.ones(entries, dtype=torch.int64)).parameters())


def of_equal_size(build: Build, spec: RecurrentSpec, entries: int, parameters: int) -> RecurrentSpec:
    """Return the options with so many units that the network has as many parameters as asked for, or just fewer.

    Args:
        build: Makes the network.
        spec: Its options; `hidden` and `embedding` are replaced.
        entries: V.
        parameters: Number to reach.
    """
    low, high = 1, MOST_UNITS
    while low < high:
        middle = (low + high + 1) // 2
        fits = parameters_of(build, replace(spec, hidden=middle, embedding=middle), entries) <= parameters
        low, high = (middle, high) if fits else (low, middle - 1)
    return replace(spec, hidden=low, embedding=low)
