"""Products in bfloat16 are done where the processor has instructions for them."""

from __future__ import annotations

import pytest
import torch

from reviewlm.models.neural import network as network_module
from reviewlm.models.neural.architectures import NPLMNetwork, RecurrentNetwork
from reviewlm.models.neural.network import Network
from reviewlm.models.specs import NPLMSpec, ObjectiveSpec, RecurrentSpec, TrainingSpec
from reviewlm.training.neural.tbptt import Memory, add_gradients

V, B, T = 60, 3, 6


def gradients(kind: str, precision: str) -> list[torch.Tensor]:
    """Return all gradients of one window."""
    torch.manual_seed(1)
    training = TrainingSpec(precision=precision, bptt_len=T)  # type: ignore[arg-type]
    shape = {
        "hidden": 8,
        "embedding": 6,
        "dropout": 0.0,
        "objective": ObjectiveSpec(head=10),
        "training": training,
    }
    network: Network
    if kind == "nplm":
        network = NPLMNetwork(NPLMSpec(**shape), torch.arange(V) + 1)  # type: ignore[arg-type]
    else:
        network = RecurrentNetwork(RecurrentSpec(kind=kind, **shape), torch.arange(V) + 1)  # type: ignore[arg-type]
    x_BT, y_BT = torch.randint(9, V, (2, B, T)).unbind()
    memory = Memory.empty(network, B, torch.device("cpu"))
    add_gradients(
        network.train(),
        memory,
        x_BT,
        y_BT,
        None,
        training,
        B,
    )
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("kind", ["lstm", "nplm"])
def test_without_instructions_for_bfloat16_a_processor_trains_in_float32(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = gradients(kind, "float32")
    if network_module.bf16_on_processor():
        assert not all(map(torch.equal, gradients(kind, "bf16"), exact))
    monkeypatch.setattr(network_module, "bf16_on_processor", lambda: False)
    assert all(map(torch.equal, gradients(kind, "bf16"), exact))
