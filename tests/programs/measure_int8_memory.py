"""Print the memory that a network in int8 adds, as a share of its weights in float32, by the kind of its output."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reviewlm.models.bundles.bundle import in_int8
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec

WORDS = 8_971


def make_model(size: int, output: Any) -> NeuralLM:
    objective = ObjectiveSpec(output=output)
    spec = RecurrentSpec(
        layers=2,
        hidden=size,
        embedding=size,
        objective=objective,
    )
    network = NeuralLM.build(spec, torch.ones(WORDS, dtype=torch.int64))
    return NeuralLM(spec, network, WORDS)


def take_steps(model: Any) -> Any:
    for rows in (1, 4, 32):
        model.step(np.full(rows, 9), model.start(rows))
    return model


def own_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+)", status)
    assert found is not None
    return 1024 * int(found[1])


if __name__ == "__main__":
    # With as many words: then all kernels are compiled before memory is measured.
    take_steps(in_int8(make_model(8, sys.argv[1])))
    model = make_model(650, sys.argv[1])
    before = own_bytes()
    kept = take_steps(in_int8(model))
    weights = sum(4 * weight.numel() for weight in model.network.parameters())
    print((own_bytes() - before) / weights)
