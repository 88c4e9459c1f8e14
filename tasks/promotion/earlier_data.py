"""Find the prepared data that a warm start has learnt from, so that no held-out review repeats them.

The gate refuses a model whose start weights have learnt a current test review (`tasks/promotion/ancestry.py`). Here
such reviews are found before the training, and also those that only their text betrays.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from core.config.run_config import RunConfig
from core.errors import BundleError
from core.lineage.family import replayed
from core.store import Artifact
from tasks.data.prepare import EARLIER
from tasks.fitting.warm_start import wants_champion
from tasks.promotion.ancestry import learnt_from
from tasks.stage import store_of
from tasks.tracking.track import registry_of
from tracking.registry.registry import CHAMPION

log = logging.getLogger(__name__)


def earlier_data(config: RunConfig, dataset: Artifact) -> list[Artifact]:
    """Return the prepared data that the start weights of a run's models have learnt from; none without a warm start.

    The same reviews in the same split are left out: the champion may be the result of this same run. So are data whose
    reviews are all in others of the list that were compared with them.

    Args:
        config: Its models say whether they start from the champion.
        dataset: The reviews of the run.
    """
    if not any(map(wants_champion, config.models)):
        return []
    registry = registry_of(config)
    version = registry.alias(CHAMPION)
    if version is None:
        return []
    try:
        digests, problems = learnt_from(config, registry.bundle_folder(version))
    except BundleError:  # bundle lost: the fits start fresh and log why
        return []
    found = {digest: store_of(config).find_usable("prepare", digest) for digest in digests}
    problems += [f"the prepared data '{digest}' are not in the store" for digest, one in found.items() if one is None]
    for problem in problems:
        log.warning("the gate will refuse models that start from champion v%d: %s", version.version, problem)
    return _needed(config, dataset, [one for one in found.values() if one is not None])


def _needed(config: RunConfig, dataset: Artifact, found: Iterable[Artifact]) -> list[Artifact]:
    split, now = config.split.model_dump(mode="json"), _files_of(dataset)
    past = {one.digest: (one, _data_set(config, one)) for one in found}
    past = {
        digest: (one, files) for digest, (one, files) in past.items()
        if files != now or one.manifest["options"].get("split") != split
    }  # fmt: skip
    compared = {
        digest for one, files in past.values() for name, digest in one.manifest["inputs"].items()
        if name.startswith(EARLIER) and digest in past and past[digest][1] <= files
        and past[digest][0].manifest["options"].get("split") == one.manifest["options"].get("split")
    }  # fmt: skip
    return [one for digest, (one, _) in past.items() if digest not in compared]


def _data_set(config: RunConfig, clean: Artifact) -> frozenset[str]:
    """Return the files of prepared data; a name of its own if their data set is no longer in the store."""
    digest = clean.manifest["inputs"].get("dataset", "")
    dataset = store_of(config).find("ingest", digest)
    return frozenset([f"data set {digest}"]) if dataset is None else _files_of(dataset)


def _files_of(dataset: Artifact) -> frozenset[str]:
    """Return what a data set was read from: the SHA-256 of its files and of the records replayed from quarantine."""
    hashes = [source["sha256"] for source in dataset.facts["sources"]]
    return frozenset([*hashes, *replayed(dataset.manifest["inputs"])])
