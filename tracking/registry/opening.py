"""Open a registered version's bundle with the installed `models`, so that no code from the registry runs.

Programs outside this project open the model with `tracking/logged_models/pyfunc.py`.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.config.run_config import RunConfig
from core.config.sections.evaluation import OWN_MODEL, demo_of
from core.environment import chosen_device
from core.errors import BundleError, InputError
from tracking.logged_models.bundles import Found, find_version, task_of
from tracking.logged_models.forms import CLASSIFICATION
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

if TYPE_CHECKING:
    from models.bundles.bundle import Bundle
    from models.classification.bundle import ClassifierBundle

Opened = TypeVar("Opened")
log = logging.getLogger(__name__)
SURELY_MEANT = 0.85
"""Likeness (`difflib`) from which a name is taken for a misspelt one; less may be another model, as of classifiers."""
FIRST = "`make demo` or `reviewlm run` registers a language model, `reviewlm models classify fit` a classifier"


def open_version(config: RunConfig, reference: str = CHAMPION) -> tuple[Bundle, Version]:
    """Open a registered language model; see `locate` for the forms of a reference, and `open_champion` for errors."""
    tracker, address = locate(config, reference)
    return open_champion(tracker, address, chosen_device(config.execution.device))


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
    return _opened(tracker, reference, lambda folder: _load(folder, device))


def open_classifier(config: RunConfig, reference: str = CHAMPION) -> tuple[ClassifierBundle, Version]:
    """Open a registered classifier's bundle; references and errors as in `open_version`."""
    tracker, address = locate(config.asking(config.classification.model_name), reference)
    return _opened(tracker, address, lambda folder: _load_classifier(folder, chosen_device(config.execution.device)))


def require_opens(tracker: Tracker, name: str, version: int, device: str = "cpu") -> None:
    """Open a version of either family, before a user makes it champion: its probe texts are scored again.

    Raises:
        BundleError: As `open_champion`.
    """
    def load(folder: Path) -> object:
        return _load_classifier(folder, device) if task_of(folder) == CLASSIFICATION else _load(folder, device)

    _opened(tracker, f"{SCHEME}{name}/{version}", load)


def use_version(config: RunConfig, reference: str, use: Callable[[Path], Opened]) -> tuple[Opened, Version]:
    """Return what *use* makes of the folder of a registered version's bundle; see `open_version`."""
    return _opened(*locate(config, reference), use)


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


def _load(folder: Path, device: str) -> Bundle:
    from models.bundles.bundle import load_bundle

    return load_bundle(folder, device=device)


def _load_classifier(folder: Path, device: str) -> ClassifierBundle:
    from models.classification.bundle import load_classifier

    return load_classifier(folder, device=device)


def _opened(tracker: Tracker, reference: str, load: Callable[[Path], Opened]) -> tuple[Opened, Version]:
    """Return what *load* makes of a registered version's bundle."""
    entry = find_version(tracker, Reference.parse(reference))
    if entry is None:
        raise nothing_registered(tracker, reference)
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


def nothing_registered(tracker: Tracker, reference: str) -> BundleError:
    """Return the error for a version that does not exist: why, what there is, and what the user probably meant."""
    target = Reference.parse(reference)
    name, alias = target.name, target.alias
    present, aliases = contents_of(tracker, name)
    versions = [version.version for version in present]
    names, cause = registered_names(tracker), ""
    near, choices = difflib.get_close_matches(name, names, n=1, cutoff=SURELY_MEANT), FIRST
    if alias == CHAMPION and (cause := lost_champion_of(tracker, name)):
        what, choices, near = f"'{name}' has lost its champion", champion_again(tracker, name), []
    elif versions and alias == CHAMPION:
        what, near = f"No version of '{name}' is champion yet", []
        cause, choices = _without_champion(present[-1])
    elif versions:
        what = f"There is no version {target.version}"
        if alias:  # a word without "@" may be meant as the name of a model, see `locate`
            what = f"'{alias}' is neither an alias of '{name}' nor the name of a registered model"
        near = difflib.get_close_matches(alias, [*aliases, *names], n=1)
        choices = f"one of {', '.join([*sorted(aliases), *map(str, versions)])}"
    else:
        what = f"Nothing is registered as {reference} yet"
    meant = f"did you mean '{near[0]}'? " if near else ""
    demo = demo_of(name)
    other = f"; `--model {demo}` uses the demo's model" if demo and registered(tracker, demo) else ""
    return BundleError(
        what, where=reference, value=alias or target.version, cause=cause,
        remedy=f"{meant}{choices}; `reviewlm history --model {name}` shows more{other}",
    )


def _without_champion(version: Version) -> tuple[str, str]:
    """Return why the newest version of a model is not its champion, and the commands that help."""
    name, newest, refused = version.name, version.version, version.tags.get(OUTCOME) == REFUSED
    why = version.tags.get(REASON)
    cause = f"the gate refused version {newest}: {why}" if refused else f"version {newest} is not promoted"
    promote = promotion_by_hand(name, newest, refused)
    return cause, f"{promote} makes version {newest} champion; `--model {name}/{newest}` uses it as it is"


def champion_again(tracker: Tracker, name: str) -> str:
    """Return how a model whose champion is gone gets one."""
    if not (versions := contents_of(tracker, name)[0]):
        return "restore a backup, or let a run register a new version"
    return f"{promotion_by_hand(name, versions[-1].version, refused=False)} makes a version champion"


def promotion_by_hand(name: str, version: int, refused: bool) -> str:
    """Return the command that makes a version champion, in backquotes."""
    of = "" if name == OWN_MODEL else f"--model {name} "
    return f"`reviewlm promote {of}--version {version}{' --force' if refused else ''} --why TEXT`"
