"""Open a fitted model from its folder, and find the reviews that it was fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import ArtifactError, BundleError
from reviewlm.options import checked

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from core.store import Artifact
    from models.bundles.bundle import Bundle

BUNDLE = "bundle"


def prepared_of(config: RunConfig, bundle: Bundle) -> Artifact:
    """Return the prepared reviews that a model was fitted on.

    Raises:
        ArtifactError: They are not in the store.
    """
    from core.store import Store

    store, digest = Store.of(config), str(bundle.facts.get("clean_digest", ""))
    if not digest or (found := store.listed("prepare", digest)) is None:
        raise ArtifactError(
            f"The reviews of '{bundle.spec.name}' are not in the store", where=store.root,
            remedy="set REVIEWLM_HOME to the home folder of its run, or name others: --input FILES",
        )
    store.check(found)
    return found


def open_folder(folder: Path) -> Bundle:
    """Open a fitted model: its bundle, or the folder of a fit that contains the bundle.

    Raises:
        BundleError: There is no such folder, or it has no readable bundle.
    """
    if not folder.is_dir():
        raise BundleError("There is no such folder", where=folder, remedy="name the folder of a fitted model")
    return _open(folder / BUNDLE if (folder / BUNDLE).is_dir() else folder)


def _open(folder: Path) -> Bundle:
    from models.bundles.bundle import load_bundle

    return checked(lambda: load_bundle(folder))
