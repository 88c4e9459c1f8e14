"""Open a fitted model by its name or folder, and find the reviews that it was fitted on."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from reviewlm.core.environment import HOME_VARIABLE
from reviewlm.core.errors import ArtifactError, BundleError, converted_errors
from reviewlm.loaded_model import LoadedModel
from reviewlm.models.text.given import given_path, given_text, given_texts
from reviewlm.options import configure, is_folder, open_registered, run_checked

if TYPE_CHECKING:
    from reviewlm.core.store import Artifact
    from reviewlm.core.workspace import Workspace
    from reviewlm.models.bundles.bundle import Bundle

BUNDLE = "bundle"
SCHEME = "models:/"
log = logging.getLogger(__name__)


def load(
    model: str | int | Path = "champion",
    home: str | Path | None = None,
    preset: str = "small",
    settings: Sequence[str] = (),
) -> LoadedModel:
    """Open a registered model, or the bundle in a folder.

    Until a run of your own reviews has registered a version, the demo's is opened, with a warning. `repr` of the model,
    and a line of the log (logger "reviewlm.loading", level INFO), say which one it is.

    Args:
        model: Alias or number of a version ("champion", 3), `NAME` of a registered model, `NAME@ALIAS`, `NAME/3`; or
            the folder of a bundle, as a path with a separator.
        home: Home folder with the registry, for this process from now on. Default: `REVIEWLM_HOME`, else that of the
            preset.
        preset: A preset of `config/`, or the path of a TOML file; it names the registered model.
        settings: Settings that replace those of the preset, each "key=value".

    Raises:
        ReviewLMError: There is no such model or folder, or it cannot be opened.
    """
    with converted_errors():
        reference = _reference(model)
        overrides = _overrides(settings)
        given_text(preset, "preset")
        if isinstance(reference, Path) or is_folder(reference):
            return open_folder(Path(reference))
        if home is not None:
            os.environ[HOME_VARIABLE] = str(given_path(home, "home").resolve())

    config = configure(preset, overrides, create=False)
    return open_model(config.workspace, config.promotion.model_name, reference)


def _reference(model: object) -> str | Path:
    """Return the name of a version, or the path of a folder."""
    if isinstance(model, Integral) and not isinstance(model, bool):
        return str(model)
    if isinstance(model, str):
        given_path(model, "model")
        return model.removeprefix("file://")

    return given_path(model, "model")


def _overrides(settings: object) -> list[str]:
    """Return settings that replace those of a preset, each "key=value"."""
    if settings is None:
        return []
    return given_texts(settings, "settings")


def open_model(
    workspace: Workspace,
    model_name: str,
    model: str,
) -> LoadedModel:
    """Open a registered model, or the bundle in a folder; names and errors are those of `load`.

    Args:
        workspace: Names the registry.
        model_name: Name of the registered model that the configuration asks for.
        model: The version or folder.
    """
    if is_folder(model):
        return open_folder(Path(model))
    from reviewlm.core.config.sections.evaluation import DEMO_MODEL
    from reviewlm.tracking.tags import MADE_FROM

    bundle, version = open_registered(workspace, model_name, model)
    made_from = version.tags.get(MADE_FROM, "")
    lm = LoadedModel(
        version.name,
        int(version.version),
        bundle,
        made_from,
        version.created,
    )
    log.info("opened %r from %s", lm, workspace.home)
    if version.name == DEMO_MODEL and not model.removeprefix(SCHEME).startswith(DEMO_MODEL):
        warnings.warn(
            f"{lm!r} is the demo's model, because there is no '{model_name}' of your own in "
            f"{workspace.home.absolute()}. `reviewlm run --input FILES` makes one; "
            f"load({version.name!r}) opens the demo's without this warning",
            stacklevel=3,
        )

    return lm


def prepared_of(home: Path, bundle: Bundle) -> Artifact:
    """Return the prepared reviews that a model was fitted on.

    Raises:
        ArtifactError: They are not in the store.
    """
    from reviewlm.core.store import Store

    store = Store.of(home)
    digest = str(bundle.facts.get("clean_digest", ""))
    if not digest or (artifact := store.find("prepare", digest)) is None:
        raise ArtifactError(
            f"The reviews of '{bundle.spec.name}' are not in the store",
            where=store.root,
            remedy="set REVIEWLM_HOME to the home folder of its run, or name others: --input FILES",
        )

    return artifact


def open_folder(folder: Path) -> LoadedModel:
    """Open a fitted model: its bundle, or the folder of a fit that contains the bundle.

    Raises:
        BundleError: There is no such folder, or it has no readable bundle.
    """
    if not folder.is_dir():
        raise BundleError(
            "There is no such folder", where=folder, remedy="name the folder of a fitted model"
        )
    from reviewlm.models.bundles.bundle import load_bundle

    if (folder / BUNDLE).is_dir():
        folder = folder / BUNDLE

    bundle = run_checked(lambda: load_bundle(folder))
    return LoadedModel(bundle.spec.name, None, bundle)
