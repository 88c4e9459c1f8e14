"""Trace the training data behind a challenger's start weights, and look for current test reviews in them.

The leak certificate covers only the current data. With a warm start, earlier data have shaped the weights too. If the
split's salt, its shares or the groups of near-duplicates have changed since then, a current test review may have been a
training review. A bundle says which prepared data it, its parts and its start weights have learnt from.

The gate refuses a model whose start weights have learnt a current test review. Such reviews, and copies of them under
another id, whole or in passages, are also found before the training and left out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import BundleError
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.splitting.learnt import LEARNT_SPLITS, learnt_tests
from reviewlm.evaluation.gate.evidence import Leaks
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.tasks.data.prepare import EARLIER, cleaning_options
from reviewlm.tasks.fitting.warm_start import LEARNT, VECTORS, past_of, wants_champion
from reviewlm.tasks.records.track import registry_of
from reviewlm.tracking.registry.versions import CHAMPION

REMEDY = 'train it from fresh weights: training.start = "fresh"'
EXAMPLES = 5
log = logging.getLogger(__name__)


def look_back(
    home: Path,
    clean: Artifact,
    bundle: Path,
) -> Leaks:
    """Search for the current test reviews in all data that a bundle's start weights were trained on.

    Without such data the bundle is free of leaks, and there is no detail.
    """
    past = _past_of(bundle)
    artifacts, problems = learnt_data(home, bundle)
    earlier = [digest for digest in artifacts if digest != clean.digest]
    for digest in earlier:
        learnt = learnt_tests(clean.folder, [artifacts[digest].folder], ["train"])
        if learnt:
            examples = learnt[:EXAMPLES]
            if len(learnt) > EXAMPLES:
                examples.append("…")
            problems.append(
                f"{len(learnt):,} of today's test reviews ({', '.join(examples)}) were training reviews of the "
                f"prepared data '{digest}', which its start weights were trained on"
            )

    if problems:
        reasons = "; ".join(problems)
        return Leaks(False, f"the challenger builds on earlier models: {reasons}; {REMEDY}")

    sentences: list[str] = []
    if earlier:
        sentences.append(_no_leak(clean, earlier))
    for name in past[VECTORS]:
        sentences.append(f"it is not known on which texts the word vectors '{name}' were trained")

    return Leaks(True, "; ".join(sentences))


def _no_leak(clean: Artifact, earlier: Sequence[str]) -> str:
    """Say that the prepared data *earlier* (digests) hold no test review of *clean*."""
    digests = ", ".join(earlier)
    sentence = f"the start weights' own training data ({digests}) have none of today's test reviews"
    compared = _earlier(clean)
    if compared:
        left_out = sum(sum(kinds.values()) for kinds in clean.facts["learnt"].values())
        sentence += (
            f"; {left_out:,} held-out reviews that repeat texts or passages of {', '.join(compared)} "
            "were left out"
        )

    return sentence


def learnt_data(home: Path, bundle: Path) -> tuple[dict[str, Artifact], list[str]]:
    """Return by digest the prepared data that a bundle, its parts and start weights have learnt from, its own first.

    The list describes the data that are missing.
    """
    artifacts: dict[str, Artifact] = {}
    problems: list[str] = []
    for digest in dict.fromkeys(_past_of(bundle)[LEARNT]):
        artifact = Store.of(home).find_usable("prepare", digest)
        if artifact is not None:
            artifacts[digest] = artifact
            continue
        problems.append(
            f"the prepared data '{digest}', which it has learnt from, are no longer in the store or damaged, so their "
            "reviews are not known"
        )

    return artifacts, problems


def _past_of(bundle: Path) -> dict[str, list[str]]:
    return past_of(json.loads((bundle / SPEC).read_text(encoding="utf-8")))


def learnt_by(
    home: Path,
    clean: Artifact,
    bundle: Path,
    splits: Sequence[str] = LEARNT_SPLITS,
) -> tuple[list[str], list[str]]:
    """Return the test reviews in these splits of the data that a bundle has learnt from, by id, and what is unknown.

    The prepared data's own splits need no search: no text is in two of them.
    """
    data, problems = learnt_data(home, bundle)
    others = [then.folder for digest, then in data.items() if digest != clean.digest]
    if not others:
        return [], problems
    return learnt_tests(clean.folder, others, splits), problems


def earlier_data(config: RunConfig, dataset: Artifact) -> list[Artifact]:
    """Return the prepared data that the start weights of a run's models have learnt from; none without a warm start.

    Data that this run would prepare itself are left out: the champion may be its own result. So are data whose reviews
    are all in others of the list that were compared with them. A champion whose bundle is lost or damaged has taught
    nothing: the fits start fresh, and log why.
    """
    if not any(map(wants_champion, config.models)):
        return []

    registry = registry_of(config.workspace, config.promotion.model_name)
    version = registry.alias(CHAMPION)
    if version is None:
        return []

    try:
        artifacts, problems = learnt_data(config.home, registry.bundle_folder(version))
    except (BundleError, OSError, ValueError, KeyError):
        return []

    for problem in problems:
        log.warning(
            "the gate will refuse models that start from champion v%d: %s", version.version, problem
        )

    this_run = (
        dataset.digest,
        cleaning_options(config.selection, config.duplicates, config.split, config.clean),
    )
    others: list[Artifact] = []
    covered: set[str] = set()
    for prepared in artifacts.values():
        made_from = (prepared.manifest["inputs"].get("dataset"), prepared.manifest["options"])
        if made_from != this_run:
            others.append(prepared)
            covered.update(_covered_data(config.home, prepared))

    return [prepared for prepared in others if prepared.digest not in covered]


def earlier_data_of(home: Path, clean: str) -> list[Artifact] | None:
    """Return the earlier data sets from whose test reviews prepared data were kept apart.

    None if that is not known, or if one of them is gone."""
    store = Store.of(home)
    then = store.find_usable("prepare", clean)
    if then is None:
        return None

    compared: list[Artifact] = []
    for digest in _earlier(then):
        artifact = store.find_usable("prepare", digest)
        if artifact is None:
            return None
        compared.append(artifact)

    return compared


def _covered_data(home: Path, clean: Artifact) -> Iterable[str]:
    """Yield the digests of data whose reviews are all in others, by the same settings, which were compared with them.

    Dates that follow from the data move with them, so no split by month is in another one.
    """
    files = _files_of(home, clean.manifest["inputs"])
    for digest in _earlier(clean):
        then = Store.of(home).find_usable("prepare", digest)
        if then is not None and then.manifest["options"] == clean.manifest["options"] and files:
            split = clean.manifest["options"].get("split", {})
            past = _files_of(home, then.manifest["inputs"])
            if split.get("by") != "month" and past and past <= files:
                yield digest


def _earlier(clean: Artifact) -> list[str]:
    return [digest for name, digest in clean.manifest["inputs"].items() if name.startswith(EARLIER)]


def _files_of(home: Path, inputs: Mapping[str, str]) -> frozenset[str]:
    """Return the SHA-256 of the files of a data set; empty if it is not in the store."""
    dataset = Store.of(home).find_usable("ingest", inputs.get("dataset", ""))
    if dataset is None:
        return frozenset()
    return frozenset(source["sha256"] for source in dataset.facts["sources"])
