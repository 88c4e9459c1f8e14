"""Association and implication: the examples themselves, fair comparisons, and who learns them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course import toy_training
from course.memory.comparison import (
    PLAIN,
    association_cases,
    implication_cases,
    of_equal_size,
    parameters_of,
    plain_network,
)
from course.memory.tasks import Association, Implication
from course.toy_tasks import FIRST, Recall
from course.toy_training import CASES, CurvePoint, Learned, best_of_rates, toy_spec
from models.base import ModelError
from models.neural.output import NOT_SCORED
from models.tokens.vocabulary import CONTEXT_IDS
from tests.examples import examples
from tests.marked_cases import long_but


@examples(40)
@given(pairs=st.integers(1, 4), lag=st.integers(0, 9), keys=st.integers(4, 6), values=st.integers(2, 5))
def test_every_key_is_asked_once_and_answered_with_the_value_after_it(pairs, lag, keys, values):
    task = Association(pairs, lag, keys, values)
    for ids, targets in zip(*task.train(np.random.default_rng(1), 10), strict=True):
        told = dict(ids[: 2 * pairs].reshape(-1, 2).tolist())
        asked = ids[-pairs:].tolist()
        assert len(ids) == 3 * pairs + lag
        assert sorted(asked) == sorted(told)
        assert targets.tolist() == [NOT_SCORED] * (2 * pairs + lag) + [told[key] for key in asked]
        assert not {*ids[2 * pairs : -pairs].tolist()} & {*told, *told.values()}, "the lag says nothing"
        assert max(ids.max(), targets.max()) < task.entries
        assert not {*ids.tolist()} & CONTEXT_IDS


@examples(40)
@given(steps=st.integers(1, 4), chains=st.integers(2, 3), spare=st.integers(0, 3), seed=st.integers(0, 5))
def test_the_answer_is_the_end_of_the_chain_that_begins_with_the_question(steps, chains, spare, seed):
    task = Implication(steps, chains, max(8, chains * (steps + 1)) + spare, seed)
    for stories in (task.train(np.random.default_rng(seed), 10), task.held_out(10)):
        for ids, targets in zip(*stories, strict=True):
            implies = dict(ids[:-1].reshape(-1, 2).tolist())
            assert len(implies) == chains * steps, "a name implies one thing"
            assert len({*implies} - {*implies.values()}) == chains, "that many beginnings, and so chains"
            name = ids[-1]
            for _ in range(steps):
                name = implies[name]
            assert name not in implies
            assert targets.tolist() == [NOT_SCORED] * (len(ids) - 1) + [name]
            assert FIRST <= ids.min() <= ids.max() < task.entries


def chains_asked(stories):
    found = set()
    for ids, targets in zip(*stories, strict=True):
        implies, path = dict(ids[:-1].reshape(-1, 2).tolist()), [ids[-1]]
        while path[-1] != targets[-1]:
            path.append(implies[path[-1]])
        found.add(tuple(int(name) for name in path))
    return found


def test_training_never_asks_about_a_held_out_chain():
    task = Implication(steps=1, chains=2, names=9)
    held_out, shown = chains_asked(task.held_out(4_000)), chains_asked(task.train(np.random.default_rng(1), 8_000))
    assert not held_out & shown
    assert len(held_out) + len(shown) == 9 * 8
    assert 0.1 < len(held_out) / 72 < 0.4


def test_examples_checked_while_training_are_always_the_same_and_not_those_of_the_end():
    for task in (Association(), Implication()):
        assert all((one == other).all() for one, other in zip(task.held_out(50), task.held_out(50), strict=True))
        assert (task.held_out(50).ids_BT != task.held_out(500).ids_BT[:50]).any(1).mean() > 0.9


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Association(pairs=0), "pairs is 0"), (lambda: Association(lag=-1), "lag is -1"),
    (lambda: Association(pairs=3, keys=2), "keys is 2; it must be at least pairs = 3"),
    (lambda: Association(values=1), "values is 1"), (lambda: Association(distractors=0), "distractors is 0"),
    (lambda: Implication(steps=0), "steps is 0"), (lambda: Implication(steps=9), "steps is 9"),
    (lambda: Implication(chains=1), "chains is 1"), (lambda: Implication(names=100), "names is 100"),
    (lambda: Implication(steps=3, chains=3, names=11), "names is 11; it must be between 12"),
])  # fmt: skip
def test_tasks_that_cannot_be_are_refused_by_the_name_of_what_is_wrong(make, said):
    with pytest.raises(ModelError, match=said) as caught:
        make()
    assert caught.value.kind == "input"


@pytest.mark.parametrize("name", ["tanh", "gru", "lstm forget 1"])
def test_networks_that_are_compared_have_nearly_as_many_parameters(name):
    task, case = Association(), association_cases(8)["memory"]
    wanted = parameters_of(case.build, toy_spec(case, 48), task.entries)
    spec = of_equal_size(PLAIN[name].build, toy_spec(PLAIN[name]), task.entries, wanted)
    assert 0.93 * wanted < parameters_of(PLAIN[name].build, spec, task.entries) <= wanted
    larger = replace(spec, hidden=spec.hidden + 1, embedding=spec.embedding + 1)
    assert parameters_of(PLAIN[name].build, larger, task.entries) > wanted


def test_all_numbers_of_hops_have_the_same_parameters():
    cases = [case for name, case in implication_cases().items() if name.startswith("hops")]
    assert len({parameters_of(case.build, toy_spec(case, 16), 20) for case in cases}) == 1


def test_embeddings_start_as_large_in_all_networks_that_are_compared():
    torch.manual_seed(1)
    plain = plain_network(toy_spec(CASES["tanh"], 64), torch.ones(60))
    memory = association_cases(4)["memory"].build(toy_spec(CASES["tanh"], 64), torch.ones(60))
    for network in (plain, memory):
        assert float(network.embedding.weight.detach().std()) == pytest.approx(1, abs=0.1)


def test_the_rate_is_chosen_by_the_examples_that_were_checked_not_by_those_of_the_end(monkeypatch):
    checked = {1e-4: (0.5, 0.9), 1e-3: (0.7, 0.6), 1e-2: (0.7, 0.5)}

    def learn(task, spec, updates, build):
        rate = spec.training.learning_rate
        if rate not in checked:
            raise ModelError("loss nan", "diverged")
        exact, nats = checked[rate]
        return Learned(None, (CurvePoint(9, nats, exact, exact),), CurvePoint(9, 0.0, 1 - exact, 1 - exact), 9, 1, rate)

    monkeypatch.setattr(toy_training, "learn", learn)
    spec = toy_spec(CASES["tanh"], 4)
    assert best_of_rates(Recall(5), spec, [1.0, 1e-4, 1e-2, 1e-3], 9, plain_network).rate == 1e-2
    with pytest.raises(ModelError, match="loss nan"):
        best_of_rates(Recall(5), spec, [1.0], 9, plain_network)


def trained(task, cases, name, hidden, updates, reference, rates):
    """The best of the rates; a network without a memory is as large as that of the reference."""
    spec = toy_spec(cases[name], hidden, batch=64)
    if name in PLAIN:
        wanted = parameters_of(cases[reference].build, toy_spec(cases[reference], hidden), task.entries)
        spec = of_equal_size(cases[name].build, spec, task.entries, wanted)
    return best_of_rates(task, spec, rates, updates, cases[name].build).final


def spread(chance, count):
    """Five standard deviations of the share of right guesses."""
    return 5 * math.sqrt(chance * (1 - chance) / count)


@pytest.mark.slow
@pytest.mark.parametrize(("lag", "slots", "updates", "rates"), long_but(
    [(12, 20, 150, (5e-3,)), (40, 64, 500, (1e-3, 3e-3, 1e-2))], [(12, 20, 150, (5e-3,))]
))  # fmt: skip
def test_an_external_memory_keeps_what_belongs_together_where_an_equally_large_tanh_network_guesses(
    lag, slots, updates, rates
):
    task, cases = Association(pairs=2, lag=lag, keys=4, values=4), association_cases(slots)
    exact, plain = (trained(task, cases, name, 32, updates, "memory", rates) for name in ("memory", "tanh"))
    assert exact.exact >= 0.99
    assert plain.answers < 1 / 4 + spread(1 / 4, 20_000) + 0.05, "guessing is right a quarter of the time"
    assert plain.exact < 1 / 16 + spread(1 / 16, 10_000) + 0.05


@pytest.mark.parametrize("rates", long_but([[1e-2], [1e-3, 3e-3, 1e-2]], [[1e-2]]))
@pytest.mark.long
def test_two_hops_follow_chains_of_two_facts_that_one_hop_and_an_equally_large_tanh_network_only_guess(rates):
    task, cases = Implication(steps=2, chains=3, names=12), implication_cases()
    two, one, plain = (
        trained(task, cases, name, 32, 1_000, "hops 2", rates).exact for name in ("hops 2", "hops 1", "tanh")
    )
    assert two >= 0.99
    assert max(one, plain) < 1 / 3 + spread(1 / 3, 10_000) + 0.05, "one of the three ends is right a third of the time"
