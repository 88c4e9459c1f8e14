"""A home folder that is copied by hand while a run works in it; and other commands beside a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import Damaged, InputError, ReviewLMError
from reviewlm.core.store import Store
from reviewlm.tracking.registry.decisions import complaints
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.runs.runs import Tracker
from tests.flows.first_run import ROOT, TINY, mlflow_rows, user_environment

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]
COPIES = 4
PAUSE = 1.0
ALLOWED = {"doctor": (0, 1), "rollback": (0, ReviewLMError.exit_code, InputError.exit_code)}
"""Exit codes: a busy machine, a champion without one before it, and a model that is not registered yet."""
RUN = ("run", "--preset", TINY)


def command(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reviewlm.cli", *words, "--json"],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=user_environment(home),
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Return exit code, result and messages of a command."""
    out, messages = process.communicate(timeout=1500)
    return process.returncode, json.loads(out or "{}"), messages[-3_000:]


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[str]]:
    process = command(home, *RUN)
    try:
        yield process
    finally:
        process.kill()


def results(home: Path) -> int:
    return sum(1 for _ in (home / "store").glob("[!.]*/*/manifest.json"))


def assert_whole(home: Path) -> None:
    """Assert that every result is whole, and that registry and runs are those of a run that nobody disturbed."""
    store = Store(home / "store")
    for stage in (home / "store").glob("[!.]*"):
        for artifact in store.all(stage.name):
            store.verify(artifact)
    tracker = Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / "mlartifacts")
    registry = Registry(tracker, "reviewlm-demo")
    assert complaints(registry.events()) == []
    assert sum(CHAMPION in version.aliases for version in registry.versions()) == 1
    curves = "SELECT run_uuid FROM metrics WHERE key LIKE 'curves/%' GROUP BY run_uuid, key, step HAVING count(*) > 1"
    assert mlflow_rows(home, curves) == []
    assert mlflow_rows(home, "SELECT name FROM runs WHERE status = 'RUNNING'") == []


@pytest.mark.drill(
    "home copied while it runs",
    "`cp -r` at moments of a run, then the same command in each copy",
    "the run ends well; a copy goes on and is complete, or names its damaged database",
)
def test_a_copy_of_a_home_goes_on_beside_the_original(
    migrated_home: Path,
    tmp_path: Path,
    record_property: Any,
) -> None:
    copies = [tmp_path / f"copy-{number}" for number in range(COPIES)]
    with running(migrated_home) as run:
        for number, copy in enumerate(copies):
            while results(migrated_home) < 4 * number + 1 and run.poll() is None:
                time.sleep(PAUSE)
            # files that vanish meanwhile are no error
            subprocess.run(["cp", "-r", migrated_home, copy], capture_output=True)
        code, _, messages = ended(run)
    assert code == 0, messages
    assert_whole(migrated_home)
    again = [ended(command(copy, *RUN)) for copy in copies]
    record_property("copies that went on", sum(code == 0 for code, _, _ in again))
    for copy, (code, result, messages) in zip(copies, again, strict=True):
        if code == 0:
            assert_whole(copy)
        else:
            assert result["error"]["kind"] == Damaged.__name__, messages
            assert "restore a backup" in result["error"]["remedy"]


@pytest.mark.drill(
    "two commands in one home",
    "`home gc`, `home backup`, `history`, `doctor` and `rollback` again and again beside a run",
    "the run ends well; nothing is lost; each command ends with a result or an error of its own",
)
def test_other_commands_beside_a_run_take_nothing_from_it(
    migrated_home: Path,
    tmp_path: Path,
    record_property: Any,
) -> None:
    done: dict[str, int] = {}
    with running(migrated_home) as run:
        number = 0
        while run.poll() is None:
            backup = str(tmp_path / f"{number}.tar")
            for words in (
                ["home", "gc"],
                ["home", "backup", "--to", backup],
                ["history"],
                ["doctor"],
                ["rollback", "--model", "reviewlm-demo", "--why", "drill"],
            ):
                code, _, messages = ended(command(migrated_home, *words))
                assert code in ALLOWED.get(words[0], (0,)), messages
                done[words[0]] = done.get(words[0], 0) + 1
            number += 1
        code, _, messages = ended(run)
    assert code == 0, messages
    assert_whole(migrated_home)
    record_property("commands", sum(done.values()))
    restored = tmp_path / "restored"
    code, _, messages = ended(
        command(
            migrated_home,
            "home",
            "restore",
            backup,
            "--home",
            str(restored),
        )
    )
    assert code == 0, messages
    assert ended(command(restored, *RUN))[0] == 0
    assert_whole(restored)
