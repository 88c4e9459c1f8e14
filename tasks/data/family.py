"""Find the data family (kind of reviews) of a run or version, because the gate compares within one family."""

from __future__ import annotations

import logging

from core.config.run_config import RunConfig
from core.config.sections.data import family_name
from core.lineage import Family, digest_of_sources
from core.store import Artifact
from tasks.stage import store_of
from tasks.track import registry_of
from tracking.registry.registry import CHAMPION

log = logging.getLogger(__name__)


def family_of_run(config: RunConfig, clean: Artifact) -> Family:
    """Return the family of a run's data.

    Args:
        config: Has the family name, or the input that the name follows from.
        clean: The prepared data; their data set lists the source files.
    """
    dataset = store_of(config).find("ingest", clean.manifest.get("inputs", {}).get("dataset", ""))
    hashes: list[str] = []
    if dataset is not None:
        hashes = [source["sha256"] for source in dataset.facts["sources"]]
    return Family(family_name(config.source.family, bool(config.source.input)), digest_of_sources(hashes))


def warn_of_other_family(config: RunConfig) -> None:
    """Warn at the start of a run if the gate will refuse its models because their data family differs.

    Otherwise hours of training would be wasted. The user can prevent it with a setting.
    """
    registry = registry_of(config)
    champion = registry.alias(CHAMPION)
    if champion is None or config.promotion.allow_other_family:
        return
    theirs = Family.of_tags(champion.tags)
    ours = family_name(config.source.family, bool(config.source.input))
    if theirs.name != ours:
        log.warning(
            "the gate will refuse this run's models: their data family is '%s', but that of the champion (%s version "
            "%d) is '%s'. Set promotion.model_name to another name, or promotion.allow_other_family=true",
            ours, registry.name, champion.version, theirs.name,
        )
