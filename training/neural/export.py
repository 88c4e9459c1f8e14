"""Export one step of a fitted network with `torch.export`: a token and a state in, log-probabilities and a state out.

    graph(ids_B, *state) → (logp_BV, *state)

The start state is zeros, for the feed-forward network `<bos>`. The number of texts B is free. `torch.export` needs no
package besides torch, and keeps int64 states and the exact operations. Shape legend: see `models/base.py`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from reviewlm.models.atomic_files import new_folder
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.neural.lm import NeuralLM, networks_in
from reviewlm.models.neural.network import STREAMS, Network
from reviewlm.models.sampling import generate
from reviewlm.models.specs import to_dict
from reviewlm.models.tokens.special import BOS, EOS, STARS, UNK
from reviewlm.models.tokens.vocabulary import FILE

EXAMPLE_BATCH = 3
"""Texts of the example that is traced; torch treats 0 and 1 as special sizes."""
STATES = {
    2: ("hidden", "stars"),
    3: ("hidden", "cell", "stars"),
    1: ("words",),
}
"""Names of the state tensors by their number: of RNN and GRU, of the LSTM, of the feed-forward network."""


Graph = Callable[..., Sequence[Tensor]]
"""A function of ids and state tensors, like `StepGraph`."""
TOLERANCE = 1e-4
"""Most that a log-probability may differ, in nats."""
MOST_TOKENS = 120
"""Longest text that is written for the comparison."""
FORMAT = 1
GRAPH = "model.pt2"
CARD = "card.json"


class StepGraph(nn.Module):
    """One step of a network, as a function of tensors only."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids_B: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Read one token of each text; return the distributions of the next token and the new state."""
        features_BTE, after = self.network(ids_B[:, None], state)
        return self.network.output.logp(features_BTE[:, 0]), *after


def export_step(network: Network, file: Path) -> None:
    """Write the graph of one step to a `.pt2` file, which `torch.export.load` opens.

    Args:
        network: A network on the CPU, in evaluation mode.
        file: The file; its name ends in `.pt2`.
    """
    # Copies: torch would make one input of two states that are the same tensor.
    state = tuple(tensor.clone() for tensor in network.start(EXAMPLE_BATCH, "cpu"))
    ids_B = torch.zeros(EXAMPLE_BATCH, dtype=torch.int64)
    batch = torch.export.Dim("batch")
    shapes = {0: batch}, tuple({STREAMS: batch} for _ in state)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        program = torch.export.export(StepGraph(network), (ids_B, *state), dynamic_shapes=shapes)
        program.example_inputs = None  # would be stored as a pickle
        torch.export.save(program, file)


def load_graph(file: Path) -> Graph:
    """Open what `export_step` wrote."""
    with warnings.catch_warnings(action="ignore"):
        graph: Graph = torch.export.load(file).module()
    return graph


@dataclass(frozen=True)
class Parity:
    """Result of a comparison.

    Args:
        positions: Number of compared distributions, those after the end of a shorter text included.
        largest_difference: Largest absolute difference of two log-probabilities, in nats.
        probes: Streams of token ids, and the ids that the exported graph must find likeliest after each.
    """

    positions: int
    largest_difference: float
    probes: list[dict[str, list[int]]]


def compare(
    bundle: Bundle,
    graph: Graph,
    probes: Sequence[tuple[str, int]],
) -> Parity:
    """Compare all distributions over given texts and over texts that the model writes, drawn and likeliest ones.

    Args:
        bundle: The model and its vocabulary.
        graph: The exported graph.
        probes: Texts and star ratings.

    Raises:
        ModelError: kind "bundle": a log-probability differs by more than `TOLERANCE`.
    """
    written = []
    for stars in bundle.ratings(None):
        for temperature in (0.0, 1.0):
            found = generate(
                bundle,
                stars=stars,
                temperature=temperature,
                max_tokens=MOST_TOKENS,
                seed=1,
            )
            written.append((found[0], stars))

    streams = []
    for text, stars in [*probes, *written]:
        streams.append([*bundle.vocabulary.prefix(stars), *bundle.vocabulary.encode(text).tolist()])

    longest = max(map(len, streams))
    ids_BT = np.full((len(streams), longest), EOS, np.int64)
    for row, stream in enumerate(streams):
        ids_BT[row, : len(stream)] = stream

    largest = 0.0
    likeliest = []
    state = bundle.model.start(len(ids_BT))
    after = cast(NeuralLM, bundle.model).network.start(len(ids_BT), "cpu")
    for ids_B in ids_BT.T:
        ours_BV, state = bundle.model.step(ids_B, state)
        with torch.no_grad():
            theirs_BV, *after = graph(torch.from_numpy(ids_B.copy()), *after)  # type: ignore[assignment]
        largest = max(largest, _difference(ours_BV, theirs_BV))
        likeliest.append(ours_BV.argmax(1).tolist())

    expected = []
    for place, stream in enumerate(streams[: len(probes)]):
        best = [row[place] for row in likeliest[: len(stream)]]
        expected.append({"ids": stream, "likeliest": best})

    if largest > TOLERANCE:
        raise ModelError(
            f"the exported graph's log-probabilities differ by up to {largest:.2g} nats; "
            f"{TOLERANCE:g} is allowed",
            "bundle",
        )

    return Parity(ids_BT.size, largest, expected)


