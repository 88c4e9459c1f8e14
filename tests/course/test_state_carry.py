"""Reset, carry and sliding: each token once, with the context that the policy promises."""

import numpy as np
import pytest

from course.state_carry import carry_nats, reset_nats, sliding_nats
from models.tokens.special import CONTEXT_IDS
from tests.models.neural.made_streams import walks

SIZE = 20


class LastTokensLM:
    """p of a token depends on all tokens that the state has read, through their running sum."""

    def __init__(self, size):
        logits = np.random.default_rng(2).normal(size=(size, size))
        logits[:, sorted(CONTEXT_IDS)] = -np.inf
        self.logp_VV, self.vocabulary_size = logits - np.log(np.exp(logits).sum(1, keepdims=True)), size

    def start(self, batch):
        return np.zeros(batch, np.int64)

    def score(self, ids_BT, state):
        after_BT = (state[:, None] + np.cumsum(ids_BT + 1, axis=1)) % self.vocabulary_size
        before_BT = np.concatenate([state[:, None], after_BT[:, :-1]], 1)
        nats_BT = -self.logp_VV[before_BT, ids_BT]
        return np.where(np.isin(ids_BT, sorted(CONTEXT_IDS)), 0.0, nats_BT), after_BT[:, -1]

    def nats(self, context, token):
        return -self.logp_VV[int((np.asarray(context) + 1).sum()) % self.vocabulary_size, token]


@pytest.fixture(scope="module")
def remembering():
    return LastTokensLM(SIZE)


@pytest.fixture(scope="module")
def stream():
    return walks(60, SIZE, seed=3)


def scored_positions(ids):
    return [at for at, token in enumerate(ids) if int(token) not in CONTEXT_IDS]


def summed(model, ids):
    return sum(model.nats(ids[:at], ids[at]) for at in scored_positions(ids))


def test_reset_reads_each_review_alone_and_carry_all_that_came_before(remembering, stream):
    ids = np.asarray(stream.ids, int)
    alone = sum(summed(remembering, stream.document(number).astype(int)) for number in range(len(stream)))
    assert reset_nats(remembering, stream) == pytest.approx(alone, rel=1e-9)
    assert carry_nats(remembering, stream) == pytest.approx(summed(remembering, ids), rel=1e-9)
    assert alone != pytest.approx(summed(remembering, ids), rel=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(8, 3), (20, 19), (64, 1), (10_000, 5), (7, 6)])
def test_a_sliding_window_gives_each_token_the_tokens_that_it_holds(remembering, stream, window, stride):
    ids, expected = np.asarray(stream.ids, int), 0.0
    for at in scored_positions(ids):
        begin = max(0, -(-(at + 1 - window) // stride)) * stride
        assert begin == 0 or window - stride <= at - begin < window
        expected += remembering.nats(ids[begin:at], ids[at])
    assert sliding_nats(remembering, stream, window, stride) == pytest.approx(expected, rel=1e-9)
