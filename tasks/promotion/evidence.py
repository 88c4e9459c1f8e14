"""Gather the evidence for the gate's decision: leaks, checks, drift, audit, a smoke test in a fresh process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from core.config.run_config import RunConfig
from core.errors import CheckFailed, Damaged
from core.store import Artifact
from corpus.splitting.certificate import CERTIFICATE_FILE
from corpus.splitting.leaks import verify
from evaluation.gate.evidence import (
    ChampionReviews,
    DataEvidence,
    Evidence,
    Latency,
    Leaks,
    ModelEvidence,
    ServingEvidence,
)
from evaluation.statistics.comparison import baseline_of
from models.base import STATIC
from models.bundles.bundle import SPEC
from models.specs import ModelSpec, NGramSpec, parts_of
from models.tokens.vocabulary import Vocabulary
from tasks.data.documents import documents_of, grouped_by
from tasks.data.family import family_of_run
from tasks.data.prepare import VOCABULARY_FILE, Prepared, read_report
from tasks.evaluation.compare import Evaluated
from tasks.evaluation.evaluate import Measured, scores_of
from tasks.evaluation.intervals import JUDGED_FILE, baselines_of, estimate_floor
from tasks.fitting.fit import bundle_digest
from tasks.fitting.fitted import AnyFitted
from tasks.measuring.processes import end_idle_processes
from tasks.promotion.ancestry import Past, look_back
from tasks.promotion.score_now import Champion, Scored
from tasks.track import registry_of, tracker_of
from tracking.logged_models.bundles import has_bundle
from tracking.logged_models.export import smoke_test
from tracking.logged_models.forms import LANGUAGE_MODEL, Form
from tracking.tags import BUNDLE_TAG, FIT_TAG, MODEL_URI_TAG

NOT_COMPARED = (
    "drift was not measured: there is no champion, its data are not in this store, or hardly any review is new to it"
)


def gather_evidence(
    config: RunConfig, prepared: Prepared, evaluated: Evaluated, challenger: Measured, scored: Scored,
    champion: Champion | None, version: int | None, drift: Artifact | None,
    champion_reviews: ChampionReviews[pl.DataFrame] | None = None,
) -> Evidence[pl.DataFrame]:  # fmt: skip
    """Return the evidence about challenger and champion.

    Args:
        config: Section `evaluation` has the number of bootstrap draws, `promotion` the policy.
        prepared: The data, with leak certificate and checks.
        evaluated: All models of the run, including the baseline.
        scored: The challenger's scores.
        champion: The champion with its scores, if there is one.
        version: Number of the registered challenger; None if the challenger is the champion itself.
        drift: Artifact of the stage "drift", if it ran.
        champion_reviews: Result of `score_champion_reviews`.
    """
    test, bundle = challenger.test.facts, challenger.fitted.bundle
    theirs = champion.folder if champion else None
    return Evidence(
        ModelEvidence(
            bundle_digest(bundle), scored.rows, test["reviews_digest"], scored.problem,
            family_of_run(config, prepared.clean), scored.departure, test["adaptation"],
        ),
        _champion(champion) if champion else None,
        _baseline(config, evaluated, challenger),
        data=_data(config, prepared, challenger, champion, drift),
        serving=served(config, challenger.fitted, version),
        champion_reviews=champion_reviews,
        rolled_back=rolled_back(config, challenger.fitted),
        unfair=unfair(bundle, theirs),
        audit=_audit(challenger),
        single_reviews=next(iter(models_of_single_reviews(config, challenger.fitted.spec)), ""),
        resamples=config.evaluation.resamples,
        seed=config.evaluation.seed,
    )  # fmt: skip


def rolled_back(config: RunConfig, fitted: AnyFitted) -> str:
    """Return who rolled back from a version of this fit, when and why; empty if nobody did.

    A version whose files are lost does not count: then the fit was made again to replace them.
    """
    registry, bundle = registry_of(config), bundle_digest(fitted.bundle)
    left = registry.rolled_back()
    for version in registry.versions() if left else ():
        event = left.get(version.version)
        same = version.tags.get(BUNDLE_TAG) == bundle or version.tags.get(FIT_TAG) == fitted.artifact.digest
        if event is not None and same and has_bundle(registry.tracker, version.source):
            when = f"{event.when:%Y-%m-%d}"
            return f"version {version.version} is the same fit; {event.who} rolled back from it on {when}: {event.why}"
    return ""


def _champion(champion: Champion) -> ModelEvidence[pl.DataFrame]:
    if champion.scored is None or champion.scores is None:
        return ModelEvidence(champion.digest, problem=champion.problem, family=champion.family)
    facts, scored = champion.scores.facts, champion.scored
    return ModelEvidence(
        champion.digest, scored.rows, facts["reviews_digest"], family=champion.family, departure=scored.departure,
        adaptation=facts["adaptation"] or STATIC,
    )


def _baseline(config: RunConfig, evaluated: Evaluated, challenger: Measured) -> ModelEvidence[pl.DataFrame]:
    """Return the challenger's baseline: for an adapting challenger an adapting baseline, if the run has one.

    Otherwise return the configured baseline, which an adapting model must beat at least.
    """
    own = baseline_of(baselines_of(config, evaluated.models), challenger.name)
    found = evaluated.named(own or config.baseline)
    digest, way = bundle_digest(found.fitted.bundle), found.test.facts["adaptation"]
    test = found.test.facts["reviews_digest"]
    return ModelEvidence(digest, scores_of(found.test), test, adaptation=way, name=found.name)


def _data(
    config: RunConfig, prepared: Prepared, challenger: Measured, champion: Champion | None, drift: Artifact | None
) -> DataEvidence:
    passed, detail = checked(prepared.checks)
    past = look_back(config, prepared.clean, challenger.fitted.bundle)
    documents = documents_of(prepared.clean)
    return DataEvidence(
        documents, grouped_by(prepared.clean, documents), passed, detail,
        with_past(look_for_leaks(prepared.clean, champion), past),
        drift.facts["sentence"] if drift else NOT_COMPARED,
        _floor(config, prepared),
    )


def checked(checks: Sequence[Artifact]) -> tuple[bool | None, str]:
    """Return whether all data checks passed (None if there were none), and a sentence with their number."""
    reports = [read_report(artifact) for artifact in checks]
    detail = f"{len(reports)} suites, {sum(len(report.results) for report in reports)} expectations"
    return all(report.passed for report in reports) if reports else None, detail


def look_for_leaks(clean: Artifact, champion: Champion | None) -> Leaks:
    """Verify the prepared data against their leak certificate, now."""
    if not (clean.folder / CERTIFICATE_FILE).exists():
        return Leaks(None, "the prepared data has no leak certificate")
    try:
        certificate = verify(clean.folder)
    except (CheckFailed, Damaged) as error:
        return Leaks(False, ": ".join(part for part in (error.what, str(error.value or "")) if part))
    stated = clean.facts.get("certificate")
    if stated != certificate.digest:
        return Leaks(False, f"the leak certificate {certificate.digest} is not the one of the prepared data, {stated}")
    said = f"{certificate.summary}; certificate {certificate.digest[:16]}{_other_data(clean, champion)}"
    return Leaks(True, said, certificate.test_reviews)


def with_past(leaks: Leaks, past: Past) -> Leaks:
    """Return the certificate's result combined with the search in the data behind the start weights."""
    if not past.clean:
        return Leaks(False, past.detail if leaks.free else f"{leaks.detail}; {past.detail}", leaks.test)
    return replace(leaks, detail="; ".join(part for part in (leaks.detail, past.detail) if part))


