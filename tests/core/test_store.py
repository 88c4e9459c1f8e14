"""The store: artifacts are found, checked, listed and removed, whatever is killed."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from reviewlm.core import manifest
from reviewlm.core import store as store_module
from reviewlm.core.errors import ArtifactError, Damaged, NotWritable, StoreFull
from reviewlm.core.removal import TRASH, Removal, build_lock
from reviewlm.core.store import ASIDE, MANIFEST, Artifact, Store
from tests.marked_cases import long_but
from tests.programs import command


def write_hello(work: Path) -> dict[str, int]:
    (work / "hello.txt").write_text("hello")
    return {"letters": 5}


def test_the_second_request_is_answered_without_work(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), []

    def make(work: Path) -> dict[str, int]:
        calls.append(work)
        return write_hello(work)

    first = store.build(
        "stage",
        "1",
        {"a": 1},
        {"in": "x"},
        make,
    )
    second = store.build(
        "stage",
        "1",
        {"a": 1},
        {"in": "x"},
        make,
    )
    assert (first.reused, second.reused, len(calls)) == (False, True, 1)
    assert first.artifact == second.artifact
    assert second.artifact.facts == {"letters": 5}


def fail_halfway(work: Path) -> dict[str, int]:
    (work / "part0").write_text("done")
    raise RuntimeError("power cut")


def test_a_failed_build_publishes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.build(
            "stage",
            "1",
            {},
            {},
            fail_halfway,
            resumable=True,
        )
    assert store.find("stage", Store.digest("stage", "1", {}, {})) is None


def test_the_work_folder_of_a_failed_build_is_taken_up_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.build(
            "stage",
            "1",
            {},
            {},
            fail_halfway,
            resumable=True,
        )

    def go_on(work: Path) -> dict[str, int]:
        assert (work / "part0").read_text() == "done"
        return {}

    assert not store.build(
        "stage",
        "1",
        {},
        {},
        go_on,
        resumable=True,
    ).reused


@pytest.fixture(params=["delete", "manifest"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Artifact]:
    """An artifact without its file, or with an unreadable manifest."""
    store = Store(tmp_path)
    artifact = store.build(
        "stage",
        "1",
        {},
        {},
        write_hello,
    ).artifact
    if request.param == "delete":
        (artifact.folder / "hello.txt").unlink()
    else:
        (artifact.folder / MANIFEST).write_text("{")
    return store, artifact


def test_a_damaged_artifact_is_noticed(damaged: tuple[Store, Artifact]) -> None:
    store, artifact = damaged
    with pytest.raises(Damaged):
        store.open("stage", artifact.digest)


def test_a_damaged_artifact_is_built_again(damaged: tuple[Store, Artifact]) -> None:
    again = damaged[0].build(
        "stage",
        "1",
        {},
        {},
        write_hello,
    )
    assert not again.reused
    assert (again.artifact.folder / "hello.txt").read_text() == "hello"


def test_a_damaged_artifact_is_set_aside(damaged: tuple[Store, Artifact], tmp_path: Path) -> None:
    damaged[0].build(
        "stage",
        "1",
        {},
        {},
        write_hello,
    )
    assert len(list((tmp_path / ASIDE).iterdir())) == 1


@pytest.mark.drill(
    "disk full",
    "no space, no permission or read-only in a build",
    "exit code 5; earlier results are whole",
)
@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StoreFull), (errno.EROFS, NotWritable), (errno.EACCES, NotWritable)],
)
def test_a_disk_error_in_a_build_leaves_earlier_results_whole(
    tmp_path: Path,
    code: int,
    kind: type,
) -> None:
    store = Store(tmp_path)
    before = store.build(
        "stage",
        "1",
        {},
        {},
        write_hello,
    ).artifact

    def full(work: Path) -> dict[str, int]:
        (work / "half").write_text("…")
        raise OSError(code, os.strerror(code))

    with pytest.raises(kind) as error:
        store.build(
            "stage",
            "1",
            {"more": True},
            {},
            full,
        )
    assert error.value.exit_code == 5
    assert str(tmp_path) in str(error.value)
    store.verify(store.open("stage", before.digest))
    assert len(list(store.all("stage"))) == 1


def content(root: Path) -> dict[str, bytes]:
    digest = Store.digest("stage", "1", {}, {})
    files = (root / "stage" / digest).glob("*")
    return {path.name: path.read_bytes() for path in files if path.name != MANIFEST}


@pytest.mark.drill(
    "killed at any moment",
    "kill -9 of a build of the store",
    "nothing half-finished is visible; the same bytes",
)
@pytest.mark.parametrize("seed", long_but(range(3), {0}))
def test_kill_nine_at_any_moment_then_a_rerun_gives_the_undisturbed_bytes(
    tmp_path: Path, seed: int
) -> None:
    import random
    import time

    subprocess.run(command("build_parts", tmp_path / "whole"), check=True, capture_output=True)
    whole = content(tmp_path / "whole")
    assert len(whole) == 20
    random_moment = random.Random(seed)
    for _ in range(3):
        process = subprocess.Popen(
            command("build_parts", tmp_path / "killed"), stdout=subprocess.DEVNULL
        )
        time.sleep(random_moment.uniform(0.05, 0.4))
        process.kill()
        process.wait()
        assert content(tmp_path / "killed") in ({}, whole)
    subprocess.run(command("build_parts", tmp_path / "killed"), check=True, capture_output=True)
    assert content(tmp_path / "killed") == whole


@pytest.mark.drill(
    "two retrains at once", "three processes build one result", "built once, taken by the others"
)
def test_processes_that_race_for_one_artifact_build_it_once(tmp_path: Path) -> None:
    words = command("build_parts", tmp_path)
    racers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [racer.communicate()[0].strip() for racer in racers]
    assert sorted(said) == ["False", "True", "True"]


LONG_AGO = 1_000_000_000


def made(store: Store, number: int = 0) -> Artifact:
    """A result that was last used in 1970."""

    def make(work: Path) -> dict[str, int]:
        (work / "value.txt").write_text(f"value {number}")
        (work / "deep").mkdir()
        (work / "deep" / "more.txt").write_text("more" * 100)
        return {}

    artifact = store.build(
        "stage",
        "1",
        {"number": number},
        {},
        make,
    ).artifact
    os.utime(artifact.folder / MANIFEST, ns=(LONG_AGO, LONG_AGO))
    return artifact


def test_a_result_that_was_used_after_the_decision_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = made(store)
    store.find("stage", artifact.digest)
    assert not Removal(tmp_path).remove(artifact.folder, LONG_AGO)
    assert store.find("stage", artifact.digest) == artifact


def test_a_result_that_is_built_now_stays(tmp_path: Path) -> None:
    artifact = made(Store(tmp_path))
    with build_lock(tmp_path, artifact.digest):
        assert not Removal(tmp_path).remove(artifact.folder, LONG_AGO)
    assert Removal(tmp_path).remove(artifact.folder, LONG_AGO)


def test_what_a_killed_collection_left_is_emptied_by_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    gone, again = (made(store, number) for number in range(2))
    removal = Removal(tmp_path)
    assert all(removal.remove(one.folder, LONG_AGO) for one in (gone, again))
    made(store, 1)
    Removal(tmp_path).empty()
    assert [one.folder.is_dir() for one in (gone, again)] == [False, True]
    store.verify(again)
    assert not (tmp_path / TRASH).exists()


# --- content is checked before use: every damage is found, and nothing is read twice in a process

NAME = "large.bin"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read whole."""
    names: list[str] = []
    hash_file = manifest.sha256_of

    def noted(path: Path) -> str:
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(manifest, "sha256_of", noted)
    return names


