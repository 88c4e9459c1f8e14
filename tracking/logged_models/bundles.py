"""Log a bundle as an MLflow model, and find the bundle of a registered version here or download it once.

The lineage record of a version is in the folder of its logged model, so that both are copied together.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from reviewlm.core.errors import ArtifactError, BundleError, disk_errors
from reviewlm.core.lineage import LINEAGE_FILE, Lineage
from reviewlm.core.manifest import sha256_of
from reviewlm.tracking.artifacts import folder_of
from reviewlm.tracking.client import Absent
from reviewlm.tracking.logged_models.export import BUNDLE_PATH, PACKAGE, SPEC, facts_of
from reviewlm.tracking.registry.versions import Reference, Version, contents_of
from reviewlm.tracking.runs.runs import Tracker

NOT_IN_NAMES = r"[/:.%\"']"
"""Characters that MLflow does not allow in the name of a logged model."""


def log_bundle(
    tracker: Tracker,
    run_id: str,
    bundle: Path,
    name: str = "model",
    package: Path = PACKAGE,
) -> None:
    """Log a bundle as an MLflow model of a run, which gets its address, `models:/m-…`, as the tag `reviewlm.model_uri`.

    A bundle that the run has logged before is not logged again.

    Args:
        run_id: The run that produced the bundle.
        bundle: Folder written by `reviewlm.models.bundles.bundle.save_bundle`.
        name: Name of the logged model in the UI.
        package: Package to copy into the model.

    Raises:
        BundleError: The folder is not a bundle.
    """
    facts_of(bundle)
    model = {
        "name": re.sub(NOT_IN_NAMES, "-", name),
        "bundle": str(Path(bundle).absolute()),
        "package": str(package),
    }
    tracker.write(run_id, models=[model])


def bundle_in(tracker: Tracker, address: str) -> Path | None:
    """Return the bundle's folder in a model at a local address, or None if the address is not local.

    Raises:
        BundleError: The address is local, and there is no bundle.
    """
    folder = folder_of(address, tracker.uri)
    if folder is None:
        return None
    if (folder / BUNDLE_PATH / SPEC).is_file():
        return folder / BUNDLE_PATH

    raise BundleError(
        "The registered version holds no bundle",
        where=folder,
        cause="its files were deleted, or it was not registered by this project",
        remedy="run the same configuration again: a fit that is still in the store is logged and registered again",
    )


def has_bundle(tracker: Tracker, model_uri: str) -> bool:
    """Return whether the bundle of a logged model is still among MLflow's files, and undamaged as far as it is local.

    Args:
        tracker: Tracker of the server or database that has the model.
        model_uri: `models:/m-…`; for "" the result is False.
    """
    model_id = model_uri.removeprefix("models:/")
    if not model_id:
        return False

    try:
        model = tracker.ask(lambda client: client.get_logged_model(model_id))
        folder = bundle_in(tracker, model.artifact_location)
        if folder is not None:
            return _is_undamaged(folder)
        files = tracker.ask(
            lambda client: client.list_logged_model_artifacts(model_id, BUNDLE_PATH)
        )
    except (BundleError, Absent):
        return False

    return any(Path(file.path).name == SPEC for file in files)


def _is_undamaged(folder: Path) -> bool:
    """Return whether all files that a bundle's description lists have the SHA-256 that it states."""
    try:
        files = facts_of(folder).get("files", {})
        return all(sha256_of(folder / name) == digest for name, digest in files.items())
    except (BundleError, OSError, AttributeError):
        return False


