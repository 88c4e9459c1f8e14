"""From the best model to a decision: register it, score champion and challenger now, and move the alias or not."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from corpus.leaks import CERTIFICATE_FILE, verify
from evaluation.decision import Decision
from evaluation.gate import Evidence
from evaluation.gate import decide as apply_rules
from models.adaptation import STATIC
from models.bundle import SPEC
from models.vocabulary import Vocabulary
from reviewlm.config import RunConfig
from reviewlm.errors import CheckFailed, Damaged
from reviewlm.lineage import LINEAGE_TAG
from reviewlm.store import Artifact
from tasks.compare import Evaluated
from tasks.evaluate import Measured, figures_of_artifact, score_bundle, scores_of
from tasks.fit import bundle_digest
from tasks.lineage import keep_lineage
from tasks.prepare import VOCABULARY_FILE, Prepared, read_report, tokenize
from tasks.stage import converted_errors, show_markdown
from tasks.track import DATA_TAG, registry_of, tracker_of, tracking_was_away
from tracking.export import smoke_test
from tracking.registry import CHAMPION, Version, outcome_tags

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """The champion of now, scored now on the challenger's test reviews."""

    version: int
    digest: str
    folder: Path
    scores: Artifact


@dataclass(frozen=True)
class Promotion:
    """What came of the gate."""

    challenger: str
    version: int | None
    champion_version: int | None
    decision: Decision


@task(name="choose challenger", cache_policy=NO_CACHE, persist_result=False)
def choose_challenger(config: RunConfig, evaluated: Evaluated) -> Measured:
    """Return the model with the fewest open bits per byte on the validation split; the test split has no say."""
    figures = {model.name: figures_of_artifact(model.validation).open_bits_per_byte for model in evaluated.models}
    best = min(evaluated.models, key=lambda model: (not isfinite(figures[model.name]), figures[model.name]))
    log.info("challenger is '%s', the best of %d models on validation", best.name, len(evaluated.models))
    return best


@task(name="score champion", cache_policy=NO_CACHE, persist_result=False)
def score_champion(config: RunConfig, prepared: Prepared, challenger: Measured) -> Champion | None:
    """Score the registered champion on the test reviews of this run; None where there is none yet."""
    registry = registry_of(config)
    version: Version | None = registry.alias(CHAMPION)
    if version is None:
        return None
    folder = registry.bundle_folder(version)
    with converted_errors(folder):
        tokens = _tokens_for(config, folder, prepared)
        built = score_bundle(config, folder, tokens, f"champion v{version.version}")
    return Champion(version.version, bundle_digest(folder), folder, built.artifact)


def _unfair(config: RunConfig, challenger: Measured, champion: Champion | None) -> str:
    """Return what the challenger need not model and the champion must; nobody pays for it in the figures."""
    if champion is None:
        return ""
    ours, theirs = (Vocabulary.load(folder / VOCABULARY_FILE) for folder in (challenger.fitted.bundle, champion.folder))
    if ours.digest == theirs.digest:
        return ""
    if theirs.normal_form != ours.normal_form:
        return "the section 'clean' has changed: the champion was trained on another normal form of the text"
    if _folds(ours) and not _folds(theirs):
        return "the challenger folds case and spacing, which the champion must predict"
    return ""


def _folds(vocabulary: Vocabulary) -> bool:
    return not vocabulary.lossless and vocabulary.spec.lowercase


def _tokens_for(config: RunConfig, bundle: Path, prepared: Prepared) -> Artifact:
    """Return the test reviews in a bundle's own vocabulary: its tokens are just another artifact."""
    file = bundle / VOCABULARY_FILE
    digest = Vocabulary.load(file).digest
    for name, artifact in prepared.vocabularies.items():
        if artifact.facts["vocabulary_digest"] == digest:
            return prepared.tokens[name]["test"]
    return tokenize.submit(config, str(file), "test", prepared.clean, "champion").result()


@task(
    name="register", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=[2, 10],
    retry_condition_fn=tracking_was_away,
)
def register(config: RunConfig, prepared: Prepared, challenger: Measured, champion: Champion | None) -> int | None:
    """Register the challenger as a new version; the champion itself is not registered again."""
    digest = bundle_digest(challenger.fitted.bundle)
    if champion is not None and champion.digest == digest:
        return None
    tracker = tracker_of(config)
    uri = tracker.tag(challenger.fitted.run_id, "reviewlm.model_uri")
    tags = {
        LINEAGE_TAG: keep_lineage(config, uri, challenger),
        "kind": challenger.fitted.spec.kind, "model": challenger.name, "bundle": digest,
        DATA_TAG: prepared.clean.digest, "adaptation": figures_of_artifact(challenger.test).adaptation,
    }
    return registry_of(config).register(uri, challenger.fitted.run_id, tags)


