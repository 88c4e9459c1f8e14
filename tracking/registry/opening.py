"""Find the registered version that a reference means, and open its bundle with the installed `models`.

No code from the registry runs. Programs outside this project open the model with `tracking/logged_models/pyfunc.py`.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from core.config.run_config import RunConfig
from core.config.sections.evaluation import OWN_MODEL, demo_of
from core.environment import chosen_device
from core.errors import BundleError, InputError
from models.base import ModelError
from tracking.logged_models.bundles import Found, find_version
from tracking.logged_models.export import CLASSIFIER, LANGUAGE_MODEL, Form, facts_of, form_of
from tracking.registry.decisions import lost_champion_of
from tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    LOG,
    PREVIOUS,
    REFUSED,
    SCHEME,
    Reference,
    Version,
    contents_of,
    registered,
    registered_names,
)
from tracking.runs.runs import Tracker
from tracking.tags import OUTCOME, REASON

log = logging.getLogger(__name__)
FIRST = "`make demo` or `reviewlm run` registers a language model, `reviewlm models classify fit` a classifier"


def open_version(config: RunConfig, reference: str = CHAMPION) -> tuple[Any, Version]:
    """Open a registered language model; see `locate` for the forms of a reference, and `open_champion` for errors."""
    tracker, address = locate(config, reference)
    return open_champion(tracker, address, chosen_device(config.execution.device))


def open_classifier(config: RunConfig, reference: str = CHAMPION) -> tuple[Any, Version]:
    """Open a registered classifier's bundle; references and errors as in `open_version`."""
    tracker, address = locate(config.asking(config.classification.model_name), reference)
    return open_champion(tracker, address, chosen_device(config.execution.device), CLASSIFIER)


def open_champion(
    tracker: Tracker, reference: str = f"{SCHEME}{OWN_MODEL}@{CHAMPION}", device: str = "cpu",
    form: Form | None = LANGUAGE_MODEL,
) -> tuple[Any, Version]:  # fmt: skip
    """Open a registered model's bundle: `models.bundles.bundle.Bundle`, or a classifier's.

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
        TrackingUnavailable: MLflow does not answer.
    """
    entry = find_version(tracker, Reference.parse(reference))
    if entry is None:
        raise nothing_registered(tracker, reference)
    try:
        return (form or form_of(facts_of(entry.folder))).load(entry.folder, device), entry.version
    except ModelError as error:
        if error.kind == "input":  # the version is not at fault
            raise InputError(str(error), where=reference) from error
        of = f"--model {Reference.parse(reference).name}"
        raise BundleError(
            f"{reference} cannot be opened", where=entry.folder, cause=str(error),
            remedy=f"choose another version (`reviewlm history {of}`), or go back to the previous champion "
            f"(`reviewlm rollback {of}`)",
        ) from error


def find(config: RunConfig, reference: str) -> tuple[Tracker, Found]:
    """Return a registered version with the folder of its bundle, without opening it; references as in `locate`.

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


def find_classifier(config: RunConfig, reference: str) -> Found:
    """Return a registered classifier; see `find`."""
    return find(config.asking(config.classification.model_name), reference)[1]


def tracker_at(config: RunConfig) -> Tracker:
    """Return the tracker of a configuration, without creating the home folder."""
    return Tracker(config.tracking_address, config.execution.experiment, config.home / "mlartifacts")


def locate(config: RunConfig, reference: str) -> tuple[Tracker, str]:
    """Return the tracker of the registry, and the full `models:/…` address of a reference.

    Args:
        config: Names the registry and the registered model.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`, with or without the scheme; the name of a registered
            model, for its champion; or an alias or a number, for a version of `asked_model`.
    """
    tracker = tracker_at(config)
    if reference.startswith(SCHEME):
        return tracker, reference
    if "@" in reference or "/" in reference:
        return tracker, f"{SCHEME}{reference}"
    if reference not in (CHAMPION, CHALLENGER, PREVIOUS) and not reference.isdigit() and registered(tracker, reference):
        return tracker, f"{SCHEME}{reference}@{CHAMPION}"
    return tracker, f"{SCHEME}{asked_model(config, tracker)}{'/' if reference.isdigit() else '@'}{reference}"


def asked_model(config: RunConfig, tracker: Tracker) -> str:
    """Return the name of the configured registered model, or of the demo's model if the configured one does not exist.

    After a run on the user's own reviews has registered a version, the demo's model is used only if the user names it.
    """
    name = config.promotion.model_name
    demo = demo_of(name)
    present = registered(tracker, name) or registered(tracker, name + LOG)  # if deleted, another does not replace it
    if not demo or present or not registered(tracker, demo):
        return name
    _warn_of_demo(tracker.uri, name, demo)
    return demo


@cache
def _warn_of_demo(uri: str, name: str, demo: str) -> None:
    """Log once per registry and process that the demo's model is used; a command asks for its name several times."""
    command = "run" if name == OWN_MODEL else "classify fit"
    log.warning("no model of yours is registered as '%s' yet: using the demo's, '%s'. `reviewlm %s --input "
                "FILES` makes yours", name, demo, command)  # fmt: skip


def about(config: RunConfig, reference: str) -> RunConfig:
    """Return the configuration with the registered model of a reference, for further requests to the registry.

    Raises:
        ConfigError: The address has no known form.
    """
    return config.asking(Reference.parse(locate(config, reference)[1]).name)


def nothing_registered(tracker: Tracker, reference: str) -> BundleError:
    """Return the error for a version that does not exist: why, and what there is."""
    target = Reference.parse(reference)
    name, wanted = target.name, target.alias or target.version
    versions, aliases = contents_of(tracker, name)
    names, cause = registered_names(tracker), ""
    if target.alias == CHAMPION and (versions or registered(tracker, name + LOG)):
        what, cause = f"'{name}' has no champion", lost_champion_of(tracker, name) or _not_promoted(versions[-1])
        remedy = champion_again(tracker, name)
    elif versions:
        what = f"'{name}' has no version {wanted}"
        remedy = f"one of {', '.join([*sorted(aliases), *(str(version.version) for version in versions)])}"
        if target.alias:  # a word without "@" may be meant as the name of a model, see `locate`
            remedy += f", or a registered model: {', '.join(names)}"
    else:
        what = f"Nothing is registered as {reference} yet"
        remedy = f"{FIRST}; registered are: {', '.join(names) or 'none'}"
    return BundleError(
        what, where=reference, value=wanted, cause=cause,
        remedy=f"{remedy}; `reviewlm history --model {name}` shows more",
    )


def _not_promoted(version: Version) -> str:
    if version.tags.get(OUTCOME) == REFUSED:
        return f"the gate refused version {version.version}: {version.tags.get(REASON)}"
    return f"version {version.version} is not promoted"


def champion_again(tracker: Tracker, name: str) -> str:
    """Return how a model without a champion gets one."""
    if not (versions := contents_of(tracker, name)[0]):
        return "restore a backup, or let a run register a new version"
    newest, of = versions[-1], "" if name == OWN_MODEL else f"--model {name} "
    force = " --force" if newest.tags.get(OUTCOME) == REFUSED else ""
    promote = f"`reviewlm promote {of}--version {newest.version}{force} --why TEXT`"
    return f"{promote} makes version {newest.version} champion; `--model {name}/{newest.version}` uses it as it is"
