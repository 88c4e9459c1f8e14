"""Dynamic evaluation of many streams: each adapts for itself, whatever is read beside it, in one go or in pieces."""

from __future__ import annotations

import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from models.neural.adaptive import dynamic, dynamic_stream
from models.tokens.vocabulary import BOS
from tests.models.neural.adaptive.adapting_models import TEXT, adapting, exact, score
from tests.models.neural.test_neural_lm import V


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