@task(
    name="gate", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=[2, 10],
    retry_condition_fn=tracking_was_away,
)
def decide(
    config: RunConfig, prepared: Prepared, evaluated: Evaluated, challenger: Measured, champion: Champion | None,
    version: int | None, parent_run_id: str,
) -> Promotion:
    """Apply the policy to evidence measured now, write the outcome on the version, and move the alias if it passed."""
    decision = apply_rules(config.promotion, _evidence(config, prepared, evaluated, challenger, champion, version))
    if version is not None:
        expected = champion.version if champion else None
        with concurrency("promotion", occupy=1):
            registry_of(config).settle(
                version, expected, decision.promote, decision.to_markdown(), outcome_tags(decision)
            )
    tracker = tracker_of(config)
    tracker.log_text(parent_run_id, decision.to_json(), "decision.json")
    tracker.log_text(parent_run_id, decision.to_markdown(), "decision.md")
    if (certificate := prepared.clean.folder / CERTIFICATE_FILE).exists():
        tracker.log_text(parent_run_id, certificate.read_text(encoding="utf-8"), CERTIFICATE_FILE)
    tracker.set_tags(parent_run_id, {"gate/outcome": decision.headline, "mlflow.note.content": decision.to_markdown()})
    show_markdown("gate", decision.to_markdown(), decision.headline)
    now = registry_of(config).alias(CHAMPION)
    return Promotion(challenger.name, version, now.version if now else None, decision)


def _evidence(
    config: RunConfig, prepared: Prepared, evaluated: Evaluated, challenger: Measured, champion: Champion | None,
    version: int | None,
) -> Evidence:
    checks_passed, checks_detail = _checked(prepared.checks)
    baseline = evaluated.named(config.baseline)
    smoke = _smoke(config, challenger) if version is not None else None
    leaks = _leaks(prepared.clean, champion)
    return Evidence(
        challenger=scores_of(challenger.test),
        challenger_digest=bundle_digest(challenger.fitted.bundle),
        challenger_test=challenger.test.facts["reviews_digest"],
        challenger_adaptation=figures_of_artifact(challenger.test).adaptation,
        champion=scores_of(champion.scores) if champion else None,
        champion_digest=champion.digest if champion else None,
        champion_test=champion.scores.facts["reviews_digest"] if champion else None,
        champion_adaptation=figures_of_artifact(champion.scores).adaptation if champion else STATIC,
        baseline=figures_of_artifact(baseline.test),
        baseline_name=baseline.name,
        baseline_digest=bundle_digest(baseline.fitted.bundle),
        checks_passed=checks_passed,
        checks_detail=checks_detail,
        leak_free=leaks.free,
        leak_detail=leaks.detail,
        leak_test=leaks.test,
        unfair=_unfair(config, challenger, champion),
        smoke_passed=smoke.passed if smoke else None,
        smoke_detail=smoke.detail if smoke else "nothing new was registered",
        resamples=config.evaluation.resamples,
        seed=config.evaluation.seed,
    )


def _checked(checks: Sequence[Artifact]) -> tuple[bool | None, str]:
    """Return whether all data checks passed, None where there were none, and how many they are."""
    reports = [read_report(artifact) for artifact in checks]
    detail = f"{len(reports)} suites, {sum(len(report.results) for report in reports)} expectations"
    return all(report.passed for report in reports) if reports else None, detail


@dataclass(frozen=True)
class _Leaks:
    """What the leak certificate of the prepared data says, and of which test reviews it is."""

    free: bool | None
    detail: str
    test: str = ""


def _leaks(clean: Artifact, champion: Champion | None) -> _Leaks:
    """Hold the prepared data against its leak certificate, now."""
    if not (clean.folder / CERTIFICATE_FILE).exists():
        return _Leaks(None, "the prepared data has no leak certificate")
    try:
        certificate = verify(clean.folder)
    except (CheckFailed, Damaged) as error:
        return _Leaks(False, ": ".join(part for part in (error.what, str(error.value or "")) if part))
    stated = clean.facts.get("certificate")
    if stated != certificate.digest:
        return _Leaks(False, f"the leak certificate {certificate.digest} is not the one of the prepared data, {stated}")
    said = f"{certificate.summary}; certificate {certificate.digest[:16]}{_other_data(clean, champion)}"
    return _Leaks(True, said, certificate.test_reviews)


def _other_data(clean: Artifact, champion: Champion | None) -> str:
    """Return a remark where the champion has learnt from data that the certificate does not speak of."""
    if champion is None:
        return ""
    spec = json.loads((champion.folder / SPEC).read_text(encoding="utf-8"))
    if spec.get("clean_digest") == clean.digest:
        return ""
    return "; the champion was trained on other data, of which it is not known whether these test reviews were in it"


def _smoke(config: RunConfig, challenger: Measured) -> Any:
    """Ask the registered model for words, a review and a score in a fresh process and a foreign folder."""
    tracker = tracker_of(config)
    return smoke_test(tracker, tracker.tag(challenger.fitted.run_id, "reviewlm.model_uri"))
