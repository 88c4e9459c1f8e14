"""What only trains on a GPU: kernels of our own, aligned logits, and windows replayed as a CUDA graph."""

import gc
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.neural.output import adaptive, build_output, single
from models.specs import ObjectiveSpec, TrainingSpec
from tests.models.neural.made_trainings import SPEC, TRAINING, V, curve, network_of, run
from training.neural import step
from training.neural.fused.captured import captured
from training.neural.fused.chosen_layers import gpu_sequences, sequences
from training.neural.optimization.clipping import scale_and_clip_unread

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_as_in_a_fit")]
GPU = torch.device("cuda", 0)


# --- logits


@pytest.mark.parametrize(
    "objective",
    [{"output": "softmax"}, {"head": 37}, {"output": "adaptive", "head": 20, "cutoffs": (70,), "shrink": 2.0}],
)
def test_in_bf16_aligned_logits_have_the_gradients_of_others(monkeypatch, objective):
    torch.manual_seed(1)
    counts_V, features_NE = torch.randint(1, 50, (150,)).sort(descending=True).values, torch.randn(60, 48)
    targets_N, found = torch.randint(9, 150, (60,)), []
    for aligned in (True, False):
        if not aligned:
            for module in (adaptive, single):
                monkeypatch.setattr(module, "spare_entries", lambda *given: 0)
        torch.manual_seed(2)
        weight = nn.Parameter(torch.randn(150, 48) / 7)
        output = build_output(ObjectiveSpec(**objective), weight, counts_V).to(GPU)
        h_NE = features_NE.to(GPU).requires_grad_()
        loss, rows = output.loss(h_NE, targets_N, "bf16")
        loss.backward()
        found.append([loss.detach(), h_NE.grad, *(p.grad for p in output.parameters())])
        assert rows == 60
    for one, other in zip(*found, strict=True):
        assert float((one - other).norm()) < 0.02 * float(other.norm())


