"""Write the decisions about a registered model to its log, and carry them out.

MLflow has no transaction over aliases, tags and descriptions. So the event in the decision log is the decision
(`tracking/registry/decisions.py`), and the rest is derived from it. Every step of `LoggedDecisions._carry_out` may be
repeated. If a process was killed or lost its connection, the next change of the registry finishes its work. The alias
`champion` is set last, so it always points to the old or the new champion.

On one machine, a file lock allows one change at a time. Between machines, the order of the log decides (see
`decisions.fold_events`). One gap remains: a process may pause between reading the log and writing an alias, and then
overwrite a newer alias from another machine. It reads the log again after the write and corrects the alias. If it is
killed before that, the alias stays wrong until a user changes it; the next change records it in the log as moved.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from reviewlm.core.errors import NotWritable, ReviewLMError, StoreFull, TrackingUnavailable
from reviewlm.core.output import literal
from reviewlm.core.processes.interrupts import during
from reviewlm.tracking import tags as tag
from reviewlm.tracking.registry.decisions import (
    ABANDONED,
    ADOPTED,
    ALIASES_COUNT,
    DONE_TAG,
    GATE,
    MANUAL,
    OVERTAKEN,
    PENDING,
    Event,
    complaints,
    fold_events,
    same_decision,
)
from reviewlm.tracking.registry.registered_model import RegisteredModel, registry_lock
from reviewlm.tracking.registry.run_outcomes import RunOutcomes
from reviewlm.tracking.registry.version_states import refuses_former_champion, version_states
from reviewlm.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    DESCRIPTION_LENGTH,
    LOG,
    PREVIOUS,
    SOURCE,
    contents_of,
    create_model,
    retag,
)
from reviewlm.tracking.tags import shorten

log = logging.getLogger(__name__)
LOOKS = 5
"""Maximum number of attempts to carry out the log: after that, another process keeps moving the aliases."""
SETTLING = 1.0
"""Seconds after which aliases that differ from the log count as moved by other means than reviewlm.

Another machine writes its event first and the aliases after it, some requests later; a reader that took the aliases in
between for a person's choice would put a former champion back.
"""
FIRST_LINES = re.compile(r"\A(\*\*(By hand|Later)\*\*: .*\n\n)+")
"""What a person, and later the gate, decided about a version, before the gate's report in its description."""


class ChampionChanged(ReviewLMError):
    """Another version became champion since the decision was made: decide again, against the new champion."""


class Unfinished(TrackingUnavailable):
    """A decision is in the log, but MLflow stopped answering, or the disk got full, before aliases were confirmed.

    Deciding again would write a second decision. The next change of the registry finishes this one first.
    `event` is the decision as written in the log. It is not known whether another machine's decision came before it.
    """

    def __init__(
        self,
        event: Event,
        name: str,
        error: ReviewLMError,
    ) -> None:
        super().__init__(
            f"The decision is recorded as event {event.number}; the next command moves the aliases",
            where=f"models:/{name}",
            cause=error.cause or error.what,
            remedy=f"do not repeat the command; `reviewlm history --model {name}` shows the outcome",
        )
        self.event = event


