"""The removal of stored results: none that is used meanwhile goes, a kill loses none, and each is whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.content_check import record_of
from core.store import Artifact, Store
from core.storing.removal import TRASH, Removal, Uses, _unmark

LONG_AGO = 1_000_000_000


def made(store: Store, number: int = 0) -> Artifact:
    """A result that was last used in 1970."""
    def make(work: Path) -> dict[str, int]:
        (work / "value.txt").write_text(f"value {number}")
        (work / "deep").mkdir()
        (work / "deep" / "more.txt").write_text("more" * 100)
        return {}

    artifact = store.build("stage", 1, {"number": number}, {}, make).artifact
    os.utime(record_of(store.root, artifact.folder), ns=(LONG_AGO, LONG_AGO))
    return artifact


def test_an_unused_result_goes_with_its_record(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    removal = Removal(tmp_path)
    assert removal.remove("stage", artifact.digest, LONG_AGO)
    removal.empty()
    assert not artifact.folder.exists()
    assert not record_of(tmp_path, artifact.folder).exists()
    assert not (tmp_path / TRASH).exists()


def test_a_result_that_was_used_after_the_decision_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = made(store)
    store.find("stage", artifact.digest)
    assert not Removal(tmp_path).remove("stage", artifact.digest, LONG_AGO)
    assert store.find("stage", artifact.digest) == artifact


def test_a_result_that_is_used_while_it_is_renamed_gets_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader has noted its use and seen the folder, and then the folder is renamed."""
    store = Store(tmp_path)
    artifact = made(store)
    rename = Path.rename

    def used_at_the_rename(self: Path, target: Path) -> Path:
        if self == artifact.folder:
            Uses(tmp_path).note("stage", artifact.digest)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", used_at_the_rename)
    assert not Removal(tmp_path).remove("stage", artifact.digest, LONG_AGO)
    store.verify(artifact)


def test_a_killed_collection_is_finished_by_the_next(tmp_path: Path) -> None:
    """One result was used after it was renamed, one was not, one was decided, one was built again."""
    store = Store(tmp_path)
    used, unused, decided, again = (made(store, number) for number in range(4))
    trash = tmp_path / TRASH
    trash.mkdir()
    for artifact in (used, unused, again):
        artifact.folder.rename(trash / f"pending+stage+{artifact.digest}+{LONG_AGO}")
    record_of(tmp_path, used.folder).touch()
    decided.folder.rename(trash / f"gone-{decided.digest}-1")
    made(store, 3)
    Removal(tmp_path).finish_earlier()
    assert [one.folder.is_dir() for one in (used, unused, decided, again)] == [True, False, False, True]
    store.verify(used)
    store.verify(again)
    assert not trash.exists()


USER = """
import sys, time
from core.store import Store
store = Store(sys.argv[1])
assert store.find("stage", sys.argv[2])
print("ready", flush=True)
time.sleep(600)
"""


def test_a_process_counts_as_a_user_until_it_ends(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    _unmark(tmp_path, os.getpid())
    uses = Uses(tmp_path)
    assert uses.since() is None
    child = subprocess.Popen([sys.executable, "-c", USER, str(tmp_path), artifact.digest], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        since = uses.since()
        assert since is not None
        assert since <= uses.last("stage", artifact.digest)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert uses.since(look_only=True) is None
    assert any((tmp_path / ".users").iterdir())
    assert uses.since() is None
    assert not any((tmp_path / ".users").iterdir())
