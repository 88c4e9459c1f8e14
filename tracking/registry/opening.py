"""Find the registered version that a reference means; open its bundle, or take data and settings from its record.

A bundle is opened with the installed `models`: no code from the registry runs. Programs outside this project open the
model with `tracking/logged_models/pyfunc.py`.

All commands about a version follow one rule. Explicit options win (`--preset`, `--input`, `--set`). Everything else
comes from the version's lineage record. If both are missing, the command stops with an error that says which options to
give. It never takes data that the user did not ask for, such as the embedded corpus.
"""

from __future__ import annotations

import glob
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reviewlm.core.config.presets import DEFAULT, change_config, load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.evaluation import OWN_MODEL, PromotionConfig, demo_of
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.environment import chosen_device
from reviewlm.core.errors import (
    ERROR_TYPES,
    BundleError,
    ConfigError,
    nearest,
    without_password,
)
from reviewlm.core.lineage import Lineage
from reviewlm.core.processes.interrupts import during
from reviewlm.core.sqlite_files import database_file
from reviewlm.core.workspace import Workspace
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.sealed_folder import verify_bundle
from reviewlm.tracking.logged_models.bundles import Found, find_version, record_of
from reviewlm.tracking.logged_models.export import (
    CLASSIFIER,
    LANGUAGE_MODEL,
    Form,
    facts_of,
    form_of,
)
from reviewlm.tracking.registry.decisions import ADOPTED, CARRIED_OUT, fold_events
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    LOG,
    PREVIOUS,
    REFUSED,
    SCHEME,
    Reference,
    Version,
    contents_of,
    has_versions,
    is_known,
    model_names,
)
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import BY_HAND, MODEL_NAME, OUTCOME, REASON

log = logging.getLogger(__name__)
FIRST = "`reviewlm demo` or `reviewlm run` registers a language model, `reviewlm models classify fit` a classifier"

OTHER_HOME = "REVIEWLM_HOME=FOLDER, in Python load(home=FOLDER), names another home"

WHERE = (
    "execution.",
    "promotion.model_name",
    "classification.label",
    "classification.promotion.model_name",
)
"""Prefixes of the settings that locate the registry and the model in it."""


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
    tracker: Tracker, reference: str, device: str, form: Form | None
) -> tuple[Any, Version]:
    entry = _find_registered(tracker, reference)
    try:
        return (form or form_of(facts_of(entry.folder))).load(entry.folder, device), entry.version
    except ModelError as error:
        if error.kind in ("input", "memory"):  # the version is not at fault
            raise ERROR_TYPES[error.kind](str(error), where=reference) from error
        raise _not_opened(tracker, reference, entry, error) from error


def find(workspace: Workspace, model_name: str, reference: str) -> Found:
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
                error.what, where=error.where, cause=error.cause, remedy=remedy
            ) from error
        raise

    if entry is None:
        raise nothing_registered(tracker, address)

    return entry


def tracker_at(workspace: Workspace) -> Tracker:
    """Return the tracker of a workspace, without creating the home folder."""
    return Tracker(workspace.tracking_address, workspace.experiment, workspace.home / "mlartifacts")


def locate(workspace: Workspace, model_name: str, reference: str) -> tuple[Tracker, str]:
    """Return the tracker of the registry, and the full `models:/…` address of a reference.

    Args:
        workspace: Names the registry.
        model_name: Name of the registered model that the configuration asks for.
        reference: `models:/NAME@ALIAS` or `models:/NAME/VERSION`, with or without the scheme; the name of a registered
            model, for its champion; or an alias or a number, for a version of `asked_model`.

    Raises:
        ConfigError: It names another model of a version's run: records and decisions are of versions.
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


def locate_run_model(workspace: Workspace, model_name: str, reference: str) -> tuple[Tracker, str]:
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
    return _numbered(versions, aliases.get(CHAMPION))


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
def _tell_of_demo(uri: str, name: str, demo: str) -> None:
    """Log once per registry and process that the demo's model is used; a command asks for its name several times."""
    log.info("using the demo's model, '%s', because there is no '%s' of your own yet", demo, name)


