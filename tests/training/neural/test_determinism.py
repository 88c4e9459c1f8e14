"""Which fits can be equal to the last bit, and that a fit says so."""

import logging

import pytest
import torch

from models.neural.device import limited_threads
from tests.models.neural.made_trainings import run
from training.neural.callbacks.checkpointing import announcement, determinism_class

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


def test_a_training_announces_its_class_once_when_it_starts_and_when_it_goes_on(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "models")
    for times in (1, 2):
        run(tmp_path)
        lines = [line for line in caplog.messages if line.startswith("determinism class")]
        assert lines == [announcement(determinism_class(CPU))] * times
