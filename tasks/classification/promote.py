"""Register the best classifier on validation, and move the alias `champion` to it only if it passes the gate."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import polars as pl

from core.config.run_config import RunConfig
from core.errors import BundleError, Damaged
from core.lineage.record import LINEAGE_TAG
from core.processes.interrupts import during
from core.store import Artifact
from evaluation.classification.evidence import AnsweredReviews, ClassifierEvidence, ClassifierService
from evaluation.classification.gate import decide
from evaluation.gate.decision import Decision
from evaluation.gate.evidence import DataEvidence, Leaks
from models.base import ModelError
from models.classification.bundle import load_classifier
from tasks.announce import PROMOTED, REFUSED, announce
from tasks.classification.compare import Compared, MeasuredClassifier, predicted
from tasks.classification.predict import predict_bundle, predictions_of
from tasks.data.documents import documents_of, grouped_by
from tasks.data.family import family_of_run, family_of_version
from tasks.data.prepare import Prepared
from tasks.fitting.fit import bundle_digest
from tasks.limits import PROMOTION, slot
from tasks.lineage.gather import keep_lineage
from tasks.promotion.ancestry import look_back
from tasks.promotion.evidence import checked, look_for_leaks, megabytes, with_past
from tasks.promotion.promote import described_version
from tasks.promotion.rejudge import retry_on_champion_change
from tasks.stage import show_markdown, stage
from tasks.tracking.track import registry_of, tracker_of, tracking_was_away
from tracking import tags as tag
from tracking.logged_models.export import smoke_test
from tracking.logged_models.forms import CLASSIFIER
from tracking.registry.lineage import tag_version
from tracking.registry.registry import CHAMPION, Registry, Version, outcome_tags

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassifierPromotion:
    """Result of the gate."""

    challenger: str
    version: int | None
    champion_version: int | None
    decision: Decision


def promote_classifier(
    config: RunConfig, prepared: Prepared, compared: Compared, parent_run_id: str
) -> ClassifierPromotion:
    """Register the challenger, let it and the champion answer the same test reviews, and decide."""
    challenger = choose(compared)
    log.info("challenger is '%s', the classifier with the best macro-F1 on validation", challenger.name)
    return retry_on_champion_change(lambda: _judged(config, prepared, compared, challenger, parent_run_id))


def choose(compared: Compared) -> MeasuredClassifier:
    """Return the classifier with the best macro-F1 on the validation reviews; the test reviews have no say."""
    return max(compared.models, key=lambda model: compared.validation[model.name]["macro_f1"] or 0.0)


@stage("gate for classifiers", retry_if=tracking_was_away)
@during("gate")
def _judged(
    config: RunConfig, prepared: Prepared, compared: Compared, challenger: MeasuredClassifier, parent_run_id: str
) -> ClassifierPromotion:
    past = look_back(config, prepared.clean, challenger.fitted.bundle)  # of the language model that it started from
    config = config.asking(config.classification.model_name)
    registry, tracker = registry_of(config), tracker_of(config)
    standing = registry.alias(CHAMPION)
    version = _registered(config, registry, prepared, challenger, standing)
    leaks = with_past(look_for_leaks(prepared.clean, None), past)
    decision = decide(
        config.classification.promotion, _evidence(config, prepared, compared, challenger, standing, version, leaks)
    )
    if version is not None:
        described = described_version(
            config, challenger.fitted.spec, decision.to_markdown(), tracker.link(challenger.fitted.run_id)
        )
        with slot(PROMOTION):
            registry.settle(
                version, standing.version if standing else None, decision.promote, described, outcome_tags(decision),
                run_id=parent_run_id,
            )
    tracker.log_text(parent_run_id, decision.to_json(), "decision.json")
    tracker.log_text(parent_run_id, decision.to_markdown(), "decision.md")
    tracker.set_tags(parent_run_id, {tag.OUTCOME: decision.headline, tag.NOTE: decision.to_markdown()})
    show_markdown("gate", decision.to_markdown(), decision.headline)
    if version is not None:
        announce(PROMOTED if decision.promote else REFUSED, config, {
            "version": version, "preset": config.preset, "sentence": decision.headline, "reason": decision.reason,
        })  # fmt: skip
    now = registry.alias(CHAMPION)
    return ClassifierPromotion(challenger.name, version, now.version if now else None, decision)


def _registered(
    config: RunConfig, registry: Registry, prepared: Prepared, challenger: MeasuredClassifier, standing: Version | None
) -> int | None:
    """Register the challenger as a new version; return None if it is the champion already."""
    digest = bundle_digest(challenger.fitted.bundle)
    if standing is not None and standing.tags.get(tag.BUNDLE_TAG) == digest and _opens(registry, standing):
        return None
    tracker = tracker_of(config)
    run_id = tracker.known_id(challenger.fitted.run_id)
    uri = tracker.tag(run_id, tag.MODEL_URI_TAG)
    family = family_of_run(config, prepared.clean).tags()
    tags = {
        LINEAGE_TAG: keep_lineage(config, uri, challenger.fitted.artifact, (challenger.test, challenger.validation)),
        tag.MODEL_KIND: challenger.fitted.spec.kind, tag.MODEL_NAME: challenger.name, tag.BUNDLE_TAG: digest,
        tag.DATA_TAG: prepared.clean.digest,
        tag.LEAK_CERTIFICATE: prepared.clean.facts.get("certificate") or "none",
    }  # fmt: skip
    number = registry.register(uri, run_id, tags | family)
    tag_version(registry, number, family)
    return number


def _opens(registry: Registry, version: Version) -> bool:
    try:
        return registry.bundle_folder(version).is_dir()
    except BundleError:
        return False


def _evidence(
    config: RunConfig, prepared: Prepared, compared: Compared, challenger: MeasuredClassifier, standing: Version | None,
    version: int | None, leaks: Leaks,
) -> ClassifierEvidence:  # fmt: skip
    passed, detail = checked(prepared.checks)
    documents = documents_with_words(prepared.clean)
    test = leaks.test or prepared.clean.digest
    baseline = compared.named(config.classification.baseline)
    return ClassifierEvidence(
        replace(_answered(challenger, documents, test), family=family_of_run(config, prepared.clean)),
        _champion(config, prepared, standing, challenger, test) if standing else None,
        _answered(baseline, documents, test),
        DataEvidence(
            documents, grouped_by(prepared.clean, documents), passed, detail, leaks,
        ),
        _service(config, challenger, version),
        resamples=config.evaluation.resamples, seed=config.evaluation.seed,
    )  # fmt: skip


def _answered(model: MeasuredClassifier, documents: pl.DataFrame, test: str) -> AnsweredReviews:
    answers = predicted(model.fitted.spec.labels, predictions_of(model.test), documents)
    return AnsweredReviews(bundle_digest(model.fitted.bundle), answers, test, name=model.name)


def _champion(
    config: RunConfig, prepared: Prepared, standing: Version, challenger: MeasuredClassifier, test: str
) -> AnsweredReviews:
    """Let the champion answer the challenger's test reviews; what is lost or damaged is a problem, not an error."""
    registered, registry = standing.tags.get(tag.BUNDLE_TAG, ""), registry_of(config)
    try:
        folder = registry.bundle_folder(standing)
        if registered and bundle_digest(folder) != registered:
            raise BundleError("The bundle differs from the registered one", where=folder)
        labels = load_classifier(folder).labels
        if labels != challenger.fitted.spec.labels:
            raise BundleError("It has other labels", where=folder, cause=", ".join(labels))
        answers = predict_bundle(config, folder, prepared.clean, "test", f"champion v{standing.version}").artifact
        family = family_of_version(config, standing, folder)
        rows = predicted(labels, predictions_of(answers), documents_of(prepared.clean))
        return AnsweredReviews(bundle_digest(folder), rows, test, name=f"version {standing.version}", family=family)
    except (BundleError, Damaged, ModelError) as error:
        problem = f"the champion, version {standing.version}, cannot answer: {error}"
        log.warning(problem)
        known = registered or f"unknown (version {standing.version})"
        return AnsweredReviews(known, problem=problem, family=family_of_version(config, standing, None))


def _service(config: RunConfig, challenger: MeasuredClassifier, version: int | None) -> ClassifierService:
    """Test the registered classifier in a fresh process and another folder; return the result, latency and size."""
    size = megabytes(challenger.fitted.bundle)
    if version is None:
        return ClassifierService(smoke_detail="nothing new was registered", megabytes=size)
    tracker = tracker_of(config)
    smoke = smoke_test(tracker, tracker.tag(challenger.fitted.run_id, tag.MODEL_URI_TAG), form=CLASSIFIER)
    times = smoke.latency_ms or {}
    return ClassifierService(smoke.passed, smoke.detail, times.get("p50"), times.get("p95"), size)


def documents_with_words(clean: Artifact) -> pl.DataFrame:
    """Return the facts about the test reviews (`documents_of`), and their number of words."""
    rows = pl.scan_parquet(clean.folder / "clean.parquet").filter(pl.col("split") == "test")
    return documents_of(clean).join(rows.select("review_id", "words").collect(), on="review_id", how="left")
