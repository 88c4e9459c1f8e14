"""`reviewlm doctor` says in one line each what is wrong, changes nothing, and survives any home folder."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.services import service_list
from core.services.deployed_code import keep_code
from core.services.pools import deployed_code, deployments_of
from core.store import Store
from reviewlm.doctor import machine
from reviewlm.doctor.examine import CHECKS, examine
from reviewlm.doctor.health_line import HealthLine
from reviewlm.doctor.machine import check_packages, gpu_line
from reviewlm.doctor.servers import _deployed_code
from tests.command_line import call
from tracking.database import head_revision


def lines(name: str, *overrides: str) -> list[HealthLine]:
    return examine(load_config("small", list(overrides)), {name: CHECKS[name]})


def only(name: str, *overrides: str) -> HealthLine:
    [line] = lines(name, *overrides)
    return line


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time of change and content of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b""
        )
        for path in sorted(folder.rglob("*"))
    }


def a_result(home: Path, text: str = "some content") -> Path:
    def make(folder: Path) -> dict[str, Any]:
        (folder / "rows.txt").write_text(text)
        return {}

    return Store(home / "store").build("ingest", 1, {"text": text}, {}, make).artifact.folder


def test_a_home_that_does_not_exist_has_no_problem_and_is_not_created(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call(monkeypatch, capfd, "doctor", "--json")
    found = {line["check"]: line for line in done.facts["checks"]}
    assert {"Python", "packages", "disk", "GPU", "home", "tracking", "ports", "clock"} <= set(found)
    assert found["home"]["state"] == found["tracking"]["state"] == found["moved home"]["state"] == "ok"
    assert done.code == (1 if done.facts["problems"] else 0)
    assert not own_home.exists()


def test_nothing_in_the_home_changes(migrated_home: Path) -> None:
    a_result(migrated_home)
    (migrated_home / "running").mkdir()
    (migrated_home / "running" / "1-dead").touch()
    (migrated_home / "home.json").write_text(json.dumps({"path": "/gone/long/ago"}))
    examine(load_config("small"))  # SQLite itself makes -wal and -shm beside a database that it reads
    before = snapshot(migrated_home)
    examine(load_config("small"))
    assert {name: state for name, state in snapshot(migrated_home).items() if "-shm" not in name} == {
        name: state for name, state in before.items() if "-shm" not in name
    }


def test_a_problem_is_a_line_with_a_remedy_and_the_exit_code(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    own_home.mkdir()
    (own_home / "mlflow.db").write_bytes(b"SQLite format 3\0, cut off")
    done = call(monkeypatch, capfd, "doctor")
    [line] = [line for line in done.out.splitlines() if " tracking: " in line]
    assert line.startswith("problem  tracking: The tracking database is damaged")
    assert "To do: restore a backup" in line
    assert done.code == 1
    assert "Traceback" not in done.out + done.err


def spoil_with_a_file(home: Path) -> None:
    home.write_text("not a folder")


def spoil_with_a_link_to_nothing(home: Path) -> None:
    home.symlink_to("nowhere")


def spoil_every_file(home: Path) -> None:
    home.mkdir()
    for name in ("services.json", "ports.json", "home.json", "mlflow.db", "tokens.json", "ui-password"):
        (home / name).write_bytes(b"\xff\xfe broken")
    for name in ("store", "running", "outbox"):
        (home / name).write_text("a file where a folder belongs")


def spoil_with_folders(home: Path) -> None:
    for name in ("services.json", "ports.json", "home.json", "mlflow.db", "ui-password", "store/ingest/0123456789"):
        (home / name).mkdir(parents=True)
    (home / "outbox" / "0123").mkdir(parents=True)
    (home / "outbox" / "0123" / "outbox.db").write_bytes(b"broken")


@pytest.mark.parametrize("spoil", [
    spoil_with_a_file, spoil_with_a_link_to_nothing, spoil_every_file, spoil_with_folders,
], ids=lambda spoil: spoil.__name__)
def test_a_broken_home_gives_lines_and_no_exception(spoil: Callable[[Path], None], own_home: Path) -> None:
    spoil(own_home)
    found = examine(load_config("small"))
    assert {line.check for line in found} >= {"Python", "packages", "memory", "home"}
    assert any(line.state == "problem" for line in found)
    assert all(line.remedy for line in found if line.state != "ok")


def test_a_check_that_fails_or_hangs_is_a_line_of_its_own(own_home: Path) -> None:
    def failing(config: Any) -> Iterator[HealthLine]:
        yield HealthLine("failing", "ok", "first part")
        raise RuntimeError("postgresql://me:hidden@db is odd")

    def hanging(config: Any) -> Iterator[HealthLine]:
        time.sleep(60)
        yield HealthLine("hanging", "ok", "late")

    found = examine(load_config("small"), {"failing": failing, "hanging": hanging}, seconds=0.2)
    assert [(line.check, line.state) for line in found] == [
        ("failing", "ok"), ("failing", "problem"), ("hanging", "problem"),
    ]
    assert "RuntimeError" in found[1].found
    assert "hidden" not in found[1].found


def test_packages_that_differ_from_the_declared_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    optional_ones = ['pytest<1; extra == "dev"', 'absent-one; extra == "x"']
    wanted = ["typer>=99", "numpy>=1", "no-such-package-here>=2", *optional_ones]
    monkeypatch.setattr(machine, "requires", lambda name: wanted)
    needed, optional = check_packages(load_config("small"))
    assert (needed.state, optional.state) == ("problem", "warning")
    assert "no-such-package-here is missing (needed: >=2)" in needed.found
    assert "(needed: >=99)" in needed.found
    assert "numpy" not in needed.found
    assert "pytest" in optional.found
    assert "absent-one" not in optional.found


@pytest.mark.parametrize(("wanted", "driver", "cuda", "state", "words"), [
    ("auto", "", "", "ok", "none, the processor is used"),
    ("cuda", "", "", "problem", "no GPU found"),
    ("auto", "580.12", "", "warning", "build for processors only"),
    ("auto", "470.57", "12.6", "warning", "needs 525 or newer"),
    ("cuda", "470.57", "12.6", "problem", "needs 525 or newer"),
    ("auto", "580.12", "12.6", "ok", "driver 580"),
    ("auto", "570.10", "13.0", "warning", "needs 580 or newer"),
], ids=["no-gpu", "wanted-but-absent", "cpu-torch", "old-driver", "old-driver-wanted", "usable", "older-than-cuda-13"])
def test_the_gpu_s_line_says_whether_it_is_used_and_why_not(
    wanted: str, driver: str, cuda: str, state: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = tmp_path / "dev"
    devices.mkdir()
    if driver:
        (devices / "nvidia0").touch()
        (devices / "nvidiactl").touch()
        (tmp_path / "version").write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}.01  Mon Jan 1\n")
    line = gpu_line(wanted, devices, tmp_path / "version", cuda)
    assert (line.state, words in line.found) == (state, True), line


def test_too_little_space_is_a_problem_and_little_space_a_warning(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for free in (100e6, 1e9, 50e9):
        about = os.statvfs_result((4096, 4096, int(free / 4096), int(free / 4096), int(free / 4096), 1, 1, 1, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda path, about=about: about)
        states.append(lines("disk")[0].state)
    assert states == ["problem", "warning", "ok"]


@pytest.mark.drill("clock set back", "by two hours, then `reviewlm doctor`", "a problem that says by how much")
def test_a_clock_before_the_newest_result_is_a_problem(own_home: Path) -> None:
    folder = a_result(own_home)
    assert lines("clock")[0].state == "ok"
    later = time.time() + 7200
    os.utime(folder.parent, (later, later))
    assert lines("clock")[0].state == "problem"
    assert "2.0 hours before the newest result" in lines("clock")[0].found


def test_results_whose_names_or_sizes_differ_are_named(own_home: Path) -> None:
    whole, cut, emptied = a_result(own_home, "whole"), a_result(own_home, "cut off"), a_result(own_home, "emptied")
    assert only("stored results").found == "3 have the right names and sizes"
    (cut / "rows.txt").write_text("cut")
    (emptied / "rows.txt").unlink()
    line = only("stored results")
    assert line.state == "problem"
    assert f"ingest/{cut.name} (rows.txt is changed)" in line.found
    assert f"ingest/{emptied.name} (rows.txt is gone)" in line.found
    assert whole.name not in line.found


def test_a_password_that_others_may_read_is_a_problem(own_home: Path) -> None:
    own_home.mkdir(mode=0o700)
    password = own_home / "ui-password"
    password.write_text("x" * 32)
    password.chmod(0o600)
    assert only("secrets").state == "ok"
    password.chmod(0o644)
    assert only("secrets").state == "problem"


def test_reviews_that_others_may_read_are_a_warning_unless_the_home_is_closed(own_home: Path) -> None:
    (own_home / "store").mkdir(parents=True, mode=0o755)
    (own_home / "store").chmod(0o755)
    own_home.chmod(0o755)
    assert (only("secrets").state, "store" in only("secrets").found) == ("warning", True)
    own_home.chmod(0o700)
    assert only("secrets").state == "ok"


def test_a_moved_home_is_announced_with_what_the_next_command_will_do(migrated_home: Path, tmp_path: Path) -> None:
    (migrated_home / "home.json").write_text(json.dumps({"path": str(tmp_path / "before")}))
    line = only("moved home")
    assert (line.state, f"moved from {tmp_path / 'before'}" in line.found) == ("warning", True)
    (tmp_path / "before" / "store").mkdir(parents=True)
    assert f"copied from {tmp_path / 'before'}" in only("moved home").found
    (migrated_home / "home.json").write_text(json.dumps({"path": str(migrated_home)}))
    assert only("moved home").state == "ok"


def test_a_database_with_the_tables_of_an_older_mlflow_is_a_problem_with_the_command_that_helps(
    migrated_home: Path,
) -> None:
    assert only("tracking").state == "ok"
    assert head_revision()
    with closing(sqlite3.connect(migrated_home / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0584bdc529eb'")
    line = only("tracking")
    assert (line.state, "older MLflow" in line.found) == ("problem", True)
    assert f"mlflow db upgrade sqlite:///{migrated_home}/mlflow.db" in line.remedy


def test_an_upgrade_that_was_interrupted_is_a_problem(own_home: Path) -> None:
    assert only("upgrade").state == "ok"
    own_home.mkdir()
    (own_home / "upgrade.json").write_text("{}")
    line = only("upgrade")
    assert (line.state, "interrupted" in line.found, "`reviewlm upgrade`" in line.remedy) == ("problem", True, True)


def test_a_remote_tracking_server_that_does_not_answer_is_a_problem(own_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    line = only("tracking", f"execution.tracking_uri=http://127.0.0.1:{port}")
    assert line.state == "problem"
    assert f"http://127.0.0.1:{port} does not answer" in line.found


PAGES = {
    "/api/admin/version": "3.0.0", "/api/work_pools/filter": [{"name": "cpu-pool"}],
    "/api/v2/concurrency_limits/filter": [{"name": "gpu"}, {"name": "retrain"}],
    "/api/deployments/filter": [{"name": name} for name in deployments_of(["cpu-pool"]) if name != "weekly"],
}


class OldPrefect(BaseHTTPRequestHandler):
    """A Prefect server of an older version without one limit and one deployment, which needs a password."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == f"Basic {b64encode(b'reviewlm:' + b'x' * 32).decode()}"
        body = json.dumps(PAGES[self.path]).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *ignored: object) -> None:
        pass


