"""The number format of completions: what is asked for is done, and "auto" takes int8 only where it is quicker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from llvmlite.binding import get_host_cpu_features

from models.neural.inference import int8
from models.neural.inference.whole_numbers import int8_is_exact
from serving.engine import number_format
from serving.engine.number_format import ROUNDS, TimedSteps, choose_numbers, sample_of_loss, step_seconds
from tests.instruction_sets import SETS, missing
from tests.serving.engine.small_models import bundle_of

exact_only = pytest.mark.skipif(not int8_is_exact(), reason="this processor has no exact products of 8 bits")
QUICK, SLOW, MIXED = [[1.0, 2.0], [4.0, 5.0]], [[2.0, 1.0], [5.0, 4.0]], [[1.0, 2.0], [5.0, 4.0]]
"""Milliseconds of a step in int8 and in float32, with one text and with many."""


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch):
    """What is chosen with these times of steps and this loss."""

    def choose(asked: str, times: list[list[float]] | None, loss: float | None = 0.001):
        left = iter(times or ())

        def timed(bundle, models, rows, threads):
            assert threads == 3
            assert [model is bundle.model for model in models] == [False, True], "int8 is the first"
            return [each / 1000 for each in next(left)]

        def measured(bundle, quick, texts, tokens):
            assert loss is not None, "it takes a second, so it is only measured where int8 may be used"
            return loss

        monkeypatch.setattr(number_format, "step_seconds", timed)
        monkeypatch.setattr(int8, "loss_of_int8", measured)
        return choose_numbers(bundle_of("gru"), asked, 3)

    return choose


IN_WORDS = {
    "quick": "a step takes 1.00 ms in int8 and 2.00 in float32 with 1 text, "
             "4.00 ms in int8 and 5.00 in float32 with 16 texts",
    "slow": "a step takes 2.00 ms in int8 and 1.00 in float32 with 1 text",
    "mixed": "a step takes 5.00 ms in int8 and 4.00 in float32 with 16 texts",
}


@exact_only
def test_auto_takes_int8_where_it_is_quicker_for_one_text_and_for_many(chosen) -> None:
    found = chosen("auto", QUICK)
    assert (found.used, found.loss, found.fast is None) == ("int8", 0.001, False)
    assert found.why == f"it is quicker here: {IN_WORDS['quick']}"


@exact_only
@pytest.mark.parametrize(("times", "said"), [(SLOW[:1], "slow"), (MIXED, "mixed")])
def test_auto_takes_float32_where_int8_is_slower_for_one_text_or_for_many(chosen, times, said) -> None:
    found = chosen("auto", times, loss=None)
    assert (found.used, found.loss, found.fast) == ("float32", None, None)
    assert found.why == f"int8 is not quicker here: {IN_WORDS[said]}"


@exact_only
def test_int8_that_is_asked_for_is_used_though_it_is_slower_and_a_warning_says_so(chosen, caplog) -> None:
    found = chosen("int8", SLOW)
    assert (found.used, found.loss, found.fast is None) == ("int8", 0.001, False)
    assert found.why == f"serving.numbers is int8; {IN_WORDS['slow']}"
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"{found.why}. int8 is not quicker here: auto would take float32"


SECONDS = {
    "16 texts of 48 steps of 0.02 s are 15.4 s": (0.02, (16, 48)),
    "four texts of 48 steps of 0.1 s are 19.2 s": (0.1, (4, 48)),
    "one text of 48 steps of 0.225 s is 10.8 s, two would be 21.6": (0.225, (1, 48)),
    "20 steps of one text": (1.0, (1, 20)),
    "never less than 8 tokens": (100.0, (1, 8)),
}


@pytest.mark.parametrize(("seconds", "expected"), SECONDS.values(), ids=SECONDS)
def test_where_steps_are_slow_the_loss_is_measured_on_so_few_tokens_that_it_takes_20_seconds(seconds, expected) -> None:
    assert sample_of_loss(TimedSteps(False, seconds, ""), 16, 48) == expected
    assert sample_of_loss(TimedSteps(True, seconds, ""), 16, 48) == (16, 48)


@exact_only
def test_int8_that_is_slow_and_asked_for_takes_few_steps_and_says_so_before_they_begin(monkeypatch, caplog) -> None:
    """As with AVX-512 without VNNI, where a step of one text took 225 ms, and the 50 steps of 16 texts minutes."""
    monkeypatch.setattr(number_format, "step_seconds", lambda bundle, models, rows, threads: [0.225, 0.0024])
    monkeypatch.setattr(number_format, "MOST_LOSS", 0.05)
    stepped, in_int8 = [], int8.in_int8

    def pretended(model):
        quick = in_int8(model)
        step = quick.step

        def counted(ids_B, state):
            stepped.append((len(ids_B), len(caplog.records)))
            return step(ids_B, state)

        quick.step = counted
        return quick

    monkeypatch.setattr(int8, "in_int8", pretended)
    bundle = bundle_of("gru")
    found = choose_numbers(bundle, "int8", 1)
    assert found.used == "int8"
    assert 0 < found.loss < 0.05
    said = "a step takes 225.00 ms in int8 and 2.40 in float32 with 1 text"
    assert found.why == f"serving.numbers is int8; {said}; its loss is measured on 48 tokens instead of 768"
    assert set(stepped) == {(1, 1)}, "one text, after the warning"
    assert len(stepped) <= len(bundle.vocabulary.prefix(1)) + 48


@exact_only
def test_int8_that_is_asked_for_and_quicker_is_no_warning(chosen, caplog) -> None:
    assert chosen("int8", QUICK).used == "int8"
    assert caplog.records == []


@exact_only
@pytest.mark.parametrize("asked", ["int8", "auto"])
def test_int8_that_loses_too_much_is_not_used(chosen, asked) -> None:
    found = chosen(asked, QUICK, loss=0.0061)
    assert (found.used, found.loss, found.fast) == ("float32", 0.0061, None)
    assert found.why == "int8 would raise the bits per byte by 0.61%, more than 0.5%"


def test_float32_that_is_asked_for_is_not_measured(chosen) -> None:
    found = chosen("float32", None, loss=None)
    assert (found.used, found.why, found.fast) == ("float32", "serving.numbers is float32", None)


@exact_only
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
from models.neural.recurrent import RecurrentLM
from models.specs import ObjectiveSpec, RecurrentSpec
from serving.engine.number_format import choose_numbers
from models.neural.inference.whole_numbers import int8_is_exact
from tests.serving.engine.small_models import bundle_of, vocabulary_of

size = vocabulary_of().size
width = int(sys.argv[1])
spec = RecurrentSpec(layers=2, hidden=width, embedding=width, objective=ObjectiveSpec(output="softmax"))
model = RecurrentLM(spec, RecurrentLM.build(spec, torch.ones(size, dtype=torch.int64)), size)
bundle = replace(bundle_of("lstm"), spec=spec, model=model)
found = choose_numbers(bundle, "auto", 1)
print(json.dumps([found.used, found.why, int8_is_exact()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("native", 384), ("avx512", 96), ("avx2", 96)])
def test_on_each_processor_auto_takes_what_is_quicker_there(name: str, width: int) -> None:
    """With VNNI int8 takes a part of the time; without it, exact products have reference code, or there are none."""
    features = dict(get_host_cpu_features())
    if lacks := missing(name, features):
        pytest.skip(f"this processor has no {', '.join(lacks)}")
    held, root = SETS[name], Path(__file__).resolve().parents[3]
    environment = {**os.environ, **(held.variables() if held else {}), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", CHOICE, str(width)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used, why, exact = json.loads(done.stdout.splitlines()[-1])
    if not exact:
        assert (used, why) == ("float32", "the processor has no exact products of int8")
    elif name == "native" and features.get("avx512vnni"):
        assert used == "int8", why
    elif name != "native":
        assert used == "float32", why
        assert why.startswith("int8 is not quicker here: a step takes ")
