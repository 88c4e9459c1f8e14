"""Score registered bundles for the gate now, and compare the scores with the stored ones."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.errors import BundleError, Damaged, ReviewLMError
from core.lineage.family import NOT_KNOWN, Family
from core.model_errors import converted_errors
from core.store import Artifact
from evaluation.gate.evidence import departure
from evaluation.scoring.score import score_stream
from models.bundles.bundle import SPEC
from models.streams import TokenStream
from models.tokens.vocabulary import Vocabulary
from tasks.data.prepare import VOCABULARY_FILE, Prepared, tokenize
from tasks.evaluation.evaluate import SCORES_FILE, Measured, score_bundle, scores_of
from tasks.fitting.fit import bundle_digest
from tasks.gpus import OpenBundle
from tasks.measuring.model_work import ModelWork, only_opened
from tasks.measuring.processes import with_model
from tasks.progress import progress
from tasks.stage import stage, store_of
from tasks.table_file import TableFile
from tasks.track import registry_of, tracking_was_away
from tracking.registry.registry import CHAMPION, Version
from tracking.tags import BUNDLE_TAG, DATA_TAG

log = logging.getLogger(__name__)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Scored:
    """Scores of a model on the test reviews.

    Args:
        table: See `evaluation.scoring.score.score_stream`.
        departure: See `evaluation.gate.evidence.departure`; None if the rows are the stored ones.
        problem: Why the model could not be scored now; empty if it could.
        at: Time of scoring, in UTC.
    """

    table: TableFile = field(repr=False)
    departure: float | None = None
    problem: str = ""
    at: str = field(default_factory=_now)

    @classmethod
    def stored(cls, artifact: Artifact, departure: float | None = None, problem: str = "") -> Scored:
        """Return the scores of an artifact."""
        return cls(TableFile(artifact.folder / SCORES_FILE), departure, problem)

    @property
    def rows(self) -> pl.DataFrame:
        """The scores, read from their file: one row per review."""
        return self.table.read()


@dataclass(frozen=True)
class Champion:
    """Current champion, scored on the challenger's test reviews; with a problem it has neither folder nor scores.

    `family` is the family of its training data, `data` the digest of its prepared data set.
    `pays`: see `evaluation.gate.evidence.ModelEvidence.pays`.
    """

    version: int
    digest: str
    folder: Path | None = None
    scores: Artifact | None = None
    scored: Scored | None = None
    problem: str = ""
    family: Family = NOT_KNOWN
    data: str = ""


@stage("score champion", retry_if=tracking_was_away)
def score_champion(config: RunConfig, prepared: Prepared, challenger: Measured) -> Champion | None:
    """Score the registered champion on the test reviews of this run; return None if there is no champion.

    A lost or damaged bundle is not an error here: it is returned as a problem, and the gate gives the remedy.
    """
    version: Version | None = registry_of(config).alias(CHAMPION)
    if version is None:
        return None
    try:
        return _measured(config, prepared, challenger, version)
    except (BundleError, Damaged) as error:
        lost = lost_champion(config, version, "be measured", error)
        return Champion(version.version, **lost, data=version.tags.get(DATA_TAG, ""))


def lost_champion(config: RunConfig, version: Version, deed: str, error: ReviewLMError) -> dict[str, Any]:
    """Return digest, family and problem of a champion that cannot do a deed, because its bundle does not open."""
    problem = f"the champion, version {version.version}, cannot {deed}: {in_short(error)}"
    log.warning(problem)
    digest = version.tags.get(BUNDLE_TAG, f"unknown (version {version.version})")
    return {"digest": digest, "family": Family.of_tags(version.tags), "problem": problem}


def _measured(config: RunConfig, prepared: Prepared, challenger: Measured, version: Version) -> Champion:
    folder = registry_of(config).bundle_folder(version)
    digest = require_registered(folder, version.tags.get(BUNDLE_TAG, ""))
    label = f"champion v{version.version}"
    with converted_errors(folder):
        tokens = tokens_for(config, folder, prepared)
        if digest == bundle_digest(challenger.fitted.bundle):  # same bundle: no decision depends on its scores
            artifact = score_bundle(config, folder, tokens, label).artifact
            scored = Scored.stored(artifact)
        else:
            artifact, scored = score_bundle_now(config, folder, tokens, label)
    family, data = Family.of_tags(version.tags), version.tags.get(DATA_TAG, "")
    return Champion(version.version, digest, folder, artifact, scored, family=family, data=data)


def score_bundle_now(config: RunConfig, folder: Path, tokens: Artifact, label: str) -> tuple[Artifact, Scored]:
    """Return a bundle's stored scores and its current ones; `score_now` gives the latter if the former were reused."""
    built = score_bundle(config, folder, tokens, label)
    fresh = not built.reused
    return built.artifact, (
        Scored.stored(built.artifact, 0.0) if fresh else score_now(config, folder, tokens, built.artifact, label)
    )


