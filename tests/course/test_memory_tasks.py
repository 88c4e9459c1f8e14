"""Association and implication: the examples themselves, and who learns them."""


import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.toy import CASES, learn, toy_spec
from course.toy_tasks import FIRST, Association, Implication
from models.base import ModelError
from models.neural.output import NOT_SCORED
from models.tokens.special import CONTEXT_IDS
from tests.examples import examples


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


def exact(task, name, updates):
    case = CASES[name]
    return learn(task, toy_spec(case, 32, batch=64), updates, build=case.build).final.exact


@pytest.mark.slow
def test_an_external_memory_keeps_what_belongs_together_where_a_tanh_network_guesses():
    task = Association(pairs=2, lag=12, keys=4, values=4)
    assert exact(task, "memory", 150) >= 0.99
    assert exact(task, "tanh", 150) < 1 / 16 + 0.1, "guessing is right a sixteenth of the time"
