"""Keep a tamper-evident log of promotions, refusals and rollbacks in MLflow; compute the registry's state from it.

The log is a separate registered model, `NAME-decisions`, with one version per event. MLflow numbers versions in one
transaction and never uses a number twice, not even after a deletion. So an event is written completely or not at all,
and events that two machines write at the same time get an order. Each event holds the number and digest of the newest
event that its writer had seen. With these, `complaints` detects events that were changed or deleted in MLflow by other
means.
"""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from reviewlm.core.manifest import canonical, hash_of
from reviewlm.tracking.registry.versions import (
    DESCRIPTION_LENGTH,
    LOG,
    Version,
    contents_of,
    version_tags,
)
from reviewlm.tracking.runs.runs import Tracker, user_name
from reviewlm.tracking.tags import shorten

GATE = "gate"
MANUAL = "manual"
ROLLBACK = "rollback"
ADOPTED = "adopted"
UNREADABLE = "unreadable"
"""Action of an event whose entry in MLflow was damaged."""
EVENT_TAG = "mlflow.event"
"""Tag with an event as JSON, which MLflow's page of the version does not show."""
DONE_TAG = "event/carried_out"
"""Tag with the time at which an event was carried out."""
ABANDONED = "abandoned"
CARRIED_OUT = "carried out"
PENDING = "pending"
OVERTAKEN = "overtaken"
REPEATED = "sent twice"
WHY_LENGTH = 2000
AFTER = re.compile(r"(\d{1,9} \w*)?")
"""Form of `Event.after`."""
ALIASES_COUNT = (
    "the aliases in MLflow count: the next promotion or rollback records them in the log as they are. To have the event "
    "back, restore a backup (`reviewlm home restore`)"
)
"""What a user is told to do about a damaged decision log."""
BY_HAND = "promoted by hand"
ROLLED_TO = "rolled back to"
ROLLED_FROM = "rolled back from"


@dataclass(frozen=True)
class Event:
    """A decision of the log.

    Args:
        action: GATE, MANUAL, ROLLBACK, ADOPTED if the aliases were moved by other means, or UNREADABLE.
        promote: Whether the version is to become champion.
        version: The version that the decision is about; 0 for none, e.g. if a challenger equals the champion.
        against: The champion when the decision was made; None if there was none.
        why: The reason, in a sentence.
        who: USER@HOST, or the name that the user gave.
        run_id: The MLflow run with the scores, if any.
        previous: The version that the alias `previous` pointed to (ADOPTED only).
        tags: Tags to set on the version.
        report: Description to set on the version (GATE only).
        key: Unique key of the event.
        after: Number and digest of the newest event known to the writer; empty if there was none.
        digest: SHA-256 of all fields above, at the time of writing.
        number: Position in the log, from 1; 0 if the event is not in the log yet.
        when: Time of writing in UTC, by the clock of the registry.
        carried_out: When aliases, tags and description were updated, or why they were not; empty until then.
    """

    action: str
    promote: bool
    version: int
    against: int | None
    why: str
    who: str = ""
    run_id: str = ""
    previous: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    report: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    after: str = ""
    digest: str = ""
    number: int = 0
    when: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    carried_out: str = ""

    @property
    def outcome(self) -> str:
        """The decision in a few words."""
        gate = "promoted" if self.promote else "refused"
        words = {
            MANUAL: BY_HAND,
            ROLLBACK: ROLLED_TO,
            ADOPTED: "aliases changed outside ReviewLM",
            UNREADABLE: "cannot be read",
        }
        return words.get(self.action, gate)

    @property
    def by_hand(self) -> dict[int, str]:
        """Decisions of a person about versions, in a few words; "" for a version that the gate promotes."""
        left = {}
        if self.action == ROLLBACK and self.against:
            left = {self.against: ROLLED_FROM}

        if self.promote:
            left[self.version] = "" if self.action == GATE else self.outcome
        return left

    def as_row(self, state: str) -> dict[str, Any]:
        """Return the row for a list of decisions, as JSON values; *state* as in `RegistryState.states`."""
        when = self.when.isoformat(timespec="seconds")
        row: dict[str, Any] = {
            "event": self.number,
            "when": when,
            "who": self.who,
        }
        row["decision"] = self.outcome
        row["version"] = self.version or None
        row |= {
            "against": self.against,
            "why": self.why,
            "state": state,
            "run_id": self.run_id,
        }
        return row

    def fields(self, *without: str) -> dict[str, Any]:
        """Return the fields that the log stores, as JSON values, without those named."""
        later = ("digest", "number", "when", "carried_out", *without)
        return {name: value for name, value in asdict(self).items() if name not in later}

    def entry(self) -> dict[str, Any]:
        """Return description and tags of the version of the log that holds the event."""
        summary = f"{self.outcome}: version {self.version or 'none'}, by {self.who}: {self.why}"
        tags = {EVENT_TAG: canonical({**self.fields("report"), "digest": self.digest})}
        if self.carried_out:
            tags[DONE_TAG] = self.carried_out

        description = self.report if self.action == GATE else summary
        return {"description": shorten(description, DESCRIPTION_LENGTH), "tags": tags}

    def computed_digest(self) -> str:
        """Return the digest of the event's current content."""
        return hash_of(self.fields())

    def storable(self, after: str = "") -> Event:
        """Return the event as MLflow will return it, with its digest; *after* as in `Args`."""
        who = shorten(self.who or author(), WHY_LENGTH)
        why = shorten(self.why, WHY_LENGTH)
        report = shorten(self.report, DESCRIPTION_LENGTH)
        tags = version_tags(self.tags)
        event = replace(
            self,
            after=after,
            who=who,
            why=why,
            tags=tags,
            report=report,
        )
        return replace(event, digest=event.computed_digest())


