"""Wait for a slot of a Prefect concurrency limit: one retrain and one promotion at a time, one training per GPU.

Prefect lets everything run if a limit does not exist. That is right for the server that a command starts for itself
alone. On a server that others use too, a missing limit is an error, at the start of a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

from core.errors import ConfigError
from core.processes import interrupts
from core.services.pools import LIMITS, size_of_limit

GPU, PROMOTION, RETRAIN = LIMITS
ALL = 200


def is_shared() -> bool:
    """Return whether the server is one that was named, and not this command's own."""
    return bool(os.environ.get("PREFECT_API_URL"))


def require_limits(names: Collection[str]) -> None:
    """Refuse a shared server on which one of these limits does not exist.

    Raises:
        ConfigError: Names the limits, and how to create them.
    """
    if not is_shared():
        return
    with get_client(sync_client=True) as client:
        known = {limit.name for limit in client.read_global_concurrency_limits(limit=ALL)}
    if missing := sorted({*names} - known):
        raise _lacks(missing)


def _lacks(missing: Collection[str]) -> ConfigError:
    create = "; ".join(f"prefect gcl create {name} --limit {size_of_limit(name)}" for name in missing)
    return ConfigError(
        "Prefect's server lacks a concurrency limit", where=os.environ["PREFECT_API_URL"], value=", ".join(missing),
        cause="without it, runs would not wait for each other",
        remedy=f"`reviewlm ui start` creates it for its own server; for another: {create}",
    )


@contextmanager
def slot(name: str, at_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a slot of a limit of a shared server while the block runs; wait until one is free.

    Prefect renews its lease while this process lives; after a kill the slot is free within five minutes. The block goes
    on if the server is away for longer than that, and another process took the slot meanwhile.

    Args:
        name: Name of the limit.
        at_wait: Called once, before the first wait.

    Raises:
        ConfigError: The server does not have this limit.
    """
    with ExitStack() as held:
        if is_shared():
            holding = partial(concurrency, name, strict=True, raise_on_lease_renewal_failure=False)
            try:
                held.enter_context(holding(max_retries=0))
            except ConcurrencySlotAcquisitionError:  # none is free, or there is no such limit
                require_limits([name])
                at_wait()
                held.enter_context(holding())
        with interrupts.cleaned_up(held.close):
            yield
