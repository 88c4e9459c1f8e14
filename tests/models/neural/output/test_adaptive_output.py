"""The adaptive softmax against torch's, its shrinking tails, and what is tied."""

import numpy as np
import pytest
import torch
from torch import nn

from reviewlm.models.neural.output import build_output
from reviewlm.models.specs import ObjectiveSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from tests.models.neural.fresh_gradients import gradcheck_loss

V, E, N, HEAD, CUTS = 47, 12, 30, 9, (18, 29)
PREDICTED = [i for i in range(V) if i not in CONTEXT_IDS]
COUNTS = np.random.default_rng(2).permutation(V) * 2 + 1


def layer_of(
    shrink,
    tied=True,
    dtype=torch.float64,
    chunk=7,
):
    torch.manual_seed(1)
    objective = ObjectiveSpec(
        "adaptive",
        HEAD,
        chunk,
        cutoffs=CUTS,
        shrink=shrink,
    )
    layer = build_output(objective, nn.Parameter(torch.randn(V, E, dtype=dtype) / 2), COUNTS, tied)
    with torch.no_grad():
        layer.tail_weight.normal_()
        layer.tail_bias.normal_()
    return layer


def batch(seed=3, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    features_NE = torch.tensor(rng.normal(size=(N, E)), dtype=dtype, requires_grad=True)
    return features_NE, torch.tensor(rng.choice(PREDICTED, N))


def as_torchs(layer, shrink):
    """torch.nn.AdaptiveLogSoftmaxWithLoss with the layer's weights; its tails have no biases, so ours are 0."""
    peer = nn.AdaptiveLogSoftmaxWithLoss(
        E,
        len(PREDICTED),
        [HEAD, *CUTS],
        div_value=shrink,
        head_bias=True,
    ).double()
    cuts = [0, HEAD, *CUTS, len(PREDICTED)]
    with torch.no_grad():
        layer.bias[layer.order_P[HEAD:]] = 0
        peer.head.weight.copy_(torch.cat([layer.weight[layer.order_P[:HEAD]], layer.tail_weight]))
        peer.head.bias.copy_(torch.cat([layer.bias[layer.order_P[:HEAD]], layer.tail_bias]))
        for k, (project, rows) in enumerate(peer.tail, 1):
            own = layer.weight[layer.order_P[cuts[k] : cuts[k + 1]]]
            project.weight.copy_(
                layer.get_parameter(f"project_{k}") if layer.shrinks else torch.eye(E)
            )
            rows.weight.copy_(layer.get_parameter(f"rows_{k}") if layer.shrinks else own)
    return peer


@pytest.mark.parametrize("shrink", [1.0, 2.0])
def test_the_layer_equals_torchs_adaptive_softmax_with_the_same_weights(shrink):
    layer, (features_NE, targets_N) = layer_of(shrink), batch()
    peer, rank_V = as_torchs(layer, shrink), layer.rank_V
    there = peer(features_NE, rank_V[targets_N])
    (grad_NE,) = torch.autograd.grad(-there.output.sum(), features_NE)
    loss, count = layer.loss(features_NE, targets_N)
    torch.testing.assert_close(loss / count, there.loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(loss, features_NE)[0], grad_NE, rtol=1e-10, atol=1e-12
    )
    logp_NP = peer.log_prob(features_NE)
    torch.testing.assert_close(layer.logp(features_NE)[:, layer.order_P], logp_NP.detach().float())


@pytest.mark.parametrize(("shrink", "tied"), [(1.0, True), (2.0, True), (2.0, False), (3.5, False)])
def test_the_hand_written_gradient_is_that_of_differences(shrink, tied):
    assert gradcheck_loss(layer_of(shrink, tied), *batch())


def test_features_of_the_tails_shrink_by_powers():
    layer = layer_of(2.0)
    sizes = {
        name: tuple(tensor.shape) for name, tensor in layer.named_parameters() if name[-1].isdigit()
    }
    assert sizes == {
        "project_1": (6, E),
        "rows_1": (9, 6),
        "project_2": (3, E),
        "rows_2": (11, 3),
        "project_3": (1, E),
        "rows_3": (len(PREDICTED) - 29, 1),
    }
