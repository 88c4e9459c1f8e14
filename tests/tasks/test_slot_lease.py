"""The lease of a slot: renewed while the block runs, taken again if the server ended it, given back at the end."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from core.processes import interrupts
from tasks import slot_lease
from tasks.slot_lease import NoSuchLimit, leased_slot


class Server:
    """A limit with one slot; its leases end when a test says so."""

    def __init__(self) -> None:
        self.api_url = "http://server/api"
        self.exists, self.away = True, False
        self.lease: UUID | None = None
        self.renewed = 0

    def _answer(self, status: int = 200, **said: Any) -> httpx.Response:
        request = httpx.Request("POST", "http://server")
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status, json=said, request=request).raise_for_status()

    def increment_concurrency_slots_with_lease(
        self, names: list[str], slots: int, mode: str, lease_duration: float
    ) -> httpx.Response:
        if not self.exists:
            return self._answer(lease_id=str(uuid4()), limits=[])
        if self.lease is not None:
            return self._answer(423)
        self.lease = uuid4()
        return self._answer(lease_id=str(self.lease), limits=[{"name": names[0]}])

    def renew_concurrency_lease(self, lease_id: UUID, lease_duration: float) -> httpx.Response:
        answer = self._answer(204 if lease_id == self.lease else 410)
        self.renewed += 1
        return answer

    def release_concurrency_slots_with_lease(self, lease_id: UUID) -> httpx.Response:
        answer = self._answer()
        self.lease = None if lease_id == self.lease else self.lease
        return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    @contextmanager
    def client(sync_client: bool) -> Iterator[Server]:
        yield made

    monkeypatch.setattr(slot_lease, "get_client", client)
    for name in ("RENEW_SECONDS", "ASK_SECONDS"):
        monkeypatch.setattr(slot_lease, name, 0.01)
    return made


def until(found: Callable[[], object]) -> None:
    over = time.monotonic() + 60
    while not found():
        assert time.monotonic() < over
        time.sleep(0.005)


def renewed_again(server: Server) -> None:
    before = server.renewed
    until(lambda: server.renewed > before)


def test_a_slot_is_held_and_renewed_within_the_block_only(server: Server) -> None:
    with leased_slot("gpu"):
        held = server.lease
        renewed_again(server)
        assert server.lease == held is not None
    assert server.lease is None


def test_a_process_that_is_ended_within_the_block_gives_the_slot_back_and_does_not_take_it_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a process is not unwound, so the block does not end."""
    monkeypatch.setattr(interrupts._process, "clean_ups", [])  # not those of other tests
    with leased_slot("retrain"):
        interrupts._clean_up()
        assert server.lease is None
        time.sleep(0.1)
        assert server.lease is None
    assert server.lease is None


def test_the_next_one_waits_until_it_is_given_back(server: Server) -> None:
    got = threading.Event()

    def second() -> None:
        with leased_slot("gpu"):
            got.set()

    with leased_slot("gpu"):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        assert not got.wait(0.2)
    assert got.wait(60)
    thread.join()


def test_after_a_restart_of_the_server_the_lease_goes_on(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with leased_slot("gpu"), caplog.at_level(logging.WARNING):
        held, server.away = server.lease, True
        until(lambda: "cannot be renewed" in caplog.text)
        server.away = False
        renewed_again(server)
        assert server.lease == held


def test_a_slot_that_the_server_took_back_is_taken_again(server: Server) -> None:
    with leased_slot("gpu"):
        server.lease = None
        until(lambda: server.lease)
        renewed_again(server)
    assert server.lease is None


def test_a_slot_that_another_one_got_meanwhile_is_told_once_and_not_given_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with leased_slot("gpu"), caplog.at_level(logging.WARNING):
        server.lease = others = uuid4()
        until(lambda: "another process" in caplog.text)
        time.sleep(0.1)
    assert server.lease == others
    assert caplog.text.count("another process") == 1


def test_whoever_waits_is_told_so_once(server: Server) -> None:
    told: list[str] = []

    def second() -> None:
        with leased_slot("retrain", at_wait=lambda: told.append("waits")):
            told.append("runs")

    with leased_slot("retrain", at_wait=lambda: told.append("never")):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        until(lambda: told)
        time.sleep(0.1)
    thread.join(60)
    assert told == ["waits", "runs"]


def test_the_successor_of_a_killed_process_gives_its_slot_back(server: Server, tmp_path: Path) -> None:
    kept = tmp_path / "lease.json"
    with leased_slot("retrain", kept):
        left = kept.read_bytes()
        server.lease = None
        until(lambda: server.lease)
        until(lambda: kept.read_bytes() != left)  # the lease that counts now
        left = kept.read_bytes()
    assert not kept.exists()
    server.lease = UUID(json.loads(left)["lease"])  # as if the process had been killed
    kept.write_bytes(left)
    with leased_slot("retrain", kept, lambda: pytest.fail("waited for a process that is gone")):
        assert kept.read_bytes() != left


@pytest.mark.parametrize("left", [b"", b"[]", b'{"server": "http://another/api", "lease": "%s"}'])
def test_a_lease_of_another_server_or_a_damaged_file_gives_nothing_back(
    server: Server, tmp_path: Path, left: bytes
) -> None:
    kept, others = tmp_path / "lease.json", uuid4()
    server.lease = others
    kept.write_bytes(left.replace(b"%s", str(others).encode()))

    class Waits(Exception):
        pass

    def wait() -> None:
        raise Waits

    with pytest.raises(Waits), leased_slot("retrain", kept, wait):
        pytest.fail("took the slot of another process")
    assert server.lease == others


def test_a_block_ends_well_although_the_server_is_away(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), leased_slot("gpu"):
        server.away = True
    assert "cannot be given back" in caplog.text


def test_a_limit_that_does_not_exist_is_no_slot(server: Server) -> None:
    server.exists = False
    with pytest.raises(NoSuchLimit), leased_slot("gpu"):
        pytest.fail("held a slot of a limit that does not exist")
