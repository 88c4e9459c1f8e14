"""Versions of the registered model, and the deed that follows a gate's decision.

Aliases say what a version is for: `challenger` from registration to decision, `champion` for what is served,
`previous` for the champion before it. The registry holds no truth about figures: the gate measures both sides itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reviewlm.errors import BundleError, ReviewLMError
from tracking.change import Change, exclusive_change
from tracking.client import ABSENT, PRESENT, error_code
from tracking.export import BUNDLE_PATH
from tracking.params import shorten
from tracking.runs import Tracker
from tracking.versions import (
    CHALLENGER,
    CHAMPION,
    DESCRIPTION_LENGTH,
    MODEL_URI,
    OUTCOME,
    PREVIOUS,
    Version,
    local_folder,
    outcome_tags,
    version_of,
    version_tags,
)

__all__ = ["CHALLENGER", "CHAMPION", "PREVIOUS", "Registry", "Version", "bundle_in", "outcome_tags"]
log = logging.getLogger(__name__)
SINCE = "champion/since"
MODEL_VERSIONS = "mlflow.modelVersions"  # the UI links a logged model to its versions by this tag


class Registry:
    """Versions and aliases of one registered model. Raises TrackingUnavailable where MLflow does not answer."""

    def __init__(self, tracker: Tracker, model_name: str) -> None:
        self.tracker, self.name = tracker, model_name

    def register(
        self, model_uri: str, run_id: str, tags: Mapping[str, Any] | None = None, description: str = ""
    ) -> int:
        """Register a logged model as the challenger and return its version.

        A repeated call returns the same version; one that was already decided upon does not become challenger again.
        """
        self._create_model()
        with self._change() as change:
            known = next((version for version in self.versions() if version.source == model_uri), None)
            number = known.version if known else self._create_version(model_uri, run_id, tags or {}, description)
            if known is None or OUTCOME not in known.tags:
                change.set_alias(CHALLENGER, number)
        return number

    def _create_model(self) -> None:
        try:
            with self.tracker.reaching() as client:
                client.create_registered_model(self.name)
        except ReviewLMError as error:
            if error_code(error) not in PRESENT:
                raise

    def _create_version(self, model_uri: str, run_id: str, tags: Mapping[str, Any], description: str) -> int:
        """Give MLflow the model's own folder: an address `models:/m-…` it would look up in its process-wide store."""
        with self.tracker.reaching() as client:
            model = client.get_logged_model(model_uri.removeprefix("models:/"))
            created = client.create_model_version(
                self.name, model.artifact_location, run_id, version_tags({**tags, MODEL_URI: model_uri}),
                description=shorten(description, DESCRIPTION_LENGTH), model_id=model.model_id,
            )
            known = json.loads(model.tags.get(MODEL_VERSIONS, "[]"))
            versions = [*known, {"name": self.name, "version": created.version}]
            client.set_logged_model_tags(model.model_id, {MODEL_VERSIONS: json.dumps(versions)})
        return int(created.version)

    def alias(self, name: str) -> Version | None:
        """Return the version that an alias points to, None if the alias or the model does not exist."""
        number = self._aliases().get(name)
        return None if number is None else self.version(number)

    def version(self, number: int) -> Version:
        """Return one version; a ReviewLMError says so where it does not exist."""
        aliases = self._aliases()
        with self.tracker.reaching() as client:
            return version_of(client.get_model_version(self.name, str(number)), aliases)

    def history(self) -> list[dict[str, Any]]:
        """Return one plain row per version, the newest first, for tables and JSON."""
        return [version.as_row() for version in self.versions()]

    def versions(self) -> list[Version]:
        """Return all versions, the newest first; none where the model does not exist."""
        aliases, found, token = self._aliases(), [], None
        with self.tracker.reaching() as client:
            while True:
                page = client.search_model_versions(f"name = '{self.name}'", max_results=1000, page_token=token)
                found += [version_of(entry, aliases) for entry in page]
                if not (token := page.token):
                    return sorted(found, key=lambda version: -version.version)

    def _aliases(self) -> dict[str, int]:
        try:
            with self.tracker.reaching() as client:
                return {name: int(number) for name, number in client.get_registered_model(self.name).aliases.items()}
        except ReviewLMError as error:
            if error_code(error) in ABSENT:
                return {}
            raise

    def bundle_folder(self, version: int | Version) -> Path:
        """Return the folder of a version's bundle, downloaded first where the store is not on this machine.

        Raises:
            BundleError: The version holds no bundle, or its files are gone.
        """
        number = version.version if isinstance(version, Version) else version
        with self.tracker.reaching() as client:
            address = client.get_model_version_download_uri(self.name, str(number))
        return bundle_in(self.tracker, address) or self._download(address, number) / BUNDLE_PATH

    def _download(self, address: str, number: int) -> Path:
        """Fetch a version once; the folder gets its final name only when it is whole."""
        final = self.tracker.artifact_root / "downloads" / self.name / str(number)
        if not final.exists():
            import mlflow.artifacts

            unfinished = final.with_name(f"{number}.partial")
            unfinished.mkdir(parents=True, exist_ok=True)
            with self.tracker.reaching():
                folder = mlflow.artifacts.download_artifacts(
                    artifact_uri=address, dst_path=str(unfinished), tracking_uri=self.tracker.uri
                )
            Path(folder).rename(final)
        return final

    def _change(self) -> AbstractContextManager[Change]:
        return exclusive_change(self.tracker, self.name, self._aliases)

    def record_decision(self, version: int, report: str, tags: Mapping[str, Any]) -> None:
        """Write a decision on a version: its Markdown as description, outcome and reasons as tags."""
        with self._change() as change:
            self._record(version, report, tags, change)

    def promote(self, version: int, expected_champion: int | None) -> None:
        """Make a version the champion, if the champion is still the one that it was compared with.

        Raises:
            ReviewLMError: Another version became champion meanwhile; nothing has changed.
        """
        with self._change() as change:
            self._move_champion(version, expected_champion, change)

    def settle(
        self, version: int, expected_champion: int | None, promote: bool, report: str, tags: Mapping[str, Any]
    ) -> None:
        """Record a decision and carry it out, as one: where a step fails, tags, text and aliases are put back.

        Args:
            version: The challenger.
            expected_champion: The champion that it was compared with, None for "there was none".
            promote: Whether the gate let it pass.
            report: The decision as Markdown.
            tags: See `versions.outcome_tags`.

        Raises:
            ReviewLMError: Another version became champion meanwhile; nothing has changed.
        """
        with self._change() as change:
            if promote:
                self._expect(version, expected_champion, change)
            self._record(version, report, tags, change)
            if promote:
                self._move_champion(version, expected_champion, change)

    def rollback(self) -> int:
        """Swap champion and previous and return the version that is champion now."""
        with self._change() as change:
            champion, previous = change.aliases.get(CHAMPION), change.aliases.get(PREVIOUS)
            if champion is None or previous is None or champion == previous:
                raise ReviewLMError(f"{self.name} has no previous champion to go back to", where=self.tracker.uri)
            change.set_alias(PREVIOUS, champion)
            change.set_alias(CHAMPION, previous)
            log.info("version %d of %s is champion again (was %d)", previous, self.name, champion)
            return previous

    def _record(self, version: int, report: str, tags: Mapping[str, Any], change: Change) -> None:
        before = self.version(version)
        change.describe(before, report)
        change.set_tags(before, tags)
        if change.aliases.get(CHALLENGER) == version:
            change.set_alias(CHALLENGER, None)

    def _expect(self, version: int, expected: int | None, change: Change) -> None:
        current = change.aliases.get(CHAMPION)
        if current not in (expected, version):
            raise ReviewLMError(
                "Another version became champion meanwhile; nothing was changed", where=f"models:/{self.name}@champion",
                value=f"version {current}, expected {expected or 'none'}", remedy="run the promotion again",
            )

    def _move_champion(self, version: int, expected: int | None, change: Change) -> None:
        """Set the alias `champion` last: until then nobody who asks for the champion sees anything."""
        self._expect(version, expected, change)
        current = change.aliases.get(CHAMPION)
        if current == version:
            return  # a repeated call
        if current is not None:
            change.set_alias(PREVIOUS, current)
        if change.aliases.get(CHALLENGER) == version:
            change.set_alias(CHALLENGER, None)
        change.set_tags(self.version(version), {SINCE: datetime.now(UTC).isoformat(timespec="seconds")})
        change.set_alias(CHAMPION, version)
        log.info("version %d of %s is champion (was %s)", version, self.name, current or "none")


def bundle_in(tracker: Tracker, address: str) -> Path | None:
    """Return the bundle's folder in a model at a local address, None where the address is of another machine.

    The database keeps absolute addresses; of a home folder that was moved, the same model is looked up where it is now.

    Raises:
        BundleError: The address is local and there is no bundle.
    """
    folder = local_folder(address)
    if folder is None:
        return None
    moved = tracker.artifact_root.joinpath(*folder.parts[-3:])  # models/m-…/artifacts
    for place in (folder, moved):
        if (place / BUNDLE_PATH / "spec.json").is_file():
            return place / BUNDLE_PATH
    raise BundleError(
        "The registered version holds no bundle", where=folder,
        cause="its files were deleted, or it was not registered by this project",
    )