def events_of(tracker: Tracker, name: str) -> list[Event]:
    """Return the decision log of a registered model, the oldest event first."""
    return [event_of(entry) for entry in contents_of(tracker, name + LOG)[0]]


def event_of(entry: Version) -> Event:
    """Return the event of a version of the log; of a damaged one, the same UNREADABLE event at each reading."""
    try:
        event = replace(
            _parse_event(entry.tags[EVENT_TAG]), carried_out=entry.tags.get(DONE_TAG, "")
        )
    except (KeyError, ValueError, TypeError, RecursionError):
        key = f"{UNREADABLE} {entry.version}"
        why = "its entry in MLflow was damaged"
        event = Event(
            UNREADABLE,
            False,
            0,
            None,
            why,
            key=key,
            carried_out=ABANDONED,
        )

    report = entry.description if event.action == GATE else ""
    return replace(
        event,
        report=report,
        number=entry.version,
        when=entry.created,
    )


_EVENTS = TypeAdapter(Event)


def _parse_event(text: str) -> Event:
    """Return the event of a JSON text.

    Raises:
        ValueError, TypeError: A field is missing, unknown, or has a value of another type.
    """
    Event(**json.loads(text))  # raises if a field is missing or unknown
    event = _EVENTS.validate_json(text, strict=True)
    if not AFTER.fullmatch(event.after):
        raise ValueError(f"after: {event.after}")
    return event


def author() -> str:
    """Return USER@HOST of this process."""
    return f"{user_name()}@{socket.gethostname()}"


def is_changed(event: Event) -> bool:
    """Return whether an event that can be read is not as it was written."""
    return event.action != UNREADABLE and event.computed_digest() != event.digest


def complaints(events: Iterable[Event]) -> list[str]:
    """Return a sentence for each event that is missing or was changed; an empty list for an intact log."""
    by_number = {event.number: event for event in events}
    faults = [
        f"event {number} is gone"
        for number in range(1, max(by_number, default=0))
        if number not in by_number
    ]
    for event in by_number.values():
        if event.action == UNREADABLE:
            faults.append(f"event {event.number} cannot be read")
        elif is_changed(event):
            faults.append(f"event {event.number} was changed after it was written")
        number, _, digest = event.after.partition(" ")
        before = None
        if number:
            before = by_number.get(int(number))

        if before and before.action != UNREADABLE and before.digest != digest:
            faults.append(
                f"event {number} was replaced: event {event.number} recorded another digest of it"
            )

    return faults


