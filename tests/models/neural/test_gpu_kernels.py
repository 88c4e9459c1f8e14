"""What only trains on a GPU: kernels of our own, aligned logits, and windows replayed as a CUDA graph."""

import gc
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_trainings import SPEC, TRAINING, curve, network_of, run
from torch import nn

from models.neural.device import has_triton, require_device
from models.neural.fused.lstm import LSTMSequence
from models.neural.fused.sequence import run_sequence
from models.neural.gpu.captured import captured
from models.neural.layers.recurrent_layers import gpu_sequences, make_layer, run_layer
from models.neural.output.cross_entropy import ENTRY_MULTIPLE, level_gradients, spare_entries
from models.neural.training import step
from models.specs import TrainingSpec

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def full_float32():
    """float32 products are not rounded to TF32, as in a fit."""
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    require_device("cuda:0")
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = switches


# --- logits


@pytest.mark.parametrize("entries", [1, 63, 64, 65, 2001])
def test_spare_entries_change_no_gradient(entries):
    torch.manual_seed(1)
    h_NE, weight_CE, bias_C = torch.randn(40, 32), torch.randn(entries, 32) / 4, torch.randn(entries)
    classes_N = torch.randint(0, entries, (40,))
    expected = level_gradients(h_NE, weight_CE, bias_C, classes_N, 16, grad_CE := torch.empty(entries, 32))
    spare = spare_entries(entries, torch.bfloat16, GPU)
    assert (entries + spare) % ENTRY_MULTIPLE == 0
    assert 0 <= spare < ENTRY_MULTIPLE
    longer_CE = torch.cat([weight_CE, torch.full((spare, 32), 9.0)])
    found = level_gradients(h_NE, longer_CE, bias_C, classes_N, 16, found_CE := torch.empty(entries, 32))
    torch.testing.assert_close(found.nats_N, expected.nats_N)
    torch.testing.assert_close(found.features_NE, expected.features_NE)
    torch.testing.assert_close(found.parameters[1], expected.parameters[1])
    torch.testing.assert_close(found_CE, grad_CE)


def test_float32_and_the_processor_need_no_spare_entries():
    assert spare_entries(2001, torch.float32, GPU) == 0
    assert spare_entries(2001, torch.bfloat16, torch.device("cpu")) == 0


@pytest.mark.needs_real_gpu
@pytest.mark.parametrize(("rows", "entries"), [(1, 1), (3, 2001), (64, 2048), (5, 28_032), (2, 65_536)])
def test_the_softmax_kernel_gives_nats_and_p_minus_y(rows, entries):
    from models.neural.gpu.softmax import nats_and_gradient

    torch.manual_seed(1)
    logits_NC = (3 * torch.randn(rows, entries, device=GPU)).bfloat16()
    logits_NC[:, entries // 2 + 1 :] = -torch.inf
    classes_N = torch.randint(0, entries // 2 + 1, (rows,), device=GPU)
    nats_NC = -torch.log_softmax(logits_NC.double(), 1)
    delta_NC = nn.functional.one_hot(classes_N, entries).double().neg() + (-nats_NC).exp()
    nats_N = nats_and_gradient(logits_NC, classes_N)
    torch.testing.assert_close(nats_N.double(), nats_NC.gather(1, classes_N[:, None])[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits_NC.double(), delta_NC, rtol=2**-8, atol=1e-6)


@pytest.mark.needs_real_gpu
def test_the_softmax_kernel_gives_finite_nats_where_the_probability_underflows():
    from models.neural.gpu.softmax import nats_and_gradient

    logits_NC = torch.tensor([[500.0, -500.0, 0.0]], device=GPU).bfloat16()
    assert float(nats_and_gradient(logits_NC, torch.tensor([1], device=GPU))) == 1000.0


# --- the LSTM layer


def window_of(sequence, device, full, low, resets, H=96, E=40, B=7, T=12):
    """Return outputs, last state and all gradients of a window, and how far they are from those in float64."""
    generator = torch.Generator().manual_seed(1)
    shapes = (B, T, E), (B, H), (B, H), (4 * H, E), (4 * H, H), (4 * H,), (4 * H,)
    given = [torch.randn(shape, generator=generator) * (1 if len(shape) == 3 else H**-0.5) for shape in shapes]
    weighs = [torch.randn(shape, generator=generator) for shape in ((B, T, H), (B, H), (B, H))]
    keep_BT = (torch.rand(B, T, generator=generator) > 0.2).to(device) if resets else None
    x, h, c, *weights = (tensor.to(device, full).requires_grad_() for tensor in given)
    out, (last_h, last_c) = run_sequence(sequence, (), x, (h, c), weights, low, keep_BT)
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
    from models.neural.gpu.lstm import GPULSTMSequence

    right = [t.detach() for t in window_of(LSTMSequence, "cpu", torch.float64, torch.float64, resets)]
    assert max(distances(window_of(GPULSTMSequence, GPU, torch.float32, torch.float32, resets), right)) < 2e-6
    in_bf16 = distances(window_of(GPULSTMSequence, GPU, torch.float32, torch.bfloat16, resets), right)
    of_cpu = distances(window_of(LSTMSequence, "cpu", torch.float32, torch.bfloat16, resets), right)
    assert all(own < 1.5 * other for own, other in zip(in_bf16, of_cpu, strict=True))


@pytest.mark.needs_real_gpu
def test_an_lstm_layer_that_trains_in_bf16_is_this_one_also_where_streams_are_reset():
    assert has_triton(GPU)
    assert set(gpu_sequences(GPU)) == {"LSTM"}
    layer, state = make_layer("lstm", 16, 16, "fused").to(GPU), (torch.zeros(4, 16, device=GPU),) * 2
    with torch.autocast("cuda", torch.bfloat16):
        for keep_BT in (None, torch.rand(4, 9, device=GPU) > 0.2):
            x_BTE = torch.randn(4, 9, 16, device=GPU)
            h_BTH, _ = run_layer(layer, dict(layer.named_parameters()), x_BTE, state, keep_BT)
            assert "GPULSTMSequence" in str(h_BTH.grad_fn.next_functions)


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


@pytest.mark.needs_real_gpu
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


@pytest.mark.needs_real_gpu
def test_windows_are_replayed(tmp_path, monkeypatch):
    calls, forward = [], type(network_of()).forward
    monkeypatch.setattr(type(network_of()), "forward", lambda *given: calls.append(1) or forward(*given))
    _, summary = run(tmp_path, network_of().to(GPU))
    assert len(calls) < summary["updates"]


class Waits(nn.Module):
    """Lets the host wait for the GPU, which cannot be captured."""

    last_layer = None

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, device=GPU))

    def forward(self, ids_BT, state):
        dropped = nn.functional.dropout(self.weight, 0.5)
        return ids_BT[..., None] * dropped * float(self.weight.sum()), state


@pytest.mark.needs_real_gpu
def test_where_a_window_cannot_be_captured_the_kernels_are_launched_and_dropout_goes_on(caplog):
    caplog.set_level(logging.WARNING, "models")
    before = torch.cuda.get_rng_state(GPU)
    ids_BT, state = torch.ones(2, 3, dtype=torch.int64, device=GPU), (torch.zeros(1, 2, device=GPU),)
    assert captured(Waits(), ids_BT, state) is None
    assert "cannot be captured" in caplog.text
    assert torch.equal(torch.cuda.get_rng_state(GPU), before)
    assert torch.rand(100, device=GPU).unique().numel() > 90
    network = network_of().to(GPU).train()
    assert captured(network, ids_BT, network.start(2, GPU))
