"""Stages hand each other references: what they get and give stays small, whatever the amount of data."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from core.config.run_config import RunConfig
from tasks.evaluation.compare import Evaluated
from tasks.stage import Stage
from tests.flows.first_run import Ran

pytestmark = pytest.mark.slow
KIB = 1024
DECISION = "Promotion"
"""What the gate decided, with a sentence for each of its rules: as long for any amount of data."""


def parts(value: Any) -> Iterator[Any]:
    """Yield what is handed over: the models of a run one by one. The settings are the same for all stages."""
    if isinstance(value, Evaluated):
        yield from (*value.models, value.comparison)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from parts(entry)
    elif not isinstance(value, RunConfig):
        yield value


def test_stages_hand_over_references_of_less_than_4_kib(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: dict[tuple[str, str], int] = {}
    submitted: list[tuple[str, Any]] = []
    call, submit = Stage.__call__, Stage.submit

    def note(stage: str, *values: Any) -> None:
        for value in parts(values):
            key = (stage, type(value).__name__)
            handed[key] = max(handed.get(key, 0), len(pickle.dumps(value)))

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        result = call(self, *arguments, **named)
        note(self.name, *arguments, *named.values(), result)
        return result

    def sent(self: Any, *arguments: Any, **named: Any) -> Any:
        note(self.name, *arguments, *named.values())
        submitted.append((self.name, submit(self, *arguments, **named)))
        return submitted[-1][1]

    monkeypatch.setattr(Stage, "__call__", called)
    monkeypatch.setattr(Stage, "submit", sent)
    ran.again()
    for stage, future in submitted:
        note(stage, future.result())
    stages = {stage for stage, _ in handed}
    assert {"ingest", "clean", "vocabulary", "tokens", "fit", "score", "measure", "compare", "gate", "report"} <= stages
    large = {(stage, kind): size for (stage, kind), size in handed.items() if size >= 4 * KIB}
    assert {key: size for key, size in large.items() if key[1] != DECISION} == {}
    assert max(large.values(), default=0) < 8 * KIB