def nothing_registered(tracker: Tracker, reference: str) -> BundleError:
    """Return the error for a version that does not exist: why, and what there is."""
    target = Reference.parse(reference)
    name = target.name
    wanted = target.alias or target.version
    versions, aliases = contents_of(tracker, name)
    names = model_names(tracker)
    cause = ""
    if target.model and (version := _numbered(versions, target.version)):
        what = f"The run of version {wanted} of '{name}' has no other model {target.model}"
        remedy = f"one of {', '.join(version.siblings) or 'none'}"
    elif target.alias == CHAMPION and (versions or has_versions(tracker, name + LOG)):
        what = f"'{name}' has no champion"
        newest = "all its versions were deleted in MLflow"
        if versions:
            newest = _not_promoted(versions[-1])

        cause = lost_champion(tracker, name) or newest
        remedy = champion_again(tracker, name)
    elif versions:
        what = f"'{name}' has no version {wanted}"
        remedy = f"one of {', '.join([*sorted(aliases), *(str(version.version) for version in versions)])}"
        if target.alias:  # a word without "@" may be meant as the name of a model, see `locate`
            remedy += f", or a registered model: {', '.join(names)}"
            others = models_of_champions_run(tracker, name)
            if others:
                remedy += f", or a model of the champion's run: {', '.join(others)}"
    elif is_known(tracker, name):
        what = f"'{name}' has no version {wanted}"
        cause = "all its versions were deleted in MLflow"
        remedy = champion_again(tracker, name)
    else:
        what = f"Nothing is registered as {reference} in {place_of(tracker)}"
        remedy = f"{FIRST}; registered are: {', '.join(names) or 'none'}; {OTHER_HOME}"

    return BundleError(
        what,
        where=reference,
        value=wanted,
        cause=cause,
        remedy=f"{remedy}; `reviewlm history --model {name}` shows more",
    )


def _numbered(versions: Sequence[Version], number: int | None) -> Version | None:
    return next((version for version in versions if version.version == number), None)


def place_of(tracker: Tracker) -> str:
    """Return where a registry was looked for, in words: the home folder, or a server's address."""
    file = database_file(tracker.uri)
    if file is None:
        return without_password(tracker.uri)
    return f"the home {file.parent.absolute()}"


def lost_champion(tracker: Tracker, name: str) -> str:
    """Say how a registered model lost its champion by other means than a decision; "" if it did not."""
    versions, aliases = contents_of(tracker, name)
    events = Registry(tracker, name).events()
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


def _not_opened(tracker: Tracker, reference: str, entry: Found, error: ModelError) -> BundleError:
    version = entry.version
    return BundleError(
        f"{reference} cannot be opened",
        where=entry.folder,
        cause=str(error),
        remedy=f"choose another version (`reviewlm history --model {version.name}`); "
        f"{way_back(tracker, version.name, version.version)}",
    )


def _not_promoted(version: Version) -> str:
    if version.tags.get(OUTCOME) == REFUSED:
        return f"the gate refused version {version.version}: {version.tags.get(REASON)}"
    if not _is_decided(version):
        return f"the gate has not decided about version {version.version} yet"
    return f"version {version.version} is not promoted"


def _is_decided(version: Version) -> bool:
    """Return whether the gate or a person has decided about a version."""
    return OUTCOME in version.tags or BY_HAND in version.tags


def champion_again(tracker: Tracker, name: str) -> str:
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


def way_back(tracker: Tracker, name: str, broken: int) -> str:
    """Return the command that makes another version champion than one that cannot be used, as a sentence.

    A rollback goes to the former champion that it would find now: none, where the alias was moved by other means.
    """
    versions, aliases = contents_of(tracker, name)
    there = {version.version: version for version in versions if version.version != broken}
    state = fold_events(Registry(tracker, name).events())
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


def _is_refused(version: Version) -> bool:
    """Return whether the gate has refused a version."""
    return version.tags.get(OUTCOME) == REFUSED


class NothingChosen(ConfigError):
    """No version is registered with a record of data and settings, and no options were given."""


@dataclass(frozen=True)
class VersionSettings:
    """Data and settings of a command, and where they come from.

    Args:
        config: The configuration to use; its registered model is that of the version.
        data: Description of the data, for display.
        settings: Description of where the settings come from, for display.
        version: The version that the command is about; None if there is none.
        dataset: Digest of the version's data set (stage "ingest"); empty if other data were requested.
        clean: Digest of the version's prepared reviews (stage "prepare"); empty in the same case.
    """

    config: RunConfig
    data: str
    settings: str
    version: Found | None = None
    dataset: str = ""
    clean: str = ""

    def describe(self) -> dict[str, str]:
        """Return both descriptions, as results show them."""
        return {"data": self.data, "settings": self.settings}


