"""Addition and recall: the examples themselves, and who learns them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.course.memory.toy import CASES, learn, measure, toy_spec
from reviewlm.course.memory.toy_tasks import FIRST, Addition, Recall
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.tokens.special import CONTEXT_IDS


def number_of(bits_BT):
    return (bits_BT * 2 ** np.arange(bits_BT.shape[1])).sum(1)


def added(examples):
    """The two numbers that an example reads, and the one that it asks for."""
    read, asked = examples.ids_BT - FIRST, examples.targets_BT - FIRST - 4
    return number_of(read % 2), number_of(read // 2), number_of(asked)


@given(bits=st.integers(3, 12), seed=st.integers(0, 5))
def test_the_answer_is_the_sum_of_the_two_numbers(bits, seed):
    for examples in (
        Addition(bits, seed).train(np.random.default_rng(1), 20),
        Addition(bits, seed).held_out(20),
    ):
        a, b, total = added(examples)
        assert (a + b == total).all()
        assert max(a.max(), b.max()) < 2**bits
        assert examples.ids_BT.shape[1] == bits + 1


@given(
    lag=st.integers(3, 40),
    length=st.integers(1, 3),
    symbols=st.integers(2, 6),
    distractors=st.integers(1, 4),
)
def test_what_is_asked_for_was_read_exactly_one_lag_before(
    lag,
    length,
    symbols,
    distractors,
):
    ids, targets = Recall(lag, length, symbols, distractors).train(np.random.default_rng(1), 8)
    asked = targets != NOT_SCORED
    assert asked.sum(1).tolist() == [length] * 8
    assert (targets[:, lag:][asked[:, lag:]] == ids[:, :length].ravel()).all()
    assert not np.isin(ids[:, length:], np.unique(ids[:, :length])).any(), (
        "the answer is nowhere else"
    )
    assert len(np.unique(ids[:, lag:])) == 1, "the question is always the same"
    assert max(ids.max(), targets.max()) < Recall(lag, length, symbols, distractors).entries
    assert not np.isin(ids, sorted(CONTEXT_IDS)).any()


@pytest.mark.slow
def test_an_lstm_learns_to_add_pairs_that_it_has_never_seen():
    task = Addition(5)
    learned = learn(task, toy_spec(CASES["lstm forget 1"], hidden=32, batch=64), updates=1_000)
    assert learned.final.exact >= 0.99
    pairs = task.held_out_pairs(1_000)
    long = pairs[task.longest_carry(pairs) >= 4]
    assert len(long)
    assert measure(learned.network, task.examples(long)).exact >= 0.95
