"""Addition and recall: the examples themselves, and who learns them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course.toy import CASES, ToyCase, learn, measure, toy_spec
from course.toy_tasks import FIRST, Addition, Recall
from models.base import ModelError
from models.neural.output import NOT_SCORED
from models.specs import RecurrentSpec
from models.tokens.special import CONTEXT_IDS


def number_of(bits_BT):
    return (bits_BT * 2 ** np.arange(bits_BT.shape[1])).sum(1)


def added(examples):
    """The two numbers that an example reads, and the one that it asks for."""
    read, asked = examples.ids_BT - FIRST, examples.targets_BT - FIRST - 4
    return number_of(read % 2), number_of(read // 2), number_of(asked)


@given(bits=st.integers(3, 12), seed=st.integers(0, 5))
def test_the_answer_is_the_sum_of_the_two_numbers(bits, seed):
    for examples in (Addition(bits, seed).train(np.random.default_rng(1), 20), Addition(bits, seed).held_out(20)):
        a, b, total = added(examples)
        assert (a + b == total).all()
        assert max(a.max(), b.max()) < 2**bits
        assert examples.ids_BT.shape[1] == bits + 1


def test_training_never_shows_a_held_out_pair():
    task = Addition(4)
    held_out = set(task.held_out_pairs(1_000).tolist())
    a, b, _ = added(task.train(np.random.default_rng(1), 5_000))
    shown = set((a * 16 + b).tolist())
    assert not shown & held_out
    assert len(shown) + len(held_out) == 256
    assert 0.15 < len(held_out) / 256 < 0.35


def test_held_out_pairs_are_spread_over_all_numbers():
    pairs = Addition(15).held_out_pairs(2_000)
    assert len(set(pairs.tolist())) == 2_000
    assert pairs.max() > 0.99 * 4**15


def longest_run(a, b, bits):
    """By hand: add column by column, and see how many columns each carry passes."""
    best, carry, age = 0, 0, 0
    for bit in range(bits):
        x, y = a >> bit & 1, b >> bit & 1
        if x and y:
            carry, age = 1, 1
        elif carry and (x or y):
            age += 1
        else:
            carry, age = 0, 0
        best = max(best, age)
    return best


def test_the_longest_carry_is_that_of_adding_by_hand():
    task, pairs = Addition(5), np.arange(4**5)
    assert task.longest_carry(pairs).tolist() == [longest_run(p >> 5, p & 31, 5) for p in pairs.tolist()]
    assert task.longest_carry(np.array([(0b11111 << 5) + 1])).item() == 5


@given(lag=st.integers(3, 40), length=st.integers(1, 3), symbols=st.integers(2, 6), distractors=st.integers(1, 4))
def test_what_is_asked_for_was_read_exactly_one_lag_before(lag, length, symbols, distractors):
    ids, targets = Recall(lag, length, symbols, distractors).train(np.random.default_rng(1), 8)
    asked = targets != NOT_SCORED
    assert asked.sum(1).tolist() == [length] * 8
    assert (targets[:, lag:][asked[:, lag:]] == ids[:, :length].ravel()).all()
    assert not np.isin(ids[:, length:], np.unique(ids[:, :length])).any(), "the answer is nowhere else"
    assert len(np.unique(ids[:, lag:])) == 1, "the question is always the same"
    assert max(ids.max(), targets.max()) < Recall(lag, length, symbols, distractors).entries
    assert not np.isin(ids, sorted(CONTEXT_IDS)).any()


def test_held_out_examples_are_always_the_same_ones():
    for task in (Addition(6), Recall(12)):
        for one, other in zip(task.held_out(50), task.held_out(50), strict=True):
            assert (one == other).all()


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Addition(2), "bits is 2"), (lambda: Addition(16), "bits is 16"),
    (lambda: Recall(lag=0), "length is 1; it must be between 1 and lag = 0"),
    (lambda: Recall(lag=2, length=3), "length is 3; it must be between 1 and lag = 2"),
    (lambda: Recall(symbols=1), "symbols is 1"), (lambda: Recall(distractors=0), "distractors is 0"),
])  # fmt: skip
def test_tasks_that_cannot_be_are_refused_by_the_name_of_what_is_wrong(make, said):
    with pytest.raises(ModelError, match=said) as caught:
        make()
    assert caught.value.kind == "input"


@pytest.mark.slow
def test_an_lstm_learns_to_add_pairs_that_it_has_never_seen():
    task = Addition(5)
    learned = learn(task, toy_spec(CASES["lstm forget 1"], hidden=32, batch=64), updates=1_000)
    assert learned.final.exact >= 0.99
    pairs = task.held_out_pairs(1_000)
    long = pairs[task.longest_carry(pairs) >= 4]
    assert len(long)
    assert measure(learned.network, task.examples(long)).exact >= 0.95


@pytest.mark.long
def test_recall_over_a_lag_is_learned_with_open_gates_and_not_by_a_tanh_network():
    task, updates = Recall(lag=40), 400
    exact = {
        name: learn(task, toy_spec(CASES[name], hidden=64, batch=32), updates, every=25).final.exact
        for name in ("lstm forget 3", "tanh")
    }
    assert exact["lstm forget 3"] >= 0.99
    assert exact["tanh"] < 0.4, "guessing is right a quarter of the time"


def test_equal_arguments_teach_the_same_and_other_seeds_do_not():
    def curve(seed):
        return learn(Recall(5), toy_spec(CASES["gru"], 8, 4, seed), updates=6, every=2).curve

    assert curve(1) == curve(1)
    assert curve(1) != curve(2)
    assert [point.update for point in curve(1)] == [2, 4, 6]


def test_measures_are_those_of_answers_and_of_whole_examples():
    class Fixed(torch.nn.Module):
        """Says the same whatever it reads."""

        def start(self, batch, device):
            return ()

        def forward(self, ids_BT, state):
            return torch.zeros(*ids_BT.shape, 1), state

        class output:
            @staticmethod
            def nats(features_NE, targets_N):
                return torch.full((len(targets_N),), 2.0)

            @staticmethod
            def logp(features_NE):
                return torch.eye(FIRST + 1)[FIRST].repeat(len(features_NE), 1)

    task = Recall(lag=6, length=2, symbols=2)
    examples = task.held_out(200)
    right = examples.targets_BT[:, 6:] == FIRST
    found = measure(Fixed(), examples, update=7)
    assert found == (7, 2.0, pytest.approx(right.mean()), pytest.approx(right.all(1).mean()))


@pytest.mark.parametrize("options", [{"updates": 0}, {"every": 0}])
def test_teaching_that_cannot_be_is_refused(options):
    with pytest.raises(ModelError):
        learn(Recall(5), toy_spec(CASES["tanh"], 4, 2), **({"updates": 1} | options))


def test_a_loss_that_is_not_finite_is_said_with_its_update():
    case = ToyCase(RecurrentSpec(kind="rnn", nonlinearity="relu"), 1e30)
    with pytest.raises(ModelError, match="at update"):
        learn(Recall(5), toy_spec(case, 4, 2), updates=50)
