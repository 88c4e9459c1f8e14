"""Gates that decide at the same time: one decision each, one after the other, and the best version is champion."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from reviewlm.tasks.promotion.promote import ATTEMPTS, retry_on_champion_change
from reviewlm.tracking.registry.decisions import OVERTAKEN, complaints
from reviewlm.tracking.registry.logged_decisions import ChampionChanged
from reviewlm.tracking.registry.registry import Registry
from tests.tasks.promotion.rival_gates import judge_challenger
from tests.tracking.registry.registry_drill import opened

FIRST, GOOD, BETTER = 1, 2, 3


def test_a_decision_is_made_again_while_the_champion_changes_but_not_for_ever():
    asked = []

    def judge(settles_at: int) -> str:
        asked.append(settles_at)
        if len(asked) < settles_at:
            raise ChampionChanged("another")
        return "settled"

    assert retry_on_champion_change(lambda: judge(3)) == "settled"
    assert len(asked) == 3
    asked.clear()
    with pytest.raises(ChampionChanged):
        retry_on_champion_change(lambda: judge(100))
    assert len(asked) == ATTEMPTS


@pytest.fixture
def registry(tmp_path: Path, template_home: Path) -> Registry:
    shutil.copytree(template_home, tmp_path, dirs_exist_ok=True)
    registry = opened(tmp_path, "one")
    registry.tracker.client.create_registered_model("reviewlm")
    for _ in range(3):
        registry.tracker.client.create_model_version("reviewlm", "none:/", await_creation_for=0)
    registry.settle(
        FIRST,
        None,
        True,
        "",
        {"gate/outcome": "promoted"},
    )
    return registry


@pytest.mark.drill(
    "two retrains at once",
    "two gates decide at the same time",
    "one decision each; the better model is champion",
)
@pytest.mark.slow
@pytest.mark.parametrize(
    "machines",
    [
        pytest.param(("one", "one"), id="one lock"),
        pytest.param(("one", "two"), id="no lock in common", marks=pytest.mark.long),
    ],
)
def test_of_two_gates_at_once_the_better_challenger_becomes_champion(
    registry: Registry,
    tmp_path: Path,
    machines: tuple[str, str],
):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tasks.promotion.rival_gates", "mlflow"])
    worth, barrier = (
        {
            FIRST: 1,
            GOOD: 2,
            BETTER: 3,
        },
        context.Barrier(2),
    )
    gates = [
        context.Process(target=judge_challenger, args=(tmp_path, machine, version, worth, barrier))
        for machine, version in zip(machines, (GOOD, BETTER), strict=True)
    ]
    for gate in gates:
        gate.start()
    for gate in gates:
        gate.join(120)
    assert [gate.exitcode for gate in gates] == [0, 0]
    decisions = [row for row in reversed(registry.decisions()) if row["state"] != OVERTAKEN][1:]
    told = [(row["version"], row["against"], row["decision"]) for row in decisions]
    assert told in (
        [(GOOD, FIRST, "promoted"), (BETTER, GOOD, "promoted")],
        [(BETTER, FIRST, "promoted"), (GOOD, BETTER, "refused")],
    )
    assert {name: one.version for one in registry.versions() for name in one.aliases} == {
        "champion": BETTER,
        "previous": told[-1][1] if told[-1][0] == BETTER else FIRST,
    }
    assert (
        registry.version(GOOD).tags["gate/reason"]
        == f"against {next(row[1] for row in told if row[0] == GOOD)}"
    )
    assert complaints(registry.events()) == []
