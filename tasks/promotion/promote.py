"""Register the challenger, apply the gate's policy to the evidence, and move the alias if the challenger passes.

Re-run the gate if the champion changed while it was being measured.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.lineage import LINEAGE_TAG
from reviewlm.core.output import literal
from reviewlm.core.processes.interrupts import during
from reviewlm.core.services.join import PROMOTED, REFUSED
from reviewlm.core.store import Artifact
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.splitting.certificate import CERTIFICATE_FILE
from reviewlm.evaluation.gate.decision import Decision, unit_of
from reviewlm.evaluation.gate.evidence import ChampionReviews
from reviewlm.evaluation.gate.rule_table import NOT_WORSE_THAN_BASELINE, show_figure
from reviewlm.evaluation.reports.run_record import REPORT_FILE
from reviewlm.tasks.execution.limits import PROMOTION, slot
from reviewlm.tasks.execution.stage import announce, deployment_name, show_markdown, stage_task
from reviewlm.tasks.family import Champion, ModelFamily, Scored
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.promotion.champion import (
    score_challenger,
    score_champion,
    score_champion_reviews,
)
from reviewlm.tasks.promotion.evidence import family_of_run, gather_evidence
from reviewlm.tasks.records.gather import keep_lineage
from reviewlm.tasks.records.track import registry_of, run_name, tracker_of, tracking_was_away
from reviewlm.tracking import tags as tag
from reviewlm.tracking.logged_models.export import add_output
from reviewlm.tracking.registry.logged_decisions import ChampionChanged
from reviewlm.tracking.registry.versions import CHAMPION
from reviewlm.tracking.runs.runs import Tracker

log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Maximum number of decisions. Each retry means that another gate promoted a model during one scoring."""
CARD_FILE = "model_card.md"
PASSED_OVER_LENGTH = 2000
"""Length of a text in a tag with all figures, which is cut at 5,000 characters and must stay JSON."""
Judged = TypeVar("Judged")


@dataclass(frozen=True)
class Promotion:
    """Result of the gate."""

    challenger: str
    version: int | None
    champion_version: int | None
    decision: Decision


def promote_challenger(family: ModelFamily, parent_run_id: str) -> Promotion:
    """Register the challenger, run the gate and carry out its decision.

    If it is surely worse than the baseline, the baseline itself is tried: then the run has two versions with a decision
    each, and the second one is returned. `promotion.model_name` is the registered model.

    Raises:
        ChampionChanged: The champion changed during each of `ATTEMPTS` decisions.
    """
    promotion = promote_model(family, parent_run_id)
    if not baseline_is_better(family, promotion.decision):
        return promotion

    baseline = family.baseline_model()
    name = family.challenger.name
    reason = family.ruled_out(baseline)
    if reason:
        log.info("the baseline '%s' is better than '%s', but: %s", baseline.name, name, reason)
        return promotion

    log.info("'%s' is surely worse than the baseline: trying '%s' instead", name, baseline.name)
    why = f"refused as version {promotion.version}: {promotion.decision.reason}"
    return promote_model(family.instead(baseline, why), parent_run_id)


def baseline_is_better(family: ModelFamily, decision: Decision) -> bool:
    """Return whether the challenger is surely worse than the baseline, and the baseline is not the champion."""
    worse = False
    for rule in decision.rules:
        if rule.name == NOT_WORSE_THAN_BASELINE.name and rule.value is not None:
            worse = worse or rule.value < 0

    return worse and family.baseline().digest != decision.champion


def promote_model(family: ModelFamily, parent_run_id: str) -> Promotion:
    """Register a challenger, run the gate and carry out its decision; start again if the champion changes meanwhile."""
    registered: int | None = None

    def judge() -> Promotion:
        nonlocal registered
        champion = score_champion(family)
        # In a second round, another gate may have made an equal bundle champion: then `register` returns None. Decide
        # on the version of the first round all the same, or it would keep the alias `challenger` for ever.
        registered = register(family, champion) or registered
        scored = score_challenger(family, registered)
        reviews = score_champion_reviews(family, scored, champion, registered)
        return decide(
            family,
            scored,
            champion,
            registered,
            reviews,
            parent_run_id,
        )

    return retry_on_champion_change(judge)


@stage_task("register", retry_if=tracking_was_away)
@during("register")
def register(family: ModelFamily, champion: Champion | None) -> int | None:
    """Register the challenger as a new version; return None if it equals the champion and that can be measured."""
    theirs = champion.scored if champion else None
    if theirs and not theirs.problem and theirs.digest == bundle_digest(family.bundle):
        return None

    clean = family.prepared.clean
    challenger = family.challenger
    return register_fit(family.config, clean, challenger.fitted, challenger.measurements)


