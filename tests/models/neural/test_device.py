"""What is asked of a device: that it is there, that float32 means float32, and that bf16 does not become float16."""

import numpy as np
import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.neural.device import cudnn_has_bf16, require_device
from reviewlm.models.neural.layers import recurrent_layers as layers
from reviewlm.models.neural.layers.recurrent_layers import make_layer, run_layer
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.training.context import FitContext
from reviewlm.training.fit import fit_model
from tests.models.neural.made_trainings import SPEC, TRAIN, VALIDATION


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as far as torch says; the switches are put back afterwards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = switches


def test_a_gpu_that_torch_cannot_use_is_refused_before_anything_is_put_on_it(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fit = [SPEC, None, TRAIN, VALIDATION]
    doors = {
        "fit": lambda: fit_model(*fit, FitContext(tmp_path, "cuda")),
        "load": lambda: NeuralLM.load(tmp_path, SPEC, None, "cuda"),
    }
    for name, door in doors.items():
        with pytest.raises(
            ModelError, match=r"device cuda.*set execution\.device to cpu"
        ) as caught:
            door()
        assert caught.value.kind == "input", name


def test_a_gpu_of_a_number_that_is_not_there_is_refused(gpus):
    require_device("cuda:1")
    with pytest.raises(ModelError, match="cuda:2 is requested, but 2 GPUs"):
        require_device("cuda:2")


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_fused_layer_with_a_format_of_its_own_is_called_outside_autocast(
    monkeypatch,
    kind,
    dtype,
):
    """Autocast of the processor stands for that of a GPU, which would cast all of this to float16."""
    layer, seen = make_layer(kind, 4, 6, "fused").eval(), []
    weights, state = (
        dict(layer.named_parameters()),
        (torch.randn(3, 6),) * (2 if kind == "lstm" else 1),
    )
    name = layer.mode.lower()
    function = getattr(torch, name)

    def recorded(
        x,
        before,
        flat,
        **options,
    ):
        tensors = [x, *(before if isinstance(before, tuple) else (before,)), *flat]
        seen.append((torch.is_autocast_enabled("cpu"), {tensor.dtype for tensor in tensors}))
        return function(x, before, flat, **options)

    x_BTE = torch.randn(3, 5, 4)
    expected, _ = run_layer(layer, weights, x_BTE, state)
    monkeypatch.setattr(layers, "_own_format", lambda mode, device: dtype)
    monkeypatch.setattr(torch, name, recorded)
    with torch.autocast("cpu", torch.bfloat16):
        h_BTH, last = run_layer(layer, weights, x_BTE, state)
    assert seen == [(False, {dtype})]
    assert {h_BTH.dtype, *(tensor.dtype for tensor in last)} == {dtype}
    np.testing.assert_allclose(h_BTH.detach().float(), expected.detach(), atol=0.02)
    h_BTH.sum().backward()
    assert all(
        weight.grad is not None and weight.grad.dtype == torch.float32
        for weight in weights.values()
    )


@pytest.mark.parametrize("mode", ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"])
def test_it_counts_who_ran_the_layer_not_that_someone_did(mode, caplog):
    """The processor runs all of them in bf16, without cuDNN."""
    cudnn_has_bf16.cache_clear()
    before = torch.get_rng_state()
    for _ in range(2):
        assert not cudnn_has_bf16(mode, torch.device("cpu"))
    assert caplog.text.count("train in float32") == 1
    assert torch.equal(torch.get_rng_state(), before)
