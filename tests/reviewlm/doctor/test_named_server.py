"""`reviewlm doctor` says of the Prefect server that PREFECT_API_URL names what is wrong with it, and what to do."""

from __future__ import annotations

import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.services import service_list
from core.services.deployed_code import keep_code
from core.services.pools import deployments_of
from reviewlm.doctor import named_prefect
from reviewlm.doctor.examine import CHECKS, examine
from reviewlm.doctor.health_line import HealthLine

LOGIN = "jane:a-password-of-the-test"
DISK = "prefect.server.concurrency.lease_storage.filesystem"


def settings(lease_storage: str) -> dict[str, Any]:
    return {"server": {"concurrency": {"lease_storage": lease_storage}}}


def limits(**sizes: int) -> list[dict[str, Any]]:
    return [{"name": name, "limit": size, "active": True} for name, size in sizes.items()]


def deployments(code: str = "", *left_out: str) -> list[dict[str, Any]]:
    steps = [{"core.services.deployed_code.use_deployed_code": {"project": "/project", "code": code}}]
    return [
        {"name": name, "work_pool_name": "cpu-pool", "pull_steps": steps, "paused": False}
        for name in deployments_of(["cpu-pool"]) if name not in left_out
    ]


@dataclass
class Named:
    """A Prefect server with what a healthy one has; tests spoil it."""

    pages: dict[str, Any] = field(default_factory=lambda: {
        "/api/admin/version": version("prefect"), "/api/admin/settings": settings(DISK),
        "/api/v2/concurrency_limits/filter": limits(gpu=1, promotion=1, retrain=1),
        "/api/work_pools/filter": [{"name": "cpu-pool", "is_paused": False}],
        "/api/work_pools/cpu-pool/workers/filter": [
            {"name": "gone", "status": "OFFLINE"}, {"name": "here", "status": "ONLINE"},
        ],
        "/api/deployments/filter": deployments(),
    })  # fmt: skip
    ahead: float = 0.0
    refuses: tuple[int, str] = (0, "")
    address: str = ""


@pytest.fixture
def named(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Named]:
    """The server that PREFECT_API_URL names, with Basic auth."""
    told = Named()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers["Authorization"] == f"Basic {b64encode(LOGIN.encode()).decode()}"
            status, text = told.refuses if told.refuses[0] else (200, "") if known else (401, "")
            if status == 200 and self.path not in told.pages:
                status = 404
            body = json.dumps(told.pages[self.path]).encode() if status == 200 else text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + told.ahead, usegmt=True)

        def log_message(self, *ignored: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("PREFECT_API_URL", f"{told.address}/api/")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", LOGIN)
    yield told
    server.shutdown()
    server.server_close()


def lines(*overrides: str) -> dict[str, HealthLine]:
    """Return the lines about the named server, by what they are about; it is an error if two are about the same."""
    checks = {name: check for name, check in CHECKS.items() if name.startswith("PREFECT_API_URL")}
    found = examine(load_config("small", list(overrides)), checks)
    short = [line.check.removeprefix("PREFECT_API_URL").removeprefix(": ") for line in found]
    assert len(set(short)) == len(short), found
    return dict(zip(short, found, strict=True))


def test_without_the_variable_nothing_is_said(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert lines() == {}


def test_a_healthy_server_has_only_good_lines_and_no_secret_is_shown(named: Named, own_home: Path) -> None:
    found = lines()
    assert {name: line.state for name, line in found.items()} == dict.fromkeys(
        ["", "clock", "lease storage", "limits", "deployments", "pool cpu-pool"], "ok"
    )
    assert found[""].found.startswith(f"{named.address}/api/ answers, version {version('prefect')}")
    assert found["limits"].found == "gpu 1, promotion 1, retrain 1"
    assert found["pool cpu-pool"].found == "online: here"
    assert "a-password" not in str(found)
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("path", "said"), [("", "does not answer"), ("/", "not as the API"), ("ftp", "not an address")]
)
def test_an_address_where_no_prefect_answers_is_one_line_that_says_so(
    named: Named, monkeypatch: pytest.MonkeyPatch, path: str, said: str
) -> None:
    named.pages["/admin/version"] = {"page": "of something else"}
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
    address = {"": nobody, "/": named.address, "ftp": "ftp://127.0.0.1/api"}[path]
    monkeypatch.setenv("PREFECT_API_URL", address)
    [line] = lines().values()
    assert line.state == "problem"
    assert line.found.startswith(f"{address} ")
    assert said in line.found
    assert "unset" in line.remedy if path == "" else "/api" in line.remedy


def test_a_server_that_never_answers_is_a_line_within_the_time_of_the_checks(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_prefect, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        [line] = lines().values()
    assert "does not answer: timed out" in line.found


@pytest.mark.parametrize(
    ("refuses", "login", "said", "remedy"), [
        ((0, ""), "", "needs credentials, and none are set", "PREFECT_API_AUTH_STRING to USER:PASSWORD"),
        ((0, ""), "jane:wrong", "does not accept the credentials", "PREFECT_API_AUTH_STRING to USER:PASSWORD"),
        ((403, "Not that Host name."), LOGIN, "error 403: Not that Host name.", "REVIEWLM_UI_HOSTS"),
        ((500, ""), LOGIN, "answers with error 500", "/api"),
    ]
)  # fmt: skip
def test_a_server_that_refuses_is_told_with_its_reason(
    named: Named, monkeypatch: pytest.MonkeyPatch, refuses: tuple[int, str], login: str, said: str, remedy: str
) -> None:
    named.refuses = refuses
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", login)
    line = lines()[""]
    assert line.state == "problem"
    assert line.found.endswith(said)
    assert remedy in line.remedy
    assert "wrong" not in line.in_words()


@pytest.mark.parametrize(("there", "state"), [("2.20.0", "problem"), ("3.0.0", "warning"), (version("prefect"), "ok")])
def test_another_version_is_named_with_ours(named: Named, there: str, state: str) -> None:
    named.pages["/api/admin/version"] = there
    line = lines()[""]
    assert line.state == state
    assert there in line.found
    assert version("prefect") in line.found


@pytest.mark.parametrize(
    ("ahead", "state", "said"), [
        (0, "ok", "as here"), (-30, "warning", "seconds behind"), (30, "warning", "seconds ahead"),
        (-400, "problem", "seconds behind"), (7_200, "problem", "seconds ahead"),
    ]
)  # fmt: skip
def test_a_clock_that_differs_is_named_with_its_side(named: Named, ahead: float, state: str, said: str) -> None:
    named.ahead = ahead
    line = lines()["clock"]
    assert line.state == state
    assert said in line.found
    assert state == "ok" or int(line.found.split()[0]) == pytest.approx(abs(ahead), abs=3)


def test_places_that_a_restart_would_lose_are_a_warning(named: Named) -> None:
    named.pages["/api/admin/settings"] = settings("prefect.server.concurrency.lease_storage.memory")
    line = lines()["lease storage"]
    assert line.state == "warning"
    assert line.remedy.endswith(f"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={DISK}")
    del named.pages["/api/admin/settings"]
    assert lines()["lease storage"].state == "ok"


def retrain_is_off(named: Named) -> None:
    named.pages["/api/v2/concurrency_limits/filter"][2]["active"] = False


def sized(**sizes: int) -> Callable[[Named], None]:
    return lambda named: named.pages.update({"/api/v2/concurrency_limits/filter": limits(**sizes)})


@pytest.mark.parametrize(
    ("spoil", "state", "said", "remedy"), [
        (sized(gpu=1, promotion=1), "problem", "retrain is missing", "prefect gcl create retrain --limit 1"),
        (sized(gpu=1, promotion=2, retrain=1), "warning", "promotion has 2 places", "gcl update promotion --limit 1"),
        (sized(gpu=1, promotion=1, retrain=0), "problem", "retrain has no place", "gcl update retrain --limit 1"),
        (sized(gpu=2, promotion=1, retrain=1), "warning", "this machine alone has 3 GPUs", "gcl update gpu --limit 3"),
        (sized(gpu=9, promotion=1, retrain=1), "ok", "gpu 9", ""),
        (retrain_is_off, "problem", "retrain is switched off", "prefect gcl enable retrain"),
    ]
)  # fmt: skip
def test_a_limit_that_would_not_do_its_work_is_named_with_the_command_that_helps(
    named: Named, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Named], None], state: str, said: str, remedy: str
) -> None:
    if "GPUs" in said:
        monkeypatch.setattr(named_prefect, "visible_gpus", lambda: 3)
    spoil(named)
    line = lines()["limits"]
    assert line.state == state
    assert said in line.found
    assert remedy in line.remedy


