"""Two machines promote at the same time over one MLflow server: no two promotions take the place of one champion.

Each machine has a home of its own, so they share neither the lock file nor a Prefect server: only the order of the
decision log decides. The store of results has no part in it (`tests/operation/test_two_homes.py` has whole retrains
over a shared folder and over S3).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reviewlm.tracking.registry.decisions import complaints
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION, PREVIOUS, SOURCE
from reviewlm.tracking.runs.runs import Tracker
from tests.programs import command
from tests.tracking.mlflow_servers import store_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 5


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a new MLflow server."""
    with store_server(tmp_path, tmp_path) as server:
        yield server.address


def registry_at(address: str, home: Path) -> Registry:
    return Registry(Tracker(address, "reviewlm", home / "mlartifacts"), "reviewlm")


@pytest.mark.drill(
    "two retrains at once",
    "two machines promote five times each over one MLflow server",
    "each took the place of another champion; one history",
)
def test_each_promotion_takes_the_place_of_another_champion(address: str, tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("one", "two")]
    registry = registry_at(address, homes[0])
    client = registry.tracker.client
    client.create_registered_model("reviewlm")
    for _ in range(2 * ROUNDS):
        client.create_model_version("reviewlm", SOURCE, await_creation_for=0)
    racers = [
        subprocess.Popen(
            command("promote_in_turn", address, home, *range(first, 2 * ROUNDS + 1, 2)),
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for first, home in enumerate(homes, start=1)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = [
        line.split() for racer in racers for line in racer.communicate(timeout=500)[0].splitlines()
    ]
    assert [racer.returncode for racer in racers] == [0, 0]
    took = {int(against): int(version) for version, against in told}  # 0: there was none
    assert len(took) == len(told) == 2 * ROUNDS, told

    order = [0]
    while order[-1] in took:
        order.append(took[order[-1]])
    assert len(order) == 2 * ROUNDS + 1, "one chain, from the first champion to the last"
    for home in homes:
        seen = registry_at(address, home)
        assert complaints(seen.events()) == []
        aliases = {alias: one.version for one in seen.versions() for alias in one.aliases}
        assert aliases == {CHAMPION: order[-1], PREVIOUS: order[-2]}
