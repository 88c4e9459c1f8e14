"""`reviewlm doctor` says in one line each what is wrong, changes nothing, and survives any home folder and machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reviewlm import doctor
from reviewlm.core.config.presets import load_config
from reviewlm.doctor import HealthLine, check_gpu, check_packages, examine
from tests.command_line import call


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time of change and content of everything below a folder."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def test_a_home_that_does_not_exist_has_no_problem(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    done = call(monkeypatch, capfd, "doctor", "--json")
    found = {line["check"]: line for line in done.facts["checks"]}
    assert {"packages", "disk", "GPU", "home", "tracking"} <= set(found)
    assert found["home"]["state"] == found["tracking"]["state"] == "ok"
    assert done.code == (1 if done.facts["problems"] else 0)


def test_a_home_that_does_not_exist_is_not_created(
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    call(monkeypatch, capfd, "doctor", "--json")
    assert not own_home.exists()


def test_nothing_in_the_home_changes(migrated_home: Path) -> None:
    (dead := migrated_home / "runs" / "home" / "0123").mkdir(parents=True)
    (dead / "open.lock").touch()
    # SQLite itself makes -wal and -shm beside a database that it reads.
    examine(load_config("small").workspace)
    before = snapshot(migrated_home)
    examine(load_config("small").workspace)
    assert {
        name: state for name, state in snapshot(migrated_home).items() if "-shm" not in name
    } == {name: state for name, state in before.items() if "-shm" not in name}


@pytest.mark.parametrize(("load", "state"), [(0.3, "ok"), (1e6, "warning")])
def test_other_work_on_this_machine_is_a_warning(
    load: float,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    [line] = examine(load_config("small").workspace, {"load": doctor.CHECKS["load"]})
    assert line.state == state


@pytest.fixture
def damaged_home(own_home: Path) -> Path:
    """A home whose tracking database is cut off."""
    own_home.mkdir()
    (own_home / "mlflow.db").write_bytes(b"SQLite format 3\0, cut off")
    return own_home


@pytest.mark.usefixtures("damaged_home")
def test_a_problem_is_a_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call(monkeypatch, capfd, "doctor")
    [line] = [line for line in done.out.splitlines() if " tracking: " in line]
    assert line.startswith("problem  tracking: The tracking database is damaged")
    assert "To do: restore a backup" in line
    assert "Traceback" not in done.out + done.err


@pytest.mark.usefixtures("damaged_home")
def test_a_problem_gives_the_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, capfd, "doctor").code == 1


def spoil_with_a_file(home: Path) -> None:
    home.write_text("not a folder")


def spoil_with_a_link_to_nothing(home: Path) -> None:
    home.symlink_to("nowhere")


def spoil_every_file(home: Path) -> None:
    home.mkdir()
    for name in ("services.json", "ports.json", "mlflow.db", "tokens.json", "ui-password"):
        (home / name).write_bytes(b"\xff\xfe broken")
    for name in ("store", "runs"):
        (home / name).write_text("a file where a folder belongs")


def spoil_with_folders(home: Path) -> None:
    for name in (
        "services.json",
        "ports.json",
        "mlflow.db",
        "ui-password",
        "store/ingest/0123456789",
    ):
        (home / name).mkdir(parents=True)
    (home / "runs" / "0123" / "run").mkdir(parents=True)
    (home / "runs" / "0123" / "run" / "record.json").write_bytes(b"broken")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_with_a_file,
        spoil_with_a_link_to_nothing,
        spoil_every_file,
        spoil_with_folders,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_a_broken_home_gives_lines_instead_of_an_exception(
    spoil: Callable[[Path], None], own_home: Path
) -> None:
    spoil(own_home)
    found = examine(load_config("small").workspace)
    assert {line.check for line in found} >= {"packages", "memory", "home"}
    assert any(line.state == "problem" for line in found)
    assert all(line.remedy for line in found if line.state != "ok")


def test_a_check_that_fails_or_hangs_is_a_line_of_its_own(own_home: Path) -> None:
    def failing(config: Any) -> Iterator[HealthLine]:
        yield HealthLine("failing", "ok", "first part")
        raise RuntimeError("postgresql://me:hidden@db is odd")

    def hanging(config: Any) -> Iterator[HealthLine]:
        time.sleep(60)
        yield HealthLine("hanging", "ok", "late")

    found = examine(
        load_config("small").workspace, {"failing": failing, "hanging": hanging}, seconds=0.2
    )
    assert [(line.check, line.state) for line in found] == [
        ("failing", "ok"),
        ("failing", "problem"),
        ("hanging", "problem"),
    ]
    assert "RuntimeError" in found[1].found
    assert "hidden" not in found[1].found


def test_packages_that_differ_from_the_declared_versions_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = ["typer>=99", "numpy>=1", "no-such-package-here>=2", 'absent-one; extra == "x"']
    monkeypatch.setattr(doctor, "requires", lambda name: wanted)
    [line] = examine(load_config("small").workspace, {"packages": check_packages})
    assert line.state == "problem"
    assert "no-such-package-here is missing (needed: >=2)" in line.found
    assert "(needed: >=99)" in line.found
    assert "numpy" not in line.found
    assert "absent-one" not in line.found


@pytest.mark.parametrize(
    ("device", "present", "reason", "state", "words"),
    [
        ("auto", False, "", "ok", "none, the processor is used"),
        ("cuda", False, "", "problem", "no GPU found"),
        ("auto", True, "its driver is too old", "warning", "its driver is too old"),
        ("cuda", True, "its driver is too old", "problem", "its driver is too old"),
        ("auto", True, "", "ok", "which torch can use"),
    ],
    ids=["no-gpu", "wanted-but-absent", "old-driver", "old-driver-wanted", "usable"],
)
def test_the_gpu_s_line_says_whether_it_can_be_used(
    device: str,
    present: bool,
    reason: str,
    state: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("reviewlm.models.neural.device.gpu_problem", lambda: reason)
    if present:
        (tmp_path / "nvidia0").touch()
    [line] = check_gpu(load_config("small", [f"execution.device={device}"]).workspace, tmp_path)
    assert (line.state, words in line.found) == (state, True), line