def new_process() -> None:
    store_module._right.clear()


def make_large(work: Path) -> dict[str, object]:
    (work / NAME).write_bytes(b"".join(number.to_bytes(4, "big") for number in range(8_192)))
    return {"n": 1}


def built(root: Path) -> tuple[Store, Artifact]:
    store = Store(root)
    return store, store.build(
        "stage",
        "1",
        {},
        {},
        make_large,
    ).artifact


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


@pytest.fixture(params=[False, True], ids=["plain", "time of change put back"])
def changed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Artifact, bytes]:
    """An artifact of which one byte was changed, so that its size is the same; and its former bytes."""
    store, artifact = built(tmp_path)
    file = artifact.folder / NAME
    good = file.read_bytes()
    before = file.stat()
    flip(file, len(good) // 2)
    if request.param:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return store, artifact, good


def test_a_change_that_keeps_the_size_is_named(changed: tuple[Store, Artifact, bytes]) -> None:
    store, artifact, _ = changed
    with pytest.raises(Damaged, match=NAME) as error:
        store.open("stage", artifact.digest)
    assert error.value.exit_code == 5
    assert ASIDE in error.value.remedy


def test_a_changed_artifact_is_made_again(changed: tuple[Store, Artifact, bytes]) -> None:
    store, artifact, good = changed
    assert not store.build(
        "stage",
        "1",
        {},
        {},
        make_large,
    ).reused
    assert (artifact.folder / NAME).read_bytes() == good
    assert store.build(
        "stage",
        "1",
        {},
        {},
        make_large,
    ).reused


def test_a_changed_artifact_is_kept_aside(
    changed: tuple[Store, Artifact, bytes], tmp_path: Path
) -> None:
    store, artifact, _ = changed
    bad = (artifact.folder / NAME).read_bytes()
    store.build(
        "stage",
        "1",
        {},
        {},
        make_large,
    )
    [aside] = (tmp_path / ASIDE).iterdir()
    assert (aside / NAME).read_bytes() == bad


@pytest.mark.parametrize("position", [0, 20_000, 32_767])
def test_rot_that_the_file_system_does_not_report_is_found_by_the_next_process(
    tmp_path: Path, position: int
) -> None:
    store, artifact = built(tmp_path)
    flip(artifact.folder / NAME, position)
    new_process()
    with pytest.raises(Damaged, match=NAME):
        store.open("stage", artifact.digest)


def test_a_file_is_not_read_again_by_the_process_that_wrote_it(
    tmp_path: Path, hashed: list[str]
) -> None:
    store, artifact = built(tmp_path)
    store.open("stage", artifact.digest)
    assert hashed == []


@pytest.mark.parametrize("written_since", [False, True])
def test_a_told_sha256_counts_until_somebody_writes_to_the_file(
    tmp_path: Path, written_since: bool
) -> None:
    def make(work: Path) -> dict[str, int]:
        facts = write_hello(work)
        store_module.note_sha256(work / "hello.txt", "told")
        if written_since:
            (work / "hello.txt").write_text("hello again")
        return facts

    artifact = Store(tmp_path).build(
        "stage",
        "1",
        {},
        {},
        make,
    )
    told = artifact.artifact.manifest["files"]["hello.txt"]["sha256"] == "told"
    assert told != written_since


def test_an_undisturbed_file_is_read_once_in_another_process(
    tmp_path: Path, hashed: list[str]
) -> None:
    store, artifact = built(tmp_path)
    new_process()
    for _ in range(3):
        store.open("stage", artifact.digest)
    assert hashed == [NAME]


def test_a_disk_that_cannot_read_a_file_is_damage_but_a_missing_right_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, artifact = built(tmp_path)

    def refusing(error: OSError) -> None:
        def fail(path: Path) -> None:
            raise error

        new_process()
        monkeypatch.setattr(manifest, "sha256_of", fail)

    refusing(PermissionError(13, "Permission denied"))
    with pytest.raises(ArtifactError, match="No permission to read") as error:
        store.build(
            "stage",
            "1",
            {},
            {},
            make_large,
        )
    assert not isinstance(error.value, Damaged)
    assert artifact.folder.is_dir()
    refusing(OSError(5, "Input/output error"))
    with pytest.raises(Damaged, match="Input/output error"):
        store.open("stage", artifact.digest)


@pytest.mark.slow
def test_processes_that_meet_damage_together_build_it_once(tmp_path: Path) -> None:
    words = command("build_slowly", tmp_path)
    subprocess.run(words, check=True, capture_output=True)
    [file] = (tmp_path / "stage").glob("*/hello")
    flip(file, 0)
    racers = [
        subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert sorted(racer.communicate()[0].strip() for racer in racers) == ["False", "True", "True"]
    assert len(list((tmp_path / ASIDE).iterdir())) == 1
    assert file.read_text() == "hello"
