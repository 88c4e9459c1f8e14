"""Take data and settings of a command from the registered version that the command is about.

All commands about a version follow one rule. Explicit options win (`--preset`, `--input`, `--set`). Everything else
comes from the version's lineage record. If both are missing, the command stops with an error that says which options to
give. It never takes data that the user did not ask for, such as the embedded corpus.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.presets import DEFAULT, change_config, load_config
from core.config.run_config import RunConfig
from core.errors import ConfigError
from core.lineage import Lineage
from tracking.logged_models.bundles import Found, find_version, record_of
from tracking.registry.opening import asked_model, find_classifier, locate, tracker_at
from tracking.registry.versions import CHAMPION, Reference

WHERE = ("execution.", "promotion.model_name", "classification.label", "classification.promotion.model_name")
"""Prefixes of the settings that locate the registry and the model in it."""


class NothingChosen(ConfigError):
    """No version is registered that could give data and settings, and no options were given."""


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

    def told(self) -> dict[str, str]:
        """Return both descriptions, as results show them."""
        return {"data": self.data, "settings": self.settings}


def settings_of(
    references: Sequence[str] = (CHAMPION,), preset: str = "", input: Sequence[str] = (), overrides: Sequence[str] = ()
) -> VersionSettings:
    """Return data and settings of a command about registered versions.

    Args:
        references: The versions. If there are several, the newest one gives data and settings, as in the gate. Names of
            fitted models, which are not versions, are allowed too.
        preset: Preset given by the user; empty for the version's own settings.
        input: Files given by the user; empty for the preset's files or, without those, the version's data.
        overrides: Settings as `key=value`; they change the settings of the preset or version.

    Raises:
        ConfigError: There is no such preset or setting, or it is not clear which data and settings to use.
        Damaged: The version's record was changed.
        TrackingUnavailable: MLflow does not answer.
    """
    where = where_of(preset, overrides).with_input(input)
    where = where.asking(asked_model(where, tracker_at(where)))
    base = newest([version for name in references if (version := version_called(where, name)) is not None])
    return _settings(where, references, base, preset, input, overrides)


def on_own_files(preset: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return a preset without input on the files of the user's champion: what a schedule runs, which nobody watches.

    Raises:
        ConfigError: There is no champion of the user's files.
    """
    chosen = settings_of((CHAMPION,), preset, (), overrides)
    if chosen.version is None or not chosen.config.source.input:
        raise NothingChosen(
            "It is not clear which reviews to use", where="input",
            cause="no input was given, and there is no champion of your reviews whose files could be read again",
            remedy="name files, folders or globs in `input`, or use the preset demo for the embedded corpus",
        )
    return chosen.config


def settings_of_classifiers(
    references: Sequence[str], preset: str = "", input: Sequence[str] = (), overrides: Sequence[str] = ()
) -> VersionSettings:
    """Return data and settings of a command about registered classifiers; arguments as in `settings_of`.

    Raises:
        BundleError: One of the versions does not exist.
    """
    where = where_of(preset, overrides).with_input(input)
    versions = [find_classifier(where, reference) for reference in references]
    return _settings(where, references, newest(versions), preset, input, overrides)


def _settings(
    where: RunConfig, references: Sequence[str], entry: Found | None, preset: str, input: Sequence[str],
    overrides: Sequence[str],
) -> VersionSettings:  # fmt: skip
    """Return what `settings_of` returns for the newest of the versions; *where* locates registry and store."""
    record = record_of(entry.folder) if entry is not None else None
    if not (preset or input or record):
        raise _nothing_chosen(references, entry)
    given = load_config(preset or DEFAULT, overrides).with_input(input) if preset or record is None else None
    settings = f"preset '{preset or DEFAULT}'" if given or entry is None else _name(entry)
    if entry is None or record is None or (given and given.source.input):
        assert given is not None
        config, other_data = given, True
    else:
        other_data = bool(input) or any(override.strip().startswith("source.") for override in overrides)
        if preset:
            config = load_config(preset, overrides, _source_of(record))
        else:
            config = _recorded(record, where, entry, input, overrides)
    if entry is not None:
        config = config.asking(entry.version.name)
    if other_data or entry is None or record is None:
        return VersionSettings(config, data_said(config), settings, entry)
    steps = {step.stage: step.digest for step in record.steps}
    files = [source.name for source in record.sources if source.kind == "file"]
    data = f"{_name(entry)}: {_several(files) if files else _synthetic(config)}"
    return VersionSettings(config, data, settings, entry, steps.get("ingest", ""), steps.get("prepare", ""))


