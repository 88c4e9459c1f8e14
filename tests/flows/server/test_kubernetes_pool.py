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
def test_every_placeholder_is_a_variable_and_every_variable_is_used(name: str) -> None:
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(TEMPLATES[name]["job_configuration"])))
    assert used == set(TEMPLATES[name]["variables"]["properties"])


@pytest.mark.parametrize("name", POOLS)
def test_a_job_runs_our_image_without_its_entry_point_as_its_user(name: str) -> None:
    pod = pod_of(TEMPLATES[name])
    [container] = pod["containers"]
    assert TEMPLATES[name]["variables"]["properties"]["image"]["default"] == IMAGE
    assert (
        "ENTRYPOINT" in DOCKERFILE
    )  # which would take `prefect flow-run execute` for arguments of its own
    assert (container["command"], container["args"]) == (["env"], "{{ command }}")
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (
        True,
        USER,
    )
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpus }}"


@pytest.mark.parametrize("name", POOLS)
def test_volumes_exist_and_the_home_folder_is_that_of_the_image(name: str) -> None:
    pod = pod_of(TEMPLATES[name])
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert f"REVIEWLM_HOME={mounts['home']} " in DOCKERFILE
    assert (
        re.search(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[1]
        in DOCKERFILE.split("REVIEWLM_PROJECT=")[1]
    )  # type: ignore[index]
    made = {
        one["metadata"]["name"] for one in yaml.safe_load_all((FOLDER / "volumes.yaml").read_text())
    }
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "emptyDir" not in volume
    ]
    assert set(claims) == made


def test_each_pool_has_a_worker_with_the_secret_and_the_log_format_of_the_jobs() -> None:
    [deployment] = [one for one in WORKER if one["kind"] == "Deployment"]
    containers = deployment["spec"]["template"]["spec"]["containers"]
    assert [one["command"][one["command"].index("--pool") + 1] for one in containers] == list(POOLS)
    [given] = {json.dumps(one["envFrom"]) for one in containers}
    assert {
        json.dumps(pod_of(template)["containers"][0]["envFrom"]) for template in TEMPLATES.values()
    } == {given}
    assert json.loads(given) == [{"secretRef": {"name": "reviewlm-worker"}}]
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