def test_a_pool_without_a_worker_or_that_is_paused_is_named(named: Named) -> None:
    named.pages["/api/work_pools/cpu-pool/workers/filter"].pop()
    line = lines()["pool cpu-pool"]
    assert (line.state, line.found) == ("problem", "no worker is online: its runs wait")
    assert "prefect worker start --pool cpu-pool" in line.remedy
    named.pages["/api/work_pools/filter"][0]["is_paused"] = True
    assert "paused" in lines()["pool cpu-pool"].found
    named.pages["/api/work_pools/filter"] = []
    assert lines()["pool cpu-pool"].found == "there is no such pool"


def test_missing_deployments_are_named_and_a_server_without_any_needs_none(named: Named) -> None:
    named.pages["/api/deployments/filter"] = deployments("", "weekly", "demo")
    line = lines()["deployments"]
    assert line.state == "warning"
    assert line.found in ("missing: weekly, demo", "missing: demo, weekly")
    assert "core.services.foreground" in line.remedy
    named.pages["/api/deployments/filter"] = [{"name": "of another project", "work_pool_name": "theirs"}]
    found = lines()
    assert found["deployments"].state == "ok"
    assert not [name for name in found if name.startswith("pool")], "no worker is needed"
    del named.pages["/api/deployments/filter"]  # as a server of another kind, whose version is told
    assert lines().keys() == {"", "clock", "lease storage"}


def test_the_copy_of_the_code_is_whole_damaged_or_elsewhere(named: Named, own_home: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "core").mkdir(parents=True)
    (tmp_path / "project" / "core" / "module.py").write_text("ONE = 1\n")
    copy = keep_code(own_home, tmp_path / "project")
    named.pages["/api/deployments/filter"] = deployments(copy.name)
    assert (lines()["deployed code"].state, lines()["deployed code"].found) == ("ok", f"{copy.name} is whole")
    module = copy / "core" / "module.py"
    module.chmod(0o644)
    module.write_text("ONE = 2\n")
    assert lines()["deployed code"].state == "problem"
    assert "core/module.py" in lines()["deployed code"].found
    named.pages["/api/deployments/filter"] = deployments("0123456789abcdef")
    line = lines()["deployed code"]
    assert line.state == "warning"
    assert "another home" in line.remedy


def test_the_server_of_this_home_s_services_is_looked_at_once(named: Named, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [service_list.Service("prefect", 1, 0.0, named.address)]
    monkeypatch.setattr(service_list, "running", lambda home: own)
    assert lines().keys() == {"", "clock", "lease storage"}