def register_fit(
    config: RunConfig,
    clean: Artifact,
    fitted: Fitted,
    measured: Sequence[Artifact],
) -> int:
    """Register the logged model of a fit as the challenger; return its version, the same at a repeated call."""
    # It waits until MLflow has all writes.
    registry = registry_of(config.workspace, config.promotion.model_name)
    tracker = tracker_of(config.workspace)
    run_id = tracker.known_id(fitted.run_id)
    uri = tracker.tag(run_id, tag.MODEL_URI_TAG)
    family = family_of_run(config.source, config.home, clean).tags()
    lineage = keep_lineage(config, uri, fitted.artifact, measured)
    certificate = clean.facts.get("certificate") or "none"
    version_tags = {LINEAGE_TAG: lineage, tag.LEAK_CERTIFICATE: certificate}
    version_tags |= {tag.MODEL_KIND: fitted.spec.kind, tag.MODEL_NAME: fitted.spec.name}
    version_tags |= {
        tag.BUNDLE_TAG: bundle_digest(fitted.bundle),
        tag.FIT_TAG: fitted.artifact.digest,
        tag.DATA_TAG: clean.digest,
    }
    adaptation = measured[0].facts.get("adaptation")
    if adaptation:
        version_tags[tag.VERSION_ADAPTATION] = adaptation

    number = registry.register(uri, run_id, version_tags | family)
    registry.tag(number, family)  # for a version of an earlier run, e.g. with another family
    return number


@stage_task("gate", retry_if=tracking_was_away)
@during("gate")
def decide(
    family: ModelFamily,
    scored: Scored,
    champion: Champion | None,
    version: int | None,
    champion_reviews: ChampionReviews[Any] | None,
    parent_run_id: str,
) -> Promotion:
    """Apply the policy to current evidence, write the outcome to registry and runs, and move the alias if it passed.

    A repeated call for the same flow run decides nothing a second time.

    Args:
        version: Version of the challenger; None if it is the champion itself.

    Raises:
        ChampionChanged: Another version became champion meanwhile.
    """
    evidence = gather_evidence(
        family,
        scored,
        champion,
        version,
        champion_reviews,
    )
    decision = family.case.judge(family.policy, evidence)
    if family.no_network:
        decision = decision.with_no_network(family.no_network)
    for what in decision.warnings:
        log.warning("gate: %s", what)

    config = family.config
    registry = registry_of(config.workspace, config.promotion.model_name)
    spec = family.challenger.fitted.spec
    tracker = tracker_of(config.workspace)
    described = ""
    tags = {tag.REASON: decision.reason}
    if version is not None:
        _show_version_in_run(tracker, family, parent_run_id)
        page = tracker.link(family.challenger.fitted.run_id)
        described = _describe_version(decision, spec, config.title, page)
        times = _times_of_scores(scored, champion)
        tags = decision_tags(decision, config.title) | _run_tags(family, parent_run_id) | times

    with slot(PROMOTION):
        registry.settle(
            version,
            champion.version if champion else None,
            decision.promote,
            described,
            tags,
            run_id=parent_run_id,
            who=deployment_name(),
        )

    if version is None:
        what = spec.name
        tracker.set_tags(parent_run_id, {tag.RUN_OUTCOME: tag.TURNED_DOWN})
    else:
        what = f"{spec.name} v{version}"
    _log(
        config.workspace,
        config.source,
        family.prepared.clean,
        decision,
        what,
        parent_run_id,
    )

    now = registry.alias(CHAMPION)
    if version is not None:  # at the end, so that a retry does not announce it a second time
        event = PROMOTED if decision.promote else REFUSED
        facts = {
            "version": version,
            "preset": config.preset,
            "sentence": decision.headline,
            "reason": decision.reason,
        }
        announce(event, config.promotion.model_name, facts)

    return Promotion(spec.name, version, now.version if now else None, decision)


def _show_version_in_run(
    tracker: Tracker,
    family: ModelFamily,
    parent_run_id: str,
) -> None:
    """Let MLflow's list show the challenger's version beside the flow's run too."""
    with tracker.reaching() as client:
        uri = tracker.tag(family.challenger.fitted.run_id, tag.MODEL_URI_TAG)
        add_output(client, tracker.known_id(parent_run_id), uri.removeprefix("models:/"))


