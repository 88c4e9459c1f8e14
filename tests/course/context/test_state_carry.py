"""Reset, carry and sliding: each token once, with the context that the policy promises."""

from __future__ import annotations

import copy
import math
from collections import Counter
from itertools import cycle

import numpy as np
import pytest
import torch

from reviewlm.course.context.context_use import chosen_tokens, context_curve
from reviewlm.course.context.dynamic_evaluation import EPSILON, dynamic_nats, root_mean_squares
from reviewlm.course.context.probes import ProbePair, english_pairs, pair, preferences
from reviewlm.course.context.state_carry import carry_nats, reset_nats, sliding_nats
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import BOS, CONTEXT_IDS
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.evaluation.bigram_tables import bundle_of, random_table
from tests.models.neural.made_streams import stream_of, walks
from tests.models.neural.test_neural_lm import V, make
from tests.models.table_lm import HistoryLM

SIZE = 20


class LastTokensLM:
    """p of a token depends on all tokens that the state has read, through their running sum."""

    def __init__(self, size):
        logits = np.random.default_rng(2).normal(size=(size, size))
        logits[:, sorted(CONTEXT_IDS)] = -np.inf
        self.logp_VV, self.vocabulary_size = (
            logits - np.log(np.exp(logits).sum(1, keepdims=True)),
            size,
        )

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


def nats_alone(model, stream):
    """Sum the nats of each review, read without those before it."""
    return sum(summed(model, stream.document(number).astype(int)) for number in range(len(stream)))


def nats_together(model, stream):
    """Sum the nats of all reviews, read one after the other."""
    return summed(model, np.asarray(stream.ids, int))


def test_reset_reads_each_review_alone(remembering, stream):
    alone = nats_alone(remembering, stream)

    assert reset_nats(remembering, stream) == pytest.approx(alone, rel=1e-9)


def test_carry_reads_on_from_all_that_came_before(remembering, stream):
    together = nats_together(remembering, stream)

    assert carry_nats(remembering, stream) == pytest.approx(together, rel=1e-9)


def test_reviews_cost_something_else_alone(remembering, stream):
    alone = nats_alone(remembering, stream)

    assert alone != pytest.approx(nats_together(remembering, stream), rel=1e-6)


