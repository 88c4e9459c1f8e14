"""The data family of a run, and of a registered version, also of one from before versions had such tags."""

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
        config: Has the name, or the input that it follows from.
        clean: The prepared data, whose data set names its source files.
    """
    dataset = store_of(config).find("ingest", clean.manifest.get("inputs", {}).get("dataset", ""))
    hashes: list[str] = []
    if dataset is not None:
        hashes = [source["sha256"] for source in dataset.facts["sources"]] + replayed(dataset.manifest["inputs"])
    return Family(family_name(config.source.family, bool(config.source.input)), digest_of_sources(hashes))


def family_of_version(config: RunConfig, version: Version, folder: Path | None) -> Family:
    """Return the family of a registered version: what its tags say, else what the record of its lineage says.

    A version from before there were families has no such tag. Its record names the configuration that it was made with;
    one that is even older has its fit in the store, as long as that was not cleared. Of any other nothing is known.

    Args:
        config: Names the store.
        version: With its tags.
        folder: Of its bundle; None where that is gone.
    """
    if FAMILY_TAG in version.tags or folder is None:
        return Family.of_tags(version.tags)
    try:
        own = record_of(folder)
        return recorded_family(own) if own else recorded_family(recorded(config, folder), own=False)
    except (ArtifactError, Damaged) as error:
        log.warning("of which data version %d was made is not known: %s", version.version, error)
        return NOT_KNOWN


def warn_of_other_family(config: RunConfig) -> None:
    """Say at the start of a run that the gate will refuse its models, where their data are of another family.

    Hours of training would come to nothing, and what to do about it is a setting.
    """
    registry = registry_of(config)
    champion = registry.alias(CHAMPION)
    if champion is None or config.promotion.allow_other_family:
        return
    try:
        theirs = family_of_version(config, champion, registry.bundle_folder(champion))
    except BundleError:  # lost: the gate says what to do
        theirs = family_of_version(config, champion, None)
    ours = family_name(config.source.family, bool(config.source.input))
    if theirs.name != ours:
        log.warning(
            "these data are of the family '%s', the champion of %s (version %d) was made from '%s': the gate will "
            "refuse this run's models. Give them a registered model of their own (promotion.model_name), or set "
            "promotion.allow_other_family=true", ours, registry.name, champion.version, theirs.name,
        )
