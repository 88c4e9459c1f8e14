"""Keep the lineage record of a version in the folder of its logged model, so that both are copied together."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import ArtifactError
from core.lineage.record import LINEAGE_FILE, Lineage
from tracking.logged_models.lookup import Found, find_version
from tracking.logged_models.opening import locate, nothing_registered
from tracking.registry.change import registry_lock, retag
from tracking.registry.registry import Registry
from tracking.registry.versions import Reference, version_tags
from tracking.runs.runs import Tracker
from tracking.tags import unpacked


def find(config: RunConfig, reference: str) -> tuple[Tracker, Found]:
    """Return a registered version; see `tracking.logged_models.opening.locate` for the forms of a reference.

    Raises:
        ConfigError: The address has no known form.
        BundleError: Nothing is registered under the reference, or its files are missing.
        TrackingUnavailable: MLflow does not answer.
    """
    tracker, address = locate(config, reference)
    version = find_version(tracker, Reference.parse(address))
    if version is None:
        raise nothing_registered(tracker, address)
    return tracker, version


def record_of(bundle: Path) -> Lineage | None:
    """Return the record in the model folder of a bundle; None for one that no run registered.

    Raises:
        Damaged: The record was changed after it was written.
    """
    file = bundle.parent.parent / LINEAGE_FILE  # the bundle is <model>/artifacts/bundle
    return Lineage.from_json(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def required_record(bundle: Path) -> Lineage:
    """Return the record in the model folder of a bundle.

    Raises:
        ArtifactError: There is none.
        Damaged: The record was changed after it was written.
    """
    if (record := record_of(bundle)) is None:
        raise ArtifactError("It is not known how this version was made", where=bundle, cause="no run registered it")
    return record


def tag_version(registry: Registry, number: int, tags: Mapping[str, str]) -> None:
    """Set those tags of a version that it does not have yet with these values."""
    with registry_lock(registry.tracker):  # the packed tag is read and written whole
        with registry.tracker.reaching() as client:
            entry = client.get_model_version(registry.name, str(number))
        present = unpacked(entry.tags)
        if changes := {name: value for name, value in version_tags(tags).items() if present.get(name) != value}:
            retag(registry.tracker, entry, changes)


def attach(tracker: Tracker, model_uri: str, lineage: Lineage) -> None:
    """Write a record into the folder of a logged model; an existing one is replaced."""
    with tempfile.TemporaryDirectory(prefix="reviewlm-lineage-") as folder, tracker.reaching() as client:
        file = Path(folder) / LINEAGE_FILE
        file.write_text(lineage.to_json(), encoding="utf-8")
        client.log_model_artifact(model_uri.removeprefix("models:/"), str(file))
