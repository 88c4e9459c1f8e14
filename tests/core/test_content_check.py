"""The content of stored files is checked before use: every damage is found, and an undisturbed store costs little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import content_check
from core.content_check import CYCLE, RECORDS, hash_file, sampled_blocks, stamp_of
from core.errors import ArtifactError, Damaged
from core.store import ASIDE, Artifact, Store

BLOCK, BLOCKS = 512, 64
SMALL_FILE, LARGE_FILE = "small.bin", "large.bin"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 64 blocks be a large file."""
    monkeypatch.setattr(content_check, "BLOCK", BLOCK)
    monkeypatch.setattr(content_check, "SMALL", 4 * BLOCK)
    new_process()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read whole."""
    names: list[str] = []

    def noted(path: Path) -> object:
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(content_check, "hash_file", noted)
    return names


def new_process() -> None:
    content_check._right.clear()


def make(work: Path) -> dict[str, object]:
    (work / SMALL_FILE).write_bytes(bytes(range(256)) * 4)
    (work / LARGE_FILE).write_bytes(b"".join(number.to_bytes(4, "big") for number in range(BLOCKS * BLOCK // 4)))
    return {"n": 1}


def built(root: Path) -> tuple[Store, Artifact]:
    store = Store(root)
    return store, store.build("stage", 1, {}, {}, make).artifact


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def rot(artifact: Artifact, name: str, position: int) -> None:
    """Change a byte as a failing disk does: the file system says that nothing has happened."""
    flip(artifact.folder / name, position)
    record = next((artifact.folder.parent.parent / RECORDS).glob("*.json"))
    known = json.loads(record.read_text())
    known["files"][name][:4] = stamp_of(artifact.folder / name)
    record.write_text(json.dumps(known))
    new_process()


@pytest.mark.parametrize("name", [SMALL_FILE, LARGE_FILE])
@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "time of change put back"])
def test_a_change_that_keeps_the_size_is_named_kept_aside_and_made_again(
    tmp_path: Path, name: str, hidden: bool
) -> None:
    store, artifact = built(tmp_path)
    file, good = artifact.folder / name, (artifact.folder / name).read_bytes()
    before = file.stat()
    flip(file, len(good) // 2)
    if hidden:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    bad = file.read_bytes()
    with pytest.raises(Damaged, match=name) as error:
        store.open("stage", artifact.digest)
    assert error.value.exit_code == 5
    assert ASIDE in error.value.remedy
    again = store.build("stage", 1, {}, {}, make)
    assert not again.reused
    assert file.read_bytes() == good
    [aside] = (tmp_path / ASIDE).iterdir()
    assert (aside / name).read_bytes() == bad
    assert store.build("stage", 1, {}, {}, make).reused


@pytest.mark.parametrize("block", [0, BLOCKS - 1])
def test_rot_at_the_ends_of_a_large_file_is_found_at_once(tmp_path: Path, block: int) -> None:
    store, artifact = built(tmp_path)
    rot(artifact, LARGE_FILE, block * BLOCK + 7)
    with pytest.raises(Damaged, match=LARGE_FILE):
        store.open("stage", artifact.digest)


def test_rot_in_the_middle_of_a_large_file_is_found_after_some_uses_and_at_once_with_verify(tmp_path: Path) -> None:
    store, artifact = built(tmp_path)
    for use in range(CYCLE):
        rot(artifact, LARGE_FILE, 33 * BLOCK)
        if use == 0:
            with pytest.raises(Damaged, match=LARGE_FILE):
                Store(tmp_path, verify=True).open("stage", artifact.digest)
        try:
            store.open("stage", artifact.digest)
        except Damaged:
            return
        flip(artifact.folder / LARGE_FILE, 33 * BLOCK)  # or the next turn would mend it
    pytest.fail("never found")


def test_an_undisturbed_large_file_is_not_read_whole_and_nothing_is_read_twice_in_a_process(
    tmp_path: Path, hashed: list[str]
) -> None:
    store, artifact = built(tmp_path)
    new_process()
    for _ in range(3):
        store.open("stage", artifact.digest)
    assert hashed == [SMALL_FILE]


def test_a_disk_that_cannot_read_a_file_is_damage_but_a_missing_right_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, artifact = built(tmp_path)

    def refusing(error: OSError) -> None:
        def fail(path: Path) -> None:
            raise error
        new_process()
        monkeypatch.setattr(content_check, "hash_file", fail)

    refusing(PermissionError(13, "Permission denied"))
    with pytest.raises(ArtifactError, match="No permission to read") as error:
        store.build("stage", 1, {}, {}, make)
    assert not isinstance(error.value, Damaged)
    assert artifact.folder.is_dir()
    refusing(OSError(5, "Input/output error"))
    with pytest.raises(Damaged, match="Input/output error"):
        store.open("stage", artifact.digest)


JOB = """
import sys, time
from core.store import Store
def make(work):
    (work / "hello").write_text("hello"); time.sleep(0.5)
    return {}
print(Store(sys.argv[1]).build("stage", 1, {}, {}, make).reused)
"""


@pytest.mark.slow
def test_processes_that_meet_damage_together_build_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", JOB, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    [file] = (tmp_path / "stage").glob("*/hello")
    flip(file, 0)
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(racer.communicate()[0].strip() for racer in racers) == ["False", "True", "True"]
    assert len(list((tmp_path / ASIDE).iterdir())) == 1
    assert file.read_text() == "hello"


@pytest.mark.parametrize("count", [1, 2, 3, 65, 66, 67, 1_000])
def test_after_a_whole_cycle_every_block_was_read(count: int) -> None:
    assert {block for use in range(7, 7 + CYCLE) for block in sampled_blocks(count, use)} == set(range(count))
