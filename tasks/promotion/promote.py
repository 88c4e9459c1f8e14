"""Register the challenger, apply the gate's policy to the evidence, and move the alias if the challenger passes.

Keep the intervals that the gate decides by: equal scores need no new draws.

Compute before a training the smallest gain that the gate can prove with the available test reviews.

Re-run the gate if the champion changed while it was being scored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from core.config.run_config import RunConfig
from core.errors import NotWritable, StoreFull
from core.lineage.record import LINEAGE_TAG
from core.markdown import literal
from core.processes.interrupts import during
from core.store import Artifact
from corpus.splitting.certificate import CERTIFICATE_FILE
from corpus.splitting.split import scan_split
from evaluation.gate.decision import Decision
from evaluation.gate.evidence import ChampionReviews
from evaluation.gate.language import LanguageCase
from evaluation.reports.model_card import pointer
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.groups import groups_of, least_sure_gain
from evaluation.statistics.studentised import Ratio, studentised_intervals
from tasks.data.documents import documents_of, grouped_by
from tasks.data.family import family_of_run
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated
from tasks.evaluation.evaluate import Measured
from tasks.fitting.fit import bundle_digest
from tasks.fitting.fitted import AnyFitted, FittedSpec
from tasks.flow_run import PROMOTED, REFUSED, announce
from tasks.limits import PROMOTION, slot
from tasks.lineage.gather import keep_lineage
from tasks.promotion.choose import passed_over
from tasks.promotion.evidence import gather_evidence
from tasks.promotion.score_now import Champion, Scored
from tasks.stage import run_stage, show_markdown, stage
from tasks.track import registry_of, tracker_of, tracking_was_away
from tracking import tags as tag
from tracking.registry.lineage import tag_version
from tracking.registry.registry import CHAMPION, ChampionChanged, outcome_tags

log = logging.getLogger(__name__)

NOTEWORTHY = 0.02
"""Least provable gain that is worth a line: many a better model gains less over the n-gram baseline."""

ATTEMPTS = 5
"""Maximum number of decisions. Each retry means that another gate promoted a model during one scoring."""
Judged = TypeVar("Judged")
Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Promotion:
    """Result of the gate."""

    challenger: str
    version: int | None
    champion_version: int | None
    decision: Decision


@stage("register", retry_if=tracking_was_away)
@during("register")
def register(config: RunConfig, prepared: Prepared, challenger: Measured, champion: Champion | None) -> int | None:
    """Register the challenger as a new version; return None if it equals the champion and that can be measured."""
    digest = bundle_digest(challenger.fitted.bundle)
    if champion is not None and champion.digest == digest and not champion.problem:
        return None
    measured = (challenger.test, challenger.validation, challenger.samples)
    tags = {tag.VERSION_ADAPTATION: challenger.test.facts["adaptation"]}
    return register_fit(config, prepared.clean, challenger.fitted, measured, tags)


def register_fit(
    config: RunConfig, clean: Artifact, fitted: AnyFitted, measured: Sequence[Artifact],
    tags: Mapping[str, Any],
) -> int:  # fmt: skip
    """Register the logged model of a fit as the challenger, and return its version; a repeated call returns the same.

    Args:
        config: `promotion.model_name` is the registered model.
        measured: Artifacts with what was measured about it, for the lineage record.
        tags: Further tags of the version.
    """
    registry, tracker = registry_of(config), tracker_of(config)  # `registry_of` waits until MLflow has all writes
    run_id = tracker.known_id(fitted.run_id)
    uri = tracker.tag(run_id, tag.MODEL_URI_TAG)
    family = family_of_run(config, clean).tags()
    known = {
        LINEAGE_TAG: keep_lineage(config, uri, fitted.artifact, measured),
        tag.MODEL_KIND: fitted.spec.kind, tag.MODEL_NAME: fitted.spec.name,
        tag.BUNDLE_TAG: bundle_digest(fitted.bundle), tag.FIT_TAG: fitted.artifact.digest, tag.DATA_TAG: clean.digest,
        tag.LEAK_CERTIFICATE: clean.facts.get("certificate") or "none",
    }  # fmt: skip
    number = registry.register(uri, run_id, {**known, **tags, **family})
    tag_version(registry, number, family)  # for a version of an earlier run, e.g. with another family
    return number


@stage("gate", retry_if=tracking_was_away)
@during("gate")
def decide(
    config: RunConfig, prepared: Prepared, evaluated: Evaluated, challenger: Measured, scored: Scored,
    champion: Champion | None, version: int | None, parent_run_id: str, drift: Artifact | None = None,
    champion_reviews: ChampionReviews[pl.DataFrame] | None = None,
) -> Promotion:
    """Apply the policy to current evidence, write the outcome to the version, and move the alias if it passed."""
    evidence = gather_evidence(
        config, prepared, evaluated, challenger, scored, champion, version, drift, champion_reviews
    )
    others = passed_over(config, prepared, evaluated, challenger, champion.folder if champion else None)
    evidence, intervals = replace(evidence, passed_over=others), partial(kept_intervals, config)
    decision = LanguageCase.judge(config.promotion, evidence, intervals=intervals)
    for what in decision.warnings:
        log.warning("gate: %s", what)
    return carry_out(
        config, prepared.clean, decision, challenger.fitted, version, champion.version if champion else None,
        parent_run_id, _when(scored, champion),
    )  # fmt: skip


def carry_out(
    config: RunConfig, clean: Artifact, decision: Decision, fitted: AnyFitted, version: int | None,
    expected: int | None, parent_run_id: str, tags: Mapping[str, str] | None = None,
) -> Promotion:  # fmt: skip
    """Write a decision to the registry and to the flow's run, and move the alias if it says so.

    A repeated call for the same flow run decides nothing a second time.

    Args:
        config: `promotion.model_name` is the registered model.
        fitted: The challenger.
        version: Its version; None if it is the champion itself.
        expected: Version of the champion that it was compared with; None if there was none.
        tags: Further tags of the version.

    Raises:
        ChampionChanged: Another version became champion meanwhile.
    """
    tracker, registry = tracker_of(config), registry_of(config)
    if version is not None:
        described = described_version(config, fitted.spec, decision.to_markdown(), tracker.link(fitted.run_id))
        with slot(PROMOTION):
            registry.settle(
                version, expected, decision.promote, described, outcome_tags(decision) | dict(tags or {}),
                run_id=parent_run_id,
            )
    tracker.log_text(parent_run_id, decision.to_json(), "decision.json")
    tracker.log_text(parent_run_id, decision.to_markdown(), "decision.md")
    if (certificate := clean.folder / CERTIFICATE_FILE).exists():
        tracker.log_text(parent_run_id, certificate.read_text(encoding="utf-8"), CERTIFICATE_FILE)
    tracker.set_tags(parent_run_id, {tag.OUTCOME: decision.headline, tag.NOTE: decision.to_markdown()})
    show_markdown("gate", decision.to_markdown(), decision.headline)
    now = registry.alias(CHAMPION)
    if version is not None:  # at the end, so that a retry does not announce it a second time
        announce(PROMOTED if decision.promote else REFUSED, config, {
            "version": version, "preset": config.preset, "sentence": decision.headline, "reason": decision.reason,
        })  # fmt: skip
    return Promotion(fitted.spec.name, version, now.version if now else None, decision)


def described_version(
    config: RunConfig, spec: FittedSpec, decision: str, run_link: str
) -> str:
    """Return the description of a version in MLflow: what it is, and what was decided about it."""
    made = f"{literal(spec.name)} ({spec.kind}), made with preset and data: {literal(config.title)}."
    return f"{made} {pointer(run_link)}\n\n{decision}"


def _when(scored: Scored, champion: Champion | None) -> dict[str, str]:
    """Return the times of scoring as tags; the decision has none, so that equal evidence gives equal decisions."""
    times = {tag.SCORED_CHALLENGER: scored.at}
    return times | ({tag.SCORED_CHAMPION: champion.scored.at} if champion and champion.scored else {})


def kept_intervals(config: RunConfig, ratios: Sequence[Ratio], **options: Any) -> list[Interval]:
    """Return the interval of each ratio, from the store if it was computed before.

    A store that cannot be written to only costs the time of new draws: the challenger is registered already, and an
    error here would leave it without a decision.

    Args:
        ratios, options: See `studentised_intervals`; each ratio is computed alone.
    """
    return [_kept(config, ratio, options) if _worth_keeping(ratio) else _computed(ratio, options) for ratio in ratios]


def _worth_keeping(ratio: Ratio) -> bool:
    """Return False for a model compared with itself: the run after a promotion would else build a new result."""
    return not np.array_equal(ratio.numerator_D, ratio.denominator_D)


def _computed(ratio: Ratio, options: dict[str, Any]) -> Interval:
    return studentised_intervals([ratio], **options)[0]


def _kept(config: RunConfig, ratio: Ratio, options: dict[str, Any]) -> Interval:
    def make(work: Path) -> dict[str, Any]:
        return asdict(_computed(ratio, options))

    inputs = {"ratio": digest_of(ratio)}
    try:
        built = run_stage(config, "gate-interval", options, inputs, make)
    except (StoreFull, NotWritable) as error:
        log.warning("gate: an interval is not kept for the next decision: %s", error.what)
        return _computed(ratio, options)
    return Interval(**built.artifact.facts)


def digest_of(ratio: Ratio) -> str:
    """Return the SHA-256 of all numbers of a ratio, with all their bits."""
    digest = hashlib.sha256()
    for part in astuple(ratio):
        numbers = np.asarray([] if part is None else part)
        digest.update(f"{part is None} {numbers.dtype.str} {numbers.shape}\n".encode())
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


def tell_provable_gain(config: RunConfig, clean: Artifact) -> None:
    """Log the smallest gain that can be proved, if it is so large that a better model may be refused."""
    table = scan_split(clean.folder, "test")
    test = table.select("review_id", "bytes").collect()
    documents, policy, bytes_D = documents_of(clean), config.promotion, test["bytes"].to_numpy()
    groups_D = groups_of(test["review_id"], documents)
    sizes = bytes_D if groups_D is None else np.bincount(groups_D, bytes_D)
    by = "" if groups_D is None else f" in {len(sizes):,} groups ({grouped_by(clean, documents)})"
    there = f"there are {len(test):,} test reviews{by}"
    if len(sizes) < policy.min_test_reviews:
        log.warning("%s, and the gate promotes no model with fewer than %d: give more reviews, or a larger split.test",
                    there, policy.min_test_reviews)  # fmt: skip
        return
    limit = min(policy.min_relative_gain, policy.min_gain_over_baseline)
    least = least_sure_gain(sizes, policy.confidence, policy.max_review_loss, limit)
    if least > NOTEWORTHY:
        log.info("%s: a gain over baseline or champion below %.1f %% cannot be proved", there, 100 * least)


def judge_registered(
    measure: Callable[[], Candidate], register: Callable[[Candidate], int | None],
    decide: Callable[[Candidate, int | None], Judged],
) -> Judged:  # fmt: skip
    """Return the result of *decide*; start again, with the new champion, if the champion changes.

    Args:
        measure: Returns the champion, measured on the challenger's test reviews.
        register: Registers the challenger and returns its version; None if it is the champion itself.
        decide: Decides about this version and carries it out.
    """
    registered: int | None = None

    def judge() -> Judged:
        nonlocal registered
        champion = measure()
        # In a second round, another gate may have made an equal bundle champion: then `register` returns None. Decide
        # on the version of the first round all the same, or it would keep the alias `challenger` for ever.
        registered = register(champion) or registered
        return decide(champion, registered)

    return retry_on_champion_change(judge)


def retry_on_champion_change(judge: Callable[[], Judged]) -> Judged:
    """Return the result of *judge*, which scores the current champion and decides; retry if the champion changes.

    Raises:
        ChampionChanged: The champion changed during each of `ATTEMPTS` decisions.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return judge()
        except ChampionChanged as error:
            if attempt == ATTEMPTS:
                raise
            log.warning("the champion has changed since it was scored (%s); running the gate again", error.value)
    raise AssertionError("unreachable")
