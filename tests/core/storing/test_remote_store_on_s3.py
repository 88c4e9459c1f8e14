"""The remote store in an object store: a real S3 server, one that is away, and one that refuses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config.presets import load_config
from core.manifest import MANIFEST
from core.store import Built, Store
from core.storing.remote import remote_store
from reviewlm.doctor.examine import CHECKS, examine
from tests.s3_server import BUCKET, SECRET, s3_server

LARGE = bytes(range(256)) * 4096 * 11
"""11 MB: three parts of an upload."""
DIGEST = Store.digest("fit", 1, {}, {})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def new_process() -> None:
    """Forget the clients of other tests: they keep the endpoint of their time."""
    remote_store.cache_clear()


def build(root: Path, address: str) -> Built:
    def make(work: Path) -> dict[str, int]:
        (work / "bundle").mkdir()
        (work / "bundle" / "weights.bin").write_bytes(LARGE)
        (work / "empty").touch()
        return {"parameters": 3}

    remote_store.cache_clear()
    return Store(root, remote=remote_store(address)).build("fit", 1, {}, {}, make)


def doctor(address: str) -> Any:
    remote_store.cache_clear()
    config = load_config("small", [f"execution.remote_store={address}"])
    [line] = examine(config, {"remote store": CHECKS["remote store"]}, seconds=60)
    return line


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert SECRET not in caplog.text
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.slow
def test_a_second_home_builds_nothing_and_has_the_same_bytes(server: str, tmp_path: Path) -> None:
    address = f"s3://{BUCKET}/one"
    first, second = build(tmp_path / "a", address), build(tmp_path / "b", address)
    assert (first.reused, second.reused) == (False, True)
    for name in ("bundle/weights.bin", "empty", MANIFEST):
        assert (first.artifact.folder / name).read_bytes() == (second.artifact.folder / name).read_bytes()
    assert not build(tmp_path / "c", f"s3://{BUCKET}/another").reused, "the prefix keeps them apart"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"x" + LARGE[1:], LARGE[:-1], None])
def test_a_damaged_object_is_a_warning_and_is_replaced(
    damage: bytes | None, server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import obstore

    address = f"s3://{BUCKET}/damaged-{damage is None or len(damage)}"
    artifact = build(tmp_path / "a", address).artifact
    key = f"fit/{DIGEST}/{artifact.manifest['files']['bundle/weights.bin']['sha256']}"
    objects: Any = remote_store(address).objects  # type: ignore[union-attr]
    obstore.delete(objects._files, key) if damage is None else objects.write(key, damage)
    assert not build(tmp_path / "b", address).reused
    assert ["is damaged" in warning for warning in warnings_in(caplog)] == [True]
    assert build(tmp_path / "c", address).reused
