"""Which fits can be equal to the last bit, and that a fit says so."""

import logging

import pytest
import torch

from models.neural.device import limited_threads
from tests.models.neural.made_trainings import network_of, run
from training.neural.callbacks import checkpointing
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


def test_equal_bits_are_announced_on_the_processor_only(gpu):
    with limited_threads(2):
        said, of_gpu = announcement(determinism_class(CPU)), announcement(determinism_class(gpu))
    assert said.startswith("determinism class: torch ")
    assert "device cpu" in said
    assert said.endswith("threads 2; equal fits in this class are equal bit for bit")
    assert "none on a GPU" in of_gpu
    assert "device Some GPU" in of_gpu
    assert of_gpu.endswith("equal up to rounding")


def test_a_training_announces_its_class_once_when_it_starts_and_when_it_goes_on(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "models")
    for times in (1, 2):
        run(tmp_path)
        lines = [line for line in caplog.messages if line.startswith("determinism class")]
        assert lines == [announcement(determinism_class(CPU))] * times


def test_a_training_that_goes_on_on_a_gpu_says_that_it_is_another_class(tmp_path, monkeypatch, caplog, gpu):
    """Only its name is a GPU's here."""
    run(tmp_path)
    monkeypatch.setattr(
        checkpointing, "determinism_class", lambda device, ranks: determinism_class(gpu, ranks)
    )
    _, summary = run(tmp_path, network_of())
    assert summary["class_changes"] == 1
    assert "resumes with" in caplog.text
    assert "device Some GPU" in caplog.text
