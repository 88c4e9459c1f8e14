"""Gather the results of a finished run from its artifacts, for the report and the model card."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.environment import busy
from reviewlm.core.errors import without_password
from reviewlm.core.provenance import git_commit
from reviewlm.core.services.join import MLFLOW_VARIABLE
from reviewlm.core.store import Artifact
from reviewlm.evaluation.reports.card import HTML as DATA_CARD
from reviewlm.evaluation.reports.run_record import REPORTS, TEST_REVIEWS, run_of_bundle
from reviewlm.evaluation.reports.run_results import ModelResults, RunResults
from reviewlm.evaluation.writing.audit import NOVELTY_FILE
from reviewlm.models.base import journal_lines
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.data.prepare import read_report
from reviewlm.tasks.evaluation.evaluate import FIGURES_FILE, Measured
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.evaluation.observed import RELIABILITY_FILE, SAMPLES_FILE
from reviewlm.tasks.execution.progress import duration
from reviewlm.tasks.execution.stage import MINUTE, started, waited
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.planning.verdict import LEAST_WAIT, describe_outcome
from reviewlm.tasks.promotion.choose import allowed_models, ranking
from reviewlm.tasks.promotion.promote import CARD_FILE, Promotion
from reviewlm.tasks.records.finished_run import FinishedRun
from reviewlm.tasks.records.run_summary import hints_of
from reviewlm.tasks.records.track import JOURNAL, prefect_tags, tracker_of
from reviewlm.tracking import tags as tag


def results_of(run: FinishedRun) -> RunResults:
    """Return all results that a report of a run can show."""
    config = run.config
    evaluated = run.evaluated
    floor = None
    if evaluated.floor:
        floor = evaluated.floor["bits_per_byte"]

    used = account_of(run.dataset, run.prepared.clean).used
    results = RunResults(
        models=tuple(map(_model, evaluated.models)),
        table=evaluated.table,
        winner=_put_forward(config.promotion, evaluated, run.promotion),
        baseline=config.baseline,
        confidence=config.evaluation.confidence,
        floor=floor,
        slices=evaluated.slices,
        source=f"{config.source.title}, {used:,} reviews used",
        name=config.promotion.model_name,
        data=_data(run),
        digests=_digests(run),
        run=_run(config.preset, run.run_id),
        links=_links(run),
        config=without_password(config.model_dump_json(indent=2)),
        commands=_commands(config.promotion, run.promotion),
        notices=_notices(run),
    )
    promotion = run.promotion
    if promotion is None:
        return results

    before = None
    if promotion.decision.champion:
        reports = config.home / REPORTS
        before = run_of_bundle(reports, promotion.decision.champion, run.run_id)

    return replace(
        results,
        decision=promotion.decision,
        version=promotion.version,
        champion=promotion.champion_version,
        before=before,
    )


def _put_forward(
    promotion_settings: PromotionConfig,
    evaluated: Evaluated,
    promotion: Promotion | None,
) -> str:
    """Return the name of the challenger; without a gate, of the best model on validation that it would allow."""
    if promotion:
        return promotion.challenger
    best_first = allowed_models(promotion_settings, evaluated) or ranking(evaluated)
    return best_first[0].name


def _data(run: FinishedRun) -> dict[str, Any]:
    """Return the rows of the page's table about the reviews."""
    config = run.config
    facts = run.dataset.facts
    files = ", ".join(entry["name"] for entry in facts["sources"])
    if not config.source.input:
        files = "the embedded synthetic corpus"

    entries: dict[str, Any] = {"source": files}
    entries["account"] = account_of(run.dataset, run.prepared.clean).equation
    for name, split in run.prepared.clean.facts["splits"].items():
        entries[f"reviews for {name}"] = split["reviews"]

    entries["first review"] = str(facts.get("date_min") or "unknown")[:10]
    entries["last review"] = str(facts.get("date_max") or "unknown")[:10]
    entries["split by"] = config.split.by
    entries["languages"] = ", ".join(config.selection.languages) or "not told apart"
    entries["personal data"] = "not masked"
    if config.clean.mask_personal_data:
        entries["personal data"] = "masked by patterns"

    entries["licence"] = config.source.licence or "not stated"
    return entries


