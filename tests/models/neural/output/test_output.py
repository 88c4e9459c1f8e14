"""Output layers: normalisation and gradients against their definition, and the unigram model that they start from."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reviewlm.models.neural.output import (
    CONTEXT_IDS,
    HierarchicalOutput,
    SoftmaxOutput,
    build_output,
)
from tests.models.neural.output.small_layers import (
    HEAD,
    MIXED,
    OBJECTIVES,
    PREDICTED,
    SORTED,
    E,
    N,
    V,
    batch,
    gradients,
    layer_of,
)


def reference_logp(layer, features_NE):
    """The definition, one entry after another, with autograd: no chunk, no shortcut."""
    if isinstance(layer, HierarchicalOutput):
        return tree_logp(layer, features_NE)
    logp_NV = torch.full((len(features_NE), V), -torch.inf, dtype=features_NE.dtype)
    if isinstance(layer, SoftmaxOutput):
        logits_NV = features_NE @ layer.weight.T + layer.bias
        logp_NV[:, PREDICTED] = torch.log_softmax(logits_NV[:, PREDICTED], 1)
        return logp_NV
    levels = [layer.order_P[low:high].tolist() for low, high in pairwise((0, *layer.cuts))]
    tails_KE, stop_K = layer.tail_weight.reshape(-1, E), layer.tail_bias
    head_CE, head_C = (
        torch.cat([layer.weight[levels[0]], tails_KE]),
        torch.cat([layer.bias[levels[0]], stop_K]),
    )
    head_NC = torch.log_softmax(features_NE @ head_CE.T + head_C, 1)
    logp_NV[:, levels[0]] = head_NC[:, :HEAD]
    for k, ids in enumerate(levels[1:]):
        rows_CX, seen_NX = layer.weight[ids], features_NE
        if layer.shrinks:
            rows_CX = layer.get_parameter(f"rows_{k + 1}")
            seen_NX = features_NE @ layer.get_parameter(f"project_{k + 1}").T
        tail_NC = torch.log_softmax(seen_NX @ rows_CX.T + layer.bias[ids], 1)
        logp_NV[:, ids] = tail_NC + head_NC[:, HEAD + k, None]
    return logp_NV


def tree_logp(layer, features_NE):
    """Walk down the tree from its root, node by node."""
    logp_NV = torch.full((len(features_NE), V), -torch.inf, dtype=features_NE.dtype)

    def walk(node, reached_N):
        choice_N = features_NE @ layer.weight[node] + layer.bias[node]
        for child, sign in zip(layer.tree[node].tolist(), (1, -1), strict=True):
            below_N = reached_N + F.logsigmoid(sign * choice_N)
            if child < len(PREDICTED):
                logp_NV[:, PREDICTED[child]] = below_N
            else:
                walk(child - len(PREDICTED), below_N)

    walk(0, torch.zeros_like(features_NE[:, 0]))
    return logp_NV


def test_probabilities_sum_to_one(kind):
    layer, (features_NE, _) = layer_of(kind), batch()
    p_NV = layer.logp(features_NE).double().exp()
    torch.testing.assert_close(p_NV.sum(1), torch.ones(N, dtype=torch.float64), rtol=0, atol=1e-6)


def test_only_the_given_ids_have_no_probability(kind):
    layer, (features_NE, _) = layer_of(kind), batch()
    p_NV = layer.logp(features_NE).double().exp()
    assert (p_NV[:, list(CONTEXT_IDS)] == 0).all()
    assert (p_NV[:, PREDICTED] > 0).all()


def test_log_probabilities_are_those_of_the_definition(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    logp_NV = layer.logp(features_NE)
    torch.testing.assert_close(
        logp_NV, reference_logp(layer, features_NE).detach(), rtol=1e-5, atol=1e-5
    )
    assert logp_NV.dtype == torch.float32
    own_N = logp_NV.gather(1, targets_N[:, None])[:, 0]
    torch.testing.assert_close(layer.nats(features_NE, targets_N), -own_N, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_the_hand_written_gradient_is_autograds(kind, chunk):
    layer, (features_NE, targets_N) = (
        layer_of(kind, chunk, torch.float64),
        batch(dtype=torch.float64),
    )
    loss, count = layer.loss(features_NE, targets_N)
    expected = -reference_logp(layer, features_NE).gather(1, targets_N[:, None]).sum()
    assert count == N
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for own, automatic in zip(
        gradients(loss, layer, features_NE), gradients(expected, layer, features_NE), strict=True
    ):
        torch.testing.assert_close(own, automatic, rtol=1e-11, atol=1e-11)


def test_the_gradient_of_the_logits_is_p_minus_y():
    """With an identity as output weights and features as logits, the gradient of the features is that of the logits."""
    layer = SoftmaxOutput(
        nn.Parameter(torch.eye(V, dtype=torch.float64)), torch.zeros(V, dtype=torch.float64), 8
    )
    logits_NV = torch.randn(N, V, dtype=torch.float64, requires_grad=True)
    targets_N = batch()[1]
    layer.loss(logits_NV, targets_N)[0].backward()
    p_NV = layer.logp(logits_NV).double().exp()
    torch.testing.assert_close(logits_NV.grad, p_NV - F.one_hot(targets_N, V), rtol=0, atol=1e-7)


def test_the_loss_is_cross_entropy_weighted_by_tokens_over_unequal_batches():
    layer = layer_of("softmax")
    (features_NE, targets_N), cut = batch(), 5
    logits_NV = F.linear(
        features_NE, layer.weight, layer.bias.masked_fill(layer.given_V, -torch.inf)
    )
    parts = [layer.loss(features_NE[s], targets_N[s]) for s in (slice(cut), slice(cut, None))]
    mean = sum(nats for nats, _ in parts) / sum(count for _, count in parts)
    torch.testing.assert_close(mean, F.cross_entropy(logits_NV, targets_N))


def test_rows_with_target_minus_one_count_for_nothing(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    masked_N = torch.where(torch.arange(N) % 3 == 0, -1, targets_N)
    kept = masked_N >= 0
    loss, count = layer.loss(features_NE, masked_N)
    alone, _ = layer.loss(features_NE[kept], masked_N[kept])
    assert count == int(kept.sum())
    torch.testing.assert_close(loss, alone)
    grads = gradients(loss, layer, features_NE)
    assert (grads[0][~kept] == 0).all()
    for both, own in zip(grads, gradients(alone, layer, features_NE), strict=True):
        torch.testing.assert_close(both, own)
    assert (layer.nats(features_NE, masked_N)[~kept] == 0).all()


def test_no_gradient_is_computed_where_none_is_wanted(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    with torch.no_grad():
        loss, count = layer.loss(features_NE, targets_N)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, layer.nats(features_NE, targets_N).sum())
    assert count == N


@pytest.mark.parametrize("counts", [SORTED, MIXED], ids=["sorted", "mixed"])
def test_training_starts_from_the_unigram_model(kind, counts):
    """With features of 0 the prediction is the add-one-half unigram model, whatever the levels."""
    layer = build_output(OBJECTIVES[kind], nn.Parameter(torch.randn(V, E)), counts)
    p_V = layer.logp(torch.zeros(1, E))[0].exp()
    expected = torch.tensor((counts[PREDICTED] + 0.5) / (counts[PREDICTED] + 0.5).sum())
    torch.testing.assert_close(p_V[PREDICTED].double(), expected, rtol=1e-5, atol=1e-7)
