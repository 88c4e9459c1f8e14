"""Dynamic evaluation against steps made by hand, and the choice of its rate and decay."""

from __future__ import annotations

import copy
from itertools import cycle

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.mixture.parts import Part
from models.neural.adaptive import dynamic
from models.neural.adaptive.dynamic import DynamicLM
from models.neural.adaptive.dynamic_rule import (
    DynamicRule,
    differentiable,
    gradients_of,
    root_mean_squares,
    targets_of,
    twin,
    weights_of,
)
from models.neural.recurrent import RecurrentLM
from models.specs import DynamicSpec, NGramSpec, ObjectiveSpec, RecurrentSpec, spec_from_dict, to_dict
from models.tokens.vocabulary import BOS
from models.tokens.vocabulary import CONTEXT_IDS as GIVEN_IDS
from tests.models.neural.adaptive.adapting_models import TEXT, adapting, exact, score
from tests.models.neural.made_streams import walks
from tests.models.neural.test_neural_lm import SPECS, V, make

ALL = ["rnn", "gru-own", "lstm", "lstm-untied", "lstm-two-level", "nplm"]


def by_hand(part, ids, segment, step):
    """−log p of each token of one stream, with autograd through `logp`, and weights that *step* replaces.

    Written without segments of any code under test: the network is a copy, and reads (token, next token) pairs.
    """
    network = copy.deepcopy(part.model.network)
    static = [own.detach().clone() for own in network.parameters()]
    state, nats = network.start(1, "cpu"), [0.0]
    for begin in range(0, len(ids) - 1, segment):
        inputs, targets = ids[begin : begin + segment], ids[begin + 1 : begin + 1 + segment]
        inputs = inputs[: len(targets)]
        features, state = network(torch.from_numpy(inputs)[None], state)
        state = tuple(tensor.detach() for tensor in state)
        scored = torch.tensor([target if target not in GIVEN_IDS else -1 for target in targets])
        loss, _ = network.output.loss(features[0], scored)
        nats += network.output.nats(features[0].detach(), scored).tolist()
        if len(targets) == segment:
            network.zero_grad()
            loss.div(segment).backward()
            with torch.no_grad():
                for weight, first in zip(network.parameters(), static, strict=True):
                    weight.copy_(step(weight, weight.grad, first))
    return np.array(nats)


@pytest.mark.parametrize("name", ALL)
def test_a_step_is_that_of_torch_on_the_mean_of_the_segment(name):
    """One segment, no decay: torch.optim.SGD on a copy, then the static model scores the rest."""
    part, ids = exact(name), TEXT[:1, :9]
    model = adapting(part, rate=0.5, decay=0.0, segment=4)
    _, state = model.score(ids[:, :5], model.start(1))
    taught = copy.deepcopy(part.model.network)
    optimizer = torch.optim.SGD(taught.parameters(), lr=0.5)
    features, _ = taught(torch.from_numpy(ids[:, :4]), taught.start(1, "cpu"))
    loss, _ = taught.output.loss(features[0], torch.tensor([-1, *ids[0, 2:5]]))
    loss.div(4).backward()
    optimizer.step()
    adapted = state.streams[0].segment.weights
    for found, expected in zip(adapted, taught.parameters(), strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=1e-10, atol=1e-12)
    assert any(not torch.equal(a, b) for a, b in zip(adapted, weights_of(part.model.network), strict=True))


@pytest.mark.parametrize("name", ALL)
def test_a_text_costs_what_steps_by_hand_say(name):
    part, ids = exact(name), TEXT[0]
    model = adapting(part, rate=0.3, decay=0.05, segment=5)
    expected = by_hand(part, ids, 5, lambda weight, gradient, first: weight - 0.3 * gradient + 0.05 * (first - weight))
    assert score(model, ids[None])[0] == pytest.approx(expected, rel=1e-9)


def test_where_nothing_is_predicted_the_weights_only_go_back():
    part, ids = exact("lstm"), TEXT[0].copy()
    ids[[9, 10]] = 8  # star tokens are given
    model = adapting(part, rate=0.3, decay=0.2, segment=1)
    expected = by_hand(part, ids, 1, lambda weight, gradient, first: weight - 0.3 * gradient + 0.2 * (first - weight))
    assert score(model, ids[None])[0] == pytest.approx(expected, rel=1e-9)


def test_steps_by_root_mean_squares_are_the_formula():
    part, ids = exact("lstm"), TEXT[0]
    torch.manual_seed(0)
    rms = tuple(torch.rand_like(own) for own in part.model.network.parameters())
    mean = torch.cat([r.flatten() for r in rms]).mean()
    each = cycle(rms)  # the weights come in the order of the parameters, again and again

    def step(weight, gradient, first):
        r = next(each)
        return weight - 0.01 * gradient / (r + 0.001) + (0.6 * r / mean).clamp(max=1) * (first - weight)

    model = adapting(part, rate=0.01, decay=0.6, segment=5, rms=rms)
    assert score(model, ids[None])[0] == pytest.approx(by_hand(part, ids, 5, step), rel=1e-8)


