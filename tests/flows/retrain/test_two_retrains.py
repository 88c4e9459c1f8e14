"""Two runs of the whole pipeline at once in one home: each result is made once, decisions are made one by one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.store import Store
from reviewlm.tracking.registry.decisions import complaints
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.runs.runs import Tracker
from tests.flows.first_run import ROOT, TINY, mlflow_rows, user_environment

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


def started(home: Path, *overrides: str) -> subprocess.Popen[str]:
    options = [word for override in overrides for word in ("--set", override)]
    return subprocess.Popen(
        [sys.executable, "-m", "reviewlm.cli", "run", "--preset", TINY, "--json", *options],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=user_environment(home),
    )


@pytest.mark.drill(
    "two retrains at once",
    "two `reviewlm run` in one home, with different settings",
    "both end well; shared results are made once; one champion",
)
def test_two_runs_in_one_home_at_once_come_out_whole(
    migrated_home: Path, record_property: Any
) -> None:
    # The bigram model is the best of these tiny models; an equal one would not be registered a second time.
    other = ("models.kn2.smoothing=witten_bell", "models.lstm.training.learning_rate=0.004")
    both = [started(migrated_home), started(migrated_home, *other)]
    try:
        outputs = [process.communicate(timeout=1500) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], [
        errors[-3_000:] for _, errors in outputs
    ]
    record_property(
        "results", sum(1 for _ in (migrated_home / "store").glob("[!.]*/*/manifest.json"))
    )
    store = Store(migrated_home / "store")
    for stage in (migrated_home / "store").glob("[!.]*"):
        for artifact in store.all(stage.name):
            store.verify(artifact)
    assert not list((migrated_home / "store" / ".aside").glob("*"))
    assert sum(1 for _ in store.all("prepare")) == 1
    assert sum(artifact.facts["name"] == "lstm" for artifact in store.all("fit")) == 2
    uri = f"sqlite:///{migrated_home / 'mlflow.db'}"
    registry = Registry(Tracker(uri, "reviewlm", migrated_home / "mlartifacts"), "reviewlm-demo")
    assert complaints(registry.events()) == []
    versions = registry.versions()
    assert sorted(one.version for one in versions) == [1, 2]
    assert all(one.tags["gate/outcome"] in ("promoted", "refused") for one in versions)
    assert sum(CHAMPION in one.aliases for one in versions) == 1
    assert mlflow_rows(migrated_home, "SELECT name FROM runs WHERE status <> 'FINISHED'") == []
    curves = "SELECT run_uuid, key, step FROM metrics WHERE key LIKE 'train/%' GROUP BY 1, 2, 3 HAVING count(*) > 1"
    assert mlflow_rows(migrated_home, curves) == []
