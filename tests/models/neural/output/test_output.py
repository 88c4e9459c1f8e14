"""Output layers: exact normalisation, stability, and a hand-written gradient, against autograd and arithmetic."""

import logging
from dataclasses import replace
from decimal import Decimal, localcontext
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models.base import ModelError
from models.neural.output import CONTEXT_IDS, HierarchicalOutput, SoftmaxOutput, TwoLevelOutput, build_output
from models.neural.output.cross_entropy import level_nats, softmax_nats
from models.neural.recurrent import RecurrentLM
from models.specs import ObjectiveSpec, RecurrentSpec
from models.tokens.vocabulary import EOS, UNK
from tests.examples import examples

V, E, N, HEAD = 40, 6, 23, 7
PREDICTED = [i for i in range(V) if i not in CONTEXT_IDS]
SORTED = np.concatenate([[45, 0, 50], np.zeros(6, int), np.arange(40, 40 - (V - 9), -1)])
"""Frequencies that fall with the id, as in a word vocabulary: the tail is a plain range of ids."""
MIXED = np.random.default_rng(1).permutation(V) * 3
"""Frequencies without order, as in a BPE vocabulary: the tail is scattered."""
OBJECTIVES = {
    "softmax": ObjectiveSpec("softmax"),
    "two_level, sorted": ObjectiveSpec("two_level", HEAD),
    "two_level, mixed": ObjectiveSpec("two_level", HEAD),
    "adaptive, sorted": ObjectiveSpec("adaptive", HEAD, cutoffs=(12, 20)),
    "adaptive, mixed": ObjectiveSpec("adaptive", HEAD, cutoffs=(12, 20)),
    "shrinking, mixed": ObjectiveSpec("adaptive", HEAD, cutoffs=(12,), shrink=2.0),
    "hierarchical": ObjectiveSpec("hierarchical"),
    "sampled, evaluated": ObjectiveSpec("softmax", estimator="sampled"),
    "nce, evaluated": ObjectiveSpec("softmax", estimator="nce"),
}


def layer_of(kind, chunk=8, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(V, E, generator=generator, dtype=torch.float64).to(dtype))
    layer = build_output(replace(OBJECTIVES[kind], chunk=chunk), weight, SORTED if "sorted" in kind else MIXED)
    layer.train("evaluated" not in kind)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name != "weight":
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype))
    return layer


@pytest.fixture(params=OBJECTIVES)
def kind(request):
    return request.param


def batch(seed=0, dtype=torch.float32, among=PREDICTED):
    rng = np.random.default_rng(seed)
    features_NE = torch.tensor(rng.normal(size=(N, E)), dtype=dtype, requires_grad=True)
    return features_NE, torch.tensor(rng.choice(among, N))


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
    head_CE, head_C = torch.cat([layer.weight[levels[0]], tails_KE]), torch.cat([layer.bias[levels[0]], stop_K])
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


def gradients(loss, layer, features_NE):
    used = torch.autograd.grad(loss, [features_NE, *layer.parameters()], allow_unused=True, materialize_grads=True)
    return list(used)


def test_both_orders_of_ids_take_their_own_path():
    assert layer_of("two_level, sorted")._ranges == [slice(14, V)]
    assert layer_of("two_level, mixed")._ranges == [None]


