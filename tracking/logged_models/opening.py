"""Open a registered version's bundle with the installed `models`, so that no code from the registry runs.

Programs outside this project open the model with `tracking/logged_models/programs/pyfunc.py`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.config.run_config import RunConfig
from core.config.sections.promotion import OWN_MODEL, demo_of
from core.environment import chosen_device
from core.errors import BundleError, InputError
from tracking.logged_models.lookup import (
    Found,
    contents_of,
    find_version,
    lost_champion_of,
    registered,
    registered_names,
    versions_of,
)
from tracking.registry.events import LOG
from tracking.registry.versions import CHALLENGER, CHAMPION, PREVIOUS, REFUSED, SCHEME, Reference, Version
from tracking.runs.runs import Tracker
from tracking.tags import OUTCOME, REASON

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle
    from models.classification.bundle import ClassifierBundle

Opened = TypeVar("Opened")
log = logging.getLogger(__name__)
SURELY_MEANT = 0.85
"""Likeness (`difflib`) from which a name is taken for a misspelt one; less may be another model, as of classifiers."""
FIRST = "no champion: run `make demo` or `reviewlm run` first"
FIRST_CLASSIFIER = "no champion: run `reviewlm models classify fit` first"


def open_version(config: RunConfig, reference: str = "champion") -> tuple[Bundle, Version]:
    """Open a registered version; see `locate` for the forms of a reference."""
    tracker, address = locate(config, reference)
    return open_champion(tracker, address, chosen_device(config.execution.device))


def use_version(config: RunConfig, reference: str, use: Callable[[Path], Opened]) -> tuple[Opened, Version]:
    """Return what *use* makes of the folder of a registered version's bundle; see `open_version`."""
    return _opened(*locate(config, reference), use)


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


def open_champion(
    tracker: Tracker, reference: str = f"{SCHEME}{OWN_MODEL}@{CHAMPION}", device: str = "cpu"
) -> tuple[Bundle, Version]:
    """Open a registered language model's bundle.

    Args:
        tracker: Tracker of the store that holds the registry.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        device: Device to load the model to.

    Raises:
        ConfigError: The reference has neither form.
        BundleError: Nothing is registered under the reference, its files are missing or damaged, or its probe texts
            score differently from when it was saved.
        InputError: The device does not exist.
        TrackingUnavailable: MLflow does not answer.
    """
    def load(folder: Path) -> Bundle:
        from models.bundles.bundle import load_bundle

        return load_bundle(folder, device=device)

    return _opened(tracker, reference, load)


def open_classifier(config: RunConfig, reference: str = CHAMPION) -> tuple[ClassifierBundle, Version]:
    """Open a registered classifier's bundle; references and errors as in `open_version`."""
    tracker, address = locate(config.asking(config.classification.model_name), reference)
    return open_classifier_at(tracker, address, chosen_device(config.execution.device))


def find_classifier(config: RunConfig, reference: str) -> Found:
    """Return a registered classifier with its folder, without opening it; references as in `locate`.

    Raises:
        ConfigError: The reference has no known form.
        BundleError: Nothing is registered under it.
        TrackingUnavailable: MLflow does not answer.
    """
    return _found(config.asking(config.classification.model_name), reference, FIRST_CLASSIFIER)


def _found(config: RunConfig, reference: str, first: str) -> Found:
    tracker, address = locate(config, reference)
    version = find_version(tracker, Reference.parse(address))
    if version is None:
        raise nothing_registered(tracker, address, first)
    return version


def open_classifier_at(tracker: Tracker, reference: str, device: str = "cpu") -> tuple[ClassifierBundle, Version]:
    """Open a registered classifier's bundle; arguments and errors as in `open_champion`."""
    def load(folder: Path) -> ClassifierBundle:
        from models.classification.bundle import load_classifier

        return load_classifier(folder, device=device)

    return _opened(tracker, reference, load, FIRST_CLASSIFIER)


def _opened(
    tracker: Tracker, reference: str, load: Callable[[Path], Opened], first: str = FIRST
) -> tuple[Opened, Version]:
    """Return what *load* makes of a registered version's bundle; *first* says how to register the first one."""
    entry = find_version(tracker, Reference.parse(reference))
    if entry is None:
        raise nothing_registered(tracker, reference, first)
    from models.base import ModelError

    try:
        return load(entry.folder), entry.version
    except ModelError as error:
        if error.kind == "input":  # the version is not at fault
            raise InputError(str(error), where=reference) from error
        of = f"--model {Reference.parse(reference).name}"
        raise BundleError(
            f"{reference} cannot be opened", where=entry.folder, cause=str(error),
            remedy=f"choose another version (`reviewlm history {of}`), or go back to the previous champion "
            f"(`reviewlm rollback {of}`)",
        ) from error


