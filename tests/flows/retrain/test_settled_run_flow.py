"""A command's run that would change nothing: what it verifies, and what it leaves in MLflow and in the log of decisions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.first_run import TINY, Ran, answer, mlflow_rows

pytestmark = pytest.mark.long
SHOWN = ("report", "reason", "challenger", "champion_version", "models", "account", "written")
METRICS = "SELECT key, value FROM metrics WHERE run_uuid = '{}' ORDER BY key"
PARAMS = "SELECT key, value FROM params WHERE run_uuid = '{}' ORDER BY key"
INPUTS = "SELECT source_id FROM inputs WHERE destination_id = '{}' ORDER BY source_id"
DECISIONS = "SELECT version FROM model_versions WHERE name LIKE '%-decisions'"
STATUS = "SELECT status FROM runs WHERE run_uuid = '{}'"


def run(home: Path) -> dict[str, Any]:
    return answer(home, "run", "--preset", TINY)


@pytest.fixture(scope="module")
def settled(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A copy of a home, and what a run in it returned whose model was the champion already."""
    home = Path(shutil.copytree(ran.home, tmp_path_factory.mktemp("settled") / "home"))
    return home, run(home)


def test_a_repeated_run_is_recorded_as_the_run_that_it_repeats(
    settled: tuple[Path, dict[str, Any]],
) -> None:
    home, first = settled
    decisions = len(mlflow_rows(home, DECISIONS))
    again = run(home)
    assert again["unchanged_since"] == first["mlflow_run_id"]
    assert {name: again[name] for name in SHOWN} == {name: first[name] for name in SHOWN}
    new = again["mlflow_run_id"]
    assert new != first["mlflow_run_id"]
    for query in (METRICS, PARAMS, INPUTS, STATUS):
        rows = mlflow_rows(home, query.format(new))
        assert rows == mlflow_rows(home, query.format(first["mlflow_run_id"]))
        assert rows

    assert len(mlflow_rows(home, DECISIONS)) == decisions + 1
    artifacts = home / "mlartifacts"
    report = next(artifacts.rglob(f"{new}/artifacts/report.html"))
    assert report.read_bytes() == Path(first["report"]).read_bytes()


@pytest.mark.parametrize("place", ["store/score", "mlartifacts/models"])
def test_a_damaged_result_is_mended_by_a_whole_run(
    place: str, settled: tuple[Path, dict[str, Any]]
) -> None:
    home, _ = settled
    largest = max((home / place).rglob("*"), key=lambda file: file.is_file() * file.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "unchanged_since" not in run(home)
