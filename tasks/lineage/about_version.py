"""Resolve the data and settings of a command about a registered version, without importing Prefect."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.presets import DEFAULT, load_config
from core.store import Artifact, Store
from corpus.ingestion.quarantine import data_set_of, only_data_set
from tracking.registry.version_settings import NothingChosen
from tracking.registry.version_settings import VersionSettings as VersionSettings
from tracking.registry.version_settings import on_own_files as on_own_files
from tracking.registry.version_settings import settings_of as settings_of
from tracking.registry.version_settings import settings_of_classifiers as settings_of_classifiers
from tracking.registry.versions import CHAMPION as CHAMPION

DATA = ("source.input", "source.synthetic", "source.business")
"""Prefixes of the settings that choose the data."""


def quarantined(preset: str, input: Sequence[str], overrides: Sequence[str]) -> tuple[VersionSettings, Artifact]:
    """Return the given settings and data set, or the champion's; without a champion, the only data set of the store.

    Raises:
        ConfigError: There is no champion, and there are several data sets.
        EmptyInput: The data set is not in the store.
    """
    # Other settings of the section `source`, such as limits, change how files are read, not which files are chosen.
    same_data = [one for one in overrides if one.strip().startswith(DATA) or not one.strip().startswith("source.")]
    try:
        chosen = settings_of(preset=preset, input=input, overrides=overrides)
        recorded = settings_of(preset=preset, input=input, overrides=same_data)
    except NothingChosen:
        config = load_config(DEFAULT, overrides)
        dataset = only_data_set(Store.of(config))
        names = ", ".join(source["name"] for source in dataset.facts["sources"][:3])
        return VersionSettings(config, f"the only data set there is: {names}", f"preset '{DEFAULT}'"), dataset
    return chosen, data_set_of(Store.of(chosen.config), recorded.config.source, recorded.dataset)
