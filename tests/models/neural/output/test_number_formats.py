"""Output layers in any number format and on a GPU: stable for huge logits, and the same up to rounding."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.models.neural.output import build_output
from reviewlm.models.neural.output.cross_entropy import softmax_nats
from reviewlm.models.specs import ObjectiveSpec
from tests.models.neural.output.small_layers import batch, gradients, layer_of


def exact_nats(logits, right):
    """log Σ exp(logits) − logits[right], as written in the book, with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        values = [Decimal(float(value)) for value in logits]
        return float(sum(value.exp() for value in values).ln() - values[right])


@pytest.mark.parametrize("spread", [1.0, 50.0, 1e4])
def test_huge_logits_give_finite_numbers_equal_to_the_naive_form_in_extended_precision(spread):
    generator = torch.Generator().manual_seed(3)
    logits_NC = (torch.rand(6, 9, generator=generator) * 2 - 1) * spread
    logits_NC[0], logits_NC[1] = spread, -spread
    logits_NC[2, 4], logits_NC[2, 5] = spread, -spread
    for right in range(9):
        nats_N, p_NC = softmax_nats(logits_NC, torch.full((6,), right))
        assert torch.isfinite(nats_N).all()
        assert torch.isfinite(p_NC).all()
        exact = [exact_nats(row, right) for row in logits_NC]
        np.testing.assert_allclose(nats_N.numpy(), exact, rtol=3e-7, atol=3e-6)


@pytest.mark.parametrize("output", ["softmax", "adaptive"])
def test_a_loss_in_bf16_is_within_a_thousandth_of_the_exact_one(output):
    """On a distribution as training has it: logits from -15 to 5, most of it in the bias."""
    torch.manual_seed(4)
    counts = (1e6 / np.arange(1, 1_501)).astype(int)
    objective = ObjectiveSpec(output, chunk=128, **{"head": 300} if output == "adaptive" else {})
    layer = build_output(objective, nn.Parameter(torch.randn(1_500, 40) / 5), counts)
    features_NE = torch.randn(600, 40, requires_grad=True)
    targets_N = torch.multinomial(layer.logp(features_NE).exp(), 1)[:, 0]
    exact, rounded = (
        layer.loss(features_NE, targets_N, precision)[0] for precision in ("float32", "bf16")
    )
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-3)
    for one, other in zip(
        gradients(exact, layer, features_NE), gradients(rounded, layer, features_NE), strict=True
    ):
        assert float((one - other).norm() / one.norm()) < 0.02


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_on_a_gpu_is_close_to_that_on_the_processor(kind, precision):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    loss, _ = layer.loss(features_NE, targets_N)
    expected = gradients(loss, layer, features_NE)
    there_NE = features_NE.detach().cuda().requires_grad_()
    layer = layer.cuda()
    there, _ = layer.loss(there_NE, targets_N.cuda(), precision)
    assert there.item() == pytest.approx(loss.item(), rel=5e-3)
    for one, other in zip(gradients(there, layer, there_NE), expected, strict=True):
        # In a tail without a target both are 0.
        assert float((one.cpu() - other).norm()) <= 0.02 * float(other.norm())
