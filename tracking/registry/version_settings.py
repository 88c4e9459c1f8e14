"""Take data and settings of a command about registered versions from its options, or from a version's record.

All commands about a version follow one rule. Explicit options win (`--preset`, `--input`, `--set`). Everything else
comes from the version's lineage record. If both are missing, the command stops with an error that says which options to
give. It never takes data that the user did not ask for, such as the embedded corpus.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reviewlm.core.config.presets import DEFAULT, change_config, load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.errors import (
    ConfigError,
)
from reviewlm.core.lineage import Lineage
from reviewlm.core.workspace import Workspace
from reviewlm.tracking.logged_models.bundles import Found, record_of
from reviewlm.tracking.logged_models.export import (
    CLASSIFIER,
    LANGUAGE_MODEL,
    Form,
)
from reviewlm.tracking.registry.locating import asked_model, tracker_at, version_called
from reviewlm.tracking.registry.opening import find
from reviewlm.tracking.registry.remedies import (
    FIRST_VERSION_COMMANDS,
    OTHER_HOME,
    one_model,
    place_of,
)
from reviewlm.tracking.registry.versions import (
    CHAMPION,
    has_versions,
)

WHERE = (
    "execution.",
    "promotion.model_name",
    "classification.label",
    "classification.promotion.model_name",
)
"""Prefixes of the settings that locate the registry and the model in it."""


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
        ConfigError: Two references are names of one model.
        BundleError: One of the classifiers does not exist.
        Damaged: The version's record was changed.
        TrackingUnavailable: MLflow does not answer.
    """
    where = where_of(preset, overrides).with_input(input)
    if form is CLASSIFIER:
        name = where.classification.model_name
    else:
        name = asked_model(tracker_at(where.workspace), where.promotion.model_name)
        where = where.asking(name)

    entry = _newest_version(where.workspace, name, references, form)
    record = None
    if entry:
        record = record_of(entry.folder)

    if not (preset or input or record):
        raise _nothing_chosen(where.workspace, where.promotion, references, entry)

    other_data = bool(input) or any(
        override.strip().startswith("source.") for override in overrides
    )
    if entry and record and not preset:
        config = _recorded_settings(
            record,
            where.execution,
            entry,
            input,
            overrides,
        )
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
        data = _files_or_corpus(config.source.input, config.source)
        return VersionSettings(config, data, settings, entry)

    files = [source.name for source in record.sources if source.kind == "file"]
    data = f"{_name(entry)}: {_files_or_corpus(files, config.source)}"
    digests = {step.stage: step.digest for step in record.steps}
    dataset = digests.get("ingest", "")
    clean = digests.get("prepare", "")
    return VersionSettings(
        config,
        data,
        settings,
        entry,
        dataset=dataset,
        clean=clean,
    )


def _newest_version(
    workspace: Workspace,
    name: str,
    references: Sequence[str],
    form: Form,
) -> Found | None:
    """Return the version that was registered last of those that are meant; None if only fitted models are meant."""
    called: list[Found | None]
    if form is CLASSIFIER:
        called = [find(workspace, name, reference) for reference in references]
    else:
        called = [version_called(workspace, name, reference) for reference in references]

    _require_different(
        workspace,
        name,
        references,
        called,
        form,
    )
    versions = [version for version in called if version is not None]
    return max(versions, key=lambda found: found.version.created, default=None)


def _require_different(
    workspace: Workspace,
    name: str,
    references: Sequence[str],
    called: Sequence[Found | None],
    form: Form,
) -> None:
    """Refuse two names of one model: its comparison with itself takes a minute and says nothing."""
    seen: dict[object, str] = {}
    for reference, found in zip(references, called, strict=True):
        which: object = reference
        number = None
        if found is not None:
            name = found.version.name
            number = found.version.version
            which = name, number

        if which in seen:
            both = seen[which], reference
            siblings = form is LANGUAGE_MODEL
            raise one_model(
                tracker_at(workspace),
                name,
                both,
                number,
                siblings,
            )
        seen[which] = reference


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


def where_of(preset: str = "", overrides: Sequence[str] = ()) -> RunConfig:
    """Return a configuration that locates registry and store, from a preset and the settings that concern them."""
    locating = [override for override in overrides if override.strip().startswith(WHERE)]
    return load_config(preset or DEFAULT, locating)


def _nothing_chosen(
    workspace: Workspace,
    promotion: PromotionConfig,
    references: Sequence[str],
    entry: Found | None,
) -> NothingChosen:
    """Return the error for a command without data: its cause first."""
    name_them = (
        "name them: --input FILES (and --preset NAME for other settings than 'small'), or --preset demo for the "
        "embedded corpus"
    )
    unclear = "It is not clear which data and settings to use"
    if entry:
        cause = f"no run registered {_name(entry)}"
        return NothingChosen(
            unclear,
            where=entry.folder,
            cause=cause,
            remedy=name_them,
        )

    tracker = tracker_at(workspace)
    name = promotion.model_name
    if has_versions(tracker, name):
        what = f"No version of '{name}' is registered as {_several(references)}"
        first = "`reviewlm history` lists the versions"
    else:
        what = f"No version of '{name}' is registered"
        first = f"{FIRST_VERSION_COMMANDS}; {OTHER_HOME}"

    return NothingChosen(
        what,
        where=place_of(tracker),
        cause=f"{unclear[0].lower()}{unclear[1:]}",
        remedy=f"{first}; or {name_them}",
    )


def _recorded_settings(
    record: Lineage,
    execution: ExecutionConfig,
    entry: Found,
    input: Sequence[str],
    overrides: Sequence[str],
) -> RunConfig:
    """Return the recorded settings of a version, with those that the user gives."""
    source = _source_of(record)
    if input:
        source["input"] = list(input)

    vectors = record.configuration.get("vectors", {})
    options = dict(record.configuration)
    options["execution"] = execution.model_dump(mode="json")
    options["source"] = source
    options["vectors"] = {name: str(Path(record.folder, path)) for name, path in vectors.items()}
    try:
        return change_config(options, overrides)
    except ConfigError as error:
        setting = error.where.split(".")[-1]
        if error.where == "--set" or any(setting in override for override in overrides):
            raise  # the user's own setting
        raise ConfigError(
            f"The recorded settings of {_name(entry)} do not fit this version of the code: {error.what}",
            where=error.where,
            value=error.value,
            cause="a setting was renamed or removed since then",
            remedy="name one: --preset NAME",
        ) from error


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
    if glob.has_magic(pattern):
        folder = glob.escape(folder)
    return str(Path(folder, pattern))


def _name(entry: Found) -> str:
    aliases = ""
    if entry.version.aliases:
        aliases = f" ({', '.join(entry.version.aliases)})"

    return f"version {entry.version.version}{aliases} of '{entry.version.name}'"


def _several(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    first = ", ".join(names[:3])
    if len(names) <= 3:
        return first
    return f"{first} and {len(names) - 3} more"


def _files_or_corpus(files: Sequence[str], source: SourceConfig) -> str:
    """Return a description of the data: the files or, without any, the embedded corpus."""
    if files:
        return _several(files)
    return f"the embedded corpus, {source.synthetic.reviews:,} synthetic reviews"
