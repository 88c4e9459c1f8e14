"""The pools of Kubernetes agree with the image, with the volumes and with `prefect.yaml`. No cluster is needed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.importtools import import_object
from prefect.utilities.templating import apply_values

import reviewlm
from reviewlm.core.services.pools import POOLS

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "kubernetes" / "worker"
IMAGE, USER = f"reviewlm:{reviewlm.__version__}", 10001
TEMPLATES = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in POOLS}
WORKER = list(yaml.safe_load_all((FOLDER / "worker.yaml").read_text()))
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def pod_of(template: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", POOLS)
def test_the_placeholders_of_a_job_are_its_variables(name: str) -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATES[name]["job_configuration"])))
    assert used == set(TEMPLATES[name]["variables"]["properties"])


@pytest.mark.parametrize("name", POOLS)
def test_a_job_runs_our_image_without_its_entry_point_as_its_user(name: str) -> None:
    pod = pod_of(TEMPLATES[name])
    [container] = pod["containers"]
    assert TEMPLATES[name]["variables"]["properties"]["image"]["default"] == IMAGE
    # It would take `prefect flow-run execute` for arguments of its own.
    assert "ENTRYPOINT" in DOCKERFILE
    assert (container["command"], container["args"]) == (["env"], "{{ command }}")
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (
        True,
        USER,
    )
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"


@pytest.mark.parametrize("name", POOLS)
def test_the_volumes_of_a_job_exist(name: str) -> None:
    volumes = pod_of(TEMPLATES[name])["volumes"]
    text = (FOLDER / "volumes.yaml").read_text()
    made = {one["metadata"]["name"] for one in yaml.safe_load_all(text)}
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "emptyDir" not in volume
    ]
    assert set(claims) == made


@pytest.mark.parametrize("name", POOLS)
def test_a_job_has_the_folders_of_the_image(name: str) -> None:
    pod = pod_of(TEMPLATES[name])
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert f"REVIEWLM_HOME={mounts['home']} " in DOCKERFILE
    [folder] = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)
    assert folder in DOCKERFILE.split("REVIEWLM_PROJECT=")[1]


@pytest.fixture(scope="module")
def worker_containers() -> list[dict[str, Any]]:
    """The containers of the worker's deployment."""
    [deployment] = [one for one in WORKER if one["kind"] == "Deployment"]
    containers: list[dict[str, Any]] = deployment["spec"]["template"]["spec"]["containers"]
    return containers


def test_each_pool_has_a_worker(worker_containers: list[dict[str, Any]]) -> None:
    commands = [one["command"] for one in worker_containers]
    assert [words[words.index("--pool") + 1] for words in commands] == list(POOLS)


def test_a_worker_has_the_environment_of_its_jobs(worker_containers: list[dict[str, Any]]) -> None:
    jobs = [pod_of(template)["containers"][0] for template in TEMPLATES.values()]
    for container in (*worker_containers, *jobs):
        assert container["envFrom"] == [{"secretRef": {"name": "reviewlm-worker"}}]


def test_a_worker_may_change_nothing_but_jobs() -> None:
    [role] = [one for one in WORKER if one["kind"] == "Role"]
    changing = [
        rule["resources"] for rule in role["rules"] if {"create", "delete"} & set(rule["verbs"])
    ]
    assert changing == [["jobs"]]


def test_a_job_works_in_the_folder_of_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of `prefect.yaml` is filled in by the Job."""
    [step] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]
    [(name, inputs)] = step.items()
    monkeypatch.setenv("REVIEWLM_PROJECT", str(tmp_path))
    filled_in: Any = apply_values(inputs, dict(os.environ))
    monkeypatch.chdir(Path.cwd())  # restored afterwards
    assert import_object(name)(**filled_in) == {"directory": str(tmp_path)}
