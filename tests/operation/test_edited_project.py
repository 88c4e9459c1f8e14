"""A deployment's run uses the code of its deployment, whatever was edited since, until it is deployed again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.provenance import code_digest
from core.services.deployed_code import COPIED, FOLDER, copies_of
from tests.flows.first_run import TINY
from tests.operation.started_services import Services, running_prefect

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
POOL, NAMES_RUNS = "cpu-pool", "tasks/flow_run.py"
DEPLOYED = {"ingest": {"preset": "small", "input": ["reviews.jsonl"]}, "demo": {"preset": TINY}}
"""Deployments with the parameters of their runs."""


@dataclass
class Team:
    """A project of its own, of which deployments are made, and the services that run them."""

    project: Path
    services: Services
    environment: dict[str, str]

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.project / file).read_text()
        assert old in text
        (self.project / file).write_text(text.replace(old, new))

    def deploy(self) -> None:
        program = (
            "import os; from pathlib import Path; from core.services.pools import deploy; "
            f"deploy(dict(os.environ), [{POOL!r}], Path(os.environ['REVIEWLM_HOME']))"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=self.project, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3_000:]

    def run(self, name: str = "ingest") -> dict[str, Any]:
        """Let the worker run a deployment; return the flow run."""
        [known] = [one for one in self.services.ask("POST", "/deployments/filter", {}) if one["name"] == name]
        asked = {"parameters": DEPLOYED[name]}
        run = self.services.ask("POST", f"/deployments/{known['id']}/create_flow_run", asked)["id"]
        self.services.wait_for(run, "Completed", "Failed", "Crashed", seconds=600)
        found: dict[str, Any] = self.services.ask("GET", f"/flow_runs/{run}")
        return found


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    project = folder / "project"
    for name in COPIED:
        shutil.copytree(ROOT / name, project / name)
    wanted = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    wanted["deployments"] = [one for one in wanted["deployments"] if one["name"] in DEPLOYED]
    (project / "prefect.yaml").write_text(yaml.safe_dump(wanted))
    rows = [{"review_id": f"r{n}", "stars": n % 5 + 1, "text": f"Meal {n} was fine.", "date": "2019-05-01 10:00:00"}
            for n in range(20)]  # fmt: skip
    (project / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project))
        with running_prefect(folder / "home", POOL) as (services, environment):  # the worker waits for its pool
            yield Team(project, services, {**environment, "REVIEWLM_PROJECT": str(project)})


def test_edited_code_runs_after_the_next_deployment_and_not_before(team: Team) -> None:
    """The path of the reviews is relative: the run works in the folder of the project, with the copy's modules."""
    team.deploy()
    team.edit(NAMES_RUNS, 'f"data: {', 'f"edited data: {')
    first = team.run()
    assert (first["state"]["name"], first["state"]["message"]) == ("Completed", None), team.services.log()
    assert "data: reviews.jsonl" in first["tags"]
    team.deploy()
    second = team.run()
    assert "edited data: reviews.jsonl" in second["tags"], team.services.log()
    assert not any("code" in tag for one in (first, second) for tag in one["tags"])


def test_a_damaged_copy_fails_the_run_and_is_mended_by_the_next_deployment(team: Team) -> None:
    team.deploy()
    [code] = copies_of(team.services.ask("POST", "/deployments/filter", {}))
    copy = team.services.home / FOLDER / code
    (copy / NAMES_RUNS).unlink()
    failed = team.run()
    assert failed["state"]["name"] == "Failed", team.services.log()
    assert str(copy) in failed["state"]["message"]
    assert "deploy again" in failed["state"]["message"]
    team.deploy()
    assert team.run()["state"]["name"] == "Completed", team.services.log()
    assert team.services.state(failed["id"]) == "Failed"  # and has not become Crashed, which is tried again


@pytest.mark.long
def test_fits_and_all_other_processes_of_a_retrain_use_the_code_of_the_deployment(team: Team) -> None:
    """Of the project itself, only the check of the copy can still be imported."""
    team.deploy()
    for name in set(COPIED) - {"core", "config"}:
        for file in (team.project / name).rglob("*.py"):
            file.write_text("raise RuntimeError('edited')\n")
    assert team.run("demo")["state"]["name"] == "Completed", team.services.log()
    [code] = copies_of(team.services.ask("POST", "/deployments/filter", {}))
    made = {json.loads(file.read_text())["environment"]["code"]
            for file in team.services.home.glob("store/*/*/manifest.json")}  # fmt: skip
    assert code_digest(team.services.home / FOLDER / code) in made
