"""Partitions in a storage: values to the bit, folders that go, and nodes that do not see it, by name."""

from __future__ import annotations

import errno
import multiprocessing
import os
import platform
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from reviewlm.core.errors import ClusterFailed, ConfigError
from reviewlm.models.dataflow import FilePiece
from reviewlm.tasks.execution import partitions
from reviewlm.tasks.execution.cluster import is_installed
from reviewlm.tasks.execution.partitions import (
    Partition,
    SeenFile,
    keep,
    keep_file,
    new_folder,
    opened,
    remove_folder,
    require_seen,
)
from tests.core.waiting import until
from tests.s3_server import BUCKET, s3_server
from tests.small_cluster import MISSING

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)
LARGE = np.arange(100_000, dtype=np.uint64)


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path)
        return
    with s3_server():
        yield f"s3://{BUCKET}?region=us-east-1"


def test_large_values_are_files_of_the_storage_and_come_back_to_the_bit(storage: str) -> None:
    folder = new_folder(storage)
    table = pl.DataFrame({"text": ["ä", None] * 20_000, "stars": np.arange(40_000) % 5})
    kept = keep(table, folder)
    assert opened(kept).equals(table)
    for value in (LARGE, [b"x" * 100_001, LARGE[:9], LARGE]):
        kept = keep(value, folder)
        assert isinstance(kept, Partition)
        np.testing.assert_equal(opened(kept), value)
    remove_folder(folder)
    with pytest.raises(ClusterFailed) as gone:
        opened(kept)
    assert platform.node() in gone.value.where


def test_small_values_and_those_without_a_storage_stay_values(tmp_path: Path) -> None:
    assert keep("small", new_folder(str(tmp_path))) == "small"
    assert keep(LARGE, None) is LARGE


def test_only_files_that_lie_in_the_storage_are_opened_there(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    (storage / "seen").write_bytes(b"0123456789")
    (tmp_path / "own").write_bytes(b"0123456789")
    (storage / "link").symlink_to(tmp_path / "own")
    folder = new_folder(str(storage))
    for name, seen in (("storage/seen", True), ("own", False), ("storage/link", False)):
        kept = keep_file(
            FilePiece(
                tmp_path / name,
                2,
                5,
                b"<",
                b">",
            ),
            folder,
        )
        assert isinstance(kept, SeenFile) == seen, name
        assert opened(kept).tobytes() == b"<23456>"
    (storage / "seen").unlink()
    with pytest.raises(ClusterFailed):
        opened(SeenFile(FilePiece(storage / "seen")))


def test_a_file_that_ends_before_its_stretch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"012")
    assert FilePiece(tmp_path / "file", 1).read().tobytes() == b"12"
    with pytest.raises(OSError, match="too early"):
        FilePiece(tmp_path / "file", 1, 3).read()


def test_arrays_of_a_partition_are_aligned_for_compiled_kernels(tmp_path: Path) -> None:
    read = opened(keep([b"odd", LARGE[:1], LARGE], new_folder(str(tmp_path))))
    assert all(array.flags.aligned for array in read[1:])


def test_a_partition_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    kept = keep(LARGE, new_folder(str(tmp_path)))
    os.truncate(kept.path, kept.size - 1)
    with pytest.raises(ClusterFailed):
        opened(kept)


def _wait_with_folder(storage: str) -> None:
    keep(LARGE, new_folder(storage))
    signal.pause()


def test_folders_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    mine = new_folder(str(tmp_path))
    child = multiprocessing.get_context("spawn").Process(
        target=_wait_with_folder, args=(str(tmp_path),)
    )
    child.start()
    until(lambda: list(tmp_path.glob(f"*-{child.pid}-*/*")))
    new_folder(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 3
    child.kill()
    child.join()
    last = new_folder(str(tmp_path))
    assert str(child.pid) not in "".join(path.name for path in tmp_path.iterdir())
    assert {Path(mine.path), Path(last.path)} < set(tmp_path.iterdir())


class Nodes:
    """A module `ray` of two nodes, of which the second sees another folder under the name of the storage."""

    exceptions = SimpleNamespace(GetTimeoutError=TimeoutError, RayError=TypeError)

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        affinity = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=affinity)

    def nodes(self) -> list[dict[str, Any]]:
        known = [("a", "10.0.0.1", True), ("b", "10.0.0.2", True), ("c", "10.0.0.3", False)]
        names = "NodeID", "NodeManagerAddress", "Alive"
        return [
            dict(zip(names, node, strict=True)) | {"NodeManagerHostname": "n"} for node in known
        ]

    def remote(self, **options: Any) -> Any:
        def placed(function: Any, scheduling_strategy: str) -> SimpleNamespace:
            return SimpleNamespace(remote=lambda *to: (scheduling_strategy, partial(function, *to)))

        return lambda function: SimpleNamespace(options=partial(placed, function))

    def get(self, reference: Any, timeout: float) -> Any:
        node, look = reference
        if node != "b":
            return look()
        there = self.storage.with_name("elsewhere")
        self.storage.rename(there)
        self.storage.mkdir()
        try:
            return look()
        finally:
            self.storage.rmdir()
            there.rename(self.storage)


def test_a_folder_into_which_a_worker_still_writes_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_folder(str(tmp_path))
    errors = [OSError(errno.ENOTEMPTY, "Directory not empty"), None]
    removed = []

    def delete_dir(path: str) -> None:
        if error := errors.pop(0):
            raise error
        removed.append(path)

    files = SimpleNamespace(delete_dir=delete_dir)
    monkeypatch.setattr(partitions, "_open_storage", lambda storage: (files, storage))
    remove_folder(folder)
    assert removed == [folder.path]


def test_a_node_that_does_not_see_the_storage_is_named_with_it(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    with pytest.raises(ConfigError) as refused:
        require_seen(Nodes(storage), new_folder(str(storage)))
    assert "10.0.0.2" in refused.value.what
    assert str(storage) in refused.value.what


@pytest.mark.parametrize("name", ["/no/such/folder", "s3://no-such-bucket"])
def test_a_storage_that_the_run_does_not_see_is_a_wrong_setting(name: str) -> None:
    with s3_server(), pytest.raises(ConfigError) as refused:
        new_folder(name)
    assert refused.value.where == partitions.SETTING
