"""Trace the training data behind a challenger's start weights, and look for current test reviews in them.

The leak certificate covers only the current data. With a warm start, earlier data have shaped the weights too. If the
split's salt, its shares or the groups of near-duplicates have changed since then, a current test review may have been a
training review. So follow the chain of start weights, parts of mixtures included, to every prepared data set.

Find the prepared data that a warm start has learnt from, so that no held-out review repeats them.

The gate refuses a model whose start weights have learnt a current test review. Here
such reviews are found before the training, and also copies under another id, whole or in passages.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import BundleError, converted_errors
from core.store import Artifact, sha256_of_file
from corpus.splitting.split import scan_split
from models.bundles.bundle import SPEC
from models.neural.spec import WEIGHTS
from tasks.data.prepare import EARLIER, cleaning_options
from tasks.fitting.fit import bundle_digest
from tasks.fitting.job import BUNDLE_FOLDER
from tasks.fitting.warm_start import INPUT, wants_champion
from tasks.gather import Inputs, artifact_of
from tasks.stage import store_of
from tasks.track import registry_of
from tracking.registry.registry import CHAMPION

REMEDY = 'train it from fresh weights: training.start = "fresh"'
EXAMPLES = 5


@dataclass(frozen=True)
class Past:
    """Result of the search in the data behind a model's start weights.

    Args:
        clean: Whether no current test review was a training review of earlier data; true if there are no earlier data.
        detail: A sentence about it; empty if there are no earlier data.
    """

    clean: bool
    detail: str = ""


def look_back(config: RunConfig, clean: Artifact, bundle: Path) -> Past:
    """Search for the current test reviews in all data that a bundle's start weights were trained on.

    Args:
        clean: The current prepared data; the leak certificate compares their own splits.
        bundle: Folder of the challenger's bundle.
    """
    artifacts, problems = learnt_data(config, bundle)
    earlier = [digest for digest in artifacts if digest != clean.digest]
    for digest in earlier:
        if learnt := _learnt(artifacts[digest], clean):
            named = ", ".join([*learnt[:EXAMPLES], *(["…"] if len(learnt) > EXAMPLES else [])])
            problems.append(
                f"{len(learnt):,} of today's test reviews ({named}) were training reviews of the prepared data "
                f"'{digest}', which its start weights were trained on"
            )
    if problems:
        return Past(False, f"the challenger builds on earlier models: {'; '.join(problems)}; {REMEDY}")
    none = f"the start weights' own training data ({', '.join(earlier)}) have none of today's test reviews"
    if compared := [one for name, one in clean.manifest["inputs"].items() if name.startswith(EARLIER)]:
        left = sum(sum(kinds.values()) for kinds in clean.facts["learnt"].values())
        none += f"; {left:,} held-out reviews that repeat texts or passages of {', '.join(compared)} were left out"
    return Past(True, "; ".join([none] * bool(earlier) + _word_vectors(_ancestors(config, bundle)[0])))


def learnt_data(config: RunConfig, bundle: Path) -> tuple[dict[str, Artifact], list[str]]:
    """Return by digest the prepared data that a bundle, its parts and start weights have learnt from, its own first.

    The list describes problems in tracing them, and data that are missing.
    """
    builds, problems = _ancestors(config, bundle)
    artifacts = {digest: store_of(config).find_usable("prepare", digest) for digest in _data_of(builds)}
    problems += [
        f"the prepared data '{digest}', which it has learnt from, are no longer in the store or damaged, so their "
        "reviews are not known"
        for digest, one in artifacts.items() if one is None
    ]  # fmt: skip
    return {digest: one for digest, one in artifacts.items() if one is not None}, problems


def _ancestors(config: RunConfig, bundle: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what `spec.json` says of a bundle, its parts and its start weights, itself first; and problems."""
    store = store_of(config)
    inputs = Inputs(store.all, partial(artifact_of, store))
    waiting, seen, builds, problems = [bundle], set[str](), list[dict[str, Any]](), []
    while waiting:
        folder = waiting.pop()
        if (digest := bundle_digest(folder)) in seen:
            continue
        seen.add(digest)
        builds.append(build := json.loads((folder / SPEC).read_text(encoding="utf-8")))
        for what, folder_of_parent in _parents(config, inputs, build):
            if folder_of_parent is None:
                problems.append(f"how its {what} were made is not known: their fit and versions are deleted")
            else:
                waiting.append(folder_of_parent)
    return builds, problems


def _data_of(builds: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(build.get("clean_digest", "unknown") for build in builds))


def _word_vectors(builds: list[dict[str, Any]]) -> list[str]:
    """Say of each file of word vectors in which an embedding began that its texts are not known."""
    names = dict.fromkeys(name for build in builds if (name := build.get("spec", {}).get("vectors")))
    return [f"it is not known on which texts the word vectors '{name}' were trained" for name in names]


def _parents(config: RunConfig, inputs: Inputs, build: dict[str, Any]) -> Iterator[tuple[str, Path | None]]:
    """Yield each part and the start weights named in a bundle's `spec.json`, with their bundle folder or None.

    Fits of the store come first, then the registered versions, the newest first.
    """
    def folder(fit: Artifact | None, sha256: str, file: str) -> Path | None:
        if fit and (whole := store_of(config).find_usable(fit.stage, fit.digest)):  # a damaged one is logged
            return whole.folder / BUNDLE_FOLDER
        registry = registry_of(config)
        for version in registry.versions():
            with suppress(BundleError):
                bundle = registry.bundle_folder(version)
                if any(sha256_of_file(path) == sha256 for path in bundle.rglob(file)):
                    return bundle
        return None

    for name, digest in build.get("parts", {}).items():
        yield f"weights of part '{name}'", folder(inputs.fits.get(digest), digest, SPEC)
    if start := build.get(INPUT):
        yield f"start weights {start[:16]}", folder(inputs.weights.get(start), start, WEIGHTS)


def _learnt(then: Artifact, clean: Artifact) -> list[str]:
    """Return the sorted ids of the test reviews of *clean* that are training reviews of *then*."""
    train, test = (
        scan_split(artifact.folder, split).select("review_id")
        for artifact, split in ((then, "train"), (clean, "test"))
    )
    learnt = train.join(test, on="review_id", how="semi").collect(engine="streaming")
    return sorted(learnt["review_id"].to_list())


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