def settings_of(
    references: Sequence[str] = (CHAMPION,),
    preset: str = "",
    input: Sequence[str] = (),
    overrides: Sequence[str] = (),
    form: Form = LANGUAGE_MODEL,
) -> VersionSettings:
    """Return data and settings of a command about registered versions.

    Args:
        references: The versions. If there are several, the one that was registered last gives data and settings: the
            gate compared it with older ones on its own test reviews. Names of fitted language models, which are not
            versions, are allowed too.
        preset: Preset given by the user; empty for the version's own settings.
        input: Files given by the user; empty for the preset's files or, without those, the version's data.
        overrides: Settings as `key=value`; they change the settings of the preset or version.
        form: Family of the versions.

    Raises:
        ConfigError: There is no such preset or setting, or it is not clear which data and settings to use.
        BundleError: One of the classifiers does not exist.
        Damaged: The version's record was changed.
        TrackingUnavailable: MLflow does not answer.
    """
    where = where_of(preset, overrides).with_input(input)
    versions = []
    if form is CLASSIFIER:
        name = where.classification.model_name
        versions = [find(where.workspace, name, reference) for reference in references]
    else:
        name = asked_model(tracker_at(where.workspace), where.promotion.model_name)
        where = where.asking(name)
        for reference in references:
            version = version_called(where.workspace, name, reference)
            if version is not None:
                versions.append(version)

    entry = max(versions, key=lambda one: one.version.created, default=None)
    record = None
    if entry:
        record = record_of(entry.folder)

    if not (preset or input or record):
        raise _nothing_chosen(where.workspace, where.promotion, references, entry)

    other_data = bool(input) or any(
        override.strip().startswith("source.") for override in overrides
    )
    if entry and record and not preset:
        config = _recorded_settings(record, where.execution, entry, input, overrides)
        settings = _name(entry)
    else:
        config = load_config(preset or DEFAULT, overrides).with_input(input)
        settings = f"preset '{preset or DEFAULT}'"
        if record and not config.source.input:
            config = load_config(preset, overrides, _source_of(record))
        else:
            other_data = True

    if entry:
        config = config.asking(entry.version.name)

    if not entry or not record or other_data:
        if config.source.input:
            data = _several(config.source.input)
        else:
            data = _synthetic(config.source)

        return VersionSettings(config, data, settings, entry)

    steps = {step.stage: step.digest for step in record.steps}
    files = [source.name for source in record.sources if source.kind == "file"]
    data = f"{_name(entry)}: {_several(files) if files else _synthetic(config.source)}"
    return VersionSettings(
        config, data, settings, entry, steps.get("ingest", ""), steps.get("prepare", "")
    )


def _nothing_chosen(
    workspace: Workspace, promotion: PromotionConfig, references: Sequence[str], entry: Found | None
) -> NothingChosen:
    """Return the error for a command without data: its cause first."""
    name_them = (
        "name them: --input FILES (and --preset NAME for other settings than 'small'), or --preset demo for the "
        "embedded corpus"
    )
    unclear = "It is not clear which data and settings to use"
    if entry:
        cause = f"no run registered {_name(entry)}"
        return NothingChosen(unclear, where=entry.folder, cause=cause, remedy=name_them)

    tracker = tracker_at(workspace)
    name = promotion.model_name
    if has_versions(tracker, name):
        what = f"No version of '{name}' is registered as {_several(references)}"
        first = "`reviewlm history` lists the versions"
    else:
        what = f"No version of '{name}' is registered"
        first = f"{FIRST}; {OTHER_HOME}"

    return NothingChosen(
        what,
        where=place_of(tracker),
        cause=f"{unclear[0].lower()}{unclear[1:]}",
        remedy=f"{first}; or {name_them}",
    )


