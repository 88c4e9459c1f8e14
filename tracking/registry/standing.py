"""Who is champion: a pure function of the decision log. The aliases in the registry only show what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tracking.registry.events import ABANDONED, ADOPTED, Event

CARRIED_OUT, PENDING, OVERTAKEN, REPEATED = "carried out", "pending", "overtaken", "sent twice"


@dataclass(frozen=True)
class Standing:
    """What the events come to.

    Args:
        champion: The version that is champion, None for none.
        previous: The champion before it.
        newest: Number of the last event, 0 for none.
        states: Of each event, by number: CARRIED_OUT; PENDING, decided but not yet on the aliases and tags; OVERTAKEN,
            void since another version had become champion when it was written; ABANDONED, void since its version was
            deleted before it could be carried out; or REPEATED, void since it is an earlier event that was sent again.
        crowned: The versions that were champion at any time, the first first.
    """

    champion: int | None = None
    previous: int | None = None
    newest: int = 0
    states: Mapping[int, str] = field(default_factory=dict, hash=False)
    crowned: tuple[int, ...] = ()


def replay(events: Iterable[Event]) -> Standing:
    """Return what the events come to, taken in the order of their numbers.

    A compare-and-set: an event that makes a version champion counts only if the champion that it was decided against
    still is one at its place in the log. Whoever reads the log comes to the same result, so of two promotions that
    were decided at once against the same champion exactly one counts, without any lock.
    """
    champion, previous, newest = None, None, 0
    states: dict[int, str] = {}
    crowned: dict[int, None] = {}
    keys: set[str] = set()
    for event in sorted(events, key=lambda one: one.number):
        newest = event.number
        if event.key in keys:  # an HTTP client repeats a request whose answer was lost
            states[event.number] = REPEATED
        elif event.carried_out.startswith(ABANDONED):
            states[event.number] = ABANDONED
        elif (event.promote or event.action == ADOPTED) and champion not in (event.against, event.version or None):
            states[event.number] = OVERTAKEN
        else:
            states[event.number] = CARRIED_OUT if event.carried_out else PENDING
            if event.action == ADOPTED:
                champion, previous = event.version or None, event.previous
                crowned |= {} if previous is None or previous in crowned else {previous: None}
            elif event.promote and event.version != champion:
                champion, previous = event.version, champion
            if champion is not None:
                crowned.setdefault(champion)
        keys.add(event.key)
    return Standing(champion, previous, newest, states, tuple(crowned))
