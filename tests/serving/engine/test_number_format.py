"""The number format of completions: what is asked for is done, and "auto" takes int8 only where it is quicker."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

from models.bundles.bundle import INT8_LOSS
from serving.engine import number_format
from serving.engine.number_format import choose_numbers
from tests.serving.engine.small_models import bundle_of

QUICK, SLOW, MIXED = [[1.0, 2.0], [4.0, 5.0]], [[2.0, 1.0], [5.0, 4.0]], [[1.0, 2.0], [5.0, 4.0]]
"""Milliseconds of a step in int8 and in float32, with one text and with many."""


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch):
    """What is chosen with these times of steps and this loss."""

    def choose(asked: str, times: list[list[float]] | None, loss: object = 0.001):
        left = iter(times or ())

        def timed(bundle, models, rows, threads):
            assert threads == 3
            assert [model is bundle.model for model in models] == [False, True], "int8 is the first"
            return [each / 1000 for each in next(left)]

        monkeypatch.setattr(number_format, "step_seconds", timed)
        return choose_numbers(replace(bundle_of("gru"), facts={INT8_LOSS: loss}), asked, 3)

    return choose


IN_WORDS = {
    "quick": "a step takes 1.00 ms in int8 and 2.00 in float32 with 1 text, "
             "4.00 ms in int8 and 5.00 in float32 with 16 texts",
    "slow": "a step takes 2.00 ms in int8 and 1.00 in float32 with 1 text",
    "mixed": "a step takes 5.00 ms in int8 and 4.00 in float32 with 16 texts",
}


def test_auto_takes_int8_where_it_is_quicker_for_one_text_and_for_many(chosen) -> None:
    found = chosen("auto", QUICK)
    assert (found.used, found.loss, found.fast is None) == ("int8", 0.001, False)
    assert found.why == f"it is quicker here: {IN_WORDS['quick']}"


@pytest.mark.parametrize(("times", "said"), [(SLOW[:1], "slow"), (MIXED, "mixed")])
def test_auto_takes_float32_where_int8_is_slower_for_one_text_or_for_many(chosen, times, said) -> None:
    found = chosen("auto", times)
    assert (found.used, found.loss, found.fast) == ("float32", 0.001, None)
    assert found.why == f"int8 is not quicker here: {IN_WORDS[said]}"


def test_int8_that_is_asked_for_is_used_though_it_is_slower_and_a_warning_says_so(chosen, caplog) -> None:
    found = chosen("int8", SLOW)
    assert (found.used, found.loss, found.fast is None) == ("int8", 0.001, False)
    assert found.why == f"serving.numbers is int8; {IN_WORDS['slow']}"
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"{found.why}. int8 is not quicker here: auto would take float32"


@pytest.mark.parametrize("asked", ["int8", "auto"])
def test_int8_that_loses_too_much_is_not_used(chosen, asked) -> None:
    found = chosen(asked, None, loss=0.0061)  # it needs no times
    assert (found.used, found.loss, found.fast) == ("float32", 0.0061, None)


class Slow:
    """A model whose steps take some time, the first one longer, as where it is compiled."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self.batches, self.threads = seconds, [], set()

    def start(self, rows: int) -> int:
        return 0

    def step(self, ids_B, state: int):
        self.batches.append(len(ids_B))
        self.threads.add(torch.get_num_threads())
        time.sleep(self._seconds if state else 0.3)
        return None, state + 1
