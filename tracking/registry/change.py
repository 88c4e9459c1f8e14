"""Change the registry: write a decision to the log as one event, then update aliases, tags and descriptions.

MLflow has no transaction over aliases, tags and descriptions. So the event is the decision, and the rest is derived
from the log. Every step of `carry_out` may be repeated. If a process was killed or lost its connection, the next change
of the registry finishes its work. The alias `champion` is set last, so it always points to the old or the new champion.

On one machine, a file lock allows one change at a time. Between machines, the order of the log decides (see
`decisions.fold_events`). One gap remains: a process may pause between reading the log and writing an alias, and then
overwrite a newer alias from another machine. It reads the log again after the write and corrects the alias. If it is
killed before that, the alias stays wrong until a user changes it; the next change records it in the log as moved.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock

from core.errors import ReviewLMError, TrackingUnavailable
from tracking.registry.decisions import (
    ABANDONED,
    ADOPTED,
    CARRIED_OUT,
    GATE,
    MANUAL,
    OVERTAKEN,
    PENDING,
    DecisionLog,
    Event,
    RegistryState,
    fold_events,
)
from tracking.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, Version, contents_of, version_in
from tracking.runs.runs import Tracker
from tracking.tags import PACKED, RULE, SINCE, packed, unpacked

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
LOOKS = 5
"""Maximum number of attempts to carry out the log: after that, another process keeps moving the aliases."""


class ChampionChanged(ReviewLMError):
    """Another version became champion since the decision was made: decide again, against the new champion."""


class Unfinished(TrackingUnavailable):
    """A decision is in the log, but MLflow stopped answering before aliases and tags were confirmed.

    Deciding again would write a second decision. The next change of the registry finishes this one first.
    `event` is the decision as written in the log. It is not known whether another machine's decision came before it.
    """

    def __init__(self, event: Event, name: str, error: ReviewLMError) -> None:
        super().__init__(
            f"The decision is recorded as event {event.number}; the next command moves the aliases",
            where=f"models:/{name}",
            cause=error.cause or error.what, remedy="do not repeat the command; `reviewlm history` shows the outcome",
        )
        self.event = event


class Change:
    """The decision log and the aliases of one model, while this process may change them.

    `state` and `aliases` are those of the last read.
    """

    def __init__(self, tracker: Tracker, name: str) -> None:
        self.tracker, self.name, self.log = tracker, name, DecisionLog(tracker, name)
        self.events: list[Event] = []
        self.state = RegistryState()
        self.aliases: dict[str, int] = {}
        self._found_pending: list[Event] = []

    def begin(self) -> None:
        """Finish interrupted changes of other processes, and record in the log if aliases were moved by other means."""
        self._look()
        seen = None
        while self.events != seen:  # until two reads of the log agree: no other machine is changing it
            self._found_pending += self._pending()
            self.carry_out()
            if self._as_decided():
                return
            seen = self.events
            self._look()
        champion, previous = self.aliases.get(CHAMPION), self.aliases.get(PREVIOUS)
        why = "the log begins here" if not self.events else "an alias was set by other means than reviewlm"
        event = Event(
            ADOPTED, False, champion or 0, self.state.champion, why, who="unknown", previous=previous,
            carried_out="found so",
        )
        self.log.append(event, self.events)
        self._look()

    @property
    def finished(self) -> list[Event]:
        """The events of interrupted processes that this one has carried out."""
        return [event for event in self._found_pending if self.state.states.get(event.number) == CARRIED_OUT]

    def decide(self, event: Event) -> Event:
        """Write an event to the log, which makes the decision valid, and carry it out.

        Returns:
            The event as written in the log; `state.states` shows whether it counts.

        Raises:
            Unfinished: MLflow stopped answering after the event was written.
            TrackingUnavailable: MLflow stopped answering before the event was written, and nothing was changed; or
                during the write, and it is not known whether the event is in the log.
        """
        event = self.log.append(event, self.events)
        for last in (False, True):
            try:
                self._look()
                self.carry_out()
                break
            except TrackingUnavailable as error:
                if last and self.state.states.get(event.number) != OVERTAKEN:
                    raise Unfinished(event, self.name, error) from error
                log.warning("event %d of %s is decided, but MLflow did not answer: %s", event.number, self.name,
                            error.what)
        return event

    def carry_out(self) -> None:
        """Update aliases, tags and descriptions to the state of the log."""
        wrote = False
        for _ in range(LOOKS):
            pending = self._pending()
            if not pending and (not wrote or self.aliases.get(CHAMPION) == self.state.champion):
                return
            gone = [event for event in pending if not self._note(event)]
            for event in gone:
                self.log.mark(event, f"{ABANDONED}: version {event.version} is gone")
            if not gone:  # otherwise the champion may be another one than the log said
                self._point()
                wrote = True
                for event in pending:
                    self.log.mark(event)
            self._look()  # another machine may have decided in the meantime, so that our aliases are outdated
        raise TrackingUnavailable(
            "The registry's aliases keep changing", where=f"models:/{self.name}",
            cause="another process is updating them", remedy="try again",
        )

    def _look(self) -> None:
        self.events = self.log.read()
        self.state = fold_events(self.events)
        self.aliases = contents_of(self.tracker, self.name)[1]

    def _pending(self) -> list[Event]:
        return [event for event in self.events if self.state.states[event.number] == PENDING]

    def _as_decided(self) -> bool:
        shown = (self.aliases.get(CHAMPION), self.aliases.get(PREVIOUS))
        return shown == (self.state.champion, self.state.previous)

    def _point(self) -> None:
        """Set the aliases, `champion` last; a deleted version does not get the alias `previous`."""
        before = self.state.previous
        if before is not None and self.aliases.get(PREVIOUS) != before and self._entry(before) is None:
            before = None
        self.set_alias(PREVIOUS, before)
        self.set_alias(CHAMPION, self.state.champion)

    def set_alias(self, alias: str, version: int | None) -> None:
        """Point an alias at a version, or delete it."""
        if self.aliases.get(alias) == version:
            return
        if version is None:
            self.tracker.upsert(lambda client: client.delete_registered_model_alias(self.name, alias))
            del self.aliases[alias]
        else:
            self.tracker.upsert(lambda client: client.set_registered_model_alias(self.name, alias, str(version)))
            self.aliases[alias] = version

    def _note(self, event: Event) -> bool:
        """Write an event's tags and report to its version; return False if the version was deleted."""
        if event.action == ADOPTED or self._said_later(event):
            return True
        if (entry := self._entry(event.version)) is None:
            return False
        promoted = event.promote and self.aliases.get(CHAMPION) != event.version
        tags = {**event.tags, **({SINCE: event.when.isoformat(timespec="seconds")} if promoted else {})}
        rules = [name for name in entry.tags if event.action == GATE and name.startswith(RULE)]
        if event.action == GATE and entry.description != event.report:
            self.tracker.upsert(
                lambda client: client.update_model_version(self.name, str(event.version), event.report)
            )
        retag(self.tracker, entry, tags, set(rules) - tags.keys())  # rules of an earlier decision
        if event.action in (GATE, MANUAL) and self.aliases.get(CHALLENGER) == event.version:
            self.set_alias(CHALLENGER, None)
        return True

    def _said_later(self, event: Event) -> bool:
        """Return whether the log has a newer decision of the same kind on the version: its tags and report apply."""
        return any(
            other.number > event.number and (other.action, other.version) == (event.action, event.version)
            for other in self.events
        )

    def _entry(self, number: int) -> Version | None:
        """Return a version; None if it was deleted."""
        return version_in(self.tracker, self.name, number)