def same_decision(events: Sequence[Event], event: Event) -> Event | None:
    """Return the newest event of the log that is the same decision as *event*, repeated after a lost answer.

    With an MLflow run, it is the same if run, action, result, version and champion agree: a repeated gate measures its
    times again, so the texts differ. Without a run, only the newest event can be the same decision.
    """
    texts = ("why", "previous", "tags", "report") if event.run_id else ()
    earlier = events if event.run_id else events[-1:]
    subject = event.storable().fields("who", "key", "after", *texts)
    return next(
        (one for one in reversed(earlier) if one.fields("who", "key", "after", *texts) == subject),
        None,
    )


@dataclass(frozen=True)
class RegistryState:
    """State of the registry after all events of the decision log.

    Args:
        champion: The version that is champion; None if there is none.
        previous: The champion before it.
        states: State of each event, by number. CARRIED_OUT: aliases and tags show it. PENDING: decided, but aliases and
            tags do not show it yet. OVERTAKEN: void, because another version had become champion before it was
            written. ABANDONED: void, because its version was deleted before it could be carried out. REPEATED: void,
            because it is an earlier event that was sent again.
        past_champions: All versions that were champion at any time, in the order in which they first became champion.
        left: By version that was rolled back from, that event. A later promotion of it, or a rollback to it, removes
            it.
        known: Whether champion and previous follow from the log; False after an event that cannot be read or is gone.
    """

    champion: int | None = None
    previous: int | None = None
    states: Mapping[int, str] = field(default_factory=dict, hash=False)
    past_champions: tuple[int, ...] = ()
    left: Mapping[int, Event] = field(default_factory=dict, hash=False)
    known: bool = True


def fold_events(events: Iterable[Event]) -> RegistryState:
    """Apply the events in the order of their numbers, and return the resulting state.

    This is a compare-and-set: a promotion counts only if the champion that it was decided against is still champion at
    its place in the log. Every reader of the log gets the same result. So if two promotions are decided at the same
    time against the same champion, exactly one counts, without any lock.

    After an event that cannot be read, or that is gone, the champion is unknown. Then only a promotion that was carried
    out counts, for its writer knew the champion. One that was not may have been overtaken by the lost event.
    """
    champion = None
    previous = None
    known = True
    states: dict[int, str] = {}
    left: dict[int, Event] = {}
    past_champions: dict[int, None] = {}
    keys: set[str] = set()
    newest = 0
    for event in sorted(events, key=lambda one: one.number):
        known = known and event.action != UNREADABLE and event.number <= newest + 1
        newest = event.number
        moves = event.promote or event.action == ADOPTED
        fits = champion in (event.against, event.version or None)
        if event.key in keys:  # a proxy or a client may send a request again
            states[event.number] = REPEATED
        elif event.carried_out.startswith(ABANDONED):
            states[event.number] = ABANDONED
        elif moves and not (fits if known else event.carried_out):
            states[event.number] = OVERTAKEN
        else:
            states[event.number] = CARRIED_OUT if event.carried_out else PENDING
            if moves and not known:
                champion = event.against
                known = True
            if event.action == ADOPTED:
                champion = event.version or None
                previous = event.previous
                if previous is not None:
                    past_champions.setdefault(previous)
            elif event.promote and event.version != champion:
                if champion is not None:
                    past_champions.setdefault(champion)
                    if event.action == ROLLBACK:
                        left[champion] = event
                previous = champion
                champion = event.version
            if champion is not None:
                past_champions.setdefault(champion)
                left.pop(champion, None)
        keys.add(event.key)

    return RegistryState(
        champion,
        previous,
        states,
        tuple(past_champions),
        left,
        known,
    )