def download(
    tracker: Tracker,
    address: str,
    name: str,
    number: str,
) -> Path:
    """Download a version once; the folder gets its final name only when it is complete.

    Another server has other versions with the same numbers, so the name of the folder also depends on the address. If
    several processes download at the same time, each uses its own folder, and the first finished one is kept.
    """
    place = hashlib.sha256(f"{tracker.uri}\n{address}".encode()).hexdigest()[:12]
    final = tracker.artifact_root / "downloads" / name / f"{number}-{place}"
    if final.exists():
        return final

    import mlflow.artifacts

    with disk_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f"{final.name}.",
            suffix=".partial",
            dir=final.parent,
        ) as unfinished:
            with tracker.reaching():
                folder = mlflow.artifacts.download_artifacts(
                    artifact_uri=address,
                    dst_path=unfinished,
                    tracking_uri=tracker.uri,
                )
            try:
                Path(folder).rename(final)
            except OSError:
                if not final.is_dir():  # otherwise another process was faster
                    raise

    return final


@dataclass(frozen=True)
class Found:
    """A version and the folder of its bundle."""

    version: Version
    folder: Path


def find_version(tracker: Tracker, reference: Reference) -> Found | None:
    """Return a version and the folder of its bundle, or of a sibling's; None if there is no such version or sibling.

    Raises:
        BundleError: The version holds no bundle, or its files are missing.
    """
    versions, aliases = contents_of(tracker, reference.name)
    if reference.alias:
        number = aliases.get(reference.alias)
    else:
        number = reference.version

    version = next((one for one in versions if one.version == number), None)
    if version is None:
        return None
    if not reference.model:
        return Found(version, bundle_folder(tracker, version))
    uri = version.siblings.get(reference.model)
    if uri is None:
        return None

    try:
        address = tracker.ask(
            lambda client: client.get_logged_model(uri.removeprefix("models:/"))
        ).artifact_location
    except Absent as error:
        raise BundleError(
            f"The model {reference.model} of the run of version {reference.version} was removed",
            where=uri,
            cause="clean-up keeps registered versions and the models of recent runs",
            remedy="`reviewlm run` with the same configuration makes it again",
        ) from error

    folder = _here(tracker, address, version, f"-{reference.model}")
    return Found(replace(version, run_model=reference.model), folder)


def _here(
    tracker: Tracker,
    address: str,
    version: Version,
    ending: str = "",
) -> Path:
    place = f"{version.version}{ending}"
    return (
        bundle_in(tracker, address) or download(tracker, address, version.name, place) / BUNDLE_PATH
    )


def bundle_folder(tracker: Tracker, version: Version) -> Path:
    """Return the folder of a version's bundle; download it first if the store is not on this machine.

    Raises:
        BundleError: The version holds no bundle, or its files are missing.
    """
    name = version.name
    number = str(version.version)
    place = version.place or tracker.ask(
        lambda client: client.get_model_version_download_uri(name, number)
    )
    return _here(tracker, place, version)


def record_of(bundle: Path) -> Lineage | None:
    """Return the record in the model folder of a bundle; None for one that no run registered.

    Raises:
        Damaged: The record was changed after it was written.
    """
    file = bundle.parent.parent / LINEAGE_FILE  # the bundle is <model>/artifacts/bundle
    if file.is_file():
        return Lineage.from_json(file.read_text(encoding="utf-8"), str(file))
    return None


def required_record(bundle: Path) -> Lineage:
    """Return the record in the model folder of a bundle.

    Raises:
        ArtifactError: There is none.
        Damaged: The record was changed after it was written.
    """
    record = record_of(bundle)
    if record is None:
        raise ArtifactError(
            "It is not known how this version was made", where=bundle, cause="no run registered it"
        )
    return record


def attach(
    tracker: Tracker,
    model_uri: str,
    lineage: Lineage,
) -> None:
    """Write a record into the folder of a logged model; an existing one is replaced."""
    with (
        tempfile.TemporaryDirectory(prefix="reviewlm-lineage-") as folder,
        tracker.reaching() as client,
    ):
        file = Path(folder) / LINEAGE_FILE
        file.write_text(lineage.to_json(), encoding="utf-8")
        client.log_model_artifact(model_uri.removeprefix("models:/"), str(file))
