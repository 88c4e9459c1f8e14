"""Networks with an external memory: their equations in plain arithmetic, their gradients, and what they can hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from reviewlm.course.memory.end_to_end_memory import EndToEndMemoryNetwork
from reviewlm.course.memory.external_memory import (
    ExternalMemoryNetwork,
    content_weights,
    cosine_similarity,
    least_used,
    read,
    updated_usage,
    write,
)
from reviewlm.course.memory.toy import CASES, learn, toy_spec
from reviewlm.course.memory.toy_tasks import FIRST, Association, Implication
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.specs import ObjectiveSpec, RecurrentSpec
from reviewlm.models.tokens.special import CONTEXT_IDS
from tests.examples import examples

V, E, H, W = 11, 3, 5, 4


def drawn(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spec_of(kind="rnn", hidden=H):
    return RecurrentSpec(
        kind=kind,
        hidden=hidden,
        embedding=E,
        tied=False,
        objective=ObjectiveSpec(output="softmax"),
    )


def external(
    kind="rnn",
    slots=6,
    width=W,
):
    torch.manual_seed(1)
    network = ExternalMemoryNetwork(spec_of(kind), torch.ones(V), slots, width).double().eval()
    for parameter in network.parameters():  # those that start at 0 too
        torch.nn.init.normal_(parameter, 0.0, 0.7)
    return network


def hopping(
    hops,
    size=H,
    entries=V,
):
    torch.manual_seed(1)
    network = EndToEndMemoryNetwork(spec_of(hidden=size), torch.ones(entries), hops).double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network


def dot(u, v):
    return sum(a * b for a, b in zip(u, v, strict=True))


def softmax_of(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def cosine(u, v):
    return dot(u, v) / math.sqrt(dot(u, u) * dot(v, v))


@examples(60)
@given(seed=st.integers(0, 10**6), sharpness=st.floats(0, 20))
def test_slots_are_read_as_the_formulas_say(seed, sharpness):
    key_BA, rows_BSA, memory_BSW = (
        drawn(2, 3, seed=seed),
        drawn(2, 5, 3, seed=seed + 1),
        drawn(2, 5, 4, seed=seed + 2),
    )
    weights_BS = content_weights(
        key_BA, torch.full((2, 1), sharpness, dtype=torch.float64), rows_BSA
    )
    r_BW = read(weights_BS, memory_BSW)
    for b in range(2):
        key, rows, memory = key_BA[b].tolist(), rows_BSA[b].tolist(), memory_BSW[b].tolist()
        expected = softmax_of([sharpness * cosine(key, row) for row in rows])
        assert weights_BS[b].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6), (
            "apart from SMALL"
        )
        by_hand = [
            sum(w * row[n] for w, row in zip(weights_BS[b].tolist(), memory, strict=True))
            for n in range(4)
        ]
        assert r_BW[b].tolist() == pytest.approx(by_hand)
    assert weights_BS.sum(1).tolist() == pytest.approx([1, 1])


@pytest.fixture
def key_with_slots():
    """A key and four slots: two along it, one across it, an empty one."""
    key = torch.tensor([[3.0, 4.0]], requires_grad=True)
    rows = torch.tensor([[[30.0, 40.0], [-0.3, -0.4], [-4.0, 3.0], [0.0, 0.0]]], requires_grad=True)
    return key, rows


def test_a_similarity_is_that_of_directions(key_with_slots):
    found = cosine_similarity(*key_with_slots)
    assert found.tolist() == [pytest.approx([1, -1, 0, 0], abs=1e-4)]


def test_the_gradient_of_an_empty_slot_is_finite(key_with_slots):
    key, rows = key_with_slots
    cosine_similarity(key, rows).sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert torch.isfinite(key.grad).all()


def test_a_slot_is_written_by_its_weight():
    memory, weights = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[0.25, 1.0]])
    written = write(memory, weights, torch.tensor([[1.0, 0.5]]), torch.tensor([[8.0, 10.0]]))
    assert written.tolist() == [[[0.75 + 2, 2 * 0.875 + 2.5], [8, 4 * 0.5 + 10]]]


def test_the_slot_used_least_is_the_first_of_the_smallest():
    assert least_used(torch.tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]])).tolist() == [
        [0, 1, 0],
        [1, 0, 0],
    ]


def test_usage_fades():
    usage, one = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.25, 0.75]], requires_grad=True)
    after = updated_usage(usage, one, torch.tensor([[0.0, 1.0]]))
    assert after.tolist() == [pytest.approx([0.99 * 2 + 0.25, 1.75])]
    assert not after.requires_grad


def affine(layer, x):
    return [
        dot(row, x) + b for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]


def by_hand(network, ids):
    """The features of one stream with the tanh controller, number by number."""
    layer = network.controller
    W_ih, W_hh = layer.weight_ih_l0.tolist(), layer.weight_hh_l0.tolist()
    b = (layer.bias_ih_l0 + layer.bias_hh_l0).tolist()
    h, key, r, features = [0.0] * H, [0.0] * (W // 2), [0.0] * W, []
    memory, usage = [[0.0] * W for _ in range(network.slots)], [0.0] * network.slots
    for token in ids:
        x = network.embedding.weight[token].tolist() + r
        h = [math.tanh(dot(W_ih[n], x) + dot(W_hh[n], h) + b[n]) for n in range(H)]
        oldest = usage.index(min(usage))
        memory[oldest] = key + [math.tanh(a) for a in affine(network.content, h)]
        key = [math.tanh(a) for a in affine(network.key, h)]
        sharpness = 1 + math.log1p(math.exp(affine(network.sharpness, h)[0]))
        known = [row[: W // 2] if any(row[: W // 2]) else None for row in memory]
        weights = softmax_of([sharpness * cosine(key, row) if row else 0.0 for row in known])
        r = [sum(w * row[n] for w, row in zip(weights, memory, strict=True)) for n in range(W)]
        usage = [0.99 * u + w for u, w in zip(usage, weights, strict=True)]
        usage[oldest] += 1
        features.append(h + r)
    return features


def test_a_network_with_an_external_memory_follows_its_equations_in_plain_arithmetic():
    network, ids = external(slots=3), [9, 10, 9, 4, 0, 7]
    features_BTF, _ = network(torch.tensor([ids]), network.start(1, "cpu"))
    assert np.allclose(features_BTF[0].detach().numpy(), by_hand(network, ids), atol=1e-4), (
        "apart from SMALL"
    )


def gradients_hold(network, ids_BT):
    named = {name: one for name, one in network.named_parameters() if not name.startswith("output")}

    def features(*values):
        return functional_call(
            network, dict(zip(named, values, strict=True)), (ids_BT, network.start(1, "cpu"))
        )[0]

    return torch.autograd.gradcheck(
        features, [one.detach().requires_grad_() for one in named.values()]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_gradients_through_the_memory_are_those_of_differences(kind):
    assert gradients_hold(external(kind, slots=3), torch.tensor([[9, 10, 4, 0]]))


def test_hops_follow_their_equations_in_plain_arithmetic():
    network, story = hopping(2), [7, 8, 8, 9, 10, 7, 8]
    A, B, C, H_DD = (
        one.tolist() for one in (network.A.weight, network.B.weight, network.C.weight, network.H)
    )
    facts = [(7, 8), (8, 9), (10, 7)]
    u = B[8]
    for _ in range(2):
        p = softmax_of(
            [dot(u, [a + b for a, b in zip(A[s], A[V + o], strict=True)]) for s, o in facts]
        )
        o_D = [
            sum(w * (C[s][n] + C[V + o][n]) for w, (s, o) in zip(p, facts, strict=True))
            for n in range(H)
        ]
        u = [dot(row, u) + o for row, o in zip(H_DD, o_D, strict=True)]
    features_BTD, _ = network(torch.tensor([story]), network.start(1, "cpu"))
    assert features_BTD[0, -1].tolist() == pytest.approx(u)
    assert features_BTD[0, :-1].abs().sum() == 0


def test_only_the_order_of_words_within_a_fact_matters():
    network = hopping(3)
    one, other, turned = (
        network(torch.tensor([story]), network.start(1, "cpu"))[0][0, -1]
        for story in ([7, 8, 8, 9, 7], [8, 9, 7, 8, 7], [8, 7, 8, 9, 7])
    )
    assert torch.allclose(one, other, atol=1e-12)
    assert not torch.allclose(one, turned, atol=1e-3)


# --- Association and implication: the examples themselves, and who learns them


@examples(40)
@given(
    pairs=st.integers(1, 4),
    lag=st.integers(0, 9),
    keys=st.integers(4, 6),
    values=st.integers(2, 5),
)
def test_every_key_is_answered_with_the_value_after_it(
    pairs,
    lag,
    keys,
    values,
):
    task = Association(pairs, lag, keys, values)
    for ids, targets in zip(*task.train(np.random.default_rng(1), 10), strict=True):
        told = dict(ids[: 2 * pairs].reshape(-1, 2).tolist())
        asked = ids[-pairs:].tolist()
        assert len(ids) == 3 * pairs + lag
        assert sorted(asked) == sorted(told)
        assert targets.tolist() == [NOT_SCORED] * (2 * pairs + lag) + [told[key] for key in asked]
        assert not {*ids[2 * pairs : -pairs].tolist()} & {*told, *told.values()}, (
            "the lag says nothing"
        )
        assert max(ids.max(), targets.max()) < task.entries
        assert not {*ids.tolist()} & CONTEXT_IDS


@examples(40)
@given(
    steps=st.integers(1, 4),
    chains=st.integers(2, 3),
    spare=st.integers(0, 3),
    seed=st.integers(0, 5),
)
def test_the_answer_is_the_end_of_the_chain_that_begins_with_the_question(
    steps,
    chains,
    spare,
    seed,
):
    task = Implication(steps, chains, max(8, chains * (steps + 1)) + spare, seed)
    for stories in (task.train(np.random.default_rng(seed), 10), task.held_out(10)):
        for ids, targets in zip(*stories, strict=True):
            implies = dict(ids[:-1].reshape(-1, 2).tolist())
            assert len(implies) == chains * steps, "a name implies one thing"
            assert len({*implies} - {*implies.values()}) == chains, (
                "that many beginnings, and so chains"
            )
            name = ids[-1]
            for _ in range(steps):
                name = implies[name]
            assert name not in implies
            assert targets.tolist() == [NOT_SCORED] * (len(ids) - 1) + [name]
            assert FIRST <= ids.min() <= ids.max() < task.entries


def exact(
    task,
    name,
    updates,
):
    case = CASES[name]
    return learn(task, toy_spec(case, 32, batch=64), updates, build=case.build).final.exact


@pytest.mark.slow
def test_an_external_memory_keeps_what_belongs_together_where_a_tanh_network_guesses():
    task = Association(
        pairs=2,
        lag=12,
        keys=4,
        values=4,
    )
    assert exact(task, "memory", 150) >= 0.99
    assert exact(task, "tanh", 150) < 1 / 16 + 0.1, "guessing is right a sixteenth of the time"
