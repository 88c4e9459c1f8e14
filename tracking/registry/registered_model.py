"""Read the versions, aliases and decisions of a registered model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from reviewlm.core.errors import InputError
from reviewlm.tracking.logged_models.bundles import bundle_folder
from reviewlm.tracking.registry.decisions import Event, events_of, fold_events
from reviewlm.tracking.registry.remedies import FIRST_VERSION_COMMANDS
from reviewlm.tracking.registry.version_states import VALID, version_states
from reviewlm.tracking.registry.versions import Version, contents_of, retag, version_tags
from reviewlm.tracking.runs.runs import Tracker


def registry_lock(tracker: Tracker) -> FileLock:
    """Return the lock that orders the changes of the registry on this machine; it may not be taken twice."""
    home = tracker.artifact_root.parent
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / "registry.lock")


class RegisteredModel:
    """Versions, aliases and decisions of one registered model, as MLflow has them now.

    Methods raise TrackingUnavailable if MLflow does not answer.
    """

    def __init__(self, tracker: Tracker, model_name: str) -> None:
        self.tracker = tracker
        self.name = model_name

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
            remedy = FIRST_VERSION_COMMANDS
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
