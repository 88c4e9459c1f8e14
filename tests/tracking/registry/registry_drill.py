"""A tiny registry and what may happen to its client: calls that are counted, fail, kill, or let somebody else in."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reviewlm.tracking.registry.decisions import DONE_TAG, fold_events
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import PACKED, SINCE, pack_tags

READS = ("get_", "search_")
OLD, CHAMPION, CHALLENGER = 1, 2, 3
DECIDED = {
    "gate/outcome": "promoted",
    "gate/reason": "better",
    "gate/rule/gain": "passed",
}
REFUSED = {"gate/outcome": "refused", "gate/reason": "worse"}
Operation = Callable[[Registry, str], object]
OPERATIONS: dict[str, Operation] = {
    "gate promotes": lambda registry, uri: registry.settle(
        CHALLENGER,
        CHAMPION,
        True,
        "**yes**",
        DECIDED,
        run_id="r",
    ),
    "gate refuses": lambda registry, uri: registry.settle(
        CHALLENGER,
        CHAMPION,
        False,
        "**no**",
        REFUSED,
        run_id="r",
    ),
    "promotion by hand": lambda registry, uri: registry.promote(
        CHALLENGER, CHAMPION, why="asked for", who="ana"
    ),
    "rollback": lambda registry, uri: registry.rollback(
        OLD,
        against=CHAMPION,
        why="complaints",
        who="ana",
    ),
    "registration": lambda registry, uri: registry.register(uri, "a run", {"kind": "fake"}),
}


def opened(home: Path, machine: str = "here") -> Registry:
    """Return a registry with a client of its own; another *machine* has another lock file."""
    return Registry(
        Tracker(f"sqlite:///{home / 'mlflow.db'}", "reviewlm", home / machine / "mlartifacts"),
        "reviewlm",
    )


def prepared(home: Path) -> tuple[Registry, str]:
    """Fill a migrated database: three versions, the second one champion, and a logged model not yet registered."""
    registry = opened(home)
    client = registry.tracker.client
    client.create_registered_model("reviewlm")
    for word in ("old", "champion", "challenger"):
        client.create_model_version("reviewlm", "none:/", tags={"word": word}, await_creation_for=0)
    registry.settle(
        OLD,
        None,
        True,
        "**first**",
        DECIDED,
    )
    registry.settle(
        CHAMPION,
        OLD,
        True,
        "**second**",
        DECIDED,
    )
    client.set_registered_model_alias("reviewlm", "challenger", str(CHALLENGER))
    older = pack_tags({"gate/rule/older": "a rule that is no more"})[PACKED]
    client.set_model_version_tag("reviewlm", str(CHALLENGER), PACKED, older)
    model = client.create_logged_model(registry.tracker.experiment_id, "model")
    return registry, f"models:/{model.model_id}"


@dataclass
class Home:
    """A registry's database that can be put back."""

    folder: Path
    registry: Registry
    uri: str

    @property
    def file(self) -> Path:
        """The database."""
        return self.folder / "mlflow.db"

    def save(self) -> None:
        """Keep the database as it is."""
        _copy(self.file, self.file.with_name("saved.db"))

    def restore(self) -> None:
        """Put back what was kept; connections stay open."""
        _copy(self.file.with_name("saved.db"), self.file)

    def champion(self) -> int | None:
        """Return what the alias says, without the code under test."""
        with closing(sqlite3.connect(self.file)) as connection:
            found = connection.execute(
                "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
            )
            return next((number for (number,) in found), None)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


def state(registry: Registry) -> list[Any]:
    """Return all that a change may touch, without the times."""
    versions = [
        (
            one.version,
            {name: text for name, text in one.tags.items() if name != SINCE},
            one.aliases,
            one.description,
        )
        for one in registry.versions()
    ]
    events = registry.events()
    states = fold_events(events).states
    return [
        versions,
        [(one.action, one.version, one.against, states[one.number]) for one in events],
    ]


@dataclass
class Counted:
    """Stands before a client: counts its calls and does something at one of them.

    Args:
        client: The real one.
        at: Number of the call, 1 for the first; 0 for none.
        before: Done before that call.
        after: Done after it took effect.
        onwards: Do *before* at every later call, too.
        writes_only: Count only calls that may change something.
    """

    client: Any
    at: int = 0
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    onwards: bool = False
    writes_only: bool = False
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.client, name)
        if not callable(real) or (self.writes_only and name.startswith(READS)):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            number = len(self.calls)
            if number == self.at or (self.onwards and 0 < self.at < number):
                self.before()
            answer = real(*args, **kwargs)
            if number == self.at:
                self.after()
            return answer

        return call


def counted(registry: Registry, **how: Any) -> Counted:
    """Put a `Counted` before a registry's client."""
    client = registry.tracker.client
    proxy = Counted(client.client if isinstance(client, Counted) else client, **how)
    registry.tracker._client = proxy  # type: ignore[assignment]
    return proxy


def kill() -> None:
    """End this process as the system's last resort does."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(
    home: Path,
    operation: str,
    uri: str,
    write: int,
) -> None:
    """In a process of its own: begin an operation and be killed before a write."""
    registry = opened(home)
    counted(
        registry,
        at=write,
        before=kill,
        writes_only=True,
    )
    OPERATIONS[operation](registry, uri)


def carried_out(registry: Registry) -> bool:
    """Return whether nothing of the log is left to be done."""
    with registry.tracker.reaching() as client:
        log = client.search_model_versions("name = 'reviewlm-decisions'")
    return all(DONE_TAG in entry.tags for entry in log)
