"""Compute the current and former champions from the decision log, with a pure function.

The aliases in the registry only show the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tracking.registry.events import ABANDONED, ADOPTED, ROLLBACK, Event

CARRIED_OUT, PENDING, OVERTAKEN, REPEATED = "carried out", "pending", "overtaken", "sent twice"


@dataclass(frozen=True)
class RegistryState:
    """State of the registry after all events of the decision log.

    Args:
        champion: The version that is champion; None if there is none.
        previous: The champion before it.
        newest: Number of the last event; 0 if there is none.
        states: State of each event, by number. CARRIED_OUT: aliases and tags show it. PENDING: decided, but aliases and
            tags do not show it yet. OVERTAKEN: void, because another version had become champion before it was
            written. ABANDONED: void, because its version was deleted before it could be carried out. REPEATED: void,
            because it is an earlier event that was sent again.
        past_champions: All versions that were champion at any time, in the order in which they first became champion.
        left: By version that was rolled back from, the number of that event. A later promotion of it, or a rollback to
            it, removes it.
    """

    champion: int | None = None
    previous: int | None = None
    newest: int = 0
    states: Mapping[int, str] = field(default_factory=dict, hash=False)
    past_champions: tuple[int, ...] = ()
    left: Mapping[int, int] = field(default_factory=dict, hash=False)


def lost_champion(events: Sequence[Event], alias: int | None, versions: Collection[int]) -> str:
    """Say how a model lost its champion by other means than a decision; "" if it did not.

    Args:
        events: Its decision log.
        alias: The version that the alias `champion` points to; None if there is none.
        versions: Numbers of the model's versions.
    """
    if alias is not None:
        return ""
    state = fold_events(events)
    last = next((event for event in reversed(events) if state.states[event.number] == CARRIED_OUT), None)
    number = last.against if last and last.action == ADOPTED and state.champion is None else state.champion
    if number is None:
        return ""
    if not versions:
        return f"the registered model was deleted in MLflow, with its champion, version {number}"
    if number not in versions:
        return f"version {number}, the champion, was deleted in MLflow"
    return f"the alias was taken from version {number} in MLflow"


def fold_events(events: Iterable[Event]) -> RegistryState:
    """Apply the events in the order of their numbers, and return the resulting state.

    This is a compare-and-set: a promotion counts only if the champion that it was decided against is still champion at
    its place in the log. Every reader of the log gets the same result. So if two promotions are decided at the same
    time against the same champion, exactly one counts, without any lock.
    """
    champion, previous, newest = None, None, 0
    states: dict[int, str] = {}
    left: dict[int, int] = {}
    past_champions: dict[int, None] = {}
    keys: set[str] = set()
    for event in sorted(events, key=lambda one: one.number):
        newest = event.number
        if event.key in keys:  # an HTTP client may repeat a request whose answer was lost
            states[event.number] = REPEATED
        elif event.carried_out.startswith(ABANDONED):
            states[event.number] = ABANDONED
        elif (event.promote or event.action == ADOPTED) and champion not in (event.against, event.version or None):
            states[event.number] = OVERTAKEN
        else:
            states[event.number] = CARRIED_OUT if event.carried_out else PENDING
            if event.action == ADOPTED:
                champion, previous = event.version or None, event.previous
                past_champions |= {} if previous is None or previous in past_champions else {previous: None}
            elif event.promote and event.version != champion:
                if event.action == ROLLBACK and champion is not None:
                    left[champion] = event.number
                champion, previous = event.version, champion
            if champion is not None:
                past_champions.setdefault(champion)
                left.pop(champion, None)
        keys.add(event.key)
    return RegistryState(champion, previous, newest, states, tuple(past_champions), left)
