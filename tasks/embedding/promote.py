"""Register word vectors, rank the words of the test reviews with them and the champion, and let the gate decide."""

from __future__ import annotations

import logging

import polars as pl

from core.config.run_config import RunConfig
from core.errors import BundleError, Damaged
from core.lineage.family import Family
from core.model_errors import converted_errors
from core.processes.interrupts import during
from corpus.splitting.certificate import reviews_digest
from corpus.splitting.split import scan_split
from evaluation.gate.decision import Decision
from evaluation.gate.evidence import DataEvidence
from evaluation.vectors.evidence import RankedVectors, VectorsEvidence
from evaluation.vectors.gate import BY_COSINE, BY_OUTPUT, decide_vectors
from evaluation.vectors.ranked_words import WordWindows, rank, rank_by_counts, windows_of_words, words_of
from models.tokens.vocabulary import Vocabulary
from models.vectors.bundle import VectorsBundle, load_vectors
from models.vectors.word_vectors import WordVectors
from tasks.data.documents import documents_of, grouped_by
from tasks.data.family import family_of_run
from tasks.data.prepare import VOCABULARY_FILE, Prepared
from tasks.embedding.champion import ChampionVectors, cut_of, rank_champion_reviews
from tasks.fitting.fit import bundle_digest
from tasks.fitting.fitted import FittedVectors
from tasks.promotion.champion_reviews import tests_of
from tasks.promotion.evidence import checked, look_for_leaks, rolled_back, served
from tasks.promotion.promote import Promotion, carry_out, register_fit
from tasks.promotion.score_now import in_short, require_registered
from tasks.stage import stage
from tasks.tracking.track import registry_of, tracker_of, tracking_was_away
from tracking.logged_models.forms import WORD_VECTORS

log = logging.getLogger(__name__)
NAMES = {BY_OUTPUT: "ranked", BY_COSINE: "ranked_by_cosine"}
"""Names of the measures in MLflow and in the summary."""


@stage("register vectors", retry_if=tracking_was_away)
@during("register")
def register_vectors(
    config: RunConfig, prepared: Prepared, fitted: FittedVectors, champion: ChampionVectors | None
) -> int | None:
    """Register the vectors as a new version; return None if they equal the champion and that can be opened."""
    if champion is not None and champion.digest == bundle_digest(fitted.bundle) and not champion.problem:
        return None
    return register_fit(config, prepared.clean, fitted, (), {})


@stage("judge vectors", retry_if=tracking_was_away)
@during("gate")
def judge_vectors(
    config: RunConfig, prepared: Prepared, fitted: FittedVectors, champion: ChampionVectors | None, version: int | None
) -> Decision:
    """Rank the words of the test reviews with both, and return the gate's decision; the registry is unchanged."""
    clean, (bundle, problem) = prepared.clean, _registered_vectors(config, fitted, version)
    ours = bundle.vectors if bundle else None
    reviews, windows = _test_windows(config, prepared)
    theirs = champion.vectors if champion else None
    by_output = all(one.output_ND is not None for one in (ours, theirs) if one is not None)
    test, documents, (passed, detail) = reviews_digest(tests_of(clean)), documents_of(clean), checked(prepared.checks)

    own = rank_champion_reviews(
        config, clean, fitted.bundle, ours, champion, lambda table: _windows(config, prepared, table), by_output
    )

    def ranked(digest: str, vectors: WordVectors | None, why: str, family: Family, cut: str) -> RankedVectors:
        rows = None if vectors is None else rank(windows, vectors, by_output)
        return RankedVectors(digest, rows, test, why, family, cut)

    evidence = VectorsEvidence(
        ranked(
            bundle_digest(fitted.bundle), ours, problem, family_of_run(config, clean), cut_of(bundle) if bundle else ""
        ),
        ranked(champion.digest, theirs, champion.problem, champion.family, champion.cut) if champion else None,
        None if ours is None else rank_by_counts(windows, dict(zip(ours.words, ours.counts, strict=True))),
        by_output,
        data=DataEvidence(
            documents.join(reviews, on="review_id", how="left", maintain_order="left"), grouped_by(clean, documents),
            passed, detail, look_for_leaks(clean, None),
        ),
        serving=served(config, fitted, version, WORD_VECTORS),
        champion_reviews=own,
        rolled_back=rolled_back(config, fitted),
        resamples=config.evaluation.resamples, seed=config.evaluation.seed,
    )  # fmt: skip
    return decide_vectors(config.embedding.promotion, evidence)


def _test_windows(config: RunConfig, prepared: Prepared) -> tuple[pl.DataFrame, WordWindows]:
    """Return stars and number of words of the test reviews, and their windows."""
    table = scan_split(prepared.clean.folder, "test")
    reviews = table.select("review_id", "text", "stars", "words").collect()
    return reviews.drop("text"), _windows(config, prepared, reviews)


def _windows(config: RunConfig, prepared: Prepared, reviews: pl.DataFrame) -> WordWindows:
    """Return the windows of reviews, as the run's vocabulary cuts them."""
    vocabulary = Vocabulary.load(prepared.vocabularies[config.embedding.vocabulary].folder / VOCABULARY_FILE)
    return windows_of_words(reviews["review_id"], words_of(vocabulary, reviews["text"]))


@stage("gate for vectors", retry_if=tracking_was_away)
@during("gate")
def settle_vectors(
    config: RunConfig, prepared: Prepared, fitted: FittedVectors, champion: ChampionVectors | None,
    version: int | None, decision: Decision, parent_run_id: str,
) -> Promotion:  # fmt: skip
    """Carry out a decision: write it to the version and the flow's run, and move the alias if it says so.

    The decision is made before, so a retry carries out the same one.
    """
    expected = champion.version if champion else None
    promotion = carry_out(config, prepared.clean, decision, fitted, version, expected, parent_run_id)
    # Only now: if the champion has changed, there is another decision, with other figures.
    tracker, metrics = tracker_of(config), metrics_of(decision)
    tracker.log_metrics(parent_run_id, metrics)
    lacking = metrics.keys() - tracker.metrics(fitted.run_id).keys() if fitted.reused else metrics
    if any(f"test/{name}" in lacking for name in NAMES.values()):
        tracker.log_metrics(fitted.run_id, metrics)
    return promotion


def metrics_of(decision: Decision) -> dict[str, float]:
    """Return figures of a decision by their names in MLflow, which say how words were scored."""
    found = decision.figures
    measure = next((one for one in NAMES if f"challenger, {one}" in found), BY_OUTPUT)
    name = f"test/{NAMES[measure]}"
    named = {
        name: f"challenger, {measure}", f"{name}_by_champion": f"champion, {measure}",
        "test/ranked_by_counts": f"word counts, {measure}", name.replace("ranked", "gain"): "gain",
        "test/windows": "test windows",
    }  # fmt: skip
    return {name: value for name, figure in named.items() if (value := found.get(figure)) is not None}


def _registered_vectors(
    config: RunConfig, fitted: FittedVectors, version: int | None
) -> tuple[VectorsBundle | None, str]:
    """Return the vectors as they are registered, which is what is served; or why they do not open."""
    folder = fitted.bundle
    try:
        if version is not None:
            folder = registry_of(config).bundle_folder(version)
            require_registered(folder, bundle_digest(fitted.bundle))
        with converted_errors(folder):
            return load_vectors(folder), ""
    except (BundleError, Damaged) as error:
        problem = f"the registered challenger, version {version}, cannot be opened: {in_short(error)}"
        log.warning(problem)
        return None, problem
