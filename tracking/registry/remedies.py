"""Say why a version is missing or unusable, and which command makes a version champion again.

Commands, the server and `reviewlm doctor` show these sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

from reviewlm.core.config.sections.evaluation import OWN_MODEL, demo_of
from reviewlm.core.errors import (
    BundleError,
    ConfigError,
    nearest,
    without_password,
)
from reviewlm.core.sqlite_files import database_file
from reviewlm.core.workspace import Workspace
from reviewlm.tracking.registry.decisions import ADOPTED, CARRIED_OUT, events_of, fold_events
from reviewlm.tracking.registry.locating import models_of_champions_run, tracker_at
from reviewlm.tracking.registry.versions import (
    CHAMPION,
    LOG,
    PREVIOUS,
    REFUSED,
    Reference,
    Version,
    contents_of,
    has_versions,
    is_known,
    model_names,
    version_numbered,
)
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import BY_HAND, OUTCOME, REASON

FIRST_VERSION_COMMANDS = (
    "`reviewlm demo` or `reviewlm run` registers a language model, "
    "`reviewlm models classify fit` a classifier"
)
"""Commands that register the first version of a model."""
OTHER_HOME = "REVIEWLM_HOME=FOLDER, in Python load(home=FOLDER), names another home"
"""What to try if a model is registered in another home."""


def nothing_registered(tracker: Tracker, reference: str) -> BundleError:
    """Return the error for a version that does not exist: why, and what there is."""
    target = Reference.parse(reference)
    name = target.name
    wanted = target.alias or target.version
    versions, aliases = contents_of(tracker, name)
    names = model_names(tracker)
    cause = ""
    if target.model and (version := version_numbered(versions, target.version)):
        what = f"The run of version {wanted} of '{name}' has no other model {target.model}"
        remedy = f"one of {', '.join(version.siblings) or 'none'}"
    elif target.alias == CHAMPION and (versions or has_versions(tracker, name + LOG)):
        what = f"'{name}' has no champion"
        newest = "all its versions were deleted in MLflow"
        if versions:
            newest = _not_promoted(versions[-1])

        cause = lost_champion(tracker, name) or newest
        remedy = advice_without_champion(tracker, name)
    elif versions:
        what = f"'{name}' has no version {wanted}"
        remedy = f"one of {', '.join([*sorted(aliases), *(str(version.version) for version in versions)])}"
        # A word without "@" may be meant as the name of a model, see `locating.locate`.
        if target.alias:
            remedy += f", or a registered model: {', '.join(names)}"
            others = models_of_champions_run(tracker, name)
            if others:
                remedy += f", or a model of the champion's run: {', '.join(others)}"
    elif is_known(tracker, name):
        what = f"'{name}' has no version {wanted}"
        cause = "all its versions were deleted in MLflow"
        remedy = advice_without_champion(tracker, name)
    else:
        what = f"Nothing is registered as {reference} in {place_of(tracker)}"
        remedy = f"{FIRST_VERSION_COMMANDS}; {OTHER_HOME}"
        if names:
            named = f"`--model {names[0]}@{CHAMPION}` or `--model {names[0]}/NUMBER` names one"
            remedy = f"registered are: {', '.join(names)}; {named}; {remedy}"

    return BundleError(
        what,
        where=reference,
        value=wanted,
        cause=cause,
        remedy=f"{remedy}; `reviewlm history --model {name}` shows more",
    )


def no_such_model(
    workspace: Workspace,
    name: str,
    models: Sequence[str],
    reference: str,
) -> ConfigError:
    """Return the error for a name that is neither a version of the registered model *name* nor one of *models*."""
    tracker = tracker_at(workspace)
    versions, aliases = contents_of(tracker, name)
    numbers = [str(version.version) for version in versions]
    meant = nearest(reference, [*models, *aliases, *numbers])
    registered = ", ".join([*aliases, *numbers]) or "none"
    there = f"Versions of {name}: {registered}; models of its run: {', '.join(models)}"
    demo = demo_of(name)
    if demo and is_known(tracker, demo):
        there += "; models of the demo's run are compared with `--preset demo`"

    return ConfigError(
        f"'{reference}' is neither a registered version nor a model of this configuration",
        where=f"models:/{name}",
        value=reference,
        remedy=f"{meant}{there}",
    )


def one_model(
    tracker: Tracker,
    name: str,
    references: Sequence[str],
    number: int | None,
    with_siblings: bool = True,
) -> ConfigError:
    """Return the error for a comparison of a model with itself.

    Args:
        tracker: Tracker of the registry.
        name: Name of the registered model.
        references: The two names of the one model.
        number: Its version; None if it is a model of a run that is no version.
        with_siblings: Whether the other models of its run can be compared too; else versions only.
    """
    versions, aliases = contents_of(tracker, name)
    others = [alias for alias, its_number in aliases.items() if its_number != number]
    others += [str(one.version) for one in versions if one.version != number]
    version = version_numbered(versions, number)
    if version is not None and with_siblings:
        others += version.siblings

    first, second = references
    which = "one model" if number is None else f"version {number} of '{name}'"
    named = f"'{first}' is named twice"
    if first != second:
        named = f"'{first}' and '{second}' are both {which}"

    return ConfigError(
        f"There is nothing to compare: {named}",
        where=f"models:/{name}",
        value=" ".join(references),
        remedy=f"name another: {', '.join(others) or 'there is none yet, `reviewlm run` makes one'}; "
        f"`reviewlm history --model {name}` says which is which",
    )


def place_of(tracker: Tracker) -> str:
    """Return where a registry was looked for, in words: the home folder, or a server's address."""
    file = database_file(tracker.uri)
    if file is None:
        return without_password(tracker.uri)
    return f"the home {file.parent.absolute()}"


