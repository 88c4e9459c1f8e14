"""Dynamic evaluation against steps made by hand, and each stream for itself."""

from __future__ import annotations

import copy
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.mixture.parts import Part
from models.neural.adaptive import dynamic, dynamic_stream
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
from tests.models.neural.made_streams import walks
from tests.models.neural.test_neural_lm import SPECS, V, make

TEXT = np.random.default_rng(4).integers(9, V, (3, 26))
TEXT[:, 0], TEXT[:, 1], TEXT[1, 11], TEXT[2, 20:] = BOS, 8, BOS, BOS
ALL = ["rnn", "gru-own", "lstm", "lstm-untied", "lstm-two-level", "nplm"]


def exact(name="lstm"):
    model = make(name)
    model.network.double()
    return Part(name, SPECS[name], model)


def adapting(part, rate=0.5, decay=0.1, segment=4, across=False, rms=None):
    rule = "sgd" if rms is None else "rms"
    return DynamicLM(DynamicSpec(segment=segment, across=across, rule=rule), part, rate, decay, rms)


def score(model, ids):
    return model.score(ids, model.start(len(ids)))[0]


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


def test_the_static_model_stays_as_it_was():
    part = exact()
    before = [own.detach().clone() for own in part.model.network.parameters()]
    expected = score(part.model, TEXT)
    score(adapting(part), TEXT)
    assert all(torch.equal(a, b) for a, b in zip(before, part.model.network.parameters(), strict=True))
    assert (score(part.model, TEXT) == expected).all()


def test_a_stream_that_repeats_itself_becomes_cheaper():
    part = exact()
    ids = np.array([[BOS, 8, *[11, 12, 13, 14] * 12]])
    adapted, static = score(adapting(part, rate=0.5, decay=0.0), ids), score(part.model, ids)
    assert adapted[0, -12:].mean() < 0.5 * static[0, -12:].mean()


@pytest.mark.parametrize("cuts", [(1,), (5,), (4, 9, 13), (2, 3, 11, 12, 25)])
@pytest.mark.parametrize("across", [False, True])
def test_text_may_be_cut_anywhere(cuts, across):
    model = adapting(exact(), across=across)
    state, pieces = model.start(3), []
    for ids_BT in np.split(TEXT, cuts, axis=1):
        nats_BT, state = model.score(ids_BT, state)
        pieces.append(nats_BT)
    assert np.concatenate(pieces, 1) == pytest.approx(score(model, TEXT), rel=1e-9)


def test_each_stream_adapts_for_itself():
    model = adapting(exact())
    together = score(model, TEXT)
    for row, ids in enumerate(TEXT):
        assert score(model, ids[None])[0] == pytest.approx(together[row], rel=1e-12)


def test_padding_costs_a_pass_of_the_network_and_changes_nothing():
    """`<bos>` after `<bos>` is a document without a word: many of them are read in one go, here against one by one."""
    model, passes = adapting(exact()), []
    for part in (model.reader.network, model.reader.network.output):
        part.register_forward_hook(lambda *_: passes.append(1))
    model.reader.network.output.nats = counted(model.reader.network.output.nats, passes)
    score(model, TEXT[:1, :10])
    plain = len(passes)
    padded = np.concatenate([TEXT[:1, :10], np.full((1, 300), BOS), TEXT[:1, 3:9]], 1)
    passes.clear()
    nats, state = model.score(padded[:, :310], model.start(1))
    assert len(passes) <= plain + 2
    following, _ = model.score(padded[:, 310:], state)
    by_one, state = [], model.start(1)
    for token in padded[0]:
        token_nats, state = model.score(token[None, None], state)
        by_one.append(token_nats)
    assert np.concatenate([nats, following], 1) == pytest.approx(np.concatenate(by_one, 1), rel=1e-9)
    wanted = np.zeros(padded.shape, bool)
    wanted[0, [5, 312]] = True
    found = list(model.predictions(padded, wanted))
    said = {int(place): logp for one in found for place, logp in zip(one[1], np.asarray(one[2]), strict=True)}
    for place in (5, 312):
        assert -said[place][padded[0, place]] == pytest.approx(np.concatenate([nats, following], 1)[0, place], rel=1e-5)


def counted(function, calls):
    def called(*arguments):
        calls.append(1)
        return function(*arguments)

    return called


def test_threads_that_ask_at_the_same_time_are_answered_as_if_alone(monkeypatch):
    model, use = adapting(exact()), dynamic_stream.use

    def use_and_be_slow(network, weights):
        use(network, weights)
        time.sleep(0.002)  # long enough for another thread to exchange the weights, if it could

    monkeypatch.setattr(dynamic_stream, "use", use_and_be_slow)
    alone = [score(model, ids[None]) for ids in TEXT]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda ids: score(model, ids[None]), TEXT))
    np.testing.assert_array_equal(together, alone)


def test_a_document_begins_with_the_static_weights_unless_the_spec_says_across():
    part = exact("nplm")  # whose memory ends at the begin of a document too
    alone, ids = score(part.model, TEXT[1:2, 11:15]), TEXT[1:2, :15]
    assert score(adapting(part), ids)[0, 11:] == pytest.approx(alone[0], rel=1e-9)
    assert score(adapting(part, across=True), ids)[0, 12:] != pytest.approx(alone[0, 1:], rel=1e-3)


def test_weights_beyond_the_room_are_learnt_again(monkeypatch):
    model = adapting(exact(), across=True)
    whole = score(model, TEXT)
    monkeypatch.setattr(dynamic, "KEPT_BYTES", 1)
    first, state = model.score(TEXT[:, :14], model.start(3))
    assert [stream.segment is None for stream in state.streams] == [False, True, True]
    assert np.concatenate([first, model.score(TEXT[:, 14:], state)[0]], 1) == pytest.approx(whole, rel=1e-9)
    logp_BV, _ = model.step(TEXT[:, 14], state)
    said = -logp_BV.numpy()[np.arange(3), TEXT[:, 15]]
    assert said == pytest.approx(whole[:, 15], rel=1e-5)


def test_a_state_is_not_changed_by_going_on_from_it():
    model = adapting(exact())
    _, state = model.score(TEXT[:, :10], model.start(3))
    once, _ = model.score(TEXT[:, 10:], state)
    assert (model.score(TEXT[:, 10:], state)[0] == once).all()


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


def test_weights_of_many_streams_are_never_held_together(monkeypatch):
    """Not even while they are read: of twenty streams, only a few have weights at a time."""
    model = adapting(exact())
    monkeypatch.setattr(dynamic, "KEPT_BYTES", sum(own.nbytes for own in model.reader.rule.static))
    alive, most = weakref.WeakValueDictionary(), 0
    apply = model.reader.rule.apply

    def noted(weights, *rest):
        nonlocal most
        alive[id(weights[0])] = weights[0]
        most = max(most, len(alive))
        apply(weights, *rest)

    monkeypatch.setattr(model.reader.rule, "apply", noted)
    ids = np.random.default_rng(0).integers(9, V, (20, 12))
    _, state = model.score(ids, model.start(20))
    assert most <= 3  # kept, read, and the one that is read after it
    assert sum(stream.segment is not None for stream in state.streams) == 1
    assert len({tuple(stream.history) for stream in state.streams}) == 20