def test_a_server_of_another_version_and_what_it_lacks_are_named(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OldPrefect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    running = [service_list.Service("prefect", 1, 0.0, f"http://127.0.0.1:{server.server_port}")]
    monkeypatch.setattr(service_list, "running", lambda home: running)
    monkeypatch.setattr("reviewlm.doctor.servers.usable_pools", lambda: ("cpu-pool",))
    try:
        assert "does not accept the password" in lines("servers")[0].found
        assert not own_home.exists(), "no password was made"
        own_home.mkdir()
        (own_home / "ui-password").write_text("x" * 32 + "\n")
        found = {line.check: line for line in lines("servers")}
    finally:
        server.shutdown()
        server.server_close()
    assert (found["Prefect server"].state, "has version 3.0.0" in found["Prefect server"].found) == ("warning", True)
    assert found["pools and limits"].found == "missing: limit promotion, deployment weekly"
    assert found["workers"].found == "not running: worker-cpu-pool"
    assert found["MLflow server"].state == "ok"


def test_writes_that_wait_are_a_warning_that_names_their_store(own_home: Path) -> None:
    from tracking.runs.outbox import Outbox, Write

    Outbox(own_home / "outbox", "http://mlflow.invalid:5000", "reviewlm").put(Write("tags", "run", {"a": "b"}))
    line = only("queued writes")
    assert (line.state, line.found) == ("warning", "1 writes wait for http://mlflow.invalid:5000")


def test_marks_of_killed_processes_are_a_warning_and_stay(own_home: Path) -> None:
    from core.processes.leftovers import hold

    folder = own_home / "running"
    folder.mkdir(parents=True)
    held = hold(folder / "1-alive")
    assert held is not None
    assert only("interrupted runs").state == "ok"
    (folder / "2-dead").touch()
    assert only("interrupted runs").state == "warning"
    assert (folder / "2-dead").exists()
    os.close(held)


def test_a_port_of_this_home_that_another_program_uses_is_a_warning(own_home: Path) -> None:
    own_home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        (own_home / "ports.json").write_text(json.dumps({"mlflow": port}))
        line = only("ports")
    assert (line.state, f"{port} (mlflow)" in line.found) == ("warning", True)


def test_a_remote_store_is_read_and_written_if_there_is_one(own_home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    setting = f"execution.remote_store={shared.as_uri()}"
    assert lines("remote store") == []
    absent = only("remote store", setting)
    assert (absent.state, "create it, or mount its disk" in absent.found) == ("problem", True)
    shared.mkdir()
    assert only("remote store", setting).state == "ok"
    assert not own_home.exists()
    [probe] = shared.iterdir()
    probe.unlink()
    probe.mkdir()
    assert only("remote store", setting).state == "warning"


def test_edits_since_the_deployment_are_told_and_a_damaged_copy_is_a_problem(own_home: Path) -> None:
    copy = keep_code(own_home)

    def told(version: str, code: str) -> tuple[str, str]:
        [line] = _deployed_code(own_home, [{"version": version, "pull_steps": [{"step": {"code": code}}]}])
        return line.state, line.found

    assert told(deployed_code(), copy.name) == ("ok", "the code here")
    state, found = told("0" * 12, copy.name)
    assert (state, found.partition(":")[0]) == ("ok", "other than the code here")
    state, found = told(deployed_code(), "gone")
    assert (state, found.partition(":")[0]) == ("problem", "gone")
    assert list(_deployed_code(own_home, [{"version": "made by hand", "pull_steps": None}])) == []