def lost_champion(tracker: Tracker, name: str) -> str:
    """Say how a registered model lost its champion by other means than a decision; "" if it did not."""
    versions, aliases = contents_of(tracker, name)
    events = events_of(tracker, name)
    if CHAMPION in aliases:
        return ""

    state = fold_events(events)
    last = next(
        (event for event in reversed(events) if state.states[event.number] == CARRIED_OUT), None
    )
    if last and last.action == ADOPTED and state.champion is None:
        number = last.against
    else:
        number = state.champion

    if number is None:
        return ""
    if not versions:
        return f"the registered model was deleted in MLflow, with its champion, version {number}"
    if all(version.version != number for version in versions):
        return f"version {number}, the champion, was deleted in MLflow"

    return f"the alias was taken from version {number} in MLflow"


def advice_without_champion(tracker: Tracker, name: str) -> str:
    """Return how a model without a champion gets one."""
    versions = contents_of(tracker, name)[0]
    if not versions:
        return "restore a backup, or let a run register a new version"

    newest = versions[-1]
    of = "" if name == OWN_MODEL else f"--model {name} "
    force = " --force" if newest.tags.get(OUTCOME) == REFUSED else ""
    promote = f"`reviewlm promote {of}--version {newest.version}{force} --why TEXT`"
    remedy = f"{promote} makes version {newest.version} champion; `--model {name}/{newest.version}` uses it as it is"
    running = ""
    if not _is_decided(newest):
        running = f"wait for the run of version {newest.version}; if it has ended, "

    return running + remedy


def way_back(
    tracker: Tracker,
    name: str,
    broken: int,
) -> str:
    """Return the command that makes another version champion than one that cannot be used, as a sentence.

    A rollback goes to the former champion that it would find now: none, where the alias was moved by other means.
    """
    versions, aliases = contents_of(tracker, name)
    there = {version.version: version for version in versions if version.version != broken}
    state = fold_events(events_of(tracker, name))
    moved = aliases.get(CHAMPION) != state.champion
    if moved:
        previous = aliases.get(PREVIOUS)
    else:
        previous = state.previous

    if previous in there and previous not in state.left:
        return f"`reviewlm rollback --model {name}` makes version {previous} champion again"

    former = [number for number in state.past_champions if number in there]
    others = [number for number, version in there.items() if not _is_refused(version)]
    candidates = former or others or list(there)
    if not candidates:
        return "there is no other version: `reviewlm run` makes one"

    number = candidates[-1]
    force = " --force" if _is_refused(there[number]) else ""
    promote = f"`reviewlm promote --model {name} --version {number}{force} --why TEXT`"
    return f"{promote} makes version {number} champion"


def _not_promoted(version: Version) -> str:
    if version.tags.get(OUTCOME) == REFUSED:
        return f"the gate refused version {version.version}: {version.tags.get(REASON)}"
    if not _is_decided(version):
        return f"the gate has not decided about version {version.version} yet"
    return f"version {version.version} is not promoted"


def _is_decided(version: Version) -> bool:
    """Return whether the gate or a person has decided about a version."""
    return OUTCOME in version.tags or BY_HAND in version.tags


def _is_refused(version: Version) -> bool:
    """Return whether the gate has refused a version."""
    return version.tags.get(OUTCOME) == REFUSED