def settings_of_compared(
    references: Sequence[str],
    preset: str = "",
    input: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> VersionSettings:
    """Return data and settings of a comparison: those of `settings_of`, or of the champion's run.

    That run has fitted models which are no versions: their names alone are enough to compare them.

    Raises:
        ConfigError: As `settings_of`, if there is no champion either.
    """
    try:
        return settings_of(references, preset, input, overrides)
    except NothingChosen as error:
        if error.where and Path(str(error.where)).is_dir():  # a version whose run is not recorded
            raise
        with suppress(NothingChosen):
            return settings_of((CHAMPION,), preset, input, overrides)
        raise


def on_own_files(preset: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return a preset without input on the files of the user's champion: what a schedule runs, which nobody watches.

    Raises:
        ConfigError: There is no champion of the user's files.
    """
    chosen = settings_of((CHAMPION,), preset, (), overrides)
    if chosen.version is None or not chosen.config.source.input:
        raise NothingChosen(
            "It is not clear which reviews to use",
            where="input",
            cause="no input was given, and there is no champion of your reviews whose files could be read again",
            remedy="name files, folders or globs in `input`, or use the preset demo for the embedded corpus",
        )
    return chosen.config


def _recorded_settings(
    record: Lineage,
    execution: ExecutionConfig,
    entry: Found,
    input: Sequence[str],
    overrides: Sequence[str],
) -> RunConfig:
    """Return the recorded settings of a version, with those that the user gives."""
    options = {**record.configuration, "execution": execution.model_dump(mode="json")}
    options["source"] = {**_source_of(record), **({"input": list(input)} if input else {})}
    vectors = record.configuration.get("vectors", {})
    options["vectors"] = {name: str(Path(record.folder, path)) for name, path in vectors.items()}
    try:
        return change_config(options, overrides)
    except ConfigError as error:
        if (
            any(error.where.split(".")[-1] in override for override in overrides)
            or error.where == "--set"
        ):
            raise  # the user's own setting
        raise ConfigError(
            f"The recorded settings of {_name(entry)} do not fit this version of the code: {error.what}",
            where=error.where,
            value=error.value,
            cause="a setting was renamed or removed since then",
            remedy="name one: --preset NAME",
        ) from error


def where_of(preset: str = "", overrides: Sequence[str] = ()) -> RunConfig:
    """Return a configuration that locates registry and store, from a preset and the settings that concern them."""
    return load_config(
        preset or DEFAULT, [one for one in overrides if one.strip().startswith(WHERE)]
    )


def version_called(workspace: Workspace, model_name: str, reference: str) -> Found | None:
    """Return the version of a reference; None if nothing is registered under it, or if it is not a reference."""
    try:
        tracker, address = locate(workspace, model_name, reference)
        return find_version(tracker, Reference.parse(address))
    except ConfigError:  # "kn5+lstm" is the name of a model; an alias cannot have this form
        return None


def no_such_model(
    workspace: Workspace, name: str, models: Sequence[str], reference: str
) -> ConfigError:
    """Return the error for a name that is neither a version of the registered model *name* nor one of *models*."""
    versions, aliases = contents_of(tracker_at(workspace), name)
    numbers = [str(version.version) for version in versions]
    meant = nearest(reference, [*models, *aliases, *numbers])
    registered = [*aliases, *numbers]
    return ConfigError(
        f"'{reference}' is neither a registered version nor a model of this configuration",
        where=f"models:/{name}",
        value=reference,
        remedy=f"{meant}Versions of {name}: {', '.join(registered) or 'none'}; models of its run: {', '.join(models)}",
    )


def _synthetic(source: SourceConfig) -> str:
    return f"the embedded corpus, {source.synthetic.reviews:,} synthetic reviews"


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _name(entry: Found) -> str:
    aliases = ""
    if entry.version.aliases:
        aliases = f" ({', '.join(entry.version.aliases)})"

    return f"version {entry.version.version}{aliases} of '{entry.version.name}'"


def _source_of(record: Lineage) -> dict[str, Any]:
    """Return the recorded section `source`, with relative paths resolved against the working folder of the run."""
    source: Mapping[str, Any] = record.configuration.get("source", {})
    input = [_below(record.folder, path) for path in source.get("input", ())]
    business = source.get("business")
    return {
        **source,
        "input": input,
        "business": _below(record.folder, business) if business else "",
    }


def _below(folder: str, pattern: str) -> str:
    """Return a path or pattern below a folder; special characters in the folder's name are escaped."""
    return str(Path(glob.escape(folder) if glob.has_magic(pattern) else folder, pattern))