def retag(tracker: Tracker, entry: Version, tags: Mapping[str, str], gone: Set[str] = frozenset()) -> None:
    """Set tags of a version and delete others, in as few writes as possible; see `tracking.tags.packed`.

    Args:
        entry: The version.
        tags: Tags to set.
        gone: Names of tags to delete.
    """
    stored = dict(entry.stored)
    others = unpacked({PACKED: stored.get(PACKED, "{}")})
    new_tags = packed({**{name: value for name, value in others.items() if name not in gone}, **tags})
    if PACKED in stored:
        new_tags.setdefault(PACKED, "{}")
    changed = [(name, value) for name, value in new_tags.items() if stored.get(name) != value]

    def write(client: MlflowClient) -> None:
        for name, value in changed:
            client.set_model_version_tag(entry.name, str(entry.version), name, value)
        for name in gone & stored.keys():
            client.delete_model_version_tag(entry.name, str(entry.version), name)

    tracker.upsert(write)


def registry_lock(tracker: Tracker) -> FileLock:
    """Return the lock that orders the changes of the registry on this machine; it may not be taken twice."""
    home = tracker.artifact_root.parent
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / "registry.lock")


@contextmanager
def exclusive_change(tracker: Tracker, name: str) -> Iterator[Change]:
    """Hold the registry's lock on this machine, and yield a change that starts from the state of the log."""
    with registry_lock(tracker):
        change = Change(tracker, name)
        change.begin()
        yield change