def test_probabilities_sum_to_one_and_the_given_ids_have_exactly_none(kind):
    layer, (features_NE, _) = layer_of(kind), batch()
    p_NV = layer.logp(features_NE).double().exp()
    torch.testing.assert_close(p_NV.sum(1), torch.ones(N, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (p_NV[:, list(CONTEXT_IDS)] == 0).all()
    assert (p_NV[:, PREDICTED] > 0).all()


def test_log_probabilities_are_those_of_the_definition(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    logp_NV = layer.logp(features_NE)
    torch.testing.assert_close(logp_NV, reference_logp(layer, features_NE).detach(), rtol=1e-5, atol=1e-5)
    assert logp_NV.dtype == torch.float32
    own_N = logp_NV.gather(1, targets_N[:, None])[:, 0]
    torch.testing.assert_close(layer.nats(features_NE, targets_N), -own_N, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_the_hand_written_gradient_is_autograds(kind, chunk):
    layer, (features_NE, targets_N) = layer_of(kind, chunk, torch.float64), batch(dtype=torch.float64)
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
    layer = SoftmaxOutput(nn.Parameter(torch.eye(V, dtype=torch.float64)), torch.zeros(V, dtype=torch.float64), 8)
    logits_NV = torch.randn(N, V, dtype=torch.float64, requires_grad=True)
    targets_N = batch()[1]
    layer.loss(logits_NV, targets_N)[0].backward()
    p_NV = layer.logp(logits_NV).double().exp()
    torch.testing.assert_close(logits_NV.grad, p_NV - F.one_hot(targets_N, V), rtol=0, atol=1e-7)


def test_a_scaled_loss_has_a_scaled_gradient(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    once = gradients(layer.loss(features_NE, targets_N)[0], layer, features_NE)
    thrice = gradients(layer.loss(features_NE, targets_N)[0] * 3, layer, features_NE)
    for one, three in zip(once, thrice, strict=True):
        torch.testing.assert_close(three, one * 3)


def test_the_loss_is_cross_entropy_weighted_by_tokens_over_unequal_batches():
    layer = layer_of("softmax")
    (features_NE, targets_N), cut = batch(), 5
    logits_NV = F.linear(features_NE, layer.weight, layer.bias.masked_fill(layer.given_V, -torch.inf))
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


def test_a_batch_without_any_scored_row_is_zero_with_zero_gradient(kind):
    layer, (features_NE, _) = layer_of(kind), batch()
    loss, count = layer.loss(features_NE, torch.full((N,), -1))
    assert (loss.item(), count) == (0.0, 0)
    assert all((grad == 0).all() for grad in gradients(loss, layer, features_NE))
    assert (layer.nats(features_NE, torch.full((N,), -1)) == 0).all()


@pytest.mark.parametrize("level", ["head", "tail"])
def test_a_batch_of_one_level_only_has_the_right_gradient(level):
    layer = layer_of("two_level, mixed", dtype=torch.float64)
    among = layer.order_P[:HEAD] if level == "head" else layer.order_P[HEAD:]
    features_NE, targets_N = batch(dtype=torch.float64, among=among.tolist())
    expected = -reference_logp(layer, features_NE).gather(1, targets_N[:, None]).sum()
    loss, _ = layer.loss(features_NE, targets_N)
    for own, automatic in zip(
        gradients(loss, layer, features_NE), gradients(expected, layer, features_NE), strict=True
    ):
        torch.testing.assert_close(own, automatic, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("target", CONTEXT_IDS)
def test_a_given_id_as_target_is_refused(kind, target):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    targets_N[3] = target
    for call in (layer.loss, layer.nats):
        with pytest.raises(ModelError, match="never predicted") as refusal:
            call(features_NE, targets_N)
        assert refusal.value.kind == "input"


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES if kind != "hierarchical"])
def test_given_rows_of_the_output_get_no_gradient(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    layer.loss(features_NE, targets_N)[0].backward()
    assert (layer.weight.grad[list(CONTEXT_IDS)] == 0).all()
    assert (layer.bias.grad[list(CONTEXT_IDS)] == 0).all()


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


@examples(50)
@given(st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=12), st.floats(-200, 200, width=32), st.data())
def test_adding_a_constant_to_all_logits_changes_nothing(row, constant, data):
    logits_1C, right = torch.tensor([row], dtype=torch.float64), data.draw(st.integers(0, len(row) - 1))
    plain, shifted = (softmax_nats(x, torch.tensor([right])) for x in (logits_1C, logits_1C + constant))
    torch.testing.assert_close(plain[0], shifted[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(plain[1], shifted[1], rtol=1e-10, atol=1e-10)


def test_the_loss_survives_huge_logits_with_a_finite_gradient(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    with torch.no_grad():
        layer.weight.mul_(1e4)
    for precision in ("float32", "bf16"):
        loss, _ = layer.loss(features_NE, targets_N, precision)
        assert all(torch.isfinite(grad).all() for grad in [loss, *gradients(loss, layer, features_NE)])


def test_bf16_products_change_loss_and_gradient_by_rounding_only(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    exact, rounded = (layer.loss(features_NE, targets_N, p)[0] for p in ("float32", "bf16"))
    assert rounded.item() == pytest.approx(exact.item(), rel=5e-3)
    assert rounded.item() != exact.item()
    for one, other in zip(gradients(exact, layer, features_NE), gradients(rounded, layer, features_NE), strict=True):
        assert float((one - other).norm()) <= 0.02 * float(one.norm())
        assert other.dtype == torch.float32


@pytest.mark.parametrize("output", ["softmax", "two_level"])
def test_a_loss_in_bf16_is_within_a_thousandth_of_the_exact_one(output):
    """On a distribution as training has it: logits from -15 to 5, most of it in the bias."""
    torch.manual_seed(4)
    counts = (1e6 / np.arange(1, 1_501)).astype(int)
    objective = ObjectiveSpec(output, chunk=128, **{"head": 300} if output == "two_level" else {})
    layer = build_output(objective, nn.Parameter(torch.randn(1_500, 40) / 5), counts)
    features_NE = torch.randn(600, 40, requires_grad=True)
    targets_N = torch.multinomial(layer.logp(features_NE).exp(), 1)[:, 0]
    exact, rounded = (layer.loss(features_NE, targets_N, precision)[0] for precision in ("float32", "bf16"))
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-3)
    for one, other in zip(gradients(exact, layer, features_NE), gradients(rounded, layer, features_NE), strict=True):
        assert float((one - other).norm() / one.norm()) < 0.02


def test_features_that_fill_up_bf16_rows_are_not_seen_outside():
    """E = 6 becomes 32 in the products; with E = 32 to begin with, and features of 0, all is the same."""
    layer, (features_NE, targets_N) = layer_of("two_level, sorted"), batch()
    rows = nn.Parameter(F.pad(layer.weight.detach(), (0, 26)))
    wide = build_output(ObjectiveSpec("two_level", HEAD, chunk=8), rows, SORTED)
    with torch.no_grad():
        wide.bias.copy_(layer.bias)
        wide.tail_weight[:E], wide.tail_bias[:] = layer.tail_weight, layer.tail_bias
    wide_NE = F.pad(features_NE.detach(), (0, 26)).requires_grad_()
    narrow_loss, wide_loss = (x.loss(h, targets_N, "bf16")[0] for x, h in ((layer, features_NE), (wide, wide_NE)))
    assert narrow_loss == wide_loss
    for one, other in zip(gradients(narrow_loss, layer, features_NE), gradients(wide_loss, wide, wide_NE), strict=True):
        torch.testing.assert_close(one, other[..., :E] if other.shape[-1] == 32 else other, rtol=0, atol=0)


def test_bf16_features_get_a_bf16_gradient(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    low_NE = features_NE.detach().bfloat16().requires_grad_()
    layer.loss(low_NE, targets_N, "bf16")[0].backward()
    assert low_NE.grad.dtype == torch.bfloat16


def test_a_second_backward_is_refused_with_what_to_do(kind):
    loss, _ = layer_of(kind).loss(*batch())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="call `loss` again"):
        loss.backward()


def test_no_gradient_is_computed_where_none_is_wanted(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    with torch.no_grad():
        loss, count = layer.loss(features_NE, targets_N)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, layer.nats(features_NE, targets_N).sum())
    assert count == N


@pytest.mark.parametrize("kind", [kind for kind in OBJECTIVES if kind != "hierarchical"])
def test_tied_rows_collect_the_gradients_of_both_their_uses(kind):
    layer, targets_N = layer_of(kind, dtype=torch.float64), batch()[1]
    ids_N = torch.tensor(np.random.default_rng(5).integers(0, V, N))
    layer.loss(F.embedding(ids_N, layer.weight), targets_N)[0].backward()
    own = layer.weight.grad.clone()
    features_NE = F.embedding(ids_N, layer.weight)
    expected = -reference_logp(layer, features_NE).gather(1, targets_N[:, None]).sum()
    torch.testing.assert_close(own, torch.autograd.grad(expected, layer.weight)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("counts", [SORTED, MIXED], ids=["sorted", "mixed"])
def test_training_starts_from_the_unigram_model(kind, counts):
    """With features of 0 the prediction is the add-one-half unigram model, whatever the levels."""
    layer = build_output(OBJECTIVES[kind], nn.Parameter(torch.randn(V, E)), counts)
    p_V = layer.logp(torch.zeros(1, E))[0].exp()
    expected = torch.tensor((counts[PREDICTED] + 0.5) / (counts[PREDICTED] + 0.5).sum())
    torch.testing.assert_close(p_V[PREDICTED].double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [0, 10])
def test_equal_counts_start_at_log_v(kind, count):
    weight = nn.Parameter(torch.randn(V, E) * 0.05)
    layer = build_output(OBJECTIVES[kind], weight, np.full(V, count))
    nats_N = layer.nats(*batch())
    assert float(nats_N.mean()) == pytest.approx(np.log(len(PREDICTED)), rel=0.05)


def test_the_head_holds_the_special_and_the_most_frequent_predicted_entries():
    layer = layer_of("two_level, mixed")
    head = layer.order_P[:HEAD].tolist()
    words = [i for i in head if i not in (UNK, EOS)]
    assert len(words) == HEAD - 2
    assert min(MIXED[words]) > max(MIXED[i] for i in PREDICTED if i not in head)
    assert sorted(layer.order_P.tolist()) == PREDICTED


def test_a_tail_of_ids_in_order_of_frequency_is_a_plain_range_though_unknown_words_are_rare():
    counts = SORTED.copy()
    counts[UNK] = counts[EOS] = 0
    layer = build_output(OBJECTIVES["two_level, sorted"], nn.Parameter(torch.randn(V, E)), counts)
    assert layer._ranges == [slice(V - (len(PREDICTED) - HEAD), V)]


def test_a_saved_layer_comes_back_with_its_own_order(kind):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    objective = replace(OBJECTIVES[kind], chunk=8)
    other = build_output(objective, nn.Parameter(torch.zeros(V, E)), np.arange(V)[::-1].copy())
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.nats(features_NE, targets_N), layer.nats(features_NE, targets_N))
    assert torch.equal(other.logp(features_NE), layer.logp(features_NE))


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_is_loaded_without_the_counts_it_was_made_with(kind, tied, tmp_path):
    """What an output layer derives from the counts of its training text comes back with the weights."""
    if tied and kind == "hierarchical":
        pytest.skip("a tree's rows are not tied")
    spec = RecurrentSpec(hidden=8, embedding=E, tied=tied, objective=OBJECTIVES[kind])
    model = RecurrentLM(spec, RecurrentLM.build(spec, torch.tensor(MIXED)), V)
    model.save(tmp_path)
    loaded = RecurrentLM.load(tmp_path, spec, SimpleNamespace(size=V))
    ids_BT = np.random.default_rng(1).choice(PREDICTED, (2, 12))
    assert np.array_equal(model.score(ids_BT, model.start(2))[0], loaded.score(ids_BT, loaded.start(2))[0])


@pytest.mark.parametrize(("head", "levels"), [(V, 1), (V - 7, 1), (V - 8, 1), (V - 12, 1), (20, 2), (1, 2)])
def test_a_vocabulary_hardly_larger_than_the_head_gets_one_softmax(head, levels, caplog):
    with caplog.at_level(logging.DEBUG):
        layer = build_output(ObjectiveSpec(head=head), nn.Parameter(torch.randn(V, E)), MIXED)
    assert isinstance(layer, TwoLevelOutput if levels == 2 else SoftmaxOutput)
    assert ("one softmax is used instead" in caplog.text) == (levels == 1)


def test_counts_of_another_vocabulary_are_refused():
    with pytest.raises(ModelError, match="unigram counts"):
        build_output(ObjectiveSpec(), nn.Parameter(torch.zeros(V, E)), np.ones(V + 1))


def test_the_cost_of_rows_is_paid_in_chunks(monkeypatch):
    rows = []
    linear = F.linear
    monkeypatch.setattr("models.neural.output.cross_entropy.F.linear", lambda h, w: rows.append(len(h)) or linear(h, w))
    level_nats(torch.randn(20, E), torch.randn(V, E), torch.zeros(V), torch.zeros(20, dtype=torch.long), 8)
    assert rows == [8, 8, 4]


@pytest.mark.gpu
@pytest.mark.parametrize("spread", [1.0, 50.0, 1e4])
def test_huge_logits_on_a_gpu_give_the_numbers_of_the_processor(spread):
    logits_NC = (torch.rand(12, 9, generator=torch.Generator().manual_seed(3)) * 2 - 1) * spread
    classes_N = torch.arange(12) % 9
    expected_N, _ = softmax_nats(logits_NC, classes_N)
    nats_N, _ = softmax_nats(logits_NC.cuda(), classes_N.cuda())
    torch.testing.assert_close(nats_N.cpu(), expected_N, rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
def test_targets_may_stay_on_the_processor(kind):
    """Then nothing that depends on their values is asked of the GPU."""
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    targets_N[::5] = -1
    there_NE, layer = features_NE.detach().cuda().requires_grad_(), layer.cuda()
    there, here = (layer.loss(there_NE, targets) for targets in (targets_N.cuda(), targets_N))
    assert here[1] == there[1]
    assert here[0].item() == there[0].item()
    for one, other in zip(*(gradients(loss, layer, there_NE) for loss, _ in (there, here)), strict=True):
        torch.testing.assert_close(one.cpu(), other.cpu())
    torch.testing.assert_close(layer.nats(there_NE, targets_N).cpu(), layer.nats(there_NE, targets_N.cuda()).cpu())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_loss_and_gradient_on_a_gpu_are_those_of_the_processor(kind, precision):
    layer, (features_NE, targets_N) = layer_of(kind), batch()
    loss, _ = layer.loss(features_NE, targets_N)
    expected = gradients(loss, layer, features_NE)
    there_NE = features_NE.detach().cuda().requires_grad_()
    layer = layer.cuda()
    there, _ = layer.loss(there_NE, targets_N.cuda(), precision)
    assert there.item() == pytest.approx(loss.item(), rel=5e-3)
    for one, other in zip(gradients(there, layer, there_NE), expected, strict=True):
        assert float((one.cpu() - other).norm()) <= 0.02 * float(other.norm())  # of a tail without a target: 0 and 0