def tokens_for(config: RunConfig, bundle: Path, prepared: Prepared) -> Artifact:
    """Return the test token stream in a bundle's own vocabulary; tokenize if this run does not have it.

    Raises:
        BundleError: The vocabulary is not the one that the model was trained with, so it must not be used.
    """
    file = bundle / VOCABULARY_FILE
    digest = Vocabulary.load(file).digest
    trained_with = json.loads((bundle / SPEC).read_text(encoding="utf-8"))["vocabulary_digest"]
    if digest != trained_with:
        raise BundleError("The vocabulary of the bundle was changed", where=file, value=f"{digest}, not {trained_with}")
    for name, artifact in prepared.vocabularies.items():
        if artifact.facts["vocabulary_digest"] == digest:
            return prepared.tokens[name]["test"]
    return tokenize(config, str(file), "test", prepared.clean, "champion")


@stage("score challenger", retry_if=tracking_was_away)
def score_challenger(config: RunConfig, prepared: Prepared, challenger: Measured, version: int | None) -> Scored:
    """Score the registered challenger, because the registered bundle is served, not the fit that it was copied from.

    Scores of this run are not computed a second time: they must be unchanged in the store, and the registered copy has
    to open and to have the same digest. A bundle that does not open is not an error here: return the stored scores with
    the problem; the gate refuses it.

    Raises:
        Damaged: Scores of this run have changed since they were stored.
    """
    if version is None:
        return Scored.stored(challenger.test)
    tokens = prepared.tokens[challenger.fitted.spec.vocabulary]["test"]
    if challenger.fresh:
        store_of(config).verify(challenger.test)  # other fits may have taken hours since it was written
    try:
        folder = registry_of(config).bundle_folder(version)
        require_registered(folder, bundle_digest(challenger.fitted.bundle))
        if challenger.fresh and config.promotion.rescore:
            with converted_errors(folder), OpenBundle(config, folder) as opened:
                with_model(ModelWork(only_opened, challenger.name, folder, folder, {}), opened)
            return Scored.stored(challenger.test, 0.0)
        return score_now(config, folder, tokens, challenger.test, f"{challenger.name} v{version}")
    except (BundleError, Damaged) as error:
        remedy = f"; {error.remedy}" if error.remedy else ""
        problem = f"the registered challenger, version {version}, cannot be scored: {in_short(error)}{remedy}"
        log.warning(problem)
        return Scored.stored(challenger.test, problem=problem)


def require_registered(folder: Path, registered: str) -> str:
    """Return the digest of a bundle; raise BundleError if the digest *registered* is known and differs."""
    digest = bundle_digest(folder)
    if registered and digest != registered:
        raise BundleError(
            "The bundle differs from the registered one", where=folder, value=f"{digest}, registered {registered}"
        )
    return digest


def score_now(config: RunConfig, folder: Path, tokens: Artifact, stored: Artifact, label: str) -> Scored:
    """Score a bundle now; if the policy does not ask for it, verify and return the stored scores instead.

    The new scores are compared with the stored ones and are not stored.

    Raises:
        BundleError: The bundle does not open, or its probe texts score differently from when it was saved.
        Damaged: The stored scores have changed since they were stored.
    """
    if not config.promotion.rescore:
        store_of(config).verify(stored)
        return Scored.stored(stored)
    with converted_errors(folder), OpenBundle(config, folder) as opened:
        stream = TokenStream.open(tokens.folder)
        with progress(f"gate {label}", len(stream), "reviews") as report:
            rows = score_stream(opened(), stream, report=lambda done, total: report(done))
    return Scored(TableFile.written(rows, config), departure(rows, scores_of(stored)))


def in_short(error: ReviewLMError) -> str:
    """Return what went wrong, and the cause."""
    return "; ".join(part for part in (error.what, error.cause) if part)