def _times_of_scores(scored: Scored, champion: Champion | None) -> dict[str, str]:
    """Return tags of when the scores were computed; a decision has none, so that equal evidence gives equal ones."""
    times = {tag.SCORED_CHALLENGER: scored.at}
    if champion and champion.folder:
        times[tag.SCORED_CHAMPION] = champion.scored.at

    return times


def _describe_version(
    decision: Decision,
    spec: Any,
    title: str,
    page: str,
) -> str:
    """Return the description of a version in Markdown; *page* is the address of its run."""
    line = literal(first_line(decision, spec.name))
    origin = f"{literal(spec.name)} ({spec.kind}), made with preset and data: {literal(title)}."
    card = f"Model card: `{CARD_FILE}` among the artifacts of [its run]({page})."
    return f"{line}\n\n{origin} {card}\n\n{decision.to_markdown()}"


def _run_tags(family: ModelFamily, run_id: str) -> dict[str, str]:
    """Return tags with the logged models of the run's other models and its report, so that a page can offer them."""
    tracker = tracker_of(family.config.workspace)
    others = [model for model in family.evaluated.models if model.name != family.challenger.name]
    # The page compares with the first one: the baseline.
    others.sort(key=lambda model: model.name != family.config.baseline)
    addresses: dict[str, str] = {}
    for model in others:
        address = tracker.tag(model.fitted.run_id, tag.MODEL_URI_TAG)
        if address:
            addresses[model.name] = address

    page = tracker.link(run_id, REPORT_FILE).removeprefix(tracker.ui)
    return {tag.RUN_MODELS: json.dumps(addresses), tag.RUN_PAGE: page}


def _log(
    workspace: Workspace,
    source: SourceConfig,
    clean: Artifact,
    decision: Decision,
    what: str,
    run_id: str,
) -> None:
    """Log a decision to the flow's run, which is named after *what* was judged, and show it in Prefect."""
    tracker = tracker_of(workspace)
    text = decision.to_markdown()
    tracker.log_text(run_id, decision.to_json(), "decision.json")
    tracker.log_text(run_id, text, "decision.md")
    certificate = clean.folder / CERTIFICATE_FILE
    if certificate.exists():
        tracker.log_text(run_id, certificate.read_text(encoding="utf-8"), CERTIFICATE_FILE)

    named = run_name(source, what)[tag.RUN_NAME]
    outcome = tracker.tag(run_id, tag.RUN_OUTCOME)
    name = named
    if outcome:
        name = tag.name_with_outcome(named, outcome)

    tags = {tag.OUTCOME: decision.headline, tag.RUN_REASON: decision.brief_reason}
    tracker.set_tags(
        run_id,
        {
            **tags,
            tag.NOTE: text,
            tag.RUN_NAME: name,
        },
    )
    tracker.log_metrics(run_id, {"promoted": float(decision.promote)})
    show_markdown("gate", text, decision.headline)


def first_line(decision: Decision, model: str) -> str:
    """Return a decision in a line for a list of versions: the outcome, its first figure, the reason."""
    outcome = "Promoted" if decision.promote else "Not promoted"
    measured = ""
    for name, value in decision.figures.items():
        if name.startswith("challenger") and value is not None:
            unit = name.partition(", ")[2]
            measured = f" ({value:.3f} {unit})"
            break

    return f"{outcome}: {model}{measured}, {decision.reason}."


def decision_tags(decision: Decision, title: str) -> dict[str, str]:
    """Return a decision as tags of its version: the reason, a line for each rule, the figures, preset and data."""
    figures = {name: show_figure(value, unit_of(name)) for name, value in decision.figures.items()}
    if decision.passed_over:
        figures["passed over"] = tag.shorten("; ".join(decision.passed_over), PASSED_OVER_LENGTH)

    tags = {
        tag.REASON: decision.reason,
        tag.MADE_FROM: title,
        tag.DECISION_FIGURES: json.dumps(figures, ensure_ascii=False),
    }
    for rule in decision.rules:
        tags[f"{tag.RULE}{rule.name}"] = f"{rule.outcome}: {rule.detail}"

    return tags


def retry_on_champion_change(judge: Callable[[], Judged]) -> Judged:
    """Return the result of *judge*, which scores the current champion and decides; retry if the champion changes.

    Raises:
        ChampionChanged: The champion changed during each of `ATTEMPTS` decisions.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return judge()
        except ChampionChanged as error:
            log.warning(
                "the champion has changed since it was scored (%s); running the gate again",
                error.value,
            )
    return judge()
