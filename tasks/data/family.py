"""Find the data family (kind of reviews) of a run or version, because the gate compares within one family."""

from __future__ import annotations

import logging
from pathlib import Path

from core.config.family_name import family_name
from core.config.run_config import RunConfig
from core.errors import ArtifactError, BundleError, Damaged
from core.lineage.family import FAMILY_TAG, NOT_KNOWN, Family, digest_of_sources, recorded_family, replayed
from core.store import Artifact
from tasks.lineage.gather import recorded
from tasks.stage import store_of
from tasks.tracking.track import registry_of
from tracking.registry.lineage import record_of
from tracking.registry.registry import CHAMPION
from tracking.registry.versions import Version

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
        hashes = [source["sha256"] for source in dataset.facts["sources"]] + replayed(dataset.manifest["inputs"])
    return Family(family_name(config.source.family, bool(config.source.input)), digest_of_sources(hashes))


def family_of_version(config: RunConfig, version: Version, folder: Path | None) -> Family:
    """Return the family of a registered version from its tags, or else from its lineage record.

    A version that is older than families has no such tag. Its lineage record has the configuration it was made with. An
    even older version has no record; then the record is gathered from its fit, if the store still has it. Otherwise the
    family is not known.

    Args:
        config: Locates the store.
        version: The version with its tags.
        folder: Folder of its bundle; None if the bundle is gone.
    """
    if FAMILY_TAG in version.tags or folder is None:
        return Family.of_tags(version.tags)
    try:
        own = record_of(folder)
        return recorded_family(own) if own else recorded_family(recorded(config, folder), own=False)
    except (ArtifactError, Damaged) as error:
        log.warning("the data family of version %d is unknown: %s", version.version, error)
        return NOT_KNOWN


def warn_of_other_family(config: RunConfig) -> None:
    """Warn at the start of a run if the gate will refuse its models because their data family differs.

    Otherwise hours of training would be wasted. The user can prevent it with a setting.
    """
    registry = registry_of(config)
    champion = registry.alias(CHAMPION)
    if champion is None or config.promotion.allow_other_family:
        return
    try:
        theirs = family_of_version(config, champion, registry.bundle_folder(champion))
    except BundleError:  # bundle lost: the gate will give the remedy
        theirs = family_of_version(config, champion, None)
    ours = family_name(config.source.family, bool(config.source.input))
    if theirs.name != ours:
        log.warning(
            "the gate will refuse this run's models: their data family is '%s', but that of the champion (%s version "
            "%d) is '%s'. Set promotion.model_name to another name, or promotion.allow_other_family=true",
            ours, registry.name, champion.version, theirs.name,
        )