def _difference(one_BV: torch.Tensor, other_BV: torch.Tensor) -> float:
    """Return the largest difference; infinite if an entry is possible in one and not in the other, or is no number."""
    possible_BV = torch.isfinite(one_BV)
    if not torch.equal(possible_BV, torch.isfinite(other_BV)):
        return inf
    return float((one_BV[possible_BV] - other_BV[possible_BV]).abs().max())


def exportable(bundle: Bundle, part: str = "") -> Bundle:
    """Return a model as it can be exported: itself, or the part of it that was asked for.

    Args:
        bundle: A model on the CPU.
        part: Name of a model that it combines; "" for the model itself.

    Raises:
        ModelError: kind "input": it is not a network, or has no such part.
    """
    networks = {
        name: (spec, model)
        for name, spec, model in networks_in(bundle.model, bundle.spec.name, bundle.spec)
    }
    if isinstance(bundle.model, NeuralLM) and not part:
        return bundle
    if part in networks:
        spec, model = networks[part]
        return replace(bundle, spec=spec, model=model)

    there = "it has no network"
    if networks:
        there = f"name one of its networks with --part: {', '.join(networks)}"

    raise ModelError(
        f"only a network (rnn, gru, lstm, nplm) can be exported; '{bundle.spec.name}' is of kind "
        f"'{bundle.spec.kind}'{f', and {part!r} is none of it' if part else ''}: {there}",
        "input",
    )


def write_export(
    folder: Path,
    bundle: Bundle,
    probes: Sequence[tuple[str, int]],
    origin: dict[str, Any],
) -> Parity:
    """Export a network; the folder gets its name only after the graph in it was opened and compared.

    Args:
        folder: A new one.
        bundle: A result of `exportable`.
        probes: Texts and star ratings to compare, besides texts that the model writes.
        origin: JSON values for the card: which model this is.

    Raises:
        ModelError: kind "input": the folder exists; kind "bundle": the graph gives other numbers than the
            model; kind "disk".
    """
    model = bundle.model
    assert isinstance(model, NeuralLM)
    with new_folder(folder) as new:
        export_step(model.network, new / GRAPH)
        parity = compare(bundle, load_graph(new / GRAPH), probes)
        bundle.vocabulary.save(new / FILE)
        text = json.dumps(_card(bundle, model, parity, origin), indent=1, ensure_ascii=False)
        (new / CARD).write_text(text + "\n", encoding="utf-8")
    return parity


def _card(
    bundle: Bundle,
    model: NeuralLM,
    parity: Parity,
    origin: dict[str, Any],
) -> dict[str, Any]:
    start = model.network.start(1, "cpu")
    states = []
    for name, tensor in zip(STATES[len(start)], start, strict=True):
        shape: list[str | int] = list(tensor.shape)
        shape[1] = "batch"
        states.append(
            {
                "name": name,
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": shape,
                "start": int(tensor.flatten()[0]) if tensor.numel() else 0,
            }
        )

    size = model.vocabulary_size
    ids = {
        "name": "ids",
        "dtype": "int64",
        "shape": ["batch"],
        "range": [0, size - 1],
    }
    logp = {
        "name": "logp",
        "dtype": "float32",
        "shape": ["batch", size],
        "unit": "nats",
    }
    measured = {name: value for name, value in asdict(parity).items() if name != "probes"}
    return {
        "format": FORMAT,
        **origin,
        "network": bundle.spec.name,
        "bundle": bundle.digest,
        "spec": to_dict(bundle.spec),
        "graph": GRAPH,
        "torch": torch.__version__.split("+")[0],
        "inputs": [ids, *states],
        "outputs": [logp, *states],
        "tokens": {
            "unk": UNK,
            "bos": BOS,
            "eos": EOS,
            "stars": list(STARS),
        },
        "stream": "<bos> <stars_k> text <eos>; <bos> and <stars_k> are read first and have probability 0; <unk> stands "
        "for an unknown word and is never written, so give it probability 0 where you write",
        "vocabulary": {
            "file": FILE,
            "unit": bundle.vocabulary.unit,
            "size": size,
        },
        "parity": {**measured, "tolerance": TOLERANCE},
        "probes": parity.probes,
    }
