"""Hold a slot of a Prefect concurrency limit by a short lease: it ends soon after its holder, and survives restarts.

`prefect.concurrency` takes a lease of 300 seconds, which stays for up to five minutes after a kill of its holder. A
shorter one would be lost more often, because it is renewed only when three quarters have passed, and never again after
three attempts that failed. Here a short lease is renewed often, and taken again if the server has ended it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from uuid import UUID

from httpx import HTTPError, HTTPStatusError, codes
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from core.errors import ReviewLMError
from core.output import write_output
from core.processes import interrupts

LEASE_SECONDS = 90.0
"""After this time without a renewal the server frees the slot; at least 60 for Prefect. It looks every 15 seconds."""
RENEW_SECONDS = 20.0
ASK_SECONDS = 5.0
"""The longest time between two requests for a slot that is taken."""
END_SECONDS = 2.0
log = logging.getLogger(__name__)


class NoSuchLimit(Exception):
    """The server has no limit of this name."""


@contextmanager
def leased_slot(
    name: str, kept: Path | None = None, at_wait: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold a slot of a limit while the block runs; wait until one is free.

    The block goes on if the server is away, or if another process took the slot while it was. A process that is ended
    without being unwound gives the slot back, too, unless it is killed.

    Args:
        kept: File for the lease. A killed process leaves it there, and its successor gives the slot back at once. Only
            for processes that wait for each other by a lock, so that whoever comes here knows that the former is gone.
        at_wait: Called once, before the first wait.

    Raises:
        NoSuchLimit: See there.
    """
    with get_client(sync_client=True) as client:
        if kept is not None:
            _give_back_left(client, kept)
        if (lease := _taken(client, name)) is None:
            at_wait()
            while (lease := _taken(client, name)) is None:
                time.sleep(ASK_SECONDS)
        keeper = _Keeper(name, lease, kept, str(client.api_url))
    # The copies have the address of the server, which may be one of this command alone.
    thread = threading.Thread(target=copy_context().run, args=(keeper.renew,), daemon=True, name=f"lease-of-{name}")
    thread.start()
    try:
        with interrupts.cleaned_up(partial(copy_context().run, keeper.release)):
            yield
    finally:
        keeper.ended.set()
        thread.join(END_SECONDS)
        keeper.release()


def _taken(client: SyncPrefectClient, name: str) -> UUID | None:
    """Return the lease of a slot that was free; None if all are taken."""
    try:
        answer = client.increment_concurrency_slots_with_lease([name], 1, "concurrency", LEASE_SECONDS).json()
    except HTTPStatusError as error:
        if error.response.status_code == codes.LOCKED:
            return None
        raise
    if not answer["limits"]:
        raise NoSuchLimit(name)
    return UUID(answer["lease_id"])


def _give_back_left(client: SyncPrefectClient, kept: Path) -> None:
    """Give back the slot of a killed process; one whose lease has ended already is left as it is."""
    with suppress(OSError, ValueError, KeyError, TypeError, HTTPError):
        left = json.loads(kept.read_text(encoding="utf-8"))
        if left["server"] == str(client.api_url):
            client.release_concurrency_slots_with_lease(UUID(left["lease"]))


class _Keeper:
    """Renew a lease until the end, and give the slot back.

    Args:
        name: Name of the limit.
        lease: The lease.
        kept: File for the lease, if any.
        server: Address of the server.
    """

    def __init__(self, name: str, lease: UUID, kept: Path | None, server: str) -> None:
        self.name, self._kept, self._server = name, kept, server
        self.ended = threading.Event()
        self._said = ""
        self._hold(lease)

    def _hold(self, lease: UUID) -> None:
        self.lease = lease
        if self._kept is not None:
            with suppress(ReviewLMError):  # e.g. a full disk: then a kill frees the slot only when its lease ends
                write_output(self._kept, json.dumps({"server": self._server, "lease": str(lease)}))

    def renew(self) -> None:
        """Renew the lease every few seconds; what fails is tried again the next time."""
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
            while not self.ended.wait(RENEW_SECONDS):
                try:
                    self._renew_once(client)
                except (HTTPError, NoSuchLimit) as error:
                    self._say(f"its lease cannot be renewed: {error!r}")

    def _renew_once(self, client: SyncPrefectClient) -> None:
        try:
            client.renew_concurrency_lease(self.lease, LEASE_SECONDS)
        except HTTPStatusError as error:
            if error.response.status_code != codes.GONE:
                raise
            if (again := _taken(client, self.name)) is None:
                self._say("the server has given it to another process, which runs beside this one")
                return
            self._hold(again)
        self._said = ""

    def release(self) -> None:
        """Give the slot back; if the server is away, the end of the lease does."""
        self.ended.set()
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
                client.release_concurrency_slots_with_lease(self.lease)
            if self._kept is not None:
                self._kept.unlink(missing_ok=True)
        except HTTPError as error:
            self._say(f"it cannot be given back, so it is free in {LEASE_SECONDS:.0f} s: {error!r}")

    def _say(self, what: str) -> None:
        if what != self._said:
            log.warning("slot of the limit '%s': %s", self.name, what)
        self._said = what
