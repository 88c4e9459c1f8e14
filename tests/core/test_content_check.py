"""The content of stored files is checked before use: every damage is found, and nothing is read twice in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import manifest
from core import store as store_module
from core.errors import ArtifactError, Damaged
from core.store import ASIDE, Artifact, Store

NAME = "large.bin"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read whole."""
    names: list[str] = []
    hash_file = manifest.sha256_of_file

    def noted(path: Path) -> str:
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(manifest, "sha256_of_file", noted)
    return names


def new_process() -> None:
    store_module._right.clear()


def make(work: Path) -> dict[str, object]:
    (work / NAME).write_bytes(b"".join(number.to_bytes(4, "big") for number in range(8_192)))
    return {"n": 1}


def built(root: Path) -> tuple[Store, Artifact]:
    store = Store(root)
    return store, store.build("stage", "1", {}, {}, make).artifact


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "time of change put back"])
def test_a_change_that_keeps_the_size_is_named_kept_aside_and_made_again(tmp_path: Path, hidden: bool) -> None:
    store, artifact = built(tmp_path)
    file, good = artifact.folder / NAME, (artifact.folder / NAME).read_bytes()
    before = file.stat()
    flip(file, len(good) // 2)
    if hidden:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    bad = file.read_bytes()
    with pytest.raises(Damaged, match=NAME) as error:
        store.open("stage", artifact.digest)
    assert error.value.exit_code == 5
    assert ASIDE in error.value.remedy
    again = store.build("stage", "1", {}, {}, make)
    assert not again.reused
    assert file.read_bytes() == good
    [aside] = (tmp_path / ASIDE).iterdir()
    assert (aside / NAME).read_bytes() == bad
    assert store.build("stage", "1", {}, {}, make).reused


@pytest.mark.parametrize("position", [0, 20_000, 32_767])
def test_rot_that_the_file_system_does_not_report_is_found_by_the_next_process(
    tmp_path: Path, position: int
) -> None:
    store, artifact = built(tmp_path)
    flip(artifact.folder / NAME, position)
    new_process()
    with pytest.raises(Damaged, match=NAME):
        store.open("stage", artifact.digest)


def test_an_undisturbed_file_is_read_once_in_a_process_and_not_by_the_one_that_wrote_it(
    tmp_path: Path, hashed: list[str]
) -> None:
    store, artifact = built(tmp_path)
    store.open("stage", artifact.digest)
    assert hashed == []
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
        monkeypatch.setattr(manifest, "sha256_of_file", fail)

    refusing(PermissionError(13, "Permission denied"))
    with pytest.raises(ArtifactError, match="No permission to read") as error:
        store.build("stage", "1", {}, {}, make)
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
