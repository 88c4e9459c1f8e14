"""The rule of `--minutes`: more time is never used for less, and never more time than there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.tasks.planning.rule import (
    BATCHES,
    LEAST_SECONDS,
    MOST_PASSES,
    PROBE,
    SHAPES,
    ChosenNetwork,
    Data,
    choose,
    token_cost,
    weights,
)

DATA = st.builds(
    lambda tokens, per_token, share: Data(round(tokens * per_token), tokens, round(tokens * share)),
    st.integers(1_000, 10**10),
    st.floats(2, 6),
    st.floats(0.01, 1),
)
SPEED, SECONDS = st.floats(100, 1e6), st.floats(LEAST_SECONDS, 1e7)


def size(network: ChosenNetwork | None, data: Data) -> float:
    """Tokens of the training times weights of the layers."""
    return (
        network.passes * data.train_tokens * weights(network.hidden, network.embedding)
        if network
        else 0.0
    )


@given(DATA, SPEED, SECONDS, st.floats(1, 100))
def test_more_time_is_never_used_for_a_smaller_network_or_less_training(
    data: Data, speed: float, seconds: float, times: float
) -> None:
    less, more = choose(data, speed, seconds), choose(data, speed, seconds * times)
    if less is not None and more is not None:
        assert more.hidden >= less.hidden
        assert more.cost >= less.cost * (1 - 1e-9)
    assert size(more, data) >= size(less, data) * (1 - 1e-9)


@given(DATA, SPEED, SECONDS)
def test_what_is_chosen_fits_into_the_time_by_the_model_of_speed(
    data: Data, speed: float, seconds: float
) -> None:
    if (network := choose(data, speed, seconds)) is not None:
        tokens = network.passes * data.train_tokens
        relative = token_cost(network.hidden, network.embedding) / token_cost(*PROBE)
        assert tokens / speed * relative == pytest.approx(network.seconds)
        assert network.seconds <= seconds * (1 + 1e-9)


@given(DATA, SPEED, st.floats(0, 1e9))
def test_all_that_is_chosen_is_within_bounds(data: Data, speed: float, seconds: float) -> None:
    network = choose(data, speed, seconds)
    if network is not None:
        assert (network.hidden, network.embedding) in SHAPES
        assert network.batch in BATCHES
        assert 0.1 <= network.dropout <= 0.5
        assert 0 < network.passes <= MOST_PASSES * (1 + 1e-9)
    assert (network is None) == (seconds < LEAST_SECONDS or data.train_tokens < 800)


@given(DATA, SPEED, SECONDS)
def test_a_machine_of_twice_the_speed_does_the_same_in_half_the_time(
    data: Data, speed: float, seconds: float
) -> None:
    slow, fast = choose(data, speed, 2 * seconds), choose(data, 2 * speed, seconds)
    assert slow is not None or data.train_tokens < 800
    if slow and fast:
        assert (slow.hidden, slow.batch, slow.dropout) == (fast.hidden, fast.batch, fast.dropout)
        assert slow.seconds == pytest.approx(2 * fast.seconds)
