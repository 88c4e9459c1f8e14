"""Checkpoints written by a thread: of the right moment, whole, in order; its errors are those of the training."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from tests.marked_cases import long_but
from tests.models.neural.made_trainings import Planted, journal, killed_at_rename, network_of, run
from training.neural import checkpoint
from training.neural.callbacks import checkpoint_writer, checkpointing
from training.neural.callbacks.checkpoint_writer import CheckpointWriter
from training.neural.checkpoint import Checkpoints
from training.neural.step import TrainingStep
from training.neural.trainer import CHECKPOINTS

ROOT = Path(__file__).resolve().parents[4]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
CLOCKS = ("time", "tokens_per_second", "step_seconds", "peak_memory", "product_peak")


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


@pytest.mark.usefixtures("in_a_thread")
def test_checkpoints_appear_in_the_order_in_which_they_were_given(tmp_path, monkeypatch):
    disk, number = Disk(monkeypatch), torch.zeros(1)
    disk.free.set()
    with CheckpointWriter(Checkpoints(tmp_path)) as writer:
        for update in range(5):
            writer.write({"w": number.fill_(update)}, {"update": update}, False, CPU)
    assert [facts["update"] for facts in disk.written] == [0, 1, 2, 3, 4]
    assert Checkpoints(tmp_path).load().tensors["w"].item() == 4


@pytest.mark.usefixtures("in_a_thread")
def test_an_error_of_the_thread_is_raised_by_the_next_call(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, failures=3)
    with CheckpointWriter(Checkpoints(tmp_path)) as writer:
        writer.look()
        writer.write({}, {}, True, CPU)
        writer.look()  # it is being written
        disk.free.set()
        with pytest.raises(OSError, match="No space left"):
            writer.finish()
        writer.finish()  # it is told once
        writer.write({}, {}, True, CPU)
        with pytest.raises(OSError, match="No space left"):
            writer.write({}, {}, True, CPU)
        writer.write({}, {}, True, CPU)
        writer._written.exception(60)
        with pytest.raises(OSError, match="No space left"):
            writer.look()


@pytest.mark.usefixtures("in_a_thread")
def test_an_error_of_the_last_checkpoint_is_raised_at_the_end_unless_there_is_another_one(
    tmp_path, monkeypatch, caplog
):
    disk = Disk(monkeypatch, failures=2)
    disk.free.set()

    def fail(error):
        with CheckpointWriter(Checkpoints(tmp_path)) as writer:
            writer.write({}, {}, True, CPU)
            if error:
                raise error

    with pytest.raises(OSError, match="No space left"):
        fail(None)
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="of the training"):
        fail(ValueError("of the training"))
    assert "the last checkpoint could not be written: [Errno 28] No space left" in caplog.text


def test_on_the_processor_there_is_no_thread(tmp_path):
    """It would compete with the updates for the cores."""
    with CheckpointWriter(Checkpoints(tmp_path)) as writer:
        writer.write({"w": torch.ones(1)}, {}, True, CPU)
        assert Checkpoints(tmp_path).load().tensors["w"].item() == 1
        assert writer._thread is None


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


@pytest.mark.usefixtures("in_a_thread")
def test_a_training_whose_checkpoint_cannot_be_written_ends_with_that_error(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
    replace_file, replaced = os.replace, []

    def full(*names):
        replaced.append(names)
        if len(replaced) > 6:
            raise OSError(28, "No space left on device")
        replace_file(*names)

    monkeypatch.setattr(checkpoint.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    assert len(list((tmp_path / CHECKPOINTS).glob("*.json"))) > 0


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


@pytest.mark.slow
def test_the_thread_changes_no_bit_also_where_the_training_goes_back(tmp_path, monkeypatch):
    found = []
    for devices in ((), ("cpu",)):
        monkeypatch.setattr(checkpoint_writer, "IN_A_THREAD", devices)
        monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", 0.0)
        folder = tmp_path / f"with {devices}"
        network, summary = run(folder, Planted("loss", (30,)))
        assert summary["divergences"] == 1
        newest = Checkpoints(folder / CHECKPOINTS).load().tensors
        found.append((bits(network), lines(folder), {name: tensor.tolist() for name, tensor in newest.items()}))
    assert found[0] == found[1]


PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from training.neural import checkpoint
from training.neural.callbacks import checkpoint_writer, checkpointing
from tests.models.neural.made_trainings import run
torch.set_num_threads(1)
checkpoint_writer.IN_A_THREAD, checkpointing.CHECKPOINT_SECONDS = ("cpu",), 0.0
names, replace = [], os.replace
def dying(*given):
    names.append(given)
    if len(names) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*given)
checkpoint.os.replace = dying
run(Path(sys.argv[1]))
"""


@pytest.mark.long
@pytest.mark.parametrize("rename", [2, 21, 22])
@pytest.mark.usefixtures("in_a_thread")
def test_a_process_killed_while_its_thread_writes_goes_on_to_the_same_bits(tmp_path, rename):
    """By SIGKILL before a rename: of the first checkpoint's description, and of both files of the eleventh one."""
    undisturbed, _ = run(tmp_path / "undisturbed")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), str(rename)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment, cwd=ROOT).returncode == -signal.SIGKILL
    found = Checkpoints(tmp_path / "killed" / CHECKPOINTS).load()
    assert (found and found.facts["course"]["updates"]) == {2: None, 21: 9, 22: 9}[rename]
    network, _ = run(tmp_path / "killed")
    assert bits(network) == bits(undisturbed)
    assert lines(tmp_path / "killed") == lines(tmp_path / "undisturbed")
