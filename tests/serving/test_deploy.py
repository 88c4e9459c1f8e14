"""The files of `deploy/` agree with each other, with the server and with its settings. No image is built here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import reviewlm
from reviewlm.core.config.presets import load_config
from reviewlm.serving.api.door import is_loopback

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
IMAGE, HOME, USER = f"reviewlm:{reviewlm.__version__}", "/home/reviewlm", 10001
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
}
POD = MANIFESTS["deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
REPLICAS = [COMPOSE["services"][name] for name in ("one", "two")]


def test_nothing_runs_as_root_or_writes_beside_its_volumes() -> None:
    assert re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE).groups() == (
        str(USER),
        str(USER),
    )  # type: ignore[union-attr]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.index("pip install")
    assert (POD["securityContext"]["runAsNonRoot"], POD["securityContext"]["runAsUser"]) == (
        True,
        USER,
    )
    inside = CONTAINER["securityContext"]
    assert (inside["readOnlyRootFilesystem"], inside["allowPrivilegeEscalation"]) == (True, False)
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in CONTAINER["volumeMounts"]} == {HOME, "/tmp"}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["volumes"]
    }
    for service in COMPOSE["services"].values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
    for replica in REPLICAS:
        assert replica["user"] == f"${{REVIEWLM_USER:-{USER}:{USER}}}"
        [volume] = replica["volumes"]
        assert volume.endswith(f"}}:{HOME}")


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties only."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT, WHOLE, RULES = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "array"}
ANY = {"type": "object"}
GROUP = {
    "rayStartParams": ANY | {"additionalProperties": TEXT},
    "template": closed("spec", spec=ANY),
}
NODES = closed(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=closed(mode={"enum": ["token"]}),
    networkPolicy=closed(
        mode={"enum": ["DenyAll", "DenyAllIngress", "DenyAllEgress"]},
        head=closed(ingressRules=RULES),
        worker=closed(ingressRules=RULES),
    ),
    headGroupSpec=closed("template", **GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": closed(
            "groupName maxReplicas minReplicas template",
            groupName=TEXT,
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            **GROUP,
        ),
    },
)
RAY_SPECS = {
    "RayCluster": NODES,
    "RayService": closed("rayClusterConfig", serveConfigV2=TEXT, rayClusterConfig=NODES),
}
"""The fields that we use, as in the custom resources `ray.io/v1` of KubeRay 1.7."""


@pytest.mark.parametrize("name", ["ray_cluster", "ray_service"])
def test_manifests_of_kuberay_agree_with_those_of_the_server(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    manifest = MANIFESTS[name]
    assert manifest["apiVersion"] == "ray.io/v1"
    jsonschema.validate(manifest["spec"], RAY_SPECS[manifest["kind"]])
    nodes = manifest["spec"].get("rayClusterConfig", manifest["spec"])
    assert (
        nodes["rayVersion"]
        == re.search(r"^ray==(.*)$", (DEPLOY.parent / "constraints.txt").read_text(), re.M)[1]
    )  # type: ignore[index]
    for group in (nodes["headGroupSpec"], *nodes["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"] == POD["securityContext"]
        assert (container["image"], container["securityContext"]) == (
            IMAGE,
            CONTAINER["securityContext"],
        )
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            volume["name"] for volume in pod["volumes"]
        }
    if config := manifest["spec"].get("serveConfigV2"):
        [application] = yaml.safe_load(config)["applications"]
        assert application["import_path"] == "reviewlm.serving.ray_app:application"
        preset = application["args"].pop("preset")
        settings = load_config(
            preset, [f"{key}={value}" for key, value in application["args"].items()]
        ).serving
        assert not is_loopback(settings.host), "then it starts without access tokens"
        assert container["volumeMounts"] == CONTAINER["volumeMounts"]


def test_no_file_holds_a_secret() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert len(files) >= 8
    value = r"(password|secret|api[_-]?key|bearer)\s*[:=](?!\s*\$\{|\?)"  # a variable of the environment is none
    for path in files:
        assert not re.search(value, path.read_text(), re.IGNORECASE), path
        assert shlex.split(path.name) == [path.name]