@pytest.mark.parametrize(("window", "stride"), [(8, 3), (20, 19), (64, 1), (10_000, 5), (7, 6)])
def test_a_sliding_window_gives_each_token_the_tokens_that_it_holds(
    remembering,
    stream,
    window,
    stride,
):
    ids, expected = np.asarray(stream.ids, int), 0.0
    for at in scored_positions(ids):
        begin = max(0, -(-(at + 1 - window) // stride)) * stride
        assert begin == 0 or window - stride <= at - begin < window
        expected += remembering.nats(ids[begin:at], ids[at])
    assert sliding_nats(remembering, stream, window, stride) == pytest.approx(expected, rel=1e-9)


# --- Perplexity by the context kept: equal to scoring by hand, flat beyond what a model can see


def random_stream(reviews=12, length=40):
    draw = np.random.default_rng(1)
    return stream_of(
        [draw.integers(9, SIZE, draw.integers(length // 2, length)) for _ in range(reviews)], SIZE
    )


def nats_by_hand(
    model,
    tokens,
    target,
):
    """Read one token at a time, then look the next one up."""
    state = model.start(1)
    for token in tokens:
        logp_BV, state = model.step(np.array([token]), state)
    return -float(logp_BV[0, target])


@pytest.mark.parametrize("rating", [True, False])
def test_every_rise_is_that_of_the_same_tokens_after_their_last_words(rating):
    model, stream = HistoryLM.random(SIZE), random_stream()
    curve, whole = context_curve(
        model,
        stream,
        (3, 7),
        50,
        rating,
        seed=1,
    )
    chosen, rises = chosen_tokens(stream, 7, 50, seed=1), {3: [], 7: []}
    full = [
        nats_by_hand(model, stream.document(n)[:place], stream.document(n)[place])
        for n, place in chosen
    ]
    assert (len(chosen), whole) == (50, pytest.approx(np.mean(full), rel=1e-5))
    for kept, found in rises.items():
        for (review, place), nats in zip(chosen, full, strict=True):
            ids = stream.document(review)
            tokens = [*([ids[1]] if rating else []), *ids[place - kept : place]]
            found.append(nats_by_hand(model, tokens, ids[place]) - nats)
        sums = [
            sum(
                rise - np.mean(found)
                for rise, (n, _) in zip(found, chosen, strict=True)
                if n == review
            )
            for review in {n for n, _ in chosen}
        ]
        error = math.sqrt(np.square(sums).sum()) / len(found)  # reviews as units
        assert curve[kept] == pytest.approx((np.mean(found), error), rel=1e-3, abs=1e-6)


# --- Dynamic evaluation against steps made by hand with torch's autograd and SGD

TEXT = np.array([BOS, 8, *np.random.default_rng(4).integers(9, V, 24)])


def exact(name="lstm"):
    return make(name).network.double().eval()


def targets_of(ids):
    return torch.tensor([target if target not in CONTEXT_IDS else -1 for target in ids])


def by_hand(
    static,
    ids,
    segment,
    step,
):
    """−Σ log p of a stream, with weights that *step* replaces after each whole segment."""
    network, nats = copy.deepcopy(static), 0.0
    fixed, state = (
        [weight.detach().clone() for weight in network.parameters()],
        network.start(1, "cpu"),
    )
    for begin in range(0, len(ids) - 1, segment):
        targets = ids[begin + 1 : begin + 1 + segment]
        features, state = network(torch.from_numpy(ids[begin : begin + len(targets)])[None], state)
        state = tuple(tensor.detach() for tensor in state)
        nats += float(network.output.nats(features[0].detach(), targets_of(targets)).sum())
        if len(targets) == segment:
            network.zero_grad()
            network.output.loss(features[0], targets_of(targets))[0].div(segment).backward()
            with torch.no_grad():
                for weight, first in zip(network.parameters(), fixed, strict=True):
                    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
                    weight.copy_(step(weight, gradient, first))
    return nats


@pytest.mark.parametrize("name", ["rnn", "gru-own", "lstm-untied", "lstm-two-level", "nplm"])
def test_steps_of_sgd_are_the_formula(name):
    static = exact(name)
    expected = by_hand(
        static, TEXT, 5, lambda W, gradient, W_s: W - 0.3 * gradient + 0.05 * (W_s - W)
    )
    nats, tokens = dynamic_nats(
        static,
        TEXT,
        0.3,
        0.05,
        segment=5,
    )
    assert (nats, tokens) == (pytest.approx(expected, rel=1e-9), len(TEXT) - 2)


def test_steps_by_root_mean_squares_are_the_formula():
    static = exact()
    torch.manual_seed(0)
    rms = [torch.rand_like(weight) for weight in static.parameters()]
    mean, each = torch.cat([r.flatten() for r in rms]).mean(), cycle(rms)

    def step(
        weight,
        gradient,
        first,
    ):
        r = next(each)
        return (
            weight
            - 0.01 * gradient / (r + EPSILON)
            + (0.6 * r / mean).clamp(max=1) * (first - weight)
        )

    assert dynamic_nats(
        static,
        TEXT,
        0.01,
        0.6,
        rms,
        5,
    )[0] == pytest.approx(by_hand(static, TEXT, 5, step), rel=1e-8)


def test_root_mean_squares_are_those_of_the_minibatches():
    static, ids, segment = exact("gru-own"), walks(12, V, 0).ids.astype(np.int64), 3
    lanes = min(100, (len(ids) - 1) // segment)
    length = (len(ids) - 1) // lanes // segment * segment
    network, squares = copy.deepcopy(static), []
    state = network.start(lanes, "cpu")
    for begin in range(0, length, segment):
        rows = [
            ids[lane * length + begin : lane * length + begin + segment + 1]
            for lane in range(lanes)
        ]
        text = torch.from_numpy(np.stack(rows))
        features, state = network(text[:, :-1], tuple(tensor.detach() for tensor in state))
        network.zero_grad()
        targets = targets_of(text[:, 1:].flatten().tolist())
        network.output.loss(features.flatten(0, 1), targets)[0].div(len(targets)).backward()
        squares.append([weight.grad.square() for weight in network.parameters()])
    for r, columns in zip(
        root_mean_squares(static, ids, segment), zip(*squares, strict=True), strict=True
    ):
        torch.testing.assert_close(r, torch.stack(columns).mean(0).sqrt(), rtol=1e-9, atol=1e-15)


# --- Probes: preferences computed by hand, pairs that swap their answers, answers that the grammar proves

MOOD = pair(
    "mood",
    1,
    "the food was",
    "the place is",
    "great",
    "slow",
)


@pytest.fixture(scope="module")
def bundle():
    text = "the food was great place is slow never"
    vocabulary = learn_vocabulary([text] * 3, VocabularySpec(min_count=1), NormalForm())
    return bundle_of(vocabulary, random_table(vocabulary.size))


def test_the_preference_is_the_difference_of_log_probabilities_on_both_sides(bundle):
    was, place_is, great, slow = (
        int(bundle.vocabulary.encode(word)[0]) for word in ("was", "is", "great", "slow")
    )
    logp = bundle.model.logp_VV
    expected = logp[was, great] - logp[was, slow], logp[place_is, slow] - logp[place_is, great]
    assert preferences(bundle, MOOD) == pytest.approx(expected)


def swapped(one: ProbePair) -> bool:
    first, second = one.sides
    return (first.right, first.wrong) == (second.wrong, second.right) and first[:2] != second[:2]


def test_english_pairs_swap_their_answers():
    pairs = list(english_pairs())
    assert Counter(one.kind for one in pairs).keys() == {
        "number of the verb",
        "closing mark",
        "rating",
    }
    assert all(map(swapped, pairs))
    plural = {"windows", "bars", "doors", "plates"}
    for one in pairs:
        if one.kind == "number of the verb":  # attractors have the number that the subject has not
            words = one.sides[0].beginning.split()
            assert all(
                word in plural for word in words[2:] if word in plural or f"{word}s" in plural
            )
            assert one.distance == len(words) - 1