class LoggedDecisions(RegisteredModel):
    """The decision log of one registered model, and what follows from it in MLflow.

    Inside `with model.changing():`, `log`, `state`, `there` and `aliases` are the events, the state after them, the
    versions by number, and the aliases, as last read.
    """

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the registry's lock on this machine, and start from the state of the log.

        First finish interrupted changes of other processes, and record in the log if aliases were moved by other means.
        """
        with during(f"updating the registry of {self.name}"), registry_lock(self.tracker):
            self._look()
            for _ in range(LOOKS):
                self._carry_out()
                if self._agrees():
                    break
                seen = self.log, self.aliases
                time.sleep(SETTLING)
                self._look()
                if seen == (self.log, self.aliases):  # no other machine is changing it
                    self._adopt()
                    break
            else:
                raise self._restless()

            yield

    def _agrees(self) -> bool:
        """Return whether the aliases are those that follow from the log."""
        aliases = self.aliases.get(CHAMPION), self.aliases.get(PREVIOUS)
        return self.state.known and aliases == (self.state.champion, self.state.previous)

    def _adopt(self) -> None:
        """Record in the log that the aliases are as they are."""
        why = "an alias was set by other means than reviewlm" if self.log else "the log begins here"
        if not self.state.known:
            why = "an event before this one cannot be read or is gone"
            log.warning(
                "the decision log of %s is damaged (%s); %s",
                self.name,
                "; ".join(complaints(self.log)),
                ALIASES_COUNT,
            )

        champion = self.aliases.get(CHAMPION)
        previous = self.aliases.get(PREVIOUS)
        event = Event(
            ADOPTED,
            False,
            champion or 0,
            self.state.champion,
            why,
            who="unknown",
            previous=previous,
            carried_out="found so",
        )
        self.append(event, self.log)
        self._look()
        for number, state in version_states(self.log, self.state).items():
            if number in (event.version, event.against, previous) and number in self.there:
                retag(self.tracker, self.there[number], {tag.NOW: str(state)})

    def _look(self) -> None:
        self.log = self.events()
        self.state = fold_events(self.log)
        versions, self.aliases = contents_of(self.tracker, self.name)
        self.there = {version.version: version for version in versions}

    def _pending(self) -> list[Event]:
        return [event for event in self.log if self.state.states[event.number] == PENDING]

    def append(self, event: Event, seen: Sequence[Event]) -> Event:
        """Append an event to the log, and return it with its number.

        If the answer is lost, the log is read to see whether the event arrived, so that it is not written twice.

        Args:
            event: The event; texts that are too long for MLflow are shortened.
            seen: The events of the log when the decision was made.
        """
        event = event.storable(f"{seen[-1].number} {seen[-1].digest}" if seen else "")
        try:
            return self._create(event)
        except TrackingUnavailable:
            if arrived := [one for one in self.events() if one.key == event.key]:
                return arrived[0]
            raise

    def _create(self, event: Event) -> Event:
        if not event.after:
            create_model(
                self.tracker, self.name + LOG, "What was decided, one version per decision."
            )

        with self.tracker.reaching() as client:
            made = client.create_model_version(
                self.name + LOG, SOURCE, await_creation_for=0, **event.entry()
            )

        when = datetime.fromtimestamp(made.creation_timestamp / 1000, UTC)
        return replace(event, number=int(made.version), when=when)

    def mark(self, event: Event, how: str = "") -> None:
        """Mark an event as carried out, or as given up (*how*); nothing else is ever added to an event."""
        value = how or datetime.now(UTC).isoformat(timespec="seconds")
        self.tracker.ask(
            lambda client: client.set_model_version_tag(
                self.name + LOG, str(event.number), DONE_TAG, value
            )
        )

    def _enter(self, event: Event) -> Event:
        """Write an event to the log, which makes the decision valid, carry it out, and return it as written.

        Raises:
            ChampionChanged: The champion is another than the one that the event is against.
            Unfinished: MLflow stopped answering, or the disk got full, after the event was written.
            TrackingUnavailable: MLflow stopped answering before the event was written, and nothing was changed; or
                during the write, and it is not known whether the event is in the log.
        """
        overtaken = event.promote and self.state.champion not in (event.against, event.version)
        if not overtaken:
            event = self.append(event, self.log)
            for last in (False, True):  # a single fault leaves nothing half done
                try:
                    self._look()
                    self._carry_out()
                    break
                except (TrackingUnavailable, StoreFull, NotWritable) as error:
                    if last and self.state.states.get(event.number) != OVERTAKEN:
                        raise Unfinished(event, self.name, error) from error
            overtaken = self.state.states.get(event.number) == OVERTAKEN

        if overtaken:
            raise ChampionChanged(
                "Another version became champion meanwhile; nothing was changed",
                where=f"models:/{self.name}@champion",
                value=f"version {self.state.champion}, expected {event.against or 'none'}",
                remedy=f"`reviewlm history --model {self.name}` says why; then decide again",
            )

        return event

    def _carry_out(self) -> None:
        """Update aliases, tags and descriptions to the state of the log."""
        wrote = False
        for _ in range(LOOKS):
            pending = self._pending()
            if not pending and (not wrote or self.aliases.get(CHAMPION) == self.state.champion):
                return
            gone = [event for event in pending if event.version not in self.there]
            for event in gone:
                self.mark(event, f"{ABANDONED}: version {event.version} is gone")
            if not gone:  # otherwise the champion may be another one than the log said
                for event in pending:
                    self._note(event)
                before = self.state.previous
                # It may be deleted.
                self._set_alias(PREVIOUS, before if before in self.there else None)
                self._set_alias(CHAMPION, self.state.champion)  # last
                RunOutcomes(self.tracker, self.log, self.state, self.there).show(pending)
                wrote = True
                for event in pending:
                    self.mark(event)
            self._look()  # another machine may have decided in the meantime, so that our aliases are outdated

        raise self._restless()

    def _restless(self) -> TrackingUnavailable:
        """Return the error for a registry that is never read twice alike."""
        return TrackingUnavailable(
            "The registry's aliases keep changing",
            where=f"models:/{self.name}",
            cause="another process is updating them",
            remedy="try again",
        )

    def _set_alias(self, alias: str, version: int | None) -> None:
        """Point an alias at a version, or delete it."""
        if self.aliases.get(alias) == version:
            return
        if version is None:
            self.tracker.ask(lambda client: client.delete_registered_model_alias(self.name, alias))
        else:
            self.tracker.ask(
                lambda client: client.set_registered_model_alias(self.name, alias, str(version))
            )

    def _note(self, event: Event) -> None:
        """Write an event's tags and report to its version, and to the champion before it that it is not in use."""
        moved = event.promote and event.against != event.version
        since = {}
        if moved:
            since = {tag.SINCE: event.when.isoformat(timespec="seconds")}

        if moved and event.against in self.there:
            self._describe(event.against, event, {})
        if refuses_former_champion(event, self.log):
            later = f"refused on {event.when:%Y-%m-%d} against version {event.against}: {event.why}"
            self._describe(event.version, event, {tag.LATER: " ".join(later.split())})
        else:
            self._describe(event.version, event, {**event.tags, **since})
        if event.action in (GATE, MANUAL) and self.aliases.get(CHALLENGER) == event.version:
            self._set_alias(CHALLENGER, None)

    def _describe(
        self,
        number: int,
        event: Event,
        tags: Mapping[str, str],
    ) -> None:
        """Update tags and description of a version; what was decided later stands before what the gate reported.

        Args:
            number: The version.
            event: The decision.
            tags: Its tags that the decision sets; with `LATER` the gate's report stays that of the earlier decision.
        """
        entry = self.version(number)  # anew: an event before this one may have changed its tags
        judged = event.action == GATE and number == event.version and tag.LATER not in tags
        again = event.promote and number == event.version
        later = "" if again else tags.get(tag.LATER) or entry.tags.get(tag.LATER, "")
        words = event.by_hand.get(number)
        if words is None:
            sentence = entry.tags.get(tag.BY_HAND, "")
        elif words:
            words = f"{words} on {event.when:%Y-%m-%d} by {event.who}: {event.why}"
            sentence = " ".join(words.split())
        else:
            sentence = ""

        if judged:
            text = event.report
        else:
            text = FIRST_LINES.sub("", entry.description)

        if later:
            text = f"**Later**: {literal(later)}\n\n{text}"
        if sentence:
            text = f"**By hand**: {literal(sentence)}\n\n{text}"
        text = shorten(text, DESCRIPTION_LENGTH)
        if entry.description != text:
            self.tracker.ask(
                lambda client: client.update_model_version(self.name, str(number), text)
            )

        gone = {tag.BY_HAND, tag.LATER}
        if judged:  # rules of an earlier decision
            gone |= {name for name in entry.tags if name.startswith(tag.RULE)}
        if number != event.version:
            gone.add(tag.SINCE)

        tags = dict(tags)
        if sentence:
            tags[tag.BY_HAND] = sentence
        if later:
            tags[tag.LATER] = later
        state = version_states(self.log, self.state).get(number)
        if state is not None:
            tags[tag.NOW] = str(state)
        retag(self.tracker, entry, tags, gone - tags.keys())

    def _decide(self, event: Event) -> Event:
        """Write a decision to the log and carry it out, unless this was done before and only the answer was lost."""
        with self.changing():
            earlier = same_decision(self.log, event)
            if earlier is None or self.state.states[earlier.number] == OVERTAKEN:
                return self._enter(event)
            return earlier
