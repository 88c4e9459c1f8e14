"""The rule of `--minutes`: more time is never used for less, and never more time than there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.tasks.planning.rule import (
    BATCHES,
    LEAST_SECONDS,
    MOST_PASSES,
    PROBE,
    SHAPES,
    Data,
    Machine,
    choose,
    dropout_for,
    learning_rate_for,
    reference_machine,
    seconds_after,
)

DATA = st.builds(
    lambda tokens, per_token, share: Data(round(tokens * per_token), tokens, round(tokens * share)),
    st.integers(1_000, 10**10),
    st.floats(2, 6),
    st.floats(0.01, 1),
)
MACHINES = st.builds(
    Machine,
    st.floats(100, 1e6),
    st.integers(1, 64),
    st.sampled_from(("bf16", "float32")),
    st.floats(0.5, 60),
)
SECONDS = st.floats(LEAST_SECONDS, 1e7)


@given(DATA, MACHINES, SECONDS, st.floats(1, 100))
def test_more_time_is_never_used_for_a_smaller_network_or_less_training_of_the_same(
    data: Data,
    machine: Machine,
    seconds: float,
    times: float,
) -> None:
    less, more = choose(data, machine, seconds), choose(data, machine, seconds * times)
    if less is not None and more is not None:
        assert more.hidden >= less.hidden
        if more.hidden == less.hidden:
            assert more.passes >= less.passes * (1 - 1e-9)
    assert more is not None or less is None


@given(st.floats(0.01, 60), st.floats(1, 100))
def test_more_passes_or_cells_never_have_less_dropout(passes: float, times: float) -> None:
    for (smaller, _), (larger, _) in pairwise(SHAPES):
        assert dropout_for(passes, smaller) <= dropout_for(passes * times, smaller)
        assert dropout_for(passes, smaller) <= dropout_for(passes, larger)


@given(st.sampled_from(SHAPES), st.floats(1e4, 1e8), st.floats(1, 100))
def test_a_longer_training_never_has_a_higher_rate(
    shape: tuple[int, int],
    tokens: float,
    times: float,
) -> None:
    assert learning_rate_for(shape[0], tokens) >= learning_rate_for(shape[0], tokens * times)


@given(DATA, MACHINES, SECONDS)
def test_what_is_chosen_fits_into_the_time_by_the_model_of_speed(
    data: Data,
    machine: Machine,
    seconds: float,
) -> None:
    if (network := choose(data, machine, seconds)) is not None:
        tokens = network.passes * data.train_tokens
        speed = machine.speed(network.hidden, network.embedding)
        assert tokens / speed == pytest.approx(network.seconds)
        assert network.seconds <= seconds * (1 + 1e-9)


@given(DATA, MACHINES, st.floats(0, 1e9))
def test_all_that_is_chosen_is_within_bounds(
    data: Data,
    machine: Machine,
    seconds: float,
) -> None:
    network = choose(data, machine, seconds)
    if network is not None:
        assert (network.hidden, network.embedding) in SHAPES
        assert network.batch in BATCHES
        assert 0 <= network.dropout <= 0.5
        assert 0 < network.passes <= MOST_PASSES * (1 + 1e-9)
    assert (network is None) == (seconds < LEAST_SECONDS or data.train_tokens < 800)


@given(DATA, MACHINES, SECONDS)
def test_a_machine_of_twice_the_speed_does_the_same_in_half_the_time(
    data: Data,
    machine: Machine,
    seconds: float,
) -> None:
    twice = replace(machine, tokens_per_second=2 * machine.tokens_per_second)
    slow = choose(data, machine, 2 * seconds)
    fast = choose(data, twice, seconds)
    assert slow is not None or data.train_tokens < 800
    if slow and fast:
        assert (slow.hidden, slow.batch, slow.dropout) == (fast.hidden, fast.batch, fast.dropout)
        assert slow.seconds == pytest.approx(2 * fast.seconds)


def test_larger_networks_cost_more_where_products_are_in_float32() -> None:
    measured = {
        (384, 256): 197,
        (512, 256): 275,
        (640, 320): 334,
    }
    machine = Machine(1e6 / 122, products="float32")
    for shape, microseconds in measured.items():
        assert 1e6 / machine.speed(*shape) == pytest.approx(microseconds, rel=0.15)

    busy = Machine(1e6 / 159, products="float32")
    assert 1e6 / busy.speed(64, 64) == pytest.approx(34, rel=0.15)  # with a short head

    bf16 = Machine(1e6 / 122)
    assert bf16.speed(640, 320) > 1.4 * machine.speed(640, 320)
    assert machine.speed(*PROBE) == pytest.approx(machine.tokens_per_second)


def test_a_minute_on_slower_products_suits_a_smaller_network() -> None:
    data = Data(5_671_640, 1_234_954, 280_000)
    reference = reference_machine(2)
    slow = Machine(reference.tokens_per_second / 3, 2, "float32")
    of_reference = choose(data, reference, 3_000)
    of_slow = choose(data, slow, 3_000)
    assert of_reference
    assert of_slow
    assert of_slow.hidden < of_reference.hidden


def test_what_follows_a_training_grows_with_starts_of_processes_and_with_scores() -> None:
    data = Data(5_671_640, 1_234_954, 280_000)
    machine = Machine(11_500, 2, "float32", start=3.5)
    network = choose(data, machine, 120)
    after = seconds_after(network, data, machine)
    assert after == pytest.approx(59, rel=0.15)  # measured: two cores with AVX2, 10,000 reviews

    busy = replace(machine, start=2 * machine.start)
    assert seconds_after(network, data, busy) == pytest.approx(after + 9.1 * machine.start)
    assert seconds_after(None, data, machine) < after
