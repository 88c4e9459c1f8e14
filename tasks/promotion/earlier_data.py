"""Find the prepared data that a warm start has learnt from, so that no held-out review repeats them.

The gate refuses a model whose start weights have learnt a current test review (`tasks/promotion/ancestry.py`). Here
such reviews are found before the training, and also copies under another id, whole or in passages.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from core.config.run_config import RunConfig
from core.errors import BundleError, converted_errors
from core.store import Artifact
from tasks.data.prepare import EARLIER, cleaning_options
from tasks.fitting.warm_start import wants_champion
from tasks.promotion.ancestry import learnt_data
from tasks.stage import store_of
from tasks.track import registry_of
from tracking.registry.registry import CHAMPION
from tracking.tags import DATA_TAG

log = logging.getLogger(__name__)


def earlier_data(config: RunConfig, dataset: Artifact) -> list[Artifact]:
    """Return the prepared data that the start weights of a run's models have learnt from; none without a warm start.

    Data that this run would prepare itself are left out: the champion may be its own result. So are data whose reviews
    are all in others of the list that were compared with them.

    Args:
        config: Its models say whether they start from the champion.
        dataset: The reviews of the run.
    """
    if not any(map(wants_champion, config.models)):
        return []
    artifacts, problems, version = _of_champion(config)
    for problem in problems:
        log.warning("the gate will refuse models that start from champion v%d: %s", version, problem)
    this_run = dataset.digest, cleaning_options(config)
    others = [one for one in artifacts if (one.manifest["inputs"].get("dataset"), one.manifest["options"]) != this_run]
    covered = {digest for one in others for digest in _covered(config, one)}
    return [one for one in others if one.digest not in covered]


def compared_before(config: RunConfig, clean: str) -> list[Artifact] | None:
    """Return the data with which prepared data were compared; None if that cannot be told or done again.

    Args:
        clean: Digest of the prepared data; empty: none.
    """
    then = store_of(config).find_usable("prepare", clean) if clean else None
    if then is None:
        return None
    artifacts = [store_of(config).find_usable("prepare", digest) for digest in _earlier(then)]
    return None if None in artifacts else [one for one in artifacts if one is not None]


def warn_of_part(config: RunConfig, dataset: Artifact) -> None:
    """Warn if a run with fresh weights reads only the last of the files from which the champion has learnt.

    A run without files reads those of the champion. After a run of new reviews alone these are not all.
    """
    version = registry_of(config).alias(CHAMPION)
    if version is None or any(map(wants_champion, config.models)):
        return
    digest = version.tags.get(DATA_TAG)
    taught = store_of(config).find_usable("prepare", digest) if digest else None
    if taught and _earlier(taught) and taught.manifest["inputs"].get("dataset") == dataset.digest:
        log.warning(
            "champion v%d has learnt from earlier reviews, too, which this run does not read: its models start with "
            "fresh weights and will know less. Name all files (--input), or set training.start=champion",
            version.version,
        )


def _of_champion(config: RunConfig) -> tuple[list[Artifact], list[str], int]:
    """Return all data that the champion has learnt from, its own first; problems; its version, 0 if there is none.

    A champion whose bundle is lost or damaged has taught nothing: the fits start fresh, and log why.
    """
    registry = registry_of(config)
    version = registry.alias(CHAMPION)
    if version is None:
        return [], [], 0
    try:
        bundle = registry.bundle_folder(version)
        with converted_errors(bundle):
            artifacts, problems = learnt_data(config, bundle)
    except (BundleError, OSError, ValueError, KeyError):
        return [], [], version.version
    return list(artifacts.values()), problems, version.version


def _covered(config: RunConfig, clean: Artifact) -> Iterable[str]:
    """Yield the digests of data whose reviews are all in others, by the same settings, which were compared with them.

    Dates that follow from the data move with them, so no split by month is in another one.
    """
    files = _files_of(config, clean.manifest["inputs"])
    for digest in _earlier(clean):
        then = store_of(config).find_usable("prepare", digest)
        if then is not None and then.manifest["options"] == clean.manifest["options"] and files:
            split, past = clean.manifest["options"].get("split", {}), _files_of(config, then.manifest["inputs"])
            if split.get("by") != "month" and past and past <= files:
                yield digest


def _earlier(clean: Artifact) -> list[str]:
    return [digest for name, digest in clean.manifest["inputs"].items() if name.startswith(EARLIER)]


def _files_of(config: RunConfig, inputs: Mapping[str, str]) -> frozenset[str]:
    """Return the SHA-256 of the files of a data set; empty if it is not in the store."""
    dataset = store_of(config).find_usable("ingest", inputs.get("dataset", ""))
    if dataset is None:
        return frozenset()
    return frozenset(source["sha256"] for source in dataset.facts["sources"])