@pytest.mark.needs_real_gpu
@pytest.mark.parametrize(("rows", "entries"), [(1, 1), (3, 2001), (64, 2048), (5, 28_032), (2, 65_536)])
def test_the_softmax_kernel_gives_nats_and_p_minus_y(rows, entries):
    from models.neural.output.gpu_softmax import nats_and_gradient

    torch.manual_seed(1)
    logits_NC = (3 * torch.randn(rows, entries, device=GPU)).bfloat16()
    logits_NC[:, entries // 2 + 1 :] = -torch.inf
    classes_N = torch.randint(0, entries // 2 + 1, (rows,), device=GPU)
    nats_NC = -torch.log_softmax(logits_NC.double(), 1)
    delta_NC = nn.functional.one_hot(classes_N, entries).double().neg() + (-nats_NC).exp()
    nats_N = nats_and_gradient(logits_NC, classes_N)
    torch.testing.assert_close(nats_N.double(), nats_NC.gather(1, classes_N[:, None])[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits_NC.double(), delta_NC, rtol=2**-8, atol=1e-6)


# --- the LSTM layer


def window_of(layer, device, full, low, resets, H=96, E=40, B=7, T=12):
    """Return outputs, last state and all gradients of a window, and how far they are from those in float64."""
    generator = torch.Generator().manual_seed(1)
    shapes = (B, T, E), (B, H), (B, H), (4 * H, E), (4 * H, H), (4 * H,), (4 * H,)
    given = [torch.randn(shape, generator=generator) * (1 if len(shape) == 3 else H**-0.5) for shape in shapes]
    weighs = [torch.randn(shape, generator=generator) for shape in ((B, T, H), (B, H), (B, H))]
    keep_BT = (torch.rand(B, T, generator=generator) > 0.2).to(device) if resets else None
    x, h, c, *weights = (tensor.to(device, full).requires_grad_() for tensor in given)
    out, (last_h, last_c) = layer(x, (h, c), weights, low, keep_BT)
    loss = sum((u.to(device, full) * v.to(full)).sum() for u, v in zip(weighs, (out, last_h, last_c), strict=True))
    return [out, last_h, last_c, *torch.autograd.grad(loss, [x, h, c, *weights])]


def distances(found, expected):
    return [
        float((one.detach().double().cpu() - other).norm() / other.norm())
        for one, other in zip(found, expected, strict=True)
    ]


@pytest.mark.needs_real_gpu
@pytest.mark.parametrize("resets", [False, True])
def test_the_lstm_layer_has_the_outputs_and_gradients_of_the_one_of_the_processor(resets):
    on_cpu, on_gpu = sequences()["LSTM"], gpu_sequences(GPU)["LSTM"]
    right = [t.detach() for t in window_of(on_cpu, "cpu", torch.float64, torch.float64, resets)]
    assert max(distances(window_of(on_gpu, GPU, torch.float32, torch.float32, resets), right)) < 2e-6
    in_bf16 = distances(window_of(on_gpu, GPU, torch.float32, torch.bfloat16, resets), right)
    of_cpu = distances(window_of(on_cpu, "cpu", torch.float32, torch.bfloat16, resets), right)
    assert all(own < 1.5 * other for own, other in zip(in_bf16, of_cpu, strict=True))


# --- replays


def losses(tmp_path, spec):
    run(tmp_path, network_of(spec).to(GPU), spec.training)
    return curve(tmp_path, "train/nats")


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("stateful", [True, False])
def test_a_training_by_replays_is_the_training_that_launches_each_kernel(tmp_path, monkeypatch, kind, stateful):
    resets = TRAINING.state_reset_prob if stateful else TrainingSpec().state_reset_prob
    penalties = {"activation_penalty": 0.1, "temporal_penalty": 0.1}
    training = replace(TRAINING, stateful=stateful, state_reset_prob=resets, **penalties)
    spec = replace(SPEC, kind=kind, dropout=0.0, training=training)
    replayed = losses(tmp_path / "replayed", spec)
    gc.collect()
    monkeypatch.setattr(step, "captured", lambda *window: None)
    np.testing.assert_allclose(replayed, losses(tmp_path / "launched", spec), rtol=0.02)


@pytest.mark.parametrize(
    "dropout",
    [
        {"input_dropout": 0.5},
        {"output_dropout": 0.5},
        {"embedding_dropout": 0.5},
        {"weight_drop": 0.5},
        {"output_dropout": 0.5, "variational": True},
    ],
)
def test_every_replay_draws_its_own_dropout_masks_as_a_launch_would(dropout):
    network = network_of(replace(SPEC, dropout=0.0, **dropout)).to(GPU).train()
    ids_BT, state = torch.randint(9, 20, (8, 12), device=GPU), network.start(8, GPU)
    read, before = captured(network, ids_BT, state), torch.cuda.get_rng_state(GPU)
    first, second = (read(ids_BT, state)[0].clone() for _ in range(2))
    torch.cuda.set_rng_state(before, GPU)
    launched = network(ids_BT, state)[0]
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, launched, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_the_scaled_gradients_of_a_replay_are_those_of_a_launch(kind, precision):
    """Gradients are handed over without copies: two that share memory would be scaled twice."""
    found = []
    for replays in (True, False):
        network = network_of(replace(SPEC, kind=kind, dropout=0.0, training=replace(TRAINING, precision=precision)))
        network = network.to(GPU).train()
        torch.manual_seed(2)
        ids_BT, state = torch.randint(9, V, (8, 12), device=GPU), network.start(8, GPU)
        read = captured(network, ids_BT, state) if replays else network
        features_BTE, _ = read(ids_BT, state)
        features_BTE.float().square().sum().backward()
        scale_and_clip_unread(network.parameters(), 0.5, 1e6)
        found.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    replayed, launched = found
    assert set(replayed) == set(launched)
    share = 0.05 if precision == "bf16" else 1e-4
    for name, grad in launched.items():
        assert float((replayed[name] - grad).norm()) < share * float(grad.norm()), name


def test_a_training_by_replays_that_diverges_goes_back(tmp_path):
    network, calls = network_of().to(GPU), []
    loss = network.output.loss

    def spoiled(features_NE, *given):
        calls.append(1)
        return loss(features_NE * math.nan if len(calls) == 31 else features_NE, *given)

    network.output.loss = spoiled
    _, summary = run(tmp_path, network)
    assert summary["divergences"] == 1
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


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


class Waits(nn.Module):
    """Lets the host wait for the GPU, which cannot be captured."""

    last_layer = None

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, device=GPU))

    def forward(self, ids_BT, state):
        dropped = nn.functional.dropout(self.weight, 0.5)
        return ids_BT[..., None] * dropped * float(self.weight.sum()), state


def test_where_a_window_cannot_be_captured_the_kernels_are_launched_and_dropout_goes_on(caplog):
    caplog.set_level(logging.WARNING, "models")
    before = torch.cuda.get_rng_state(GPU)
    ids_BT, state = torch.ones(2, 3, dtype=torch.int64, device=GPU), (torch.zeros(1, 2, device=GPU),)
    assert captured(Waits(), ids_BT, state) is None
    assert "cannot be captured" in caplog.text
    assert torch.equal(torch.cuda.get_rng_state(GPU), before)
    assert torch.cuda.current_stream(GPU) == torch.cuda.default_stream(GPU)
    assert torch.rand(100, device=GPU).unique().numel() > 90
    network = network_of().to(GPU).train()
    assert captured(network, ids_BT, network.start(2, GPU))
