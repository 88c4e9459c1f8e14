"""The rule "no forgetting" in miniature: an equal model passes, one within the limit too, a bad one does not."""

import pytest

from benchmarks.evaluation.forgetting import LIMIT, refused
from benchmarks.evaluation.gate_worlds import WORLDS


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0, 2), (LIMIT, 0, 5), (0.15, 48, 50)])
def test_what_is_refused_of_fifty_challengers_on_a_hundred_reviews(loss: float, least: int, most: int) -> None:
    assert least <= refused(WORLDS[0], 100, loss, 50) <= most
