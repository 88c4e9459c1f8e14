"""Which fits can be equal to the last bit, and that a fit says so."""

import pytest
import torch

from reviewlm.models.neural.device import limited_threads
from reviewlm.training.neural.checkpointing import determinism_class

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    return GPU


def test_another_number_of_threads_or_ranks_or_another_device_is_another_class(gpu):
    with limited_threads(1):
        one = determinism_class(CPU)
        assert determinism_class(CPU) == one
        others = [determinism_class(CPU, ranks=2), determinism_class(gpu)]
    with limited_threads(2):
        others.append(determinism_class(CPU))
    assert all(other != one for other in others)
