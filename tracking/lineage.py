"""The record of a version's lineage, kept in the folder of the logged model: where the version goes, it goes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reviewlm.config import RunConfig
from reviewlm.errors import BundleError
from reviewlm.lineage import LINEAGE_FILE, Lineage
from tracking.opening import Found, find_version, locate
from tracking.runs import Tracker
from tracking.versions import Reference


def find(config: RunConfig, reference: str) -> tuple[Tracker, Found]:
    """Return a registered version: of an alias, a number, or a whole `models:/…` address.

    Raises:
        ConfigError: The address is of no known form.
        BundleError: Nothing is registered under it, or its files are gone.
        TrackingUnavailable: MLflow does not answer.
    """
    tracker, address = locate(config, reference)
    found = find_version(tracker, Reference.parse(address))
    if found is None:
        raise BundleError(
            f"Nothing is registered as {address} yet", where=tracker.uri,
            remedy="`reviewlm history` lists the versions",
        )
    return tracker, found


def record_of(bundle: Path) -> Lineage | None:
    """Return the record beside a version's bundle; None of a version from before there were records.

    Raises:
        Damaged: It is not what was written.
    """
    file = bundle.parent.parent / LINEAGE_FILE  # the bundle is <model>/artifacts/bundle
    return Lineage.from_json(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None


def attach(tracker: Tracker, model_uri: str, lineage: Lineage) -> None:
    """Put a record beside a logged model's bundle, in place of one that is there."""
    with tempfile.TemporaryDirectory(prefix="reviewlm-lineage-") as folder, tracker.reaching() as client:
        file = Path(folder) / LINEAGE_FILE
        file.write_text(lineage.to_json(), encoding="utf-8")
        client.log_model_artifact(model_uri.removeprefix("models:/"), str(file))
