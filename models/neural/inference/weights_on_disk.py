"""Keep a network's float32 weights in its file, mapped into memory, where int8 does most of the work.

A server with int8 needs the float32 weights for scores and other exact requests only. Mapped, they take memory while
such a request reads them; several processes that serve one version share it. The numbers are the same: they are read
from the same bytes.
"""

from __future__ import annotations

import json
import logging
import mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..lm import NeuralLM, networks_in

log = logging.getLogger(__name__)


class WeightsOnDisk:
    """The weights of a model's networks, of those that were loaded from files that are still the same.

    A file may be replaced or removed, but not written to.

    Args:
        model: Any model; one that combines others has several networks, or none.
    """

    def __init__(self, model: Any) -> None:
        self._mapped: list[mmap.mmap] = []
        for network in {id(each): each for *_, each in networks_in(model)}.values():
            try:
                self._map(network)
            except (OSError, ValueError, KeyError) as error:
                log.info("the weights stay in memory: %s", error)

    def _map(self, model: NeuralLM) -> None:
        if model.network.file is None or model.device.type != "cpu":
            return
        mapped, tensors = mapped_tensors(model.network.file)
        for name, parameter in model.network.named_parameters():
            tensor = tensors.get(name)
            if tensor is not None and torch.equal(tensor, parameter):
                parameter.data = tensor
        model.reader(again=True)
        self._mapped.append(mapped)

    def forget(self) -> None:
        """Give the memory back; what is needed is read again."""
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)


def mapped_tensors(path: Path) -> tuple[mmap.mmap, dict[str, Tensor]]:
    """Return a safetensors file, mapped, and its float32 tensors, which are views of it."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    begin = 8 + int.from_bytes(mapped[:8], "little")
    tensors = {}
    for name, facts in json.loads(mapped[8:begin]).items():
        if facts.get("dtype") == "F32" and (count := (facts["data_offsets"][1] - facts["data_offsets"][0]) // 4):
            flat = torch.frombuffer(mapped, dtype=torch.float32, count=count, offset=begin + facts["data_offsets"][0])
            tensors[name] = flat.view(facts["shape"])
    return mapped, tensors
