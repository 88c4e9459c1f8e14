"""A refused client is told when the queue will have room, from what waits and how fast it is done."""

from __future__ import annotations

import pytest

from reviewlm.serving.api.answers import busy
from reviewlm.serving.engine.requests import Busy, Generation
from reviewlm.serving.engine.waiting_times import LONGEST, Appointments, Mean
from tests.core.waiting import until


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_refused_client_waits_for_the_queue() -> None:
    assert Appointments(Clock()).seconds(queue=12.0, own=3.0) == 12.0


def test_clients_that_are_refused_together_come_back_one_after_another() -> None:
    appointments = Appointments(Clock())
    told = [appointments.seconds(queue=10.0, own=4.0) for _ in range(4)]
    assert told == [10.0, 14.0, 18.0, 22.0]


def test_time_that_passes_is_taken_off() -> None:
    clock = Clock()
    appointments = Appointments(clock)
    appointments.seconds(queue=10.0, own=4.0)
    clock.now += 5
    assert appointments.seconds(queue=5.0, own=4.0) == 9.0


@pytest.mark.parametrize(("queue", "told"), [(0.0, 1.0), (130.0, 130.0), (1e6, 1e6)])
def test_the_wait_is_as_long_as_the_queue_but_never_below_a_second(
    queue: float, told: float
) -> None:
    assert Appointments(Clock()).seconds(queue, 1.0) == told


@pytest.mark.parametrize(
    ("queue", "header"), [(0.2, "1"), (12.4, "13"), (130.0, str(int(LONGEST)))]
)
def test_the_header_never_exceeds_what_clients_believe(queue: float, header: str) -> None:
    assert busy(queue).headers["Retry-After"] == header


def test_a_refusal_names_the_seconds_of_a_queue_that_outlasts_the_header() -> None:
    assert "130" in busy(129.5).message


def test_clients_that_come_too_often_move_nobody_beyond_the_longest_wait() -> None:
    clock = Clock()
    appointments = Appointments(clock)
    for _ in range(1_000):
        appointments.seconds(queue=1.0, own=5.0)
    clock.now += LONGEST
    assert appointments.seconds(queue=1.0, own=5.0) == 1.0


def test_a_mean_begins_with_the_first_measurement() -> None:
    mean = Mean(99.0)
    mean.add(2.0)
    assert mean.value == 2.0
    mean.add(18.0)
    assert mean.value == 3.0


def test_a_longer_queue_asks_for_a_longer_wait(gated, engine_of):
    engine = engine_of(gated, live=1, queue=2)
    engine._cycle_seconds.add(0.5)
    gated.model.open.clear()
    for _ in range(2):
        engine.submit(Generation("The soup", 3, max_tokens=5))
    until(lambda: engine.figures().live == 1)
    engine.submit(Generation("The soup", 3, max_tokens=15))
    with pytest.raises(Busy) as caught:
        engine.submit(Generation("The soup", 3, max_tokens=15))
    assert caught.value.retry_after == pytest.approx((5 + 15) * 0.5)
    gated.model.open.set()


def test_a_request_without_room_for_all_its_texts_queues_none(gated, engine_of):
    engine = engine_of(gated, live=1, queue=2)
    gated.model.open.clear()
    with pytest.raises(Busy):
        engine.submit_all([Generation("The soup", 3, max_tokens=5)] * 4)
    assert engine.figures().queued == engine.figures().live == 0
    gated.model.open.set()
