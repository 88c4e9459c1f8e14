"""Measure the registered champion and challenger for the gate, now.

Both are also scored on the champion's own test reviews, those of its data, to detect that older data are forgotten.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.evaluation import EvaluationConfig, PromotionConfig
from reviewlm.core.errors import BundleError, Damaged, InputError, ReviewLMError, converted_errors
from reviewlm.core.lineage import Family
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.ingestion.forgotten import Forgotten
from reviewlm.corpus.splitting.certificate import reviews_digest
from reviewlm.corpus.splitting.learnt import TEST, Unlearnt, choose_unlearnt
from reviewlm.corpus.splitting.split import TABLE, scan_split
from reviewlm.evaluation.gate.case import IDENTITY
from reviewlm.evaluation.gate.evidence import ChampionReviews, ModelEvidence
from reviewlm.tasks.data.documents import documents_of
from reviewlm.tasks.execution.stage import run_stage, stage_task
from reviewlm.tasks.family import Champion, ModelFamily, Scored
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.promotion.ancestry import REMEDY, learnt_data
from reviewlm.tasks.records.track import registry_of, tracking_was_away
from reviewlm.tracking.registry.versions import CHAMPION, Version
from reviewlm.tracking.tags import BUNDLE_TAG, DATA_TAG

log = logging.getLogger(__name__)
STAGE = "unlearnt"
COUNTS = ("tests", "learnt_ids", "learnt_texts")


@stage_task("score champion", retry_if=tracking_was_away)
def score_champion(family: ModelFamily) -> Champion | None:
    """Measure the registered champion on the test reviews of this run; return None if there is no champion.

    A lost or damaged bundle is not an error here: it is returned as a problem, and the gate gives the remedy.
    """
    registry = registry_of(family.config.workspace, family.config.promotion.model_name)
    version: Version | None = registry.alias(CHAMPION)
    if version is None:
        return None

    digest = version.tags.get(BUNDLE_TAG, f"unknown (version {version.version})")
    folder = None
    try:
        folder = registry.bundle_folder(version)
        digest = require_registered(folder, version.tags.get(BUNDLE_TAG, ""))
        with converted_errors(folder):
            scored = family.score_champion(folder, f"champion v{version.version}")
    except (BundleError, Damaged) as error:
        folder = None
        scored = _not_measured(ModelEvidence(), f"the champion, version {version.version}", error)

    scored = replace(scored, digest=digest, family=Family.of_tags(version.tags))
    return Champion(version.version, scored, folder, version.tags.get(DATA_TAG, ""))


@stage_task("score challenger", retry_if=tracking_was_away)
def score_challenger(family: ModelFamily, version: int | None) -> Scored:
    """Measure the registered challenger; without a new version, return what the run has measured.

    A bundle that does not open is not an error here: it is returned as a problem, and the gate refuses it.

    Raises:
        Damaged: What this run has measured has changed since it was stored.
    """
    stored = family.load_stored(family.challenger)
    if version is None:
        return stored

    try:
        folder = registry_of(
            family.config.workspace, family.config.promotion.model_name
        ).bundle_folder(version)
        require_registered(folder, bundle_digest(family.bundle))
        with converted_errors(folder):
            return family.score_registered(folder, f"{family.challenger.name} v{version}", stored)
    except (BundleError, Damaged) as error:
        return _not_measured(stored, f"the registered challenger, version {version}", error)


def _not_measured(
    scored: Scored,
    who: str,
    error: ReviewLMError,
) -> Scored:
    """Log why a model cannot be measured, and return it as the problem."""
    sentences = [f"{who}, cannot be measured: {error.what}", error.cause, error.remedy]
    problem = "; ".join(sentence for sentence in sentences if sentence)
    log.warning("%s", problem)
    return replace(scored, problem=problem)


def require_registered(folder: Path, registered: str) -> str:
    """Return the digest of a bundle; raise BundleError if the digest *registered* is known and differs."""
    digest = bundle_digest(folder)
    if registered and digest != registered:
        raise BundleError(
            "The bundle differs from the registered one",
            where=folder,
            value=f"{digest}, registered {registered}",
        )
    return digest


@stage_task("score champion's reviews", retry_if=tracking_was_away)
def score_champion_reviews(
    family: ModelFamily,
    scored: Scored,
    champion: Champion | None,
    version: int | None,
) -> ChampionReviews[Any] | None:
    """Measure champion and challenger on the test reviews of the data that the champion was trained on.

    Leave out reviews that the challenger was trained or validated on. Return None if the rule does not apply: there is
    no champion that can be measured, the champion is the challenger itself, or the policy sets no limit.
    """
    config = family.config
    policy = family.policy
    bundle = family.bundle
    if version is None or champion is None:
        return None
    if champion.folder is None or champion.scored.rows is None:
        return None
    if policy.max_champion_loss is None or champion.scored.digest == bundle_digest(bundle):
        return None

    data = champion.data
    clean = family.prepared.clean
    switch = "set promotion.max_champion_loss=none"
    if data == clean.digest:
        return ChampionReviews(same=True)

    try:
        earlier = Store.of(config.home).find("prepare", data)
    except Damaged as error:
        return _unknown_reviews(
            _lost(
                config.home,
                config.promotion,
                champion,
                f"{error.what} ({error.where})",
                switch,
            )
        )
    if earlier is None:
        reason = f"the prepared data '{data}' are not in this store"
        return _unknown_reviews(
            _lost(
                config.home,
                config.promotion,
                champion,
                reason,
                switch,
            )
        )

    tests = tests_of(earlier)
    if reviews_digest(tests) == reviews_digest(tests_of(clean)):
        return ChampionReviews(len(tests), same=True)

    learnt, problems = learnt_data(config.home, bundle)
    if problems:
        return _unknown_reviews(
            f"it is not known which of the champion's test reviews the challenger was trained on: {'; '.join(problems)}"
            f"; {REMEDY}, or {switch}"
        )

    read = {clean.digest: clean, **learnt}
    chosen = choose_reviews(
        config.workspace,
        config.evaluation,
        earlier,
        list(read.values()),
        policy.champion_reviews,
    )
    reviews, by_id, by_text = (int(chosen.facts[name]) for name in COUNTS)
    counted: ChampionReviews[Any] = ChampionReviews(reviews, by_id, by_text)
    try:
        folders = {"challenger": bundle, "champion": champion.folder}
        pair = family.score_champions_reviews(chosen, earlier, (scored, champion.scored), folders)
    except (BundleError, Damaged, InputError) as error:  # of a field of the files: they may be gone
        what = "the models could not be tried on the champion's own test reviews"
        return replace(counted, problem=f"{what}: {error.what}")

    if pair is None:
        return counted

    return replace(
        counted,
        challenger=pair[0],
        champion=pair[1],
        documents=documents_of(earlier),
    )


def _unknown_reviews(problem: str) -> ChampionReviews[Any]:
    log.warning("%s", problem)
    return ChampionReviews(problem=problem)


def _lost(
    home: Path,
    promotion: PromotionConfig,
    champion: Champion,
    what: str,
    switch: str,
) -> str:
    """Return that the champion's data are gone, and what to do."""
    if champion.data in Forgotten.of(home).prepared:
        return (
            f"the champion, version {champion.version}, cannot be measured on its own test reviews, because they held "
            f"reviews that `reviewlm home forget` has removed; {switch}, or promote the new version by hand (--force)"
        )

    lineage = f"`reviewlm version lineage {promotion.model_name}/{champion.version}`"
    return (
        f"the champion, version {champion.version}, cannot be measured on its own test reviews: {what}; make the data "
        f"again with `run --until prepare` from the files in {lineage}, or {switch}"
    )


def tests_of(clean: Artifact) -> pl.DataFrame:
    """Return the identity of each test review of prepared data, for `reviews_digest`; a row for each."""
    return scan_split(clean.folder, TEST).select(IDENTITY).collect()


def choose_reviews(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    earlier: Artifact,
    learnt: list[Artifact],
    most: int,
) -> Artifact:
    """Return the chosen reviews as an artifact with only a test split, so that it is tokenized like prepared data."""
    options = {"most": most, "seed": evaluation.seed}
    inputs = {"earlier": earlier.digest, **{f"learnt {one.digest}": one.digest for one in learnt}}

    def make(work: Path) -> dict[str, Any]:
        choice: Unlearnt = choose_unlearnt(
            earlier.folder, [one.folder for one in learnt], **options
        )
        choice.reviews.write_parquet(work / TABLE)
        counts = {name: getattr(choice, name) for name in COUNTS}
        return {**counts, "splits": {TEST: {"reviews": len(choice.reviews)}}}

    return run_stage(
        workspace,
        STAGE,
        options,
        inputs,
        make,
        "champion's own test reviews",
    ).artifact