@pytest.mark.parametrize(
    "objective",
    [
        ObjectiveSpec(output="adaptive", head=6, cutoffs=(14,), shrink=2.0),
        ObjectiveSpec(output="hierarchical"),
        ObjectiveSpec(output="softmax", estimator="sampled", samples=8),
        ObjectiveSpec(output="softmax", estimator="nce", samples=8),
    ],
    ids=lambda objective: f"{objective.output}-{objective.estimator}",
)
def test_the_gradient_is_that_of_the_exact_nats_whatever_training_minimises(objective):
    """Against differences of `nats`, which are exactly normalised for every output layer."""
    torch.manual_seed(3)
    spec = RecurrentSpec(
        kind="gru", hidden=5, embedding=4, tied=objective.output != "hierarchical", objective=objective
    )
    network = twin(RecurrentLM.build(spec, torch.arange(V)).double())
    text = torch.from_numpy(TEXT[:1])
    with differentiable():
        features, _ = network(text[:, :-1], network.start(1, "cpu"))
        nats, gradients = gradients_of(network, features[0], targets_of(text[0, 1:]))
    assert nats.tolist() == pytest.approx(network.output.nats(features[0].detach(), targets_of(text[0, 1:])).tolist())
    for own, gradient in zip(network.parameters(), gradients, strict=True):
        direction = torch.randn_like(own)
        moved = []
        for size in (1e-5, -1e-5):
            with torch.no_grad():
                own += size * direction
                features, _ = network(text[:, :-1], network.start(1, "cpu"))
                moved.append(float(network.output.nats(features[0], targets_of(text[0, 1:])).sum()))
                own -= size * direction
        assert float((gradient * direction).sum()) == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("across", [False, True])
def test_a_rate_of_zero_is_the_static_model(name, across):
    part = exact(name)
    found = score(adapting(part, rate=0.0, decay=0.1, across=across), TEXT)
    assert found == pytest.approx(score(part.model, TEXT), rel=1e-11, abs=1e-12)


def test_root_mean_squares_are_those_of_the_minibatches():
    part, train, segment = exact("gru-own"), walks(12, V, 0), 3
    network = part.model.network
    found = root_mean_squares(twin(network), train, segment, 10_000)
    ids, lanes = train.ids.astype(np.int64), min(100, (len(train.ids) - 1) // segment)
    length = (len(ids) - 1) // lanes // segment * segment
    state, squares = network.start(lanes, "cpu"), []
    for begin in range(0, length, segment):
        rows = [ids[lane * length + begin : lane * length + begin + segment + 1] for lane in range(lanes)]
        text = torch.from_numpy(np.stack(rows))
        features, state = network(text[:, :-1], tuple(t.detach() for t in state))
        targets = text[:, 1:].masked_fill(torch.isin(text[:, 1:], torch.tensor(sorted(GIVEN_IDS))), -1).flatten()
        network.zero_grad()
        network.output.loss(features.flatten(0, 1), targets)[0].div(len(targets)).backward()
        squares.append([own.grad.square() for own in network.parameters()])
    for r, columns in zip(found, zip(*squares, strict=True), strict=True):
        torch.testing.assert_close(r, torch.stack(columns).mean(0).sqrt(), rtol=1e-9, atol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_rate_and_decay_are_chosen_on_held_out_text_and_kept_with_the_bundle(rule, tmp_path, monkeypatch):
    part = Part("lstm", SPECS["lstm"], make("lstm"))
    held = walks(6, V, 1)
    rates = (0.0, 0.3, 50.0) if rule == "sgd" else (0.0, 0.002, 5.0)
    spec = DynamicSpec(rule=rule, segment=5, rates=rates, decays=(0.01, 0.0))
    result = DynamicLM.tuned(spec, part, walks(20, V, 2), held)
    assert result.model.rate == rates[1]
    assert result.summary["validation/perplexity"] < result.summary["validation/perplexity_static"]
    assert result.summary["tokens"] == held.tokens
    result.model.save(tmp_path)
    monkeypatch.setattr(dynamic, "load_parts", lambda *options: [part])
    again = DynamicLM.load(tmp_path, spec, None)
    assert (again.rate, again.decay) == (result.summary["rate"], result.summary["decay"])
    assert score(again, TEXT) == pytest.approx(score(result.model, TEXT), rel=1e-6)
    if rule == "rms":
        (tmp_path / dynamic.STATISTICS).write_bytes(b"torn")
        with pytest.raises(ModelError, match="statistics"):
            DynamicLM.load(tmp_path, spec, None)


def test_rates_that_all_diverge_are_told():
    part = Part("rnn-relu", SPECS["rnn-relu"], make("rnn-relu"))
    spec = DynamicSpec(rule="sgd", segment=2, rates=(1e30,), decays=(0.0,))
    with pytest.raises(ModelError, match="finite"):
        DynamicLM.tuned(spec, part, walks(4, V, 2), walks(4, V, 1))


def test_bad_input_is_refused():
    with pytest.raises(ModelError, match="needs a neural model; the part 'kn5' is of kind 'ngram'"):
        adapting(Part("kn5", NGramSpec(), object()))
    model = adapting(exact())
    with pytest.raises(ModelError, match="token ids"):
        model.score(np.array([[BOS, V]]), model.start(1))
    with pytest.raises(ModelError, match="fewer than a segment"):
        root_mean_squares(twin(exact().model.network), walks(1, V, 0), 1000, 10)
    nothing = tuple(torch.zeros_like(own) for own in model.reader.rule.static)
    with pytest.raises(ModelError, match="root mean square"):
        DynamicRule(model.reader.rule.static, 0.1, 0.1, nothing)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"segment": 0}, "at least 1"), ({"rates": (-1.0,)}, "each 0 or more"), ({"decays": (1.5,)}, "at most 1"),
     ({"decays": ()}, "one or more"), ({"epsilon": 0.0}, "above 0"), ({"name": "lstm"}, "than itself")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        DynamicSpec(**options)


def test_a_spec_comes_back_from_its_dictionary():
    spec = DynamicSpec(rule="sgd", rates=(0.1,), decays=(0.0, 0.5), across=True)
    assert spec_from_dict(to_dict(spec)) == spec
