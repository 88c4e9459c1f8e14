"""Open the bundle of a registered version, or find its folder.

A bundle is opened with the installed `models`: no code from the registry runs. Programs outside this project open the
model with `tracking/logged_models/pyfunc.py`.
"""

from __future__ import annotations

from typing import Any

from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.core.environment import chosen_device
from reviewlm.core.errors import (
    ERROR_TYPES,
    BundleError,
)
from reviewlm.core.processes.interrupts import during
from reviewlm.core.workspace import Workspace
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.description import verify_bundle
from reviewlm.tracking.logged_models.bundles import Found, find_version
from reviewlm.tracking.logged_models.export import (
    LANGUAGE_MODEL,
    Form,
    facts_of,
    form_of,
)
from reviewlm.tracking.registry.locating import locate, locate_run_model
from reviewlm.tracking.registry.remedies import nothing_registered, way_back
from reviewlm.tracking.registry.versions import (
    CHAMPION,
    SCHEME,
    Reference,
    Version,
    contents_of,
)
from reviewlm.tracking.runs.runs import Tracker


def open_version(
    workspace: Workspace,
    model_name: str,
    reference: str = CHAMPION,
    form: Form = LANGUAGE_MODEL,
) -> tuple[Any, Version]:
    """Open a registered model of a family, or another model of a version's run.

    A reference has a form of `locate` or `locate_run_model`; see `open_champion` for errors.
    """
    tracker, address = locate_run_model(workspace, model_name, reference)
    return open_champion(tracker, address, chosen_device(workspace.execution.device), form)


def open_champion(
    tracker: Tracker,
    reference: str = f"{SCHEME}{OWN_MODEL}@{CHAMPION}",
    device: str = "cpu",
    form: Form | None = LANGUAGE_MODEL,
) -> tuple[Any, Version]:
    """Open a registered model's bundle: `reviewlm.models.bundles.bundle.Bundle`, or a classifier's.

    Args:
        tracker: Tracker of the store that holds the registry.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        device: Device to load the model to.
        form: Family of the model; None for that of the bundle.

    Raises:
        ConfigError: The reference has neither form.
        BundleError: Nothing is registered under the reference, its files are missing or damaged, or its probe texts
            score differently from when it was saved.
        InputError: The device does not exist.
        OutOfMemory: The memory does not suffice to open it.
        TrackingUnavailable: MLflow does not answer.
    """
    with during(f"opening {reference}"):
        return _open_found(tracker, reference, device, form)


def _open_found(
    tracker: Tracker,
    reference: str,
    device: str,
    form: Form | None,
) -> tuple[Any, Version]:
    entry = _find_registered(tracker, reference)
    try:
        return (form or form_of(facts_of(entry.folder))).load(entry.folder, device), entry.version
    except ModelError as error:
        if error.kind in ("input", "memory"):  # the version is not at fault
            raise ERROR_TYPES[error.kind](str(error), where=reference) from error
        raise _not_opened(tracker, reference, entry, error) from error


def find(
    workspace: Workspace,
    model_name: str,
    reference: str,
) -> Found:
    """Return a registered version with the folder of its bundle, without opening it; references as in `locate`.

    Raises:
        ConfigError: The address has no known form.
        BundleError: Nothing is registered under the reference, or its files are missing.
        TrackingUnavailable: MLflow does not answer.
    """
    return _find_registered(*locate(workspace, model_name, reference))


def _find_registered(tracker: Tracker, address: str) -> Found:
    reference = Reference.parse(address)
    try:
        entry = find_version(tracker, reference)
    except BundleError as error:
        _, aliases = contents_of(tracker, reference.name)
        if reference.alias:
            number = aliases.get(reference.alias)
        else:
            number = reference.version

        if number is not None and not reference.model:
            remedy = f"{error.remedy}; {way_back(tracker, reference.name, number)}"
            raise BundleError(
                error.what,
                where=error.where,
                cause=error.cause,
                remedy=remedy,
            ) from error
        raise

    if entry is None:
        raise nothing_registered(tracker, address)

    return entry


def unusable_champion(tracker: Tracker, name: str) -> BundleError | None:
    """Return why the files of a champion in a local registry cannot be used; None if they can, or there is none.

    Each file is read, and its SHA-256 compared with the one in the bundle's description.
    """
    if CHAMPION not in contents_of(tracker, name)[1]:
        return None

    address = f"{SCHEME}{name}@{CHAMPION}"
    try:
        entry = _find_registered(tracker, address)
        verify_bundle(entry.folder)
    except BundleError as error:
        return error
    except ModelError as error:
        return _not_opened(tracker, address, entry, error)

    return None


def _not_opened(
    tracker: Tracker,
    reference: str,
    entry: Found,
    error: ModelError,
) -> BundleError:
    version = entry.version
    other = f"choose another version (`reviewlm history --model {version.name}`)"
    back = way_back(tracker, version.name, version.version)
    return BundleError(
        f"{reference} cannot be opened",
        where=entry.folder,
        cause=str(error),
        remedy=f"{other}; {back}",
    )
