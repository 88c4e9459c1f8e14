"""The remote store in an object store: a real S3 server, one that is away, and one that refuses."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


def test_a_server_that_is_away_is_one_warning(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    store = Store(tmp_path, remote=remote_store(f"s3://{BUCKET}/away"))
    for number in range(3):
        assert not store.build("fit", number, {}, {}, lambda work: {}).reused
    [warning] = warnings_in(caplog)
    assert f"s3://{BUCKET}/away cannot be read" in warning
    assert "Debug source" not in warning
    line = doctor(f"s3://{BUCKET}/away")
    assert (line.state, "cannot be read" in line.found) == ("problem", True)


def test_a_bucket_that_does_not_exist_is_named_by_the_server(
    server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not build(tmp_path, "s3://no-such-bucket/x").reused
    [warning] = warnings_in(caplog)
    assert warning.count("NoSuchBucket") == 1
    line = doctor("s3://no-such-bucket/x")
    assert (line.state, line.remedy) == ("problem", "create the bucket")


class OnlyReading(BaseHTTPRequestHandler):
    """An S3 server with an empty bucket and credentials that may not write."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><AWSAccessKeyId>an-id</AWSAccessKeyId></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_PUT()

    def log_message(self, *about: Any) -> None:
        pass


def test_credentials_that_may_only_read_are_one_warning(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OnlyReading) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.server_port}")
        store = Store(tmp_path, remote=remote_store(f"s3://{BUCKET}/reading"))
        for number in range(3):
            assert not store.build("fit", number, {}, {}, lambda work: {"n": (work / "a").write_text("b")}).reused
        line = doctor(f"s3://{BUCKET}/reading")
        refusing.shutdown()
    [warning] = warnings_in(caplog)
    assert "cannot be written" in warning
    assert warning.count("AccessDenied") == 1
    assert "an-id" not in warning
    assert line.state == "warning"


def test_without_credentials_the_warning_says_which_variables_to_set(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    assert not build(tmp_path, f"s3://{BUCKET}/nobody").reused
    [warning] = warnings_in(caplog)
    assert "there are no credentials; set AWS_ACCESS_KEY_ID" in warning


def test_the_doctor_says_that_it_can_be_read_and_written(server: str) -> None:
    line = doctor(f"s3://{BUCKET}/doctor")
    assert (line.state, line.found) == ("ok", f"s3://{BUCKET}/doctor can be read and written")
