"""Reset, carry and sliding: each token once, with the context that the policy promises."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.errors import InputError, ReviewLMError
from evaluation.scoring.score import score_stream
from evaluation.scoring.state_policies import PolicyFigure, sliding_nats, state_policies
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.tokens.vocabulary import CONTEXT_IDS


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
def remembering(vocabulary):
    return SimpleNamespace(vocabulary=vocabulary, model=LastTokensLM(vocabulary.size))


def scored_positions(ids):
    return [at for at, token in enumerate(ids) if int(token) not in CONTEXT_IDS]


def test_reset_is_the_score_of_the_run_and_carry_reads_all_that_came_before(remembering, stream):
    ids = np.asarray(stream.ids, int)
    reset, carry, _ = state_policies(remembering, stream)
    assert reset.nats == pytest.approx(score_stream(remembering, stream)["nats"].sum(), rel=1e-12)
    assert carry.nats == pytest.approx(
        sum(remembering.model.nats(ids[:at], ids[at]) for at in scored_positions(ids)), rel=1e-9
    )
    assert reset.nats != pytest.approx(carry.nats, rel=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(8, 3), (20, 19), (64, 1), (10_000, 5), (7, 6)])
def test_a_sliding_window_gives_each_token_the_tokens_that_it_holds(remembering, stream, window, stride):
    ids = np.asarray(stream.ids, int)
    tokens, nats = sliding_nats(remembering.model, stream, window, stride)
    expected = 0.0
    for at in scored_positions(ids):
        number = max(0, -(-(at + 1 - window) // stride))
        begin = number * stride
        assert begin == 0 or window - stride <= at - begin < window
        expected += remembering.model.nats(ids[begin:at], ids[at])
    assert (tokens, nats) == (stream.tokens, pytest.approx(expected, rel=1e-9))


def test_an_n_gram_model_says_the_same_under_every_policy(vocabulary, stream):
    model = NGramLM.from_counts(count_ngrams(stream, 3, vocabulary.size, CONTEXT_IDS))
    found = state_policies(SimpleNamespace(vocabulary=vocabulary, model=model), stream, window=6, stride=4)
    assert [figure.policy for figure in found] == ["reset", "carry", "sliding 6/4"]
    assert [figure.nats for figure in found] == pytest.approx([found[0].nats] * 3, rel=1e-12)
    assert {figure.tokens for figure in found} == {stream.tokens}


def test_windows_that_would_score_tokens_twice_or_never_are_refused(remembering, stream):
    for window, stride in ((8, 8), (8, 0), (8, 9)):
        with pytest.raises(InputError, match="between 1 and the window"):
            sliding_nats(remembering.model, stream, window, stride)


def test_a_policy_that_skips_tokens_is_found_out(remembering, stream, monkeypatch):
    monkeypatch.setattr("evaluation.scoring.state_policies.sliding_nats", lambda *_: (stream.tokens - 1, 1.0))
    with pytest.raises(ReviewLMError, match="Not every token was scored once"):
        state_policies(remembering, stream)


def test_a_text_with_an_impossible_token_has_infinite_perplexity():
    assert PolicyFigure("reset", 3, float("inf")).perplexity == float("inf")
    assert PolicyFigure("reset", 2, 2 * np.log(8)).perplexity == pytest.approx(8)
