"""A measurement on validation and the updates before and after it do not hold each other's freed memory."""

from pathlib import Path

import pytest

from tests.models.neural.made_trainings import VALIDATION, network_of
from training.neural import validation
from training.neural.validation import validation_nats

MB = 1 << 20


def private():
    """Bytes in pages that are not a file's."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").partition("RssAnon:")[2].split()[0]) << 10


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_returned_before_the_first_and_after_the_last_batch(fails, monkeypatch):
    def scored(network, x_BT, y_BT, at_once):
        done.append("batch")
        if fails:
            raise MemoryError
        return 0.0, at_once

    done = []
    monkeypatch.setattr(validation, "return_freed", lambda: done.append("freed"))
    monkeypatch.setattr(validation, "_score_with_less", scored)
    try:
        validation_nats(network_of(), VALIDATION, positions=50)
    except MemoryError:
        assert fails
    assert (done[0], set(done[1:-1]), done[-1]) == ("freed", {"batch"}, "freed")
