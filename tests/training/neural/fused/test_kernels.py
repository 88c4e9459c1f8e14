"""Where kernels are compiled, and where products in bfloat16 are done: on machines that lack something, too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from models.neural import network as network_module
from models.neural.architectures import NPLMNetwork, RecurrentNetwork
from models.neural.network import Network
from models.specs import NPLMSpec, ObjectiveSpec, RecurrentSpec, TrainingSpec
from training.neural.tbptt import Memory, add_gradients

V, B, T = 60, 3, 6


def gradients(kind: str, precision: str) -> list[torch.Tensor]:
    """Return all gradients of one window."""
    torch.manual_seed(1)
    training = TrainingSpec(precision=precision, bptt_len=T)  # type: ignore[arg-type]
    shape = {"hidden": 8, "embedding": 6, "dropout": 0.0, "objective": ObjectiveSpec(head=10), "training": training}
    network: Network
    if kind == "nplm":
        network = NPLMNetwork(NPLMSpec(**shape), torch.arange(V) + 1)  # type: ignore[arg-type]
    else:
        network = RecurrentNetwork(RecurrentSpec(kind=kind, **shape), torch.arange(V) + 1)  # type: ignore[arg-type]
    x_BT, y_BT = torch.randint(9, V, (2, B, T)).unbind()
    memory = Memory.empty(network, B, torch.device("cpu"))
    add_gradients(network.train(), memory, x_BT, y_BT, None, training, B)
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("kind", ["lstm", "nplm"])
def test_without_instructions_for_bfloat16_a_processor_trains_in_float32(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, found = gradients(kind, "float32"), {}
    for able in (True, False):
        monkeypatch.setattr(network_module, "bf16_on_processor", lambda able=able: able)
        found[able] = gradients(kind, "bf16")
    assert all(torch.equal(one, other) for one, other in zip(found[False], exact, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(found[True], exact, strict=True))


@pytest.mark.long
def test_a_recurrent_model_that_is_only_asked_needs_no_numba() -> None:
    ran = in_a_fresh_process(
        "import sys; sys.modules['numba'] = None;"
        "import torch; from models.specs import RecurrentSpec; from models.neural.architectures import NeuralLM;"
        "model = NeuralLM(RecurrentSpec(), NeuralLM.build(RecurrentSpec(), torch.ones(20)), 20);"
        "import numpy as np; print(model.score(np.array([[1, 9, 10]]), model.start(1))[0].shape)"
    )
    assert ran.stdout.strip() == "(1, 3)"


def in_a_fresh_process(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran
