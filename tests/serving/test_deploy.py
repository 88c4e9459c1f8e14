"""The files of `deploy/` agree with each other, with the server and with its settings. No image is built here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import reviewlm
from core.config.presets import load_config
from core.services.service_list import DEFAULT_PORTS
from reviewlm.cli import app
from serving.api.about import router
from serving.api.access import is_loopback

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
IMAGE, HOME, USER = f"reviewlm:{reviewlm.__version__}", "/home/reviewlm", 10001
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))}
KUBERNETES = "1.37"
"""Version whose schemas the manifests are checked against."""
POD = MANIFESTS["deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
REPLICAS = [COMPOSE["services"][name] for name in ("one", "two")]


def serve_settings(words: list[str]) -> Any:
    """Return the settings of `reviewlm serve …`, parsed as the program parses them."""
    command = get_command(app).commands["serve"]
    assert words[0] == "serve"
    given = command.make_context("serve", words[1:]).params
    names = ("host", "port")
    sets = [*(given["set"] or []), *(f"serving.{name}={given[name]}" for name in names if given[name] is not None)]
    return load_config(given["preset"], sets).serving


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


def paths_of(router: Any) -> set[str]:
    return {route.path for route in router.routes}


@pytest.mark.parametrize("words", [CONTAINER["args"], *(replica["command"] for replica in REPLICAS)])
def test_every_replica_runs_the_server_on_its_port_and_is_reachable(words: list[str]) -> None:
    settings = serve_settings(words)
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)


def test_probes_and_proxy_ask_paths_that_the_server_has() -> None:
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz",
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {"http"}
    proxy = (DEPLOY / "Caddyfile").read_text()
    assert "health_uri /readyz" in proxy
    assert "reverse_proxy one:8000 two:8000" in proxy
    assert all("http://127.0.0.1:8000/readyz" in replica["healthcheck"]["test"][-1] for replica in REPLICAS)
    assert {"/readyz", "/healthz"} <= paths_of(router)


def test_nothing_runs_as_root_or_writes_beside_its_volumes() -> None:
    assert re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE).groups() == (str(USER), str(USER))  # type: ignore[union-attr]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.index("pip install")
    assert (POD["securityContext"]["runAsNonRoot"], POD["securityContext"]["runAsUser"]) == (True, USER)
    inside = CONTAINER["securityContext"]
    assert (inside["readOnlyRootFilesystem"], inside["allowPrivilegeEscalation"]) == (True, False)
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in CONTAINER["volumeMounts"]} == {HOME, "/tmp"}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
    for service in COMPOSE["services"].values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
    for replica in REPLICAS:
        assert replica["user"] == f"${{REVIEWLM_USER:-{USER}:{USER}}}"
        [volume] = replica["volumes"]
        assert volume.endswith(f"}}:{HOME}")


@pytest.mark.parametrize("name", [
    "deployment", "disruption", "home", "service", "worker/volumes", "worker/worker",
])  # fmt: skip
def test_manifests_are_valid_for_kubernetes(name: str) -> None:
    checks = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed (108 MB)")
    found = list(yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text()))
    assert found
    for manifest in found:
        checks.validate(manifest, KUBERNETES, strict=True)
        with pytest.raises(checks.ValidationError):
            checks.validate(manifest | {"metadata": manifest["metadata"] | {"lables": {}}}, KUBERNETES, strict=True)


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties only."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


TEXT, WHOLE, RULES = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "array"}
ANY = {"type": "object"}
GROUP = {"rayStartParams": ANY | {"additionalProperties": TEXT}, "template": closed("spec", spec=ANY)}
NODES = closed(
    "headGroupSpec", rayVersion=TEXT, authOptions=closed(mode={"enum": ["token"]}),
    networkPolicy=closed(
        mode={"enum": ["DenyAll", "DenyAllIngress", "DenyAllEgress"]}, head=closed(ingressRules=RULES),
        worker=closed(ingressRules=RULES),
    ),
    headGroupSpec=closed("template", **GROUP),
    workerGroupSpecs={"type": "array", "items": closed(
        "groupName maxReplicas minReplicas template", groupName=TEXT, replicas=WHOLE, minReplicas=WHOLE,
        maxReplicas=WHOLE, **GROUP,
    )},
)  # fmt: skip
RAY_SPECS = {
    "RayCluster": NODES, "RayService": closed("rayClusterConfig", serveConfigV2=TEXT, rayClusterConfig=NODES)
}
"""The fields that we use, as in the custom resources `ray.io/v1` of KubeRay 1.7."""


@pytest.mark.parametrize("name", ["ray_cluster", "ray_service"])
def test_kuberay_finds_only_fields_it_has_and_pods_like_those_of_the_server(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    manifest = MANIFESTS[name]
    assert manifest["apiVersion"] == "ray.io/v1"
    jsonschema.validate(manifest["spec"], RAY_SPECS[manifest["kind"]])
    nodes = manifest["spec"].get("rayClusterConfig", manifest["spec"])
    assert nodes["rayVersion"] == re.search(r"^ray==(.*)$", (DEPLOY.parent / "constraints.txt").read_text(), re.M)[1]  # type: ignore[index]
    for group in (nodes["headGroupSpec"], *nodes["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"] == POD["securityContext"]
        assert (container["image"], container["securityContext"]) == (IMAGE, CONTAINER["securityContext"])
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    if config := manifest["spec"].get("serveConfigV2"):
        [application] = yaml.safe_load(config)["applications"]
        assert application["import_path"] == "serving.ray_app:application"
        preset = application["args"].pop("preset")
        settings = load_config(preset, [f"{key}={value}" for key, value in application["args"].items()]).serving
        assert not is_loopback(settings.host), "then it starts without access tokens"
        assert container["volumeMounts"] == CONTAINER["volumeMounts"]


def test_prometheus_scrapes_a_page_that_exists() -> None:
    [serve] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert serve["metrics_path"] in paths_of(router)
    assert serve["static_configs"][0]["targets"] == [f"127.0.0.1:{DEFAULT_PORTS['serve']}"]


def test_no_file_holds_a_secret() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert len(files) >= 8
    value = r"(password|secret|api[_-]?key|bearer)\s*[:=](?!\s*\$\{|\?)"  # a variable of the environment is none
    for path in files:
        assert not re.search(value, path.read_text(), re.IGNORECASE), path
        assert shlex.split(path.name) == [path.name]
