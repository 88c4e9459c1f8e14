"""Checkpoints written by a thread: of the right moment, whole, in order; its errors are those of the training."""

import threading

import pytest
import torch

from tests.marked_cases import long_but
from tests.models.neural.made_trainings import journal, killed_at_rename, network_of, run
from training.neural import checkpointing
from training.neural import checkpointing as checkpoint_writer
from training.neural.checkpoint import Checkpoints
from training.neural.checkpointing import CheckpointWriter
from training.neural.step import TrainingStep

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CLOCKS = ("time", "tokens_per_second", "step_seconds", "peak_memory")


class Disk:
    """A disk that writes nothing until it is let go, then fails as often as asked."""

    def __init__(self, monkeypatch, failures=0):
        self.free, self.written, self.failures, write = threading.Event(), [], failures, Checkpoints.write

        def slow_write(checkpoints, copies, facts, good):
            assert self.free.wait(60)
            if self.failures:
                self.failures -= 1
                raise OSError(28, "No space left on device")
            write(checkpoints, copies, facts, good)
            self.written.append(facts)

        monkeypatch.setattr(Checkpoints, "write", slow_write)


@pytest.fixture
def in_a_thread(monkeypatch):
    """Trainings on the processor have the thread too, so that bits can be compared."""
    monkeypatch.setattr(checkpoint_writer, "IN_A_THREAD", ("cpu", "cuda"))


def bits(network):
    return {name: parameter.detach().cpu().numpy().tobytes() for name, parameter in network.named_parameters()}


def lines(folder):
    return [{k: v for k, v in line.items() if not k.startswith(CLOCKS)} for line in journal(folder)]


# --- the writer


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
@pytest.mark.usefixtures("counts", "in_a_thread")
def test_a_checkpoint_holds_what_the_tensors_held_when_it_was_given(tmp_path, monkeypatch, device):
    disk, checkpoints = Disk(monkeypatch), Checkpoints(tmp_path)
    weights, facts = {"w": torch.arange(6.0).view(2, 3).t().to(device)}, {"losses": [1.0]}
    with CheckpointWriter(checkpoints) as writer:
        writer.write(weights, facts, True, device)
        weights["w"].zero_()
        facts["losses"].append(2.0)
        assert checkpoints.load() is None
        disk.free.set()
    found = checkpoints.load(good=True)
    assert found.tensors["w"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert found.facts == {"losses": [1.0]}


# --- a training with it


@pytest.mark.usefixtures("counts")
def test_a_training_on_a_gpu_makes_updates_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """The disk stands still from the first update to the fourth; the checkpoint after the first one is due."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    disk, update, written = Disk(monkeypatch), TrainingStep.__call__, []
    disk.free.set()

    def watched(step, *window):
        written.append([facts["course"]["updates"] for facts in disk.written])
        if len(written) == 1:
            disk.free.clear()
        if len(written) == 2:
            monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 1e9)
        if len(written) == 4:
            disk.free.set()
        update(step, *window)

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    _, summary = run(tmp_path, network_of().to(GPU))
    assert written[:4] == [[0], [0], [0], [0]]
    assert [facts["course"]["updates"] for facts in disk.written][:2] == [0, 1]
    assert disk.written[-1]["course"]["updates"] == summary["updates"]


@pytest.mark.slow
@pytest.mark.parametrize("rename", long_but(range(1, 8), {6}))
@pytest.mark.usefixtures("in_a_thread")
def test_a_training_that_dies_while_its_thread_writes_goes_on_to_the_same_bits(tmp_path, monkeypatch, rename):
    """It dies before one of the two renames of a checkpoint."""
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    undisturbed, summary = run(tmp_path / "undisturbed")
    with killed_at_rename(rename):
        run(tmp_path / "killed")
    network, other = run(tmp_path / "killed")
    assert bits(network) == bits(undisturbed)
    assert lines(tmp_path / "killed") == lines(tmp_path / "undisturbed")
    assert other["validation_nats"] == summary["validation_nats"]
    assert not list(tmp_path.rglob("*.part"))
