"""Work in threads keeps the order of its items, is bounded, and fails when the turn of the failure comes."""

import time

import pytest

from models.threads import ordered


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_when_early(item):
        time.sleep(0.002 * (7 - item % 7))
        return item * item

    assert list(ordered(slow_when_early, range(40), workers)) == [item * item for item in range(40)]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_the_work_comes_in_its_turn(workers):
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(ordered(lambda item: 6 // (3 - item), range(9), workers))
    assert seen == [2, 3, 6]
