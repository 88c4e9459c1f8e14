"""The number format of completions: what is asked for is done, and "auto" takes int8 only where it is quicker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from llvmlite.binding import get_host_cpu_features

from models.bundles.bundle import INT8_LOSS
from serving.engine import number_format
from serving.engine.number_format import ROUNDS, choose_numbers, step_seconds
from tests.instruction_sets import SETS, missing
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


def test_int8_that_is_asked_for_and_quicker_is_no_warning(chosen, caplog) -> None:
    assert chosen("int8", QUICK).used == "int8"
    assert caplog.records == []


@pytest.mark.parametrize("asked", ["int8", "auto"])
def test_int8_that_loses_too_much_is_not_used(chosen, asked) -> None:
    found = chosen(asked, None, loss=0.0061)  # it needs no times
    assert (found.used, found.loss, found.fast) == ("float32", 0.0061, None)


@pytest.mark.parametrize("stated", [None, "small", True])
def test_int8_is_not_used_where_the_bundle_does_not_say_what_it_loses(chosen, stated) -> None:
    found = chosen("int8", None, loss=stated)
    assert (found.used, found.loss, found.fast) == ("float32", None, None)


def test_what_int8_would_lose_is_told_where_it_is_not_asked_for(chosen) -> None:
    found = chosen("float32", None)
    assert (found.used, found.loss, found.fast) == ("float32", 0.001, None)


@pytest.mark.parametrize("asked", ["int8", "auto"])
def test_a_model_without_a_network_is_computed_in_float32(asked) -> None:
    found = choose_numbers(bundle_of("ngram"), asked, 1)
    assert (found.used, found.fast) == ("float32", None)
    assert found.why == "the model has no network on the processor that can be stepped in int8"


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


def test_steps_are_timed_in_turns_without_the_first_ones_and_with_the_threads_of_the_engine() -> None:
    bundle, models, before = bundle_of("ngram"), [Slow(0.002), Slow(0.02)], torch.get_num_threads()
    found = step_seconds(bundle, models, 5, before + 1)
    assert 0.002 <= found[0] < 0.02 <= found[1] < 0.3
    given = len(bundle.vocabulary.prefix(0))
    assert [each.batches for each in models] == [[5] * (given + ROUNDS)] * 2
    assert [each.threads for each in models] == [{before + 1}] * 2
    assert torch.get_num_threads() == before


def test_slow_steps_are_not_timed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch has only reference code for int8, a step may take seconds."""
    monkeypatch.setattr(number_format, "ENOUGH", 0.01)
    bundle, models = bundle_of("ngram"), [Slow(0.02), Slow(0.002)]
    found = step_seconds(bundle, models, 2, 1)
    assert found[0] >= 0.02 > found[1]
    assert [len(each.batches) for each in models] == [len(bundle.vocabulary.prefix(0)) + 1] * 2


CHOICE = """
import json, sys, torch
from dataclasses import replace
from models.neural.lm import RecurrentLM
from models.specs import ObjectiveSpec, RecurrentSpec
from serving.engine.number_format import choose_numbers
from tests.serving.engine.small_models import bundle_of, vocabulary_of

size = vocabulary_of().size
width = int(sys.argv[1])
spec = RecurrentSpec(layers=2, hidden=width, embedding=width, objective=ObjectiveSpec(output="softmax"))
model = RecurrentLM(spec, RecurrentLM.build(spec, torch.ones(size, dtype=torch.int64)), size)
bundle = replace(bundle_of("lstm"), spec=spec, model=model)
found = choose_numbers(bundle, "auto", 1)
print(json.dumps([found.used, found.why]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("native", 384), ("avx512", 96), ("avx2", 96)])
def test_on_each_processor_auto_takes_what_is_quicker_there(name: str, width: int) -> None:
    """With VNNI int8 takes a part of the time; elsewhere the quickest exact product decides."""
    features = dict(get_host_cpu_features())
    if lacks := missing(name, features):
        pytest.skip(f"this processor has no {', '.join(lacks)}")
    held, root = SETS[name], Path(__file__).resolve().parents[3]
    environment = {**os.environ, **(held.variables() if held else {}), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", CHOICE, str(width)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used, why = json.loads(done.stdout.splitlines()[-1])
    if name == "native" and features.get("avx512vnni"):
        assert used == "int8", why
    assert ("int8 is not quicker here: a step takes " in why) == (used == "float32")
