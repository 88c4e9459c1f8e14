"""Write an exported network to a folder: graph, vocabulary, and a card that describes inputs, outputs and the test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ...atomic_files import new_folder
from ...base import ModelError
from ...bundles.bundle import Bundle
from ...mixture.parts import parts_in
from ...specs import to_dict
from ...tokens.special import BOS, EOS, STARS, UNK
from ...tokens.vocabulary import FILE
from ..lm import NeuralLM
from .parity import TOLERANCE, Parity, compare
from .step_graph import STATES, ExportedLM, export_step

FORMAT = 1
GRAPH, CARD = "model.pt2", "card.json"
INSTEAD = "`reviewlm serve` and MLflow answer with any kind of model"


def exportable(bundle: Bundle, part: str = "") -> Bundle:
    """Return a model as it can be exported: itself, or the part of it that was asked for.

    Args:
        bundle: A model on the CPU.
        part: Name of a model that it combines; "" for the model itself.

    Raises:
        ModelError: kind "input": it is not a network, or has no such part.
    """
    networks = {name: (spec, model) for name, spec, model in _networks_in(bundle.spec, bundle.model)}
    if isinstance(bundle.model, NeuralLM) and not part:
        return bundle
    if part in networks:
        spec, model = networks[part]
        return replace(bundle, spec=spec, model=model)
    names, kind = ", ".join(networks), bundle.spec.kind
    if part:
        have = f"its networks: {names}" if networks else "it has no network"
        raise ModelError(f"'{bundle.spec.name}' has no network '{part}'; {have}", "input")
    if networks:
        raise ModelError(
            f"'{bundle.spec.name}' is of kind '{kind}', and only a network can be exported. Name one that it uses, "
            f"with --part: {names}. That is another model, with other scores and texts; {INSTEAD}", "input",
        )  # fmt: skip
    raise ModelError(
        f"'{bundle.spec.name}' is of kind '{kind}', and only a network (rnn, gru, lstm, nplm) can be exported; "
        f"{INSTEAD}, and `reviewlm.load(…).save(FOLDER)` writes its tables", "input",
    )  # fmt: skip


def _networks_in(spec: Any, model: Any) -> Iterator[tuple[str, Any, NeuralLM]]:
    """Yield name, options and model of every network that is the model or a part of it."""
    if isinstance(model, NeuralLM):
        yield spec.name, spec, model
        return
    for part in parts_in(model):
        for name, inner, network in _networks_in(part.spec, part.model):
            yield part.name if network is part.model else name, inner, network


def write_export(folder: Path, bundle: Bundle, probes: Sequence[tuple[str, int]], origin: dict[str, Any]) -> Parity:
    """Export a network; the folder gets its name only after the graph in it was opened and compared.

    Args:
        folder: Is replaced if it is an export, or empty.
        bundle: A result of `exportable`.
        probes: Texts and star ratings to compare, besides texts that the model writes.
        origin: JSON values for the card: which model this is.

    Raises:
        ModelError: kind "input": the folder holds something else; kind "bundle": the graph gives other numbers than the
            model; kind "disk".
    """
    model = bundle.model
    assert isinstance(model, NeuralLM)
    with new_folder(folder, _require_export) as new:
        export_step(model.network, new / GRAPH)
        parity = compare(bundle, ExportedLM.load(new / GRAPH, model), probes)
        bundle.vocabulary.save(new / FILE)
        text = json.dumps(_card(bundle, model, parity, origin), indent=1, ensure_ascii=False)
        (new / CARD).write_text(text + "\n", encoding="utf-8")
    return parity


def _require_export(folder: Path) -> None:
    """Raise ModelError unless the folder does not exist, is empty, or is an export."""
    if folder.exists() and not (folder.is_dir() and ((folder / CARD).is_file() or not any(folder.iterdir()))):
        raise ModelError(f"{folder} holds something else than an exported model; name another folder", "input")


def _card(bundle: Bundle, model: NeuralLM, parity: Parity, origin: dict[str, Any]) -> dict[str, Any]:
    start = model.network.start(1, "cpu")
    states = [
        {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": ["batch" if at == 1 else size
         for at, size in enumerate(tensor.shape)], "start": int(tensor.flatten()[0]) if tensor.numel() else 0}
        for name, tensor in zip(STATES[len(start)], start, strict=True)
    ]  # fmt: skip
    size = model.vocabulary_size
    return {
        "format": FORMAT, **origin, "network": bundle.spec.name, "bundle": bundle.digest, "spec": to_dict(bundle.spec),
        "graph": GRAPH, "torch": torch.__version__.split("+")[0],
        "inputs": [{"name": "ids", "dtype": "int64", "shape": ["batch"], "range": [0, size - 1]}, *states],
        "outputs": [{"name": "logp", "dtype": "float32", "shape": ["batch", size], "unit": "nats"}, *states],
        "tokens": {"unk": UNK, "bos": BOS, "eos": EOS, "stars": list(STARS)},
        "stream": "<bos> <stars_k> text <eos>; <bos> and <stars_k> are read first and have probability 0",
        "vocabulary": {"file": FILE, "unit": bundle.vocabulary.unit, "size": size},
        "parity": {**{name: value for name, value in asdict(parity).items() if name != "probes"},
                   "tolerance": TOLERANCE},
        "probes": parity.probes,
    }  # fmt: skip
