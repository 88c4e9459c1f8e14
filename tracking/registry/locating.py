"""Find the registry of a workspace, and the registered version that a reference means."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache

from reviewlm.core.config.sections.evaluation import demo_of
from reviewlm.core.errors import (
    ConfigError,
)
from reviewlm.core.workspace import Workspace
from reviewlm.tracking.logged_models.bundles import Found, find_version
from reviewlm.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    SCHEME,
    Reference,
    Version,
    contents_of,
    has_versions,
    is_known,
    version_numbered,
)
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import MODEL_NAME

log = logging.getLogger(__name__)


def tracker_at(workspace: Workspace) -> Tracker:
    """Return the tracker of a workspace, without creating the home folder."""
    return Tracker(workspace.tracking_address, workspace.experiment, workspace.home / "mlartifacts")


def locate(
    workspace: Workspace,
    model_name: str,
    reference: str,
) -> tuple[Tracker, str]:
    """Return the tracker of the registry, and the full `models:/…` address of a reference.

    Args:
        workspace: Names the registry.
        model_name: Name of the registered model that the configuration asks for.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`, with or without the scheme; the name of a registered
            model, for its champion; or an alias or a number, for a version of the model that the
            configuration asks for.

    Raises:
        ConfigError: *reference* names a model inside a version's run, not a version.
    """
    if reference.removeprefix(SCHEME).count("/") > 1:
        raise ConfigError(
            "Records and decisions are of versions, not of another model of a version's run",
            value=reference,
            remedy=f"name the version, {reference.rpartition('/')[0]}; generate, suggest, score and serve open this model",
        )

    tracker = tracker_at(workspace)
    if "@" in reference or "/" in reference:
        return tracker, f"{SCHEME}{reference.removeprefix(SCHEME)}"
    if (
        reference not in (CHAMPION, CHALLENGER, PREVIOUS)
        and not reference.isdigit()
        and is_known(tracker, reference)
    ):
        return tracker, f"{SCHEME}{reference}@{CHAMPION}"

    mark = "/" if reference.isdigit() else "@"
    return tracker, f"{SCHEME}{asked_model(tracker, model_name)}{mark}{reference}"


def locate_run_model(
    workspace: Workspace,
    model_name: str,
    reference: str,
) -> tuple[Tracker, str]:
    """Return the tracker and the address of what a command opens: as `locate`, or another model of a version's run.

    Args:
        workspace: Names the registry.
        model_name: Name of the registered model that the configuration asks for.
        reference: As for `locate`; `NAME/3/gru` or `3/gru`, a model of the run of version 3; or `gru`, of the champion's.
    """
    tracker = tracker_at(workspace)
    path = reference.removeprefix(SCHEME)
    number, _, model = path.partition("/")
    if model and number.isdigit():
        return tracker, f"{SCHEME}{asked_model(tracker, model_name)}/{path}"
    if path.count("/") > 1:
        return tracker, f"{SCHEME}{path}"

    if path.isdigit() or "@" in path or "/" in path or has_versions(tracker, path):
        return locate(workspace, model_name, reference)

    name = asked_model(tracker, model_name)
    versions, aliases = contents_of(tracker, name)
    champion = _champion_of(versions, aliases)
    if champion is None or path in aliases:
        return locate(workspace, model_name, reference)
    if path in champion.siblings:
        return tracker, f"{SCHEME}{name}/{champion.version}/{path}"
    if path == champion.tags.get(MODEL_NAME):
        return tracker, f"{SCHEME}{name}/{champion.version}"
    return locate(workspace, model_name, reference)


def models_of_champions_run(tracker: Tracker, name: str) -> list[str]:
    """Return the names of the models of the run of a registered model's champion, its own first; without one, none."""
    champion = _champion_of(*contents_of(tracker, name))
    if champion is None:
        return []
    own = champion.tags.get(MODEL_NAME)
    return [*filter(None, [own]), *champion.siblings]


def _champion_of(versions: Sequence[Version], aliases: Mapping[str, int]) -> Version | None:
    return version_numbered(versions, aliases.get(CHAMPION))


def asked_model(tracker: Tracker, name: str) -> str:
    """Return the name of the configured registered model, or of the demo's model if the configured one does not exist.

    After a run on the user's own reviews has registered a version, the demo's model is used only if the user names it.
    """
    demo = demo_of(name)
    if is_known(tracker, name):  # if deleted, another does not replace it
        return name
    if not demo or not is_known(tracker, demo):
        return name

    _tell_of_demo(tracker.uri, name, demo)
    return demo


@cache
def _tell_of_demo(
    uri: str,
    name: str,
    demo: str,
) -> None:
    """Log once per registry and process that the demo's model is used; a command asks for its name several times."""
    log.info("using the demo's model, '%s', because there is no '%s' of your own yet", demo, name)


def version_called(
    workspace: Workspace,
    model_name: str,
    reference: str,
) -> Found | None:
    """Return the version of a reference; None if nothing is registered under it, or if it is not a reference."""
    try:
        tracker, address = locate(workspace, model_name, reference)
        return find_version(tracker, Reference.parse(address))
    except ConfigError:  # "kn5+lstm" is the name of a model; an alias cannot have this form
        return None
