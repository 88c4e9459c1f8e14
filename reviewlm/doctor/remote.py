"""Check that the remote store of results can be read and written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.storing.objects import NotThere, RemoteError
from core.storing.remote import PROBE, remote_store
from reviewlm.doctor.health_line import HealthLine

if TYPE_CHECKING:
    from core.config.run_config import RunConfig

CHECK = "remote store"


def check_remote_store(config: RunConfig) -> Iterator[HealthLine]:
    """Look for an object, and write it."""
    if (remote := remote_store(config.execution.remote_store)) is None:
        return
    try:
        remote.objects.exists(PROBE)
    except RemoteError as error:
        yield HealthLine(CHECK, "problem", f"{remote.address} cannot be read: {error}",
                         "correct execution.remote_store, or the credentials and AWS_ENDPOINT_URL in the environment; "
                         "until then, runs build all results here")  # fmt: skip
        return
    try:
        remote.objects.write(PROBE, b"Written by `reviewlm doctor`.\n")
    except RemoteError as error:
        missing = isinstance(error, NotThere)
        yield HealthLine(CHECK, "problem" if missing else "warning", f"{remote.address} cannot be written: {error}",
                         "create the bucket" if missing else
                         "nothing to do if this machine is only to read; otherwise give it permission")  # fmt: skip
        return
    yield HealthLine(CHECK, "ok", f"{remote.address} can be read and written")
