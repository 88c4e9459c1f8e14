"""Register versions of a model, and carry out promotions, refusals and rollbacks.

Aliases show the role of a version: `challenger` from registration to decision, `champion` for the version in use,
`previous` for the champion before it. The gate does not read scores from the registry: it scores both models itself.

MLflow has no transaction over aliases, tags and descriptions. So the event in the decision log is the decision
(`tracking/registry/decisions.py`), and the rest is derived from it. Every step of `Registry._carry_out` may be
repeated. If a process was killed or lost its connection, the next change of the registry finishes its work. The alias
`champion` is set last, so it always points to the old or the new champion.

On one machine, a file lock allows one change at a time. Between machines, the order of the log decides (see
`decisions.fold_events`). One gap remains: a process may pause between reading the log and writing an alias, and then
overwrite a newer alias from another machine. It reads the log again after the write and corrects the alias. If it is
killed before that, the alias stays wrong until a user changes it; the next change records it in the log as moved.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from reviewlm.core.errors import (
    InputError,
    NotWritable,
    ReviewLMError,
    StoreFull,
    TrackingUnavailable,
)
from reviewlm.core.output import literal
from reviewlm.core.processes.interrupts import during
from reviewlm.tracking import tags as tag
from reviewlm.tracking.logged_models.bundles import bundle_folder
from reviewlm.tracking.registry.decisions import (
    ABANDONED,
    ADOPTED,
    ALIASES_COUNT,
    DONE_TAG,
    GATE,
    MANUAL,
    OVERTAKEN,
    PENDING,
    ROLLBACK,
    Event,
    complaints,
    events_of,
    fold_events,
    same_decision,
)
from reviewlm.tracking.registry.remedies import FIRST, advice_without_champion, way_back
from reviewlm.tracking.registry.run_outcomes import RunOutcomes
from reviewlm.tracking.registry.version_states import (
    VALID,
    refuses_former_champion,
    version_states,
)
from reviewlm.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    DESCRIPTION_LENGTH,
    LOG,
    MODEL_DESCRIPTION,
    PREVIOUS,
    PROMOTED,
    REFUSED,
    SOURCE,
    Version,
    contents_of,
    create_model,
    retag,
    version_tags,
)
from reviewlm.tracking.runs.runs import Tracker
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

    def __init__(self, event: Event, name: str, error: ReviewLMError) -> None:
        super().__init__(
            f"The decision is recorded as event {event.number}; the next command moves the aliases",
            where=f"models:/{name}",
            cause=error.cause or error.what,
            remedy=f"do not repeat the command; `reviewlm history --model {name}` shows the outcome",
        )
        self.event = event


def registry_lock(tracker: Tracker) -> FileLock:
    """Return the lock that orders the changes of the registry on this machine; it may not be taken twice."""
    home = tracker.artifact_root.parent
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / "registry.lock")


class Registry:
    """Versions, aliases and decisions of one registered model.

    Inside `with registry.changing():`, `log`, `state`, `there` and `aliases` are the events, the state after them, the
    versions by number, and the aliases, as last read. Methods raise TrackingUnavailable if MLflow does not answer.
    """

    def __init__(self, tracker: Tracker, model_name: str) -> None:
        self.tracker = tracker
        self.name = model_name

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
                self._set_alias(
                    PREVIOUS, before if before in self.there else None
                )  # it may be deleted
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

    def _describe(self, number: int, event: Event, tags: Mapping[str, str]) -> None:
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

    def register(self, model_uri: str, run_id: str, tags: Mapping[str, Any] | None = None) -> int:
        """Register a logged model as the challenger, and return its version.

        A repeated call returns the same version. A version that the gate has judged does not become challenger again.
        """
        create_model(self.tracker, self.name, MODEL_DESCRIPTION.format(name=self.name))
        with self.changing():
            same = next(
                (version for version in self.versions() if version.source == model_uri), None
            )
            with self.tracker.reaching() as client:
                model = client.get_logged_model(model_uri.removeprefix("models:/"))
                if same:
                    number = same.version
                else:
                    all_tags = {**(tags or {}), tag.MODEL_URI_TAG: model_uri}
                    stored = tag.pack_tags(version_tags(all_tags))
                    # From the model's folder: MLflow would look up `models:/m-…` in its process-wide store.
                    folder = model.artifact_location
                    made = client.create_model_version(
                        self.name, folder, run_id, stored, model_id=model.model_id
                    )
                    number = int(made.version)

                self._link(client, model, number)

            if same is None or tag.OUTCOME not in same.tags:
                self._set_alias(CHALLENGER, number)

        return number

    def _link(self, client: Any, model: Any, number: int) -> None:
        """Note in a logged model's tags that it is a version, as MLflow's own registration does."""
        linked = json.loads(model.tags.get(tag.MODEL_VERSIONS, "[]"))
        known = {(entry["name"], str(entry["version"])) for entry in linked}
        if (self.name, str(number)) in known:
            return

        entries = [*linked, {"name": self.name, "version": number}]
        client.set_logged_model_tags(model.model_id, {tag.MODEL_VERSIONS: json.dumps(entries)})

    def alias(self, name: str) -> Version | None:
        """Return the version that an alias points to, or None if the alias or the model does not exist."""
        return next((version for version in self.versions() if name in version.aliases), None)

    def version(self, number: int) -> Version:
        """Return one version.

        Raises:
            InputError: There is no version with this number.
        """
        versions = {version.version: version for version in self.versions()}
        if number not in versions:
            remedy = FIRST
            if versions:
                numbers = ", ".join(map(str, sorted(versions)))
                remedy = f"one of {numbers}; `reviewlm history --model {self.name}` shows more"

            raise InputError(
                f"There is no version {number}",
                where=f"models:/{self.name}",
                value=number,
                remedy=remedy,
            )

        return versions[number]

    def versions(self) -> list[Version]:
        """Return all versions, the newest first; an empty list if the model does not exist."""
        return contents_of(self.tracker, self.name)[0][::-1]

    def version_rows(self) -> list[dict[str, Any]]:
        """Return one row per version, the newest first, for tables and JSON: its state, the gate's outcome, a person's."""
        events = self.events()
        state = fold_events(events)
        valid = [event for event in events if state.states[event.number] in VALID]
        by_hand = {number: words for event in valid for number, words in event.by_hand.items()}
        states = version_states(events, state)
        rows = []
        for version in self.versions():
            number = version.version
            row = {"now": str(states.get(number, "")), "by_hand": by_hand.get(number, "")}
            rows.append(version.as_row() | row)

        return rows

    def events(self) -> list[Event]:
        """Return the decision log, the oldest event first."""
        return events_of(self.tracker, self.name)

    def decisions(self) -> list[dict[str, Any]]:
        """Return one row per event of the decision log, the newest first; its state shows whether it counts."""
        events = self.events()
        states = fold_events(events).states
        return [event.as_row(states[event.number]) for event in reversed(events)]

    def rolled_back(self) -> Mapping[int, Event]:
        """Return the versions that were rolled back from and not promoted again since, with the event of each."""
        return fold_events(self.events()).left

    def bundle_folder(self, version: int | Version) -> Path:
        """Return the folder of a version's bundle, as `reviewlm.tracking.logged_models.bundles.bundle_folder`."""
        return bundle_folder(
            self.tracker, version if isinstance(version, Version) else self.version(version)
        )

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version, if it does not have them with these values."""
        with registry_lock(self.tracker):  # the packed tag is read and written whole
            retag(self.tracker, self.version(number), version_tags(tags))

    def settle(
        self,
        version: int | None,
        expected_champion: int | None,
        promote: bool,
        report: str,
        tags: Mapping[str, Any],
        run_id: str = "",
        who: str = "",
    ) -> None:
        """Write the gate's decision to the log, then carry it out: update tags, description and aliases.

        Args:
            version: The challenger; None if it was not registered, because it equals the champion.
            expected_champion: The champion that it was compared with; None if there was none.
            promote: Whether the gate accepted it.
            report: The decision as Markdown.
            tags: Further tags of the version: the reason, the rules, the figures.
            run_id: MLflow run that holds the decision. Repeated calls for the same run are written once.
            who: Author, e.g. the deployment that started the run; empty for USER@HOST of this process.

        Raises:
            ChampionChanged: The challenger won against a version that is no longer champion. It is not promoted; its
                version and the aliases are not changed.
            InputError: There is no such version.
        """
        if version is not None:
            self.version(version)

        why = str(tags.get(tag.REASON, ""))
        outcome = {tag.OUTCOME: PROMOTED if promote else REFUSED}
        event = Event(
            GATE,
            promote,
            version or 0,
            expected_champion,
            why,
            who,
            run_id=run_id,
            tags=outcome | version_tags(tags),
            report=report,
            carried_out="" if version else "no version",
        )
        self._decide(event)

    def promote(
        self,
        version: int,
        expected_champion: int | None,
        *,
        why: str = "",
        who: str = "",
        force: bool = False,
    ) -> Event:
        """Make a version champion by hand, if the champion is still the one that the user has seen.

        Return the decision as written in the log.

        Args:
            version: Its number.
            expected_champion: The champion that the user has seen; None if there was none.
            why: The reason.
            who: Author; empty for USER@HOST of this process.
            force: Promote the version although the gate has refused it.

        Raises:
            ChampionChanged: Another version became champion in the meantime. Nothing was changed.
            ReviewLMError: As `require_promotable`.
            Unfinished: The decision is in the log, but MLflow stopped answering before the aliases were updated.
        """
        self.require_promotable(version, force)
        return self._decide(Event(MANUAL, True, version, expected_champion, why, who))

    def require_promotable(self, version: int, force: bool = False) -> None:
        """Raise a ReviewLMError if the gate refused a version (unless *force*), or it is champion or does not exist."""
        entry = self.version(version)
        if CHAMPION in entry.aliases:
            raise ReviewLMError(
                f"Version {version} is the champion already",
                where=f"models:/{self.name}",
                remedy=f"there is nothing to do; `reviewlm history --model {self.name}` says since when",
            )
        if entry.tags.get(tag.OUTCOME) == REFUSED and not force:
            raise ReviewLMError(
                f"The gate has refused version {version}",
                where=f"models:/{self.name}/{version}",
                cause=entry.tags.get(tag.REASON, ""),
                remedy=f"`reviewlm promote --model {self.name} --version {version} --force --why TEXT` does it anyway",
            )

    def rollback(
        self, to: int | None = None, *, against: int | None = None, why: str = "", who: str = ""
    ) -> Event:
        """Make a former champion champion again, and return the decision as written in the log.

        The current champion becomes `previous`.

        Args:
            to: A version that was champion before; None for the previous champion, unless it was rolled back from.
            against: The champion that the user has seen; None to accept any champion.
            why: The reason.
            who: Author; empty for USER@HOST of this process.

        Raises:
            ChampionChanged: The champion is not *against*. Nothing was changed.
            ReviewLMError: There is no previous champion, or *to* was never champion or is champion already; or, without
                *to*, the previous champion was rolled back from: a second rollback would undo the first.
            Unfinished: The decision is in the log, but MLflow stopped answering before the aliases were updated.
        """
        with self.changing():
            target = self._former_champion(to)
            champion = self.state.champion
            event = self._enter(Event(ROLLBACK, True, target, against or champion, why, who))
        log.info("version %d of %s is champion again (was %s)", target, self.name, champion)
        return event

    def rollback_target(self, to: int | None = None) -> int:
        """Return the version that `rollback` would make champion; raise the same errors."""
        with self.changing():
            return self._former_champion(to)

    def champions(self) -> list[Version]:
        """Return all current and former champions that still exist, the earliest first."""
        with self.changing():
            return [
                self.there[number] for number in self.state.past_champions if number in self.there
            ]

    def _former_champion(self, to: int | None) -> int:
        state = self.state
        target = state.previous if to is None else to
        champions = ", ".join(map(str, state.past_champions)) or "none"
        if target is None:
            what = f"{self.name} has no previous champion to go back to"
            cause = ""
            remedy = self._other_champion()
        elif target == state.champion:
            what = f"Version {target} is the champion already"
            cause = ""
            remedy = f"there is nothing to do; of the others, {self._other_champion()}"
        elif target not in state.past_champions:
            what = f"Version {target} of {self.name} was never champion"
            cause = f"champions so far: {champions}"
            remedy = self._promotion(target)
        elif to is None and (left := state.left.get(target)):
            what = f"Version {state.champion} stays champion: version {target}, the one before it, was rolled back from"
            cause = (
                f"by {left.who} on {left.when:%Y-%m-%d}: {left.why}; champions so far: {champions}"
            )
            wanted = [target, *(one for one in state.past_champions if one in self.there)]
            others = [number for number in dict.fromkeys(wanted) if number != state.champion]
            remedy = "; ".join(map(self._rollback_to, others))
        else:
            return target

        raise ReviewLMError(
            what, where=f"models:/{self.name}", value=to, cause=cause, remedy=remedy
        )

    def _rollback_to(self, number: int) -> str:
        """Return the command that makes a former champion champion again, as a sentence."""
        return (
            f"`reviewlm rollback --model {self.name} --to {number}` makes version {number} champion"
        )

    def _other_champion(self) -> str:
        """Return the command that makes another version champion, as a sentence."""
        champion = self.state.champion
        if champion is None:
            return advice_without_champion(self.tracker, self.name)
        return way_back(self.tracker, self.name, champion)

    def _promotion(self, version: int) -> str:
        """Return the command that makes a version champion by hand, as a sentence."""
        entry = self.there.get(version)
        refused = entry is not None and entry.tags.get(tag.OUTCOME) == REFUSED
        force = " --force" if refused else ""
        promote = f"`reviewlm promote --model {self.name} --version {version}{force} --why TEXT`"
        return f"{promote} makes it champion"

    def _decide(self, event: Event) -> Event:
        """Write a decision to the log and carry it out, unless this was done before and only the answer was lost."""
        with self.changing():
            earlier = same_decision(self.log, event)
            if earlier is None or self.state.states[earlier.number] == OVERTAKEN:
                return self._enter(event)
            return earlier
