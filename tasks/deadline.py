"""Detect a stage that takes far longer than its earlier builds: warn, send an alert, and end the run if configured.

The store's manifests say how long earlier builds of a stage took and how many bytes went in. Builds with the same
options and on the same device are comparable; a build of twice the data may take twice as long. Without a comparable
build there is no deadline.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from core.config.run_config import RunConfig
from core.manifest import MANIFEST, read_manifest, seconds_of
from core.store import Store
from core.storing.finished import newest_first
from tasks.flow_run import OVERDUE, announce
from tasks.progress import duration

BUILDS = 50
"""Earlier results of a stage that are looked at, the newest first."""
LEAST_SECONDS, OVERDUE_FACTOR = 600.0, 10.0
"""No stage is overdue before this time: what takes seconds may take minutes on a busy machine."""
NAMES = frozenset({"name", "label"})
"""Options that only name the result; they are not compared."""
MACHINE = {"device": None, "threads": None, "workers": None, "ranks": None, "cluster": ""}
"""Settings of `execution` that change the time of a build, with what counts where a record does not have them."""
INPUT_BYTES = "input_bytes"
log = logging.getLogger(__name__)


def input_bytes(store: Store, inputs: Mapping[str, str]) -> int:
    """Return the bytes of the stored results among a stage's inputs; 0 if none of them is a stored result."""
    total = 0
    for digest in set(inputs.values()):
        for file in store.root.glob(f"[!.]*/{digest}/{MANIFEST}"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                total += sum(int(entry["bytes"]) for entry in read_manifest(file)["files"].values())
    return total


def earlier_builds(store: Store, stage: str) -> Iterator[Mapping[str, Any]]:
    """Yield the manifests of the newest results of a stage; `Store.all` would warn of damaged ones."""
    for folder in newest_first(store.root / stage)[:BUILDS]:
        with suppress(OSError, ValueError, TypeError):
            yield read_manifest(folder / MANIFEST)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two sections `execution` let a build take the same time."""
    return all(one.get(name, default) == other.get(name, default) for name, default in MACHINE.items())


def longest(
    earlier: Iterable[Mapping[str, Any]], version: str, options: Mapping[str, Any], execution: Mapping[str, Any],
    size: int,
) -> float | None:  # fmt: skip
    """Return the seconds that the longest comparable build would take for *size* bytes; None if there is none.

    Args:
        earlier: Manifests of the stage's results.
        version: Version of the stage's code.
        options: Its options.
        execution: The section `execution` of the configuration.
        size: Bytes of its inputs. Smaller inputs than before get no less time.
    """
    estimates = []
    for manifest in earlier:
        before = manifest.get("environment", {})
        machine = before.get("execution", {})
        same = manifest.get("version") == version and _compared(manifest.get("options", {})) == _compared(options)
        took = seconds_of(manifest)
        if took is not None and same and INPUT_BYTES in before and _alike(machine, execution):
            estimates.append(took * max(1.0, size / max(before[INPUT_BYTES], 1)))
    return max(estimates, default=None)


def _compared(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in options.items() if name not in NAMES}


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back: tuples become lists."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def deadline_of(
    config: RunConfig, store: Store, stage: str, version: str, options: Mapping[str, Any], size: int
) -> float | None:
    """Return after how many seconds a build of *size* bytes is overdue; None: never."""
    execution = config.execution.model_dump(mode="json")
    seconds = longest(earlier_builds(store, stage), version, options, execution, size)
    return None if seconds is None else max(LEAST_SECONDS, OVERDUE_FACTOR * seconds)


@contextmanager
def noticed_if_overdue(config: RunConfig, stage: str, label: str, seconds: float | None) -> Iterator[None]:
    """Warn and send an alert if the block takes longer than *seconds*."""
    if seconds is None:
        yield
        return
    over, name = threading.Event(), f"{stage} {label}".strip()

    def watch() -> None:
        if over.wait(seconds):
            return
        _warn(config, stage, name, seconds)

    work = partial(copy_context().run, watch)  # the context names the flow run
    threading.Thread(target=work, name=f"deadline of {name}", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _warn(config: RunConfig, stage: str, name: str, seconds: float) -> None:
    sentence = f"'{name}' has been running for {duration(seconds)}, far longer than its earlier builds. Is it stuck?"
    log.warning("%s", sentence)
    with suppress(Exception):  # an alert that cannot be sent must not end the stage
        announce(OVERDUE, config, {"stage": stage, "sentence": sentence, "seconds": seconds})
