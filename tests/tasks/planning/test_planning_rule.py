"""The rule of `--minutes`: more time is never used for less, and never more time than there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.planning.rule import (
    BATCHES,
    LEAST_SECONDS,
    MOST_PASSES,
    PROBE,
    SHAPES,
    ChosenNetwork,
    Data,
    batch_for,
    choose,
    dropout_for,
    learning_rate_for,
    seconds_after,
    token_cost,
    weights,
)

DATA = st.builds(
    lambda tokens, per_token, share: Data(round(tokens * per_token), tokens, round(tokens * share)),
    st.integers(1_000, 10**10), st.floats(2, 6), st.floats(0.01, 1),
)  # fmt: skip
SPEED, SECONDS = st.floats(100, 1e6), st.floats(LEAST_SECONDS, 1e7)
KAGGLE = Data(5_671_640, 1_524_803, 370_000)


def size(network: ChosenNetwork | None, data: Data) -> float:
    """Tokens of the training times weights of the layers."""
    return network.passes * data.train_tokens * weights(network.hidden, network.embedding) if network else 0.0


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
def test_what_is_chosen_fits_into_the_time_by_the_model_of_speed(data: Data, speed: float, seconds: float) -> None:
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
def test_a_machine_of_twice_the_speed_does_the_same_in_half_the_time(data: Data, speed: float, seconds: float) -> None:
    slow, fast = choose(data, speed, 2 * seconds), choose(data, 2 * speed, seconds)
    assert slow is not None or data.train_tokens < 800
    if slow and fast:
        assert (slow.hidden, slow.batch, slow.dropout) == (fast.hidden, fast.batch, fast.dropout)
        assert slow.seconds == pytest.approx(2 * fast.seconds)


@given(st.floats(1e-6, 1e6), st.floats(1, 1e6))
def test_more_passes_never_get_less_dropout(passes: float, times: float) -> None:
    assert dropout_for(passes) <= dropout_for(passes * times)


def test_dropout_learning_rate_and_batch_have_known_values() -> None:
    assert [dropout_for(passes) for passes in (0.5, 1, 2, 8, 1_000)] == [0.1, 0.1, 0.17, 0.31, 0.5]
    assert [learning_rate_for(cells) for cells in (128, 384, 768)] == [0.01006, 0.007, 0.00557]
    assert [batch_for(tokens) for tokens in (1e4, 3.2e6, 6.4e6, 1e9)] == [16, 32, 64, 128]


def test_much_time_for_little_text_ends_early_with_a_small_network() -> None:
    little = Data(70_000, 25_000, 6_000)
    network = choose(little, 24_000, 1e6)
    assert network is not None
    assert network.passes == pytest.approx(MOST_PASSES)
    assert network.seconds < 600
    assert network.hidden <= 256


def test_what_follows_a_training_takes_longer_for_larger_networks_and_slower_machines() -> None:
    small, large = choose(KAGGLE, 24_000, 60), choose(KAGGLE, 24_000, 6_000)
    times = [seconds_after(network, KAGGLE, 1.0) for network in (None, small, large)]
    assert times == sorted(times)
    assert seconds_after(large, KAGGLE, 3.0) == pytest.approx(3 * times[-1])