def _recorded(
    record: Lineage, where: RunConfig, entry: Found, input: Sequence[str], overrides: Sequence[str]
) -> RunConfig:
    """Return the recorded settings of a version, with those that the user gives."""
    options = {**record.configuration, "execution": where.execution.model_dump(mode="json")}
    options["source"] = {**_source_of(record), **({"input": list(input)} if input else {})}
    vectors = record.configuration.get("vectors", {})
    options["vectors"] = {name: str(Path(record.folder, path)) for name, path in vectors.items()}
    try:
        return change_config(options, overrides)
    except ConfigError as error:
        if any(error.where.split(".")[-1] in override for override in overrides) or error.where == "--set":
            raise  # the user's own setting
        raise ConfigError(
            f"The recorded settings of {_name(entry)} do not fit this version of the code: {error.what}",
            where=error.where, value=error.value, cause="a setting was renamed or removed since then",
            remedy="name one: --preset NAME",
        ) from error


def where_of(preset: str = "", overrides: Sequence[str] = ()) -> RunConfig:
    """Return a configuration that locates registry and store, from a preset and the settings that concern them."""
    return load_config(preset or DEFAULT, [one for one in overrides if one.strip().startswith(WHERE)])


def version_called(config: RunConfig, reference: str) -> Found | None:
    """Return the version of a reference; None if nothing is registered under it, or if it is not a reference."""
    try:
        tracker, address = locate(config, reference)
        return find_version(tracker, Reference.parse(address))
    except ConfigError:  # "kn5+lstm" is the name of a model; an alias cannot have this form
        return None


def no_such_model(config: RunConfig, reference: str) -> ConfigError:
    """Return the error for a name that is neither a version nor a model of the configuration."""
    models = ", ".join(spec.name for spec in config.models)
    return ConfigError(
        f"'{reference}' is neither a registered version nor a model of this configuration", value=reference,
        remedy=f"an alias or a number (`reviewlm history` lists them), or one of {models}",
    )


def newest(versions: Sequence[Found]) -> Found | None:
    """Return the version that was registered last: the gate compared it with older ones on its own test reviews."""
    return max(versions, key=lambda entry: entry.version.created, default=None)


def data_said(config: RunConfig) -> str:
    """Return a description of the data that a configuration names."""
    return _several(config.source.input) if config.source.input else _synthetic(config)


def _synthetic(config: RunConfig) -> str:
    return f"the embedded corpus, {config.source.synthetic.reviews:,} synthetic reviews"


def _several(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _name(entry: Found) -> str:
    aliases = f" ({', '.join(entry.version.aliases)})" if entry.version.aliases else ""
    return f"version {entry.version.version}{aliases} of '{entry.version.name}'"


def _source_of(record: Lineage) -> dict[str, Any]:
    """Return the recorded section `source`, with relative paths resolved against the working folder of the run."""
    source: Mapping[str, Any] = record.configuration.get("source", {})
    input, business = [_below(record.folder, path) for path in source.get("input", ())], source.get("business")
    return {**source, "input": input, "business": _below(record.folder, business) if business else ""}


def _below(folder: str, pattern: str) -> str:
    """Return a path or pattern below a folder; special characters in the folder's name are escaped."""
    return str(Path(glob.escape(folder) if glob.has_magic(pattern) else folder, pattern))


def _nothing_chosen(references: Sequence[str], entry: Found | None) -> ConfigError:
    names, kind = _several(references), ConfigError if entry else NothingChosen
    return kind(
        f"It is not recorded which data and settings {_name(entry)} was made with" if entry else
        "It is not clear which data and settings to use", where=entry.folder if entry else names,
        cause="no run registered it" if entry else
        f"no version is registered as {names}; `reviewlm history` lists the versions",
        remedy="name them: --input FILES (and --preset NAME for other settings than 'small'), or --preset demo for the "
        "embedded corpus",
    )
