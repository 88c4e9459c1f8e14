"""Derive from the decision log what has become of each version.

A version's tags from the gate say what it was judged by. What it is now follows from the log: a version that was
champion has been replaced or rolled back, also if the gate, asked again, refuses it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from reviewlm.tracking import tags as tag
from reviewlm.tracking.registry.decisions import (
    ADOPTED,
    CARRIED_OUT,
    GATE,
    PENDING,
    ROLLBACK,
    Event,
    RegistryState,
    fold_events,
)

VALID = (CARRIED_OUT, PENDING)
"""States of events that count."""


@dataclass(frozen=True)
class VersionState:
    """State of a version, in a word of `tags.MARKS`, and its beginning."""

    word: str
    when: datetime

    def __str__(self) -> str:
        """Return word and day: "in use since 2026-11-30", "replaced on 2026-12-07"."""
        preposition = "since" if self.word == tag.IN_USE else "on"
        return f"{self.word} {preposition} {self.when:%Y-%m-%d}"


def version_states(log: Sequence[Event], state: RegistryState) -> dict[int, VersionState]:
    """Return the state of each version, by number; none for a version about which nothing was decided.

    Args:
        log: The events, the oldest first.
        state: The state after them.
    """
    champion: int | None = None
    states: dict[int, VersionState] = {}
    for event in log:
        if state.states[event.number] not in VALID:
            continue

        if (event.promote or event.action == ADOPTED) and event.version != champion:
            if champion is not None:
                left = tag.ROLLED_BACK if event.action == ROLLBACK else tag.REPLACED
                states[champion] = VersionState(left, event.when)

            champion = event.version or None
            if champion is not None:
                states[champion] = VersionState(tag.IN_USE, event.when)
        elif event.action == GATE and not event.promote and event.version:
            states.setdefault(event.version, VersionState(tag.TURNED_DOWN, event.when))

    return states


def refuses_former_champion(event: Event, log: Sequence[Event]) -> bool:
    """Return whether the gate refuses a version by this event that was champion and that it had judged before.

    What it said then, when the version was no champion yet, is the verdict on the version.
    """
    if event.action != GATE or event.promote:
        return False

    before = [earlier for earlier in log if earlier.number < event.number]
    state = fold_events(before)
    if event.version not in state.past_champions:
        return False

    by_gate = [earlier for earlier in before if earlier.action == GATE]
    judgements = [earlier for earlier in by_gate if earlier.version == event.version]
    return any(state.states[judgement.number] in VALID for judgement in judgements)