def _digests(run: FinishedRun) -> dict[str, str]:
    """Return the digests of all data from the sources to the comparison, by what they are of."""
    sources = run.dataset.facts["sources"]
    digests = {f"source {entry['name']}": entry["sha256"] for entry in sources}
    clean = run.prepared.clean
    digests["data set"] = run.dataset.digest
    digests["clean reviews"] = clean.digest
    digests[TEST_REVIEWS] = clean.facts["test_digest"]
    digests["leak certificate"] = clean.facts["certificate"]
    for name, artifact in run.prepared.vocabularies.items():
        digests[f"vocabulary {name}"] = artifact.facts["vocabulary_digest"]

    digests["comparison"] = run.evaluated.artifact.digest
    return digests


def _run(preset: str, run_id: str) -> dict[str, str]:
    commit = git_commit()
    begun = started()
    took = duration((datetime.now(UTC) - begun).total_seconds())
    if waited() >= LEAST_WAIT:
        took += f", of it {duration(waited())} waiting for another retrain"

    facts = {
        "preset": preset,
        "started": f"{begun:{MINUTE}}",
        "took": took,
    }
    if commit:
        facts["commit"] = commit[:12]

    return {**facts, "MLflow run": run_id}


def _notices(run: FinishedRun) -> list[str]:
    """Return the notices about a run: was its plan kept, the load of the machine, files and trainings."""
    notices: list[str] = []
    if run.plan:
        notices += describe_outcome(run.plan, run.evaluated)["verdict"]
    load = busy()
    if load:
        sentence = f"{load[:1].upper()}{load[1:]}"
        notices.append(f"{sentence}, so times are longer than on an idle machine.")

    return notices + hints_of(run.config.home, run.prepared, run.evaluated, run.plan)


def _links(run: FinishedRun) -> dict[str, str]:
    """Return the pages about a run: those of servers by address, files of the home by their path from the report."""
    workspace = run.config.workspace
    place = workspace.home / REPORTS / run.run_id
    files = {"data card": run.prepared.card.folder / DATA_CARD}
    for artifact in run.prepared.checks:
        suite = artifact.facts["suite"]
        if suite in ("raw", "clean"):
            files[f"Data Docs of the {suite} data"] = Path(read_report(artifact).report_path)

    near = {name: quote(os.path.relpath(file, place)) for name, file in files.items()}
    if run.promotion and run.promotion.version is not None:
        near["model card"] = CARD_FILE

    when = "" if MLFLOW_VARIABLE in os.environ else " (after `reviewlm services start`)"
    links = {f"MLflow{when}": tracker_of(workspace).link(run.run_id)}
    flow_run = prefect_tags().get(tag.FLOW_RUN_URL, "")
    if flow_run:
        links[f"Prefect{when}"] = flow_run

    return links | near


def _commands(promotion_settings: PromotionConfig, promotion: Promotion | None) -> tuple[str, ...]:
    """Return the commands that trace this run's version back to its source files, and make it again."""
    if promotion is None or promotion.version is None:
        return ()

    version = f"{promotion_settings.model_name}/{promotion.version}"
    lines = [
        f"reviewlm version lineage {version} --verify",
        f"reviewlm version reproduce {version}",
    ]
    commit = git_commit()
    if commit:
        lines.insert(0, f"git checkout {commit}")

    return tuple(lines)


def _model(model: Measured) -> ModelResults:
    """Return the results of one model from its artifacts."""
    fit = model.fitted.artifact
    curve = journal_lines(fit.folder / JOURNAL)
    figures = json.loads((model.test.folder / FIGURES_FILE).read_text(encoding="utf-8"))
    digests = {"fit": fit.digest, "bundle": bundle_digest(model.fitted.bundle)}
    digests["scores"] = model.test.digest
    return ModelResults(
        name=model.name,
        curve=curve,
        samples=_table(model.samples, SAMPLES_FILE),
        reliability=_table(model.observed, RELIABILITY_FILE),
        observed=model.observed.facts,
        audit=model.audit.facts,
        novelty=_table(model.audit, NOVELTY_FILE),
        policies=figures["policies"],
        kept=_kept_weights(model),
        digests=digests,
    )


def _kept_weights(model: Measured) -> tuple[float, float] | None:
    """Return tokens seen by a network's final weights and their perplexity on all validation reviews, if known."""
    summary = model.fitted.artifact.facts.get("summary", {})
    tokens = summary.get("best_tokens")
    perplexity = summary.get("validation_perplexity")
    if tokens is None or perplexity is None:
        return None
    return float(tokens), float(perplexity)


def _table(artifact: Artifact, file: str) -> pl.DataFrame:
    return pl.read_parquet(artifact.folder / file)