def _other_data(clean: Artifact, champion: Champion | None) -> str:
    """Return a remark if the champion was trained on data that the certificate does not cover; else empty."""
    if champion is None or champion.folder is None:
        return ""
    spec = json.loads((champion.folder / SPEC).read_text(encoding="utf-8"))
    if spec.get("clean_digest") == clean.digest:
        return ""
    return "; the champion was trained on other data, which may contain these test reviews"


def unfair(challenger: Path, champion: Path | None) -> str:
    """Return why the challenger has an advantage that its figures do not pay for; empty if it has none.

    Args:
        challenger: Folder of the challenger's bundle.
        champion: Folder of the champion's bundle; None if there is no champion or its bundle is lost.
    """
    if champion is None:
        return ""
    ours, theirs = (Vocabulary.load(folder / VOCABULARY_FILE) for folder in (challenger, champion))
    if theirs.normal_form != ours.normal_form:
        return "the section 'clean' has changed: the champion was trained on text that was cleaned in another way"
    return ""


def served(
    config: RunConfig, fitted: AnyFitted, version: int | None, form: Form = LANGUAGE_MODEL
) -> ServingEvidence:
    """Test the registered model in a fresh process and another folder; return the result, latency and bundle size."""
    size = megabytes(fitted.bundle)
    if version is None:
        return ServingEvidence(smoke_detail="nothing new was registered", megabytes=size)
    end_idle_processes()
    tracker = tracker_of(config)
    smoke = smoke_test(tracker, tracker.tag(fitted.run_id, MODEL_URI_TAG), form=form)
    latency = Latency(**smoke.latency_ms) if smoke.latency_ms else None
    return ServingEvidence(smoke.passed, smoke.detail, latency, size)


def megabytes(folder: Path) -> float:
    """Return the size of all files of a folder in megabytes (10^6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _audit(challenger: Measured) -> Mapping[str, float]:
    """Return the numbers among the facts of the challenger's audit."""
    return {name: float(value) for name, value in challenger.audit.facts.items() if isinstance(value, int | float)}


def models_of_single_reviews(config: RunConfig, spec: ModelSpec) -> list[str]:
    """Return the names of the n-gram models with n-grams of one review, among a model and its parts, at any depth."""
    if isinstance(spec, NGramSpec):
        return [spec.name] if spec.order > 1 and spec.min_documents < 2 else []
    known = {one.name: one for one in config.models}
    return [name for part in parts_of(spec) for name in models_of_single_reviews(config, known[part])]


def _floor(config: RunConfig, prepared: Prepared) -> pl.DataFrame | None:
    """Return the cost of the test reviews under the grammar; None if the grammar did not write them."""
    floor = estimate_floor(config, prepared).artifact
    return pl.read_parquet(floor.folder / JUDGED_FILE) if floor.facts.get("explained") else None
