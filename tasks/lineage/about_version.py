"""Whose data and settings a flow or a verb about a version takes; nothing of Prefect is imported for it."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.presets import DEFAULT, load_config
from core.store import Artifact, Store
from corpus.quarantine.records import data_set_of, only_data_set
from tracking.registry.version_settings import NothingChosen
from tracking.registry.version_settings import VersionSettings as VersionSettings
from tracking.registry.version_settings import settings_of as settings_of
from tracking.registry.versions import CHAMPION as CHAMPION

DATA = ("source.input", "source.synthetic", "source.business")
"""Settings that say which data are meant."""


def quarantined(preset: str, input: Sequence[str], overrides: Sequence[str]) -> tuple[VersionSettings, Artifact]:
    """Return settings and data set: those that are given, or else the champion's; without a champion the only one.

    Raises:
        ConfigError: There is no champion, and there are several data sets.
        EmptyInput: There is no such data set in the store.
    """
    # A limit of the section may change what is read again, but not which files are meant.
    same_data = [one for one in overrides if one.strip().startswith(DATA) or not one.strip().startswith("source.")]
    try:
        chosen = settings_of(preset=preset, input=input, overrides=overrides)
        known = settings_of(preset=preset, input=input, overrides=same_data)
    except NothingChosen:
        config = load_config(DEFAULT, overrides)
        dataset = only_data_set(Store(config.home / "store"))
        names = ", ".join(source["name"] for source in dataset.facts["sources"][:3])
        return VersionSettings(config, f"the only data set there is: {names}", f"preset '{DEFAULT}'"), dataset
    return chosen, data_set_of(Store(chosen.config.home / "store"), known.config.source, known.dataset)
