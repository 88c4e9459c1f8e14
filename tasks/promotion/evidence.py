"""Gather the evidence for the gate's decision: leaks, checks, data family, rollbacks, a smoke test in a fresh process."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reviewlm.core.config.sections.data import SourceConfig, family_name
from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import CheckFailed, Damaged
from reviewlm.core.lineage import Family, digest_of_sources
from reviewlm.core.store import Artifact, Store
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.splitting.certificate import CERTIFICATE_FILE, verify
from reviewlm.evaluation.gate.evidence import ChampionReviews, Evidence, Latency, Leaks
from reviewlm.tasks.data.documents import documents_with_words, grouped_by
from reviewlm.tasks.data.prepare import read_report
from reviewlm.tasks.evaluation.evaluate import megabytes
from reviewlm.tasks.evaluation.processes import end_processes
from reviewlm.tasks.family import Champion, ModelFamily, Scored
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.promotion.ancestry import learnt_by, look_back
from reviewlm.tasks.records.track import registry_of, tracker_of
from reviewlm.tracking.logged_models.bundles import has_bundle
from reviewlm.tracking.logged_models.export import Form, smoke_test
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.tags import BUNDLE_TAG, FIT_TAG, MODEL_URI_TAG

log = logging.getLogger(__name__)


def gather_evidence(
    family: ModelFamily,
    scored: Scored,
    champion: Champion | None,
    version: int | None,
    champion_reviews: ChampionReviews[Any] | None = None,
) -> Evidence[Any]:
    """Return the evidence about challenger and champion.

    Args:
        version: Number of the registered challenger; None if the challenger is the champion itself.
        champion_reviews: Result of `champion.score_champion_reviews`.
    """
    config = family.config
    clean = family.prepared.clean
    bundle = family.bundle
    fitted = family.challenger.fitted
    passed, detail = summarise_checks(family.prepared.checks)
    documents = documents_with_words(clean)
    theirs = champion.folder if champion else None
    learnt: list[str] = []
    unknown: list[str] = []
    if theirs:
        learnt, unknown = learnt_by(config.home, clean, theirs, ["train"])

    challenger = replace(
        scored,
        digest=bundle_digest(bundle),
        family=family_of_run(config.source, config.home, clean),
        name=family.challenger.name,
    )
    champion_evidence = None
    if champion:
        champion_evidence = replace(champion.scored, name=f"version {champion.version}")
    baseline = family.baseline()
    leaks = with_past(look_for_leaks(clean, unknown), look_back(config.home, clean, bundle))
    trial = serve_fresh(config.workspace, fitted, version, family.form)
    left_before = rolled_back(config.workspace, config.promotion, fitted)
    evaluation = config.evaluation
    gathered = Evidence(
        challenger,
        champion_evidence,
        baseline,
        reviews=documents,
        grouped_by=grouped_by(clean, documents),
        checks_passed=passed,
        checks_detail=detail,
        drift=family.drift or "not measured",
        leaks=leaks,
        champion_learnt=learnt,
        megabytes=megabytes(bundle),
        **trial,
        champion_reviews=champion_reviews,
        rolled_back=left_before,
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )
    return family.complete_evidence(gathered, champion)


def rolled_back(
    workspace: Workspace,
    promotion: PromotionConfig,
    fitted: Fitted,
) -> str:
    """Return who rolled back from a version of this fit, when and why; empty if nobody did.

    A version whose files are lost does not count: then the fit was made again to replace them.
    """
    registry = registry_of(workspace, promotion.model_name)
    bundle = bundle_digest(fitted.bundle)
    events = registry.rolled_back()
    if not events:
        return ""

    for version in registry.versions():
        event = events.get(version.version)
        same_bundle = version.tags.get(BUNDLE_TAG) == bundle
        same = same_bundle or version.tags.get(FIT_TAG) == fitted.artifact.digest
        if event is not None and same and has_bundle(registry.tracker, version.source):
            when = f"{event.when:%Y-%m-%d}"
            return f"version {version.version} is the same fit; {event.who} rolled back from it on {when}: {event.why}"

    return ""


def summarise_checks(checks: Sequence[Artifact]) -> tuple[bool | None, str]:
    """Return whether all data checks passed (None if there were none), and a sentence with their number."""
    reports = [read_report(artifact) for artifact in checks]
    count = sum(len(report.results) for report in reports)
    failed = sum(not report.passed for report in reports)
    detail = f"{count} expectations in {len(reports)} suites"
    if failed:
        detail += f"; {failed} suites failed"
    if not reports:
        return None, detail
    return not failed, detail


def look_for_leaks(clean: Artifact, unknown: Sequence[str] = ()) -> Leaks:
    """Verify the prepared data against their leak certificate, now.

    Args:
        unknown: Why it is not known whether the champion was trained on some of their test reviews.
    """
    if not (clean.folder / CERTIFICATE_FILE).exists():
        return Leaks(None, "the prepared data has no leak certificate")

    try:
        certificate = verify(clean.folder)
    except (CheckFailed, Damaged) as error:
        parts = [error.what, str(error.value or "")]
        return Leaks(False, ": ".join(part for part in parts if part))

    stated = clean.facts.get("certificate")
    if stated != certificate.digest:
        reason = f"the leak certificate {certificate.digest} is not the one of the prepared data, {stated}"
        return Leaks(False, reason)

    sentences = [certificate.summary]
    sentences += [f"the champion may have learnt from them: {why}" for why in unknown]
    return Leaks(True, "; ".join(sentences), certificate.test_reviews)


def with_past(leaks: Leaks, past: Leaks) -> Leaks:
    """Return the certificate's result combined with the search in the data behind the start weights."""
    detail = "; ".join(part for part in (leaks.detail, past.detail) if part)
    if past.free:
        return replace(leaks, detail=detail)
    return Leaks(False, past.detail if leaks.free else detail, leaks.test)


