"""What only trains on a GPU: kernels of our own, aligned logits, and windows replayed as a CUDA graph."""

import gc
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.models.specs import TrainingSpec
from reviewlm.training.neural import step
from reviewlm.training.neural.fused.chosen_layers import gpu_sequences, sequences
from tests.models.neural.made_trainings import SPEC, TRAINING, curve, network_of, run

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_as_in_a_fit")]
GPU = torch.device("cuda", 0)


# --- logits


@pytest.mark.needs_real_gpu
@pytest.mark.parametrize(
    ("rows", "entries"), [(1, 1), (3, 2001), (64, 2048), (5, 28_032), (2, 65_536)]
)
def test_the_softmax_kernel_equals_torchs_to_the_gradient(rows, entries):
    from reviewlm.training.neural.fused.gpu_softmax import nats_and_gradient

    torch.manual_seed(1)
    logits_NC = (3 * torch.randn(rows, entries, device=GPU)).bfloat16()
    logits_NC[:, entries // 2 + 1 :] = -torch.inf
    classes_N = torch.randint(0, entries // 2 + 1, (rows,), device=GPU)
    nats_NC = -torch.log_softmax(logits_NC.double(), 1)
    delta_NC = nn.functional.one_hot(classes_N, entries).double().neg() + (-nats_NC).exp()
    nats_N = nats_and_gradient(logits_NC, classes_N)
    torch.testing.assert_close(
        nats_N.double(), nats_NC.gather(1, classes_N[:, None])[:, 0], rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(logits_NC.double(), delta_NC, rtol=2**-8, atol=1e-6)


# --- the LSTM layer


def window_of(
    layer,
    device,
    full,
    low,
    resets,
    H=96,
    E=40,
    B=7,
    T=12,
):
    """Return outputs, last state and all gradients of a window, and how far they are from those in float64."""
    generator = torch.Generator().manual_seed(1)
    shapes = (B, T, E), (B, H), (B, H), (4 * H, E), (4 * H, H), (4 * H,), (4 * H,)
    given = [
        torch.randn(shape, generator=generator) * (1 if len(shape) == 3 else H**-0.5)
        for shape in shapes
    ]
    weighs = [torch.randn(shape, generator=generator) for shape in ((B, T, H), (B, H), (B, H))]
    keep_BT = (torch.rand(B, T, generator=generator) > 0.2).to(device) if resets else None
    x, h, c, *weights = (tensor.to(device, full).requires_grad_() for tensor in given)
    out, (last_h, last_c) = layer(
        x,
        (h, c),
        weights,
        low,
        keep_BT,
    )
    loss = sum(
        (u.to(device, full) * v.to(full)).sum()
        for u, v in zip(weighs, (out, last_h, last_c), strict=True)
    )
    return [out, last_h, last_c, *torch.autograd.grad(loss, [x, h, c, *weights])]


def distances(found, expected):
    return [
        float((one.detach().double().cpu() - other).norm() / other.norm())
        for one, other in zip(found, expected, strict=True)
    ]


@pytest.mark.needs_real_gpu
@pytest.mark.parametrize("resets", [False, True])
def test_a_window_of_the_lstm_layer_is_that_of_the_processor(resets):
    on_cpu, on_gpu = sequences()["LSTM"], gpu_sequences(GPU)["LSTM"]
    right = [
        t.detach()
        for t in window_of(
            on_cpu,
            "cpu",
            torch.float64,
            torch.float64,
            resets,
        )
    ]
    assert (
        max(
            distances(
                window_of(
                    on_gpu,
                    GPU,
                    torch.float32,
                    torch.float32,
                    resets,
                ),
                right,
            )
        )
        < 2e-6
    )
    in_bf16 = distances(
        window_of(
            on_gpu,
            GPU,
            torch.float32,
            torch.bfloat16,
            resets,
        ),
        right,
    )
    of_cpu = distances(
        window_of(
            on_cpu,
            "cpu",
            torch.float32,
            torch.bfloat16,
            resets,
        ),
        right,
    )
    assert all(own < 1.5 * other for own, other in zip(in_bf16, of_cpu, strict=True))


# --- replays


def losses(tmp_path, spec):
    run(tmp_path, network_of(spec).to(GPU), spec.training)
    return curve(tmp_path, "train/nats")


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("stateful", [True, False])
def test_a_training_by_replays_is_the_training_that_launches_each_kernel(
    tmp_path,
    monkeypatch,
    kind,
    stateful,
):
    resets = TRAINING.state_reset_prob if stateful else TrainingSpec().state_reset_prob
    penalties = {"activation_penalty": 0.1, "temporal_penalty": 0.1}
    training = replace(
        TRAINING,
        stateful=stateful,
        state_reset_prob=resets,
        **penalties,
    )
    spec = replace(
        SPEC,
        kind=kind,
        dropout=0.0,
        training=training,
    )
    replayed = losses(tmp_path / "replayed", spec)
    gc.collect()
    monkeypatch.setattr(step, "capture_reading", lambda *window: None)
    np.testing.assert_allclose(replayed, losses(tmp_path / "launched", spec), rtol=0.02)


def test_for_want_of_memory_replays_are_given_up_before_streams_are(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "models")
    network, calls = network_of().to(GPU), []
    loss = network.output.loss

    def full(*given):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(*given)

    network.output.loss = full
    _, summary = run(tmp_path, network)
    assert summary["micro_batch"] == TRAINING.batch
    assert "not enough GPU memory for a CUDA graph" in caplog.text