def nothing_registered(tracker: Tracker, reference: str, first: str = FIRST) -> BundleError:
    """Return the error for a version that does not exist, with advice for the user; *first*: see `_opened`."""
    target = Reference.parse(reference)
    numbers = versions_of(tracker, target.name) if registered(tracker, target.name) else []
    if target.alias == CHAMPION and (how := lost_champion_of(tracker, target.name)):
        return _champion_lost(tracker, target.name, how)
    if numbers and target.alias == CHAMPION:
        return _no_champion(tracker, target.name, numbers[-1])
    if numbers:
        return _no_such_version(tracker, reference, target)
    if near := difflib.get_close_matches(target.name, registered_names(tracker), n=1, cutoff=SURELY_MEANT):
        return BundleError(
            f"No model is registered as '{target.name}'", where=reference,
            remedy=f"did you mean '{near[0]}'? `reviewlm history --model {near[0]}` lists its versions. "
            f"Otherwise: {first}",
        )
    return BundleError(
        f"Nothing is registered as {reference} yet", where=tracker.uri,
        remedy=f"{first}; `reviewlm history` lists the versions{_or_the_demo(tracker, target.name)}",
    )


def _no_such_version(tracker: Tracker, reference: str, target: Reference) -> BundleError:
    """Return the error for a number or alias that no version has: the existing ones, and the one that is most alike."""
    aliases, versions = contents_of(tracker, target.name)
    what, near = f"There is no version {target.version}", list[str]()
    if target.alias in (CHALLENGER, PREVIOUS):
        what = f"No version of '{target.name}' has the alias '{target.alias}'"
    elif target.alias in registered_names(tracker):
        what = f"'{target.alias}' is not an alias of '{target.name}', but another registered model"
        near = [target.alias]
    elif target.alias:  # a word without "@" may be meant as the name of a model, see `locate`
        what = f"'{target.alias}' is neither an alias of '{target.name}' nor the name of a registered model"
        near = difflib.get_close_matches(target.alias, [*aliases, *registered_names(tracker)], n=1)
    meant = f"did you mean '{near[0]}'? " if near else ""
    choices = ", ".join([*sorted(aliases), *map(str, sorted(versions))])
    return BundleError(
        what, where=reference, value=target.alias or target.version,
        remedy=f"{meant}one of {choices}; `reviewlm history --model {target.name}` shows more",
    )


def _champion_lost(tracker: Tracker, name: str, how: str) -> BundleError:
    """Return the error for a model whose champion is gone by other means than a decision; *how* says by which."""
    return BundleError(
        f"'{name}' has lost its champion", where=f"{SCHEME}{name}@{CHAMPION}", cause=how,
        remedy=champion_again(tracker, name) + _or_the_demo(tracker, name),
    )


def champion_again(tracker: Tracker, name: str) -> str:
    """Return how a model whose champion is gone gets one."""
    _, versions = contents_of(tracker, name)
    if not versions:
        return "restore a backup, or let a run register a new version"
    of = "" if name == OWN_MODEL else f" --model {name}"
    promote = promotion_by_hand(name, max(versions), refused=False)
    return f"`reviewlm history{of}` lists the versions; {promote} makes one champion"


def _no_champion(tracker: Tracker, name: str, newest: int) -> BundleError:
    """Return the error for a model whose newest version was not promoted: the reason, and the commands that help."""
    entry = find_version(tracker, Reference(name, version=newest))
    tags = entry.version.tags if entry else {}
    refused = tags.get(OUTCOME) == REFUSED
    cause = f"the gate refused version {newest}: {tags.get(REASON)}" if refused else f"version {newest} is not promoted"
    remedy = (
        f"{promotion_by_hand(name, newest, refused)} makes version {newest} champion; `--model {name}/{newest}` uses "
        f"it as it is; `reviewlm history --model {name}` lists all decisions"
    )
    return BundleError(
        f"No version of '{name}' is champion yet", where=f"{SCHEME}{name}@{CHAMPION}", cause=cause,
        remedy=remedy + _or_the_demo(tracker, name),
    )


def promotion_by_hand(name: str, version: int, refused: bool) -> str:
    """Return the command that makes a version champion, in backquotes."""
    of = "" if name == OWN_MODEL else f"--model {name} "
    return f"`reviewlm promote {of}--version {version}{' --force' if refused else ''} --why TEXT`"


def _or_the_demo(tracker: Tracker, name: str) -> str:
    demo = demo_of(name)
    return f"; `--model {demo}` uses the demo's model" if demo and registered(tracker, demo) else ""
