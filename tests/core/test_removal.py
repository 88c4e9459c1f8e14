"""The removal of stored results: none that is used meanwhile goes, a kill loses none, and each is whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

from core.removal import TRASH, Removal, build_lock
from core.store import MANIFEST, Artifact, Store

LONG_AGO = 1_000_000_000


def made(store: Store, number: int = 0) -> Artifact:
    """A result that was last used in 1970."""
    def make(work: Path) -> dict[str, int]:
        (work / "value.txt").write_text(f"value {number}")
        (work / "deep").mkdir()
        (work / "deep" / "more.txt").write_text("more" * 100)
        return {}

    artifact = store.build("stage", 1, {"number": number}, {}, make).artifact
    os.utime(artifact.folder / MANIFEST, ns=(LONG_AGO, LONG_AGO))
    return artifact


def test_an_unused_result_goes(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    removal = Removal(tmp_path)
    assert removal.remove("stage", artifact.digest, LONG_AGO)
    removal.empty()
    assert not artifact.folder.exists()
    assert not (tmp_path / TRASH).exists()


def test_a_result_that_was_used_after_the_decision_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = made(store)
    store.find("stage", artifact.digest)
    assert not Removal(tmp_path).remove("stage", artifact.digest, LONG_AGO)
    assert store.find("stage", artifact.digest) == artifact


def test_a_result_that_is_built_now_stays(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    with build_lock(tmp_path, artifact.digest):
        assert not Removal(tmp_path).remove("stage", artifact.digest, LONG_AGO)
    assert Removal(tmp_path).remove("stage", artifact.digest, LONG_AGO)


def test_what_a_killed_collection_left_is_emptied_by_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    gone, again = (made(store, number) for number in range(2))
    removal = Removal(tmp_path)
    assert all(removal.remove("stage", one.digest, LONG_AGO) for one in (gone, again))
    made(store, 1)
    Removal(tmp_path).empty()
    assert [one.folder.is_dir() for one in (gone, again)] == [False, True]
    store.verify(again)
    assert not (tmp_path / TRASH).exists()
