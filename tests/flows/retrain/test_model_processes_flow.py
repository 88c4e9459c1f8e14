"""A run that evaluates its models in processes of their own has the results of one that does not, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reviewlm.evaluation.scoring.score import write_scores
from reviewlm.tasks.evaluation.model_work import ModelWork
from reviewlm.tasks.evaluation.observed import audit_texts, observe_tokens, write_texts
from reviewlm.tasks.evaluation.processes import ModelProcesses, Report
from tests.flows.first_run import Ran

pytestmark = pytest.mark.long
STAGES = ["score", "samples", "observe", "audit"]
WORKS = [work.__name__ for work in (write_texts, observe_tokens, audit_texts)]


def results(home: Path) -> dict[str, bytes]:
    """Return the files of all results of these stages, and their facts, but not the seconds that it took."""
    found = {}
    for stage in STAGES:
        for file in sorted((home / "store" / stage).rglob("*")):
            name = str(file.relative_to(home / "store"))
            if file.name == "manifest.json":
                facts = json.loads(file.read_bytes())["facts"]
                found[name] = json.dumps(facts | {"score_seconds": 0}, sort_keys=True).encode()
            elif file.is_file():
                found[name] = file.read_bytes()
    return found


def test_results_of_processes_equal_those_of_one_process(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    work_done = ModelProcesses.do

    def noted(self: ModelProcesses, work: ModelWork, report: Report) -> dict[str, object]:
        done.append(work.function.__name__)
        return work_done(self, work, report)

    before = results(ran.home)
    monkeypatch.setattr("reviewlm.tasks.evaluation.processes.LEAST_TOKENS", 0)
    monkeypatch.setattr(ModelProcesses, "do", noted)
    again = ran.again(f"execution.rebuild={json.dumps(STAGES)}")
    assert set(STAGES).isdisjoint(again["reused"])
    models = len(again["models"])
    assert {work: done.count(work) for work in WORKS} == dict.fromkeys(WORKS, models)
    assert done.count(write_scores.__name__) >= 2 * models
    assert results(ran.home) == before