def serve_fresh(
    workspace: Workspace,
    fitted: Fitted,
    version: int | None,
    form: Form,
) -> dict[str, Any]:
    """Test the registered model in a fresh process and another folder; return the result and the latency."""
    if version is None:
        return {"smoke_detail": "nothing new was registered"}
    end_processes()
    log.info("gate     open version %d in a fresh process, as a program would", version)
    tracker = tracker_of(workspace)
    smoke = smoke_test(tracker, tracker.tag(fitted.run_id, MODEL_URI_TAG), form=form)
    latency = None
    if smoke.latency_ms:
        latency = Latency(**smoke.latency_ms)

    return {
        "smoke_passed": smoke.passed,
        "smoke_detail": smoke.detail,
        "latency": latency,
    }


def family_of_run(
    source_settings: SourceConfig,
    home: Path,
    clean: Artifact,
) -> Family:
    """Return the family of a run's data (kind of reviews); the gate compares models within one family."""
    digest = clean.manifest.get("inputs", {}).get("dataset", "")
    dataset = Store.of(home).find("ingest", digest)
    sources = dataset.facts["sources"] if dataset else ()
    hashes = [source["sha256"] for source in sources]
    name = family_name(source_settings.family, bool(source_settings.input))
    return Family(name, digest_of_sources(hashes))


def warn_of_other_family(
    workspace: Workspace,
    promotion: PromotionConfig,
    source: SourceConfig,
) -> None:
    """Warn at the start of a run if the gate will refuse its models because their data family differs.

    Otherwise hours of training would be wasted. The user can prevent it with a setting.
    """
    registry = registry_of(workspace, promotion.model_name)
    champion = registry.alias(CHAMPION)
    if champion is None or promotion.allow_other_family:
        return

    theirs = Family.of_tags(champion.tags)
    ours = family_name(source.family, bool(source.input))
    if theirs.name != ours:
        log.warning(
            "the gate will refuse this run's models: their data family is '%s', but that of the champion (%s version "
            "%d) is '%s'. Set promotion.model_name to another name, or promotion.allow_other_family=true",
            ours,
            registry.name,
            champion.version,
            theirs.name,
        )
