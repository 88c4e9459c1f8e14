"""Results that one machine has built are used by the others; a remote store that fails costs only time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.presets import load_config
from core.errors import ConfigError
from core.store import ASIDE, MANIFEST
from core.storing import remote as remote_module
from core.storing.objects import FolderObjects, RemoteError
from tests.core.storing.shared_machines import CONTENT, DIGEST, Machine, warnings_in
from tests.examples import examples


def test_a_second_machine_builds_nothing_and_has_the_same_bytes(first: Machine, second: Machine) -> None:
    built = first.build()
    taken = second.build()
    assert (built.reused, taken.reused, second.built) == (False, True, 0)
    assert second.files() == first.files()
    assert second.files().keys() == {*CONTENT, MANIFEST}
    assert taken.artifact.facts == {"parameters": 12}
    second.store.verify(taken.artifact)
    assert not list((second.root / ".work").glob("once-*"))


def test_a_damaged_result_here_is_replaced_by_that_of_the_remote_store(first: Machine, second: Machine) -> None:
    first.build()
    second.build()
    (second.root / "fit" / DIGEST / "weights.bin").write_bytes(b"short")
    second.restart()
    assert second.build().reused
    assert second.files() == first.files()
    assert list((second.root / ASIDE).iterdir())


KILLED = """
import os, sys
from pathlib import Path
from core.storing.objects import FolderObjects
from core.storing.remote import RemoteStore
from core.store import Store
class Killed(FolderObjects):
    left = int(sys.argv[3])
    def write(self, key, content):
        self.left -= 1
        if self.left < 0:
            os._exit(9)
        super().write(key, content)
def make(work):
    for name in "abc":
        (work / name).write_text(name)
    return {}
remote = RemoteStore("file:///shared", Killed(Path(sys.argv[2])))
Store(sys.argv[1], remote=remote).build("fit", 1, {"size": 3}, {"tokens": "abc"}, make)
"""


@pytest.mark.parametrize("files", [0, pytest.param(1, marks=pytest.mark.long), 3])
def test_an_upload_that_was_killed_is_not_there_and_is_made_up_for(
    files: int, tmp_path: Path, shared: Path, second: Machine
) -> None:
    killed = [sys.executable, "-c", KILLED, str(tmp_path / "first"), str(shared), str(files)]
    assert subprocess.run(killed, check=False).returncode == 9
    assert not list(shared.rglob(MANIFEST))
    assert second.store.find("fit", DIGEST) is None
    again = Machine(tmp_path / "first", shared)
    assert again.build().reused
    assert second.build().reused
    assert (again.built, second.built) == (0, 0)


@examples(60)
@given(order=st.lists(st.booleans(), min_size=0, max_size=8), stop=st.integers(0, 8))
def test_two_machines_that_upload_other_bytes_at_once_never_mix(
    order: list[bool], stop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A fit may differ in its last bits between machines; whatever the order of the writes, one of both is there."""
    folder = tmp_path_factory.mktemp("both")
    uploads, wholes = [], []
    for name in ("a", "b"):
        content = {"x": name.encode(), "y": b"same", "z": 3 * name.encode()}
        machine = Machine(folder / name, folder / f"of-{name}", content)
        machine.build()
        place, manifest = folder / f"of-{name}" / "fit" / DIGEST, machine.files()[MANIFEST]
        wholes.append({**machine.content, MANIFEST: manifest})
        keys = sorted(path.name for path in place.iterdir() if path.name != MANIFEST)
        uploads.append([(key, (place / key).read_bytes()) for key in [*keys, MANIFEST]])
    shared = FolderObjects(folder / "shared")
    reader = Machine(folder / "reader", folder / "shared")
    for from_second in [*order, *[False] * 8, *[True] * 8][: stop + 4]:
        if upload := uploads[from_second]:
            key, content = upload.pop(0)
            shared.write(f"fit/{DIGEST}/{key}", content)
    if reader.store.find("fit", DIGEST) is not None:
        assert reader.files() in wholes
    else:
        assert len(uploads[0]) > 0
        assert len(uploads[1]) > 0


def test_a_remote_store_that_is_away_is_one_warning_and_is_not_asked_again(
    first: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    first.objects.faults = dict.fromkeys(("exists", "read", "write"), "connection refused")
    for size in range(5):
        assert not first.build(size).reused
        assert first.build(size).reused
    [warning] = warnings_in(caplog)
    assert "cannot be read: connection refused. The run goes on" in warning
    assert first.objects.calls == ["read"]


def test_who_may_only_read_uses_the_results_of_others_and_is_warned_once(
    first: Machine, second: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    first.build()
    second.objects.faults = {"write": "AccessDenied"}
    assert second.build().reused
    for size in (4, 5):
        assert not second.build(size).reused
        assert second.build(size).reused
    [warning] = warnings_in(caplog)
    assert "cannot be written: AccessDenied. The run goes on; the next run uploads what is missing" in warning
    assert second.objects.calls.count("write") <= remote_module.THREADS
    assert first.build(4).reused is False


def test_a_connection_that_breaks_amid_a_result_leaves_nothing_of_it(first: Machine, second: Machine) -> None:
    first.build()
    read = second.objects.read

    def breaks(key: str) -> Iterator[bytes]:
        yield from read(key)
        if not key.endswith(MANIFEST):
            raise RemoteError("connection reset")

    second.objects.read = breaks  # type: ignore[method-assign]
    assert not second.build(resumable=True).reused
    assert second.files().keys() == {*CONTENT, MANIFEST}
    assert not list((second.root / ".work").glob("once-*"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://KEY:SECRET@bucket/x", "credentials"), ("s3://bucket/x?endpoint=http://host", "environment"),
        ("s3:///x", "write s3://BUCKET/PREFIX"), ("http://host/x", "write s3://BUCKET/PREFIX"),
        ("bucket/x", "write s3://BUCKET/PREFIX"), ("file://mnt/x", "three slashes"), ("file:///", "three slashes"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_one_is_refused_with_a_reason(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        load_config("small", [f"execution.remote_store={address}"])
    assert "KEY:" not in str(error.value)
