"""Where a GPU's memory does not suffice, less is read at a time.

Each test runs in a process of its own: earlier tests leave memory taken, 2.1 GiB on an H200 (buffers of cuBLAS for each
captured graph are suspected, not shown), with which nobody can say how much is free.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from unittest import TestCase

import pytest
import torch

from reviewlm.models.neural.device import free_cached_memory, require_device
from reviewlm.training.neural.validation import validation_nats
from tests.models.neural.made_streams import walks
from tests.models.neural.made_trainings import SPEC, TRAINING, VALIDATION, V, curve, network_of, run

pytestmark = [pytest.mark.gpu, pytest.mark.needs_real_gpu]
GPU = torch.device("cuda", 0)
LARGE = replace(
    SPEC,
    kind="lstm",
    hidden=512,
    embedding=64,
    dropout=0.0,
)
MIB = 1 << 20


def in_a_fresh_process(function, *given):
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def leave_little_memory():
    """Let 64 MiB of the GPU's memory be free, after cuBLAS has its buffers."""
    require_device("cuda:0")
    (
        torch.ones(8, 8, device=GPU, requires_grad=True) @ torch.ones(8, 8, device=GPU)
    ).sum().backward()
    free_cached_memory()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(GPU) + 64 * MIB) / total, GPU
    )


def train_with_little_memory(
    folder,
    training,
    stream,
):
    leave_little_memory()
    network = network_of(replace(LARGE, training=training)).to(GPU)
    _, summary = run(folder, network, training, (stream, VALIDATION))
    return summary["micro_batch"], all(
        bool(weight.isfinite().all()) for weight in network.parameters()
    )


def validate_with_little_memory(network, stream):
    leave_little_memory()
    with TestCase().assertLogs() as logged:
        return *validation_nats(network.to(GPU), stream), logged.output


def test_fewer_streams_are_read_at_a_time(tmp_path):
    """256 streams × 40 tokens × 4 gates × 512 cells in float32 are 80 MiB of one layer alone."""
    training = replace(
        TRAINING,
        batch=256,
        bptt_len=40,
        epochs=1,
        evaluations=1,
    )
    micro_batch, finite = in_a_fresh_process(
        train_with_little_memory, tmp_path, training, walks(1000, V, 1)
    )
    assert 1 <= micro_batch < 256
    assert curve(tmp_path, "micro_batch")[0] == 128
    assert finite


def test_validation_reads_fewer_positions_at_a_time():
    stream = walks(1000, V, 2)
    network = network_of(LARGE).eval()
    expected, tokens = validation_nats(network, stream)
    nats, count, logged = in_a_fresh_process(validate_with_little_memory, network, stream)
    assert count == tokens
    assert nats == pytest.approx(expected, rel=1e-5)
    assert any("not enough memory for validation" in line for line in logged)
