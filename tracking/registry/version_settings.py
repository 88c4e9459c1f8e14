"""Take data and settings of a command from the registered version that it is about.

One rule for every command that concerns a version: what is given explicitly wins (`--preset`, `--input`, `--set`);
what is not given, the version's own record decides. Where there is neither, the command asks for it: data that nobody
has asked for, such as the embedded corpus, are never taken.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.presets import DEFAULT, change_config, load_config
from core.config.run_config import RunConfig
from core.errors import ConfigError, ReviewLMError
from core.lineage.record import Lineage
from tracking.logged_models.opening import Found, asked_model, find_version, locate, tracker_at, versions_of
from tracking.registry.lineage import record_of
from tracking.registry.versions import CHAMPION, Reference

WHERE = ("execution.", "promotion.model_name")
"""Settings that say where the registry is, and which model in it."""


class NothingChosen(ConfigError):
    """No version is registered that could decide, and nothing was given."""


@dataclass(frozen=True)
class VersionSettings:
    """Data and settings of a command, and where they are from.

    Args:
        config: In force; its registered model is that of the version.
        data: Which data these are, for people.
        settings: Whose settings these are, for people.
        version: The version that decides; None where there is none.
        dataset: Digest of the version's data set (stage "ingest"); empty where other data were asked for.
        clean: Digest of the version's prepared reviews (stage "prepare"); empty as above.
    """

    config: RunConfig
    data: str
    settings: str
    version: Found | None = None
    dataset: str = ""
    clean: str = ""

    def told(self) -> dict[str, str]:
        """Return both sentences, as a result shows them."""
        return {"data": self.data, "settings": self.settings}


def settings_of(
    references: Sequence[str] = (CHAMPION,), preset: str = "", input: Sequence[str] = (), overrides: Sequence[str] = ()
) -> VersionSettings:
    """Return data and settings of a command about registered versions.

    Args:
        references: The versions; of several the newest decides, as it did before the gate. Names of fitted models,
            which are no versions, may be among them.
        preset: Given explicitly; empty for the version's own settings.
        input: Given explicitly; empty for the preset's files, or else the version's data.
        overrides: Settings as `key=value`, which change whatever else decides.

    Raises:
        ConfigError: There is no such preset or setting; or nothing says which data and settings are meant.
        Damaged: The version's record was changed.
        TrackingUnavailable: MLflow does not answer.
    """
    where = where_of(preset, overrides).with_input(input)
    where = where.asking(asked_model(where, tracker_at(where)))
    found = newest([version for name in references if (version := version_called(where, name)) is not None])
    record = record_of(found.folder) if found is not None else None
    if preset:
        given = load_config(preset, overrides).with_input(input)
        if given.source.input or record is None:
            return _explicit(given, preset, found)
        assert found is not None
        source = _source_of(record)
        config = load_config(preset, overrides, source)
        return _of_version(config, found, record, f"preset '{preset}'", _changes_data(overrides))
    if found is None or record is None:
        if input:
            return _explicit(load_config(DEFAULT, overrides).with_input(input), DEFAULT, found)
        raise _nothing_chosen(references, found)
    options = {**record.configuration, "execution": where.execution.model_dump(mode="json")}
    options["source"] = {**_source_of(record), **({"input": list(input)} if input else {})}
    try:
        config = change_config(options, overrides)
    except ConfigError as error:
        raise _unknown_today(error, found, overrides) from error
    return _of_version(config, found, record, _name(found), _changes_data(overrides), list(input))


def where_of(preset: str = "", overrides: Sequence[str] = ()) -> RunConfig:
    """Return a configuration that says where registry and store are, as a preset or single settings have it."""
    return load_config(preset or DEFAULT, [one for one in overrides if one.strip().startswith(WHERE)])


def version_called(config: RunConfig, reference: str) -> Found | None:
    """Return the version that a reference means; None where nothing is registered under it, or it is no reference."""
    try:
        tracker, address = locate(config, reference)
        return find_version(tracker, Reference.parse(address))
    except ConfigError:  # "kn5+lstm": the name of a model, as no alias is written
        return None


def no_such_model(config: RunConfig, reference: str) -> ConfigError:
    """Return the error about a name that is neither a version nor a model of the configuration."""
    tracker, name = tracker_at(config), config.promotion.model_name
    numbers = ", ".join(map(str, versions_of(tracker, name))) or "none"
    if reference.isdigit():
        return ConfigError(
            f"There is no version {reference}", where=name, remedy=f"one of {numbers}; see `reviewlm history`"
        )
    return ConfigError(
        f"'{reference}' is neither an alias of a registered version nor a model of this configuration", value=reference,
        remedy=f"a version's number ({numbers}), an alias (champion, previous …), or one of "
        f"{', '.join(spec.name for spec in config.models)}",
    )


def newest(versions: Sequence[Found]) -> Found | None:
    """Return the version that was registered last: it was held against the others on its own test reviews."""
    return max(versions, key=lambda found: found.version.created, default=None)


def _explicit(config: RunConfig, preset: str, found: Found | None) -> VersionSettings:
    if found is not None:
        config = config.asking(found.version.name)
    return VersionSettings(config, data_said(config), f"preset '{preset}'", found)


def _of_version(
    config: RunConfig, found: Found, record: Lineage, settings: str, changed: bool, input: Sequence[str] = ()
) -> VersionSettings:
    config = config.asking(found.version.name)
    if input or changed:
        return VersionSettings(config, data_said(config), settings, found)
    steps = {step.stage: step.digest for step in record.steps}
    files = [source.name for source in record.sources if source.kind == "file"]
    data = f"{_name(found)}: {_several(files) if files else _synthetic(config)}"
    return VersionSettings(config, data, settings, found, steps.get("ingest", ""), steps.get("prepare", ""))


def data_said(config: RunConfig) -> str:
    """Return which data a configuration names."""
    return _several(config.source.input) if config.source.input else _synthetic(config)


def _synthetic(config: RunConfig) -> str:
    return f"the embedded corpus, {config.source.synthetic.reviews:,} synthetic reviews"


def _several(names: Sequence[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _name(found: Found) -> str:
    aliases = f" ({', '.join(found.version.aliases)})" if found.version.aliases else ""
    return f"version {found.version.version}{aliases} of '{found.version.name}'"


def _changes_data(overrides: Sequence[str]) -> bool:
    return any(override.strip().startswith("source.") for override in overrides)


def _source_of(record: Lineage) -> dict[str, Any]:
    """Return the recorded section `source` with absolute paths: below the folder that the run was made in.

    Of a record that does not name it the files themselves are taken.
    """
    source: Mapping[str, Any] = record.configuration.get("source", {})
    input, business = list(source.get("input", ())), [path for path in (source.get("business"),) if path]
    if record.folder:
        input, business = ([_below(record.folder, path) for path in paths] for paths in (input, business))
    else:
        input, business = _where_they_lay(record, "file", input), _where_they_lay(record, "business", business)
    return {**source, "input": input, "business": next(iter(business), "")}


def _where_they_lay(record: Lineage, kind: str, paths: list[str]) -> list[str]:
    lay = [one.path for one in record.sources if one.kind == kind and one.path]
    return paths if all(Path(path).is_absolute() for path in paths) else lay or paths


def _below(folder: str, pattern: str) -> str:
    """Return a pattern with its folder, whose own name may look like one."""
    return str(Path(glob.escape(folder) if glob.has_magic(pattern) else folder, pattern))


def _nothing_chosen(references: Sequence[str], found: Found | None) -> ConfigError:
    remedy = (
        "name them: --input FILES (and --preset NAME for other settings than 'small'), or --preset demo for the "
        "embedded corpus"
    )
    if found is None:
        names = _several(references)
        return NothingChosen(
            "It is not clear which data and settings to use", where=names, remedy=remedy,
            cause=f"no version is registered as {names}; `reviewlm history` lists the versions",
        )
    return ConfigError(
        f"It is not recorded which data and settings {_name(found)} was made with", where=found.folder, remedy=remedy,
        cause="it was registered before versions had a record",
    )


def _unknown_today(error: ReviewLMError, found: Found, overrides: Sequence[str]) -> ReviewLMError:
    """Return the error of settings that cannot be read: the user's own, or those of the version's time."""
    if any(error.where.split(".")[-1] in override for override in overrides) or error.where == "--set":
        return error
    return ConfigError(
        f"The recorded settings of {_name(found)} do not fit this version of the code: {error.what}", where=error.where,
        value=error.value, cause="a setting was renamed or removed since then", remedy="name one: --preset NAME",
    )

