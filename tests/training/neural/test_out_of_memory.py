"""Memory that does not suffice: the same update again with half as many streams at a time, and so on from there."""

from dataclasses import replace

import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.neural.device import out_of_memory
from reviewlm.training.neural.validation import validation_nats
from tests.marked_cases import long_but
from tests.models.neural.made_streams import walks
from tests.models.neural.made_trainings import SPEC, TRAINING, V, curve, network_of, run

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000 bytes. Error code 12 (Cannot allocate memory)\nwhere it was asked for"
)
RECIPE = replace(TRAINING, batch=8)


class Small:
    """A network whose machine holds the activations of so many streams only, from a training window on.

    The complaint comes after dropout has drawn, as it does where the output layer's logits do not fit.
    """

    def __init__(
        self,
        streams,
        error,
        since=0,
    ):
        self.network, self.streams, self.error = (
            network_of(replace(SPEC, training=RECIPE)),
            streams,
            error,
        )
        self.complaints, self.steps, self.since = 0, 0, since
        self.loss, self.network.output.loss = self.network.output.loss, self.limited

    def limited(self, features_NE, targets_N, *rest):
        first = len(features_NE) / RECIPE.bptt_len == RECIPE.batch
        if self.steps >= self.since and len(features_NE) > self.streams * RECIPE.bptt_len:
            self.complaints += 1
            raise self.error
        self.steps += first
        return self.loss(features_NE, targets_N, *rest)


def bits(network):
    return [parameter.detach().numpy().tobytes() for parameter in network.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", long_but([GPU, CPU, MemoryError()], [CPU]), ids=["GPU", "processor", "Python"]
)
@pytest.mark.parametrize(("streams", "micro_batch"), long_but([(4, 4), (3, 2), (1, 1)], [(3, 2)]))
def test_a_training_in_little_memory_is_that_of_a_recipe_with_few_streams_at_a_time(
    tmp_path,
    error,
    streams,
    micro_batch,
    caplog,
):
    """From the first window on, so it must be the training of a recipe that asks for those few streams."""
    small = Small(streams, error)
    _, summary = run(tmp_path / "small", small.network, RECIPE)
    asked, expected = run(tmp_path / "asked", training=replace(RECIPE, micro_batch=micro_batch))
    assert summary["micro_batch"] == expected["micro_batch"] == micro_batch
    assert bits(small.network) == bits(asked)
    halvings = [8 // 2**n for n in range(1, 4) if 8 // 2**n >= micro_batch]
    assert curve(tmp_path / "small", "micro_batch") == halvings
    assert small.complaints == len(halvings)
    assert caplog.text.count("gradients are now accumulated") == len(halvings)
    assert curve(tmp_path / "small", "train/nats") == curve(tmp_path / "asked", "train/nats")


def test_one_stream_that_is_too_large_is_an_error_of_memory(tmp_path):
    small = Small(0, CPU)
    with (
        pytest.raises(ModelError, match="smaller batch, window or hidden size") as failure,
        out_of_memory("g", "cpu"),
    ):
        run(tmp_path, small.network, RECIPE)
    assert failure.value.kind == "memory"
    assert small.complaints == 4
    assert curve(tmp_path, "micro_batch") == [4, 2, 1]


# --- validation


@pytest.mark.parametrize(
    "error", [GPU, RuntimeError("CUDA error: out of memory")], ids=["torch", "driver"]
)
def test_validation_reads_fewer_positions_at_a_time_where_memory_does_not_suffice(error, caplog):
    """The machine holds 20 positions: a piece of each review of a batch."""
    network, stream = network_of().eval(), walks(30, V, 3)
    expected, tokens = validation_nats(network, stream, positions=200)
    forward, most = network.forward, []

    def limited(ids_BT, state):
        if ids_BT.numel() > 20:
            raise error
        most.append(ids_BT.numel())
        return forward(ids_BT, state)

    network.forward = limited
    nats, count = validation_nats(network, stream, positions=200)
    assert count == tokens
    assert nats == pytest.approx(expected, rel=1e-6)
    assert 10 < max(most) <= 20
    # Smaller batches are not tried anew each time.
    assert 1 <= caplog.text.count("not enough memory for validation") <= 5
