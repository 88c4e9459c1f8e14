"""Register versions of a model, and carry out promotions, refusals and rollbacks.

Aliases show the role of a version: `challenger` from registration to decision, `champion` for the version in use,
`previous` for the champion before it. They follow the decision log (`tracking/registry/decisions.py`).
`tracking/registry/change.py` turns a decision into aliases and tags, also after an interruption. The gate does not read
scores from the registry: it scores both models itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import InputError, ReviewLMError
from tracking.client import PRESENT, error_code
from tracking.logged_models.bundles import bundle_folder, bundle_in
from tracking.registry.change import ChampionChanged, Change, exclusive_change, registry_lock, retag
from tracking.registry.decisions import (
    GATE,
    MANUAL,
    OVERTAKEN,
    ROLLBACK,
    DecisionLog,
    Event,
    author,
    fold_events,
    same_decision,
)
from tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    DESCRIPTION_LENGTH,
    MODEL_DESCRIPTION,
    PREVIOUS,
    PROMOTED,
    REFUSED,
    Version,
    contents_of,
    version_in,
    version_tags,
)
from tracking.runs.params import shorten
from tracking.runs.runs import Tracker
from tracking.tags import (
    BY_HAND_WHO,
    BY_HAND_WHY,
    DATA_TAG,
    DECISION_FIGURES,
    FAMILY_TAG,
    MADE_FROM,
    MODEL_URI_TAG,
    MODEL_VERSIONS,
    OUTCOME,
    REASON,
    RULE,
    SINCE,
    VERSION_ADAPTATION,
    packed,
)

if TYPE_CHECKING:
    from tracking.runs.runs import Tracker

__all__ = [
    "CHALLENGER", "CHAMPION", "PREVIOUS", "ChampionChanged", "Registry", "Version", "bundle_in",
]
log = logging.getLogger(__name__)
HISTORY = 50
"""Decisions that a card shows at most, the newest first."""


class Registry:
    """Versions and aliases of one registered model. Methods raise TrackingUnavailable if MLflow does not answer."""

    def __init__(self, tracker: Tracker, model_name: str) -> None:
        self.tracker, self.name, self.log = tracker, model_name, DecisionLog(tracker, model_name)

    def register(
        self, model_uri: str, run_id: str, tags: Mapping[str, Any] | None = None, description: str = ""
    ) -> int:
        """Register a logged model as the challenger, and return its version.

        A repeated call returns the same version. A version that the gate has judged does not become challenger again.
        """
        self._create_model()
        with exclusive_change(self.tracker, self.name) as change:
            same = next((version for version in self.versions() if version.source == model_uri), None)
            with self.tracker.reaching() as client:
                model = client.get_logged_model(model_uri.removeprefix("models:/"))
            number = same.version if same else self._create_version(model, model_uri, run_id, tags or {}, description)
            self._link(model, number)
            if same is None or OUTCOME not in same.tags:
                change.set_alias(CHALLENGER, number)
        return number

    def _create_model(self) -> None:
        try:
            with self.tracker.reaching() as client:
                client.create_registered_model(self.name, description=MODEL_DESCRIPTION.format(name=self.name))
        except ReviewLMError as error:
            if error_code(error) not in PRESENT:
                raise

    def _create_version(
        self, model: Any, model_uri: str, run_id: str, tags: Mapping[str, Any], description: str
    ) -> int:
        """Create a version from the model's folder: MLflow would look up `models:/m-…` in its process-wide store."""
        with self.tracker.reaching() as client:
            created = client.create_model_version(
                self.name, model.artifact_location, run_id, packed(version_tags({**tags, MODEL_URI_TAG: model_uri})),
                description=shorten(description, DESCRIPTION_LENGTH), model_id=model.model_id,
            )
        return int(created.version)

    def _link(self, model: Any, number: int) -> None:
        """Note the version in a tag of the logged model, as MLflow's own registration does."""
        linked = json.loads(model.tags.get(MODEL_VERSIONS, "[]"))
        if (self.name, str(number)) in {(entry["name"], str(entry["version"])) for entry in linked}:
            return
        entries = [*linked, {"name": self.name, "version": number}]
        with self.tracker.reaching() as client:
            client.set_logged_model_tags(model.model_id, {MODEL_VERSIONS: json.dumps(entries)})

    def alias(self, name: str) -> Version | None:
        """Return the version that an alias points to, or None if the alias or the model does not exist."""
        return next((version for version in self.versions() if name in version.aliases), None)

    def version(self, number: int) -> Version:
        """Return one version.

        Raises:
            InputError: There is no version with this number.
        """
        if (version := version_in(self.tracker, self.name, number)) is not None:
            return version
        remedy = f"`reviewlm history --model {self.name}` lists the versions"
        raise InputError("There is no such version", where=f"models:/{self.name}", value=number, remedy=remedy)

    def version_rows(self) -> list[dict[str, Any]]:
        """Return one row per version, the newest first, for tables and JSON; those in `rolled_back` say so."""
        rows, left = [version.as_row() for version in self.versions()], self.rolled_back()
        return [row | ({"outcome": "rolled back"} if row["version"] in left else {}) for row in rows]

    def decisions(self) -> list[dict[str, Any]]:
        """Return one row per event of the decision log, the newest first; its state shows whether it counts."""
        events = self.events()
        states = fold_events(events).states
        return [event.as_row(states[event.number]) for event in reversed(events)]

    def rolled_back(self) -> dict[int, Event]:
        """Return the versions that were rolled back from and not promoted again since, with the event of each."""
        events = {event.number: event for event in self.events()}
        return {version: events[number] for version, number in fold_events(events.values()).left.items()}

    def versions(self) -> list[Version]:
        """Return all versions, the newest first; an empty list if the model does not exist."""
        return contents_of(self.tracker, self.name)[0][::-1]

    def bundle_folder(self, version: int | Version) -> Path:
        """Return the folder of a version's bundle; download it first if the store is not on this machine.

        Raises:
            BundleError: The version holds no bundle, or its files are missing.
        """
        return bundle_folder(self.tracker, self.name, version.version if isinstance(version, Version) else version)

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Set those tags of a version that it does not have yet with these values."""
        with registry_lock(self.tracker):  # the packed tag is read and written whole
            version = self.version(number)
            changes = {name: value for name, value in version_tags(tags).items() if version.tags.get(name) != value}
            if changes:
                retag(self.tracker, version, changes)

    def events(self) -> list[Event]:
        """Return the decision log, the oldest event first."""
        return self.log.read()

    def settle(
        self, version: int, expected_champion: int | None, promote: bool, report: str, tags: Mapping[str, Any], *,
        who: str = "", run_id: str = "",
    ) -> None:
        """Write the gate's decision to the log, then carry it out: update tags, description and aliases.

        Args:
            version: The challenger.
            expected_champion: The champion that it was compared with; None if there was none.
            promote: Whether the gate accepted it.
            report: The decision as Markdown.
            tags: Further tags of the version: the reason, the rules, the figures.
            who: Author; empty for USER@HOST of this process.
            run_id: MLflow run that holds the decision. Repeated calls for the same run are written once.

        Raises:
            ChampionChanged: The challenger won against a version that is no longer champion. It is not promoted; its
                version and the aliases are not changed.
            ReviewLMError: There is no such version.
        """
        self.version(version)
        why = str(tags.get(REASON, ""))
        outcome = {OUTCOME: PROMOTED if promote else REFUSED}
        self._decide(Event(
            GATE, promote, version, expected_champion, why, who, run_id, tags=outcome | version_tags(tags),
            report=report,
        ))

    def promote(
        self, version: int, expected_champion: int | None, *, why: str = "", who: str = "", force: bool = False
    ) -> Event | None:
        """Make a version champion by hand, if the champion is still the one that the user has seen.

        Return the decision as written in the log; None if the version is already champion, so that nothing is decided.

        Args:
            version: Number of the version; the gate must not have refused it.
            expected_champion: The champion that the user has seen; None if there was none.
            why: The reason, for the log and the tags of the version.
            who: Author; empty for USER@HOST of this process.
            force: Promote the version although the gate has refused it.

        Raises:
            ChampionChanged: Another version became champion in the meantime. Nothing was changed.
            ReviewLMError: The gate has refused the version, or there is no such version.
            Unfinished: The decision is in the log, but MLflow stopped answering before the aliases were updated.
        """
        self.require_promotable(version, force)
        if CHAMPION in self.version(version).aliases:
            return None
        who = who or author()
        tags = {BY_HAND_WHY: why, BY_HAND_WHO: who} if why else {}
        return self._decide(Event(MANUAL, True, version, expected_champion, why, who, tags=version_tags(tags)))

    def require_promotable(self, version: int, force: bool = False) -> None:
        """Raise a ReviewLMError if the gate has refused a version (unless *force*), or if it does not exist."""
        entry = self.version(version)
        if entry.tags.get(OUTCOME) == REFUSED and not force:
            raise ReviewLMError(
                f"The gate has refused version {version}", where=f"models:/{self.name}/{version}",
                cause=entry.tags.get(REASON, ""), remedy="promote another version, or this one with --force",
            )

    def rollback(self, to: int | None = None, *, against: int | None = None, why: str = "", who: str = "") -> Event:
        """Make a former champion champion again, and return the decision as written in the log.

        The current champion becomes `previous`.

        Args:
            to: A version that was champion before; None for the previous champion.
            against: The champion that the user has seen; None to accept any champion.
            why: The reason.
            who: Author; empty for USER@HOST of this process.

        Raises:
            ChampionChanged: The champion is not *against*. Nothing was changed.
            ReviewLMError: There is no previous champion, or *to* was never champion or is champion already; or, without
                *to*, an earlier interrupted rollback has only now been completed, and a second one would undo it.
            Unfinished: The decision is in the log, but MLflow stopped answering before the aliases were updated.
        """
        with exclusive_change(self.tracker, self.name) as change:
            target = self._former_champion(change, to)
            champion = change.state.champion
            event = self._enter(change, Event(ROLLBACK, True, target, against or champion, why, who))
        log.info("version %d of %s is champion again (was %s)", target, self.name, champion)
        return event

    def rollback_target(self, to: int | None = None) -> int:
        """Return the version that `rollback` would make champion; raise the same errors."""
        with exclusive_change(self.tracker, self.name) as change:
            return self._former_champion(change, to)

    def champions(self) -> list[Version]:
        """Return all current and former champions that still exist, the earliest first."""
        with exclusive_change(self.tracker, self.name) as change:
            past_champions = change.state.past_champions
        there = {version.version: version for version in self.versions()}
        return [there[number] for number in past_champions if number in there]

    def _former_champion(self, change: Change, to: int | None) -> int:
        state = change.state
        if to is None and (late := [event for event in change.finished if event.action == ROLLBACK]):
            raise ReviewLMError(
                f"A rollback to version {late[-1].version} was interrupted and has been completed only now",
                where=f"models:/{self.name}", value=f"event {late[-1].number}",
                remedy="if you wanted that, nothing more is needed; `--to N` goes back to another former champion",
            )
        target = state.previous if to is None else to
        if target is None or target == state.champion:
            raise ReviewLMError(
                f"{self.name} has no previous champion to go back to" if to is None else
                f"Version {to} is the champion already", where=f"models:/{self.name}",
            )
        if target not in state.past_champions:
            numbers = ", ".join(map(str, state.past_champions)) or "none"
            raise ReviewLMError(
                f"Version {to} of {self.name} was never champion", value=to, cause=f"champions so far: {numbers}",
                remedy="make it champion with `reviewlm promote --version N --why TEXT`",
            )
        return target

    def _decide(self, event: Event) -> Event:
        """Write a decision to the log and carry it out, unless this was done before and only the answer was lost."""
        with exclusive_change(self.tracker, self.name) as change:
            earlier = same_decision(change.events, event)
            if earlier is None or change.state.states[earlier.number] == OVERTAKEN:
                return self._enter(change, event)
            return earlier

    def _enter(self, change: Change, event: Event) -> Event:
        champion = change.state.champion
        if not event.promote or champion in (event.against, event.version):
            event = change.decide(event)
            if change.state.states[event.number] != OVERTAKEN:
                return event
            champion = change.state.champion
        raise ChampionChanged(
            "Another version became champion meanwhile; nothing was changed", where=f"models:/{self.name}@champion",
            value=f"version {champion}, expected {event.against or 'none'}", remedy="run the promotion again",
        )


def recorded_card(tracker: Tracker, name: str, number: int) -> dict[str, Any]:
    """Return the gate's verdict on a version with its rules and figures, and the decisions about all versions.

    Raises:
        TrackingUnavailable: The registry cannot be read.
        InputError: There is no such version.
    """
    registry = Registry(tracker, name)
    tags = registry.version(number).tags
    rules = [(key.removeprefix(RULE), *text.partition(": ")[::2]) for key, text in tags.items() if key.startswith(RULE)]
    figures = json.loads(tags.get(DECISION_FIGURES, "{}"))
    return {
        "verdict": ": ".join(filter(None, (tags.get(OUTCOME), tags.get(REASON)))),
        "family": tags.get(FAMILY_TAG, ""), "adaptation": tags.get(VERSION_ADAPTATION, ""), "since": tags.get(SINCE),
        "data": {"made_from": tags.get(MADE_FROM, ""), "digest": tags.get(DATA_TAG, "")},
        "rules": [{"rule": rule, "outcome": outcome, "why": why} for rule, outcome, why in rules],
        "figures": [{"name": name, "value": value} for name, value in figures.items()],
        "history": registry.decisions()[:HISTORY],
    }  # fmt: skip
