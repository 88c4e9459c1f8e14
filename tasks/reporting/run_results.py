"""Gather the results of a finished run from its artifacts, for the report and the model card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.config.command_line import command_line
from core.config.run_config import RunConfig
from core.errors import without_password
from core.provenance import git_commit
from core.store import Artifact
from evaluation.reports.all_runs import ALL_RUNS_FILE
from evaluation.reports.card import HTML as DATA_CARD
from evaluation.reports.model_card import CARD_FILE
from evaluation.reports.run_record import REPORTS, run_of_bundle
from evaluation.reports.run_results import RunResults
from tasks.data.prepare import Prepared, read_report
from tasks.evaluation.compare import Evaluated
from tasks.planning.outcome import in_words, outcome
from tasks.planning.plan import RunPlan
from tasks.progress import duration
from tasks.promotion.choose import best_allowed
from tasks.promotion.promote import Promotion
from tasks.reporting.measured import measured_results
from tasks.reporting.summary import hints_of
from tasks.stage import MINUTE, started
from tasks.tracking.track import prefect_tags, tracker_of
from tracking import tags as tag

COUNTS = {"records": "records read", "rows": "reviews in the data set", "quarantined": "records in quarantine",
          "duplicates": "repeated reviews left out"}  # fmt: skip


def results_of(
    config: RunConfig, dataset: Artifact, prepared: Prepared, evaluated: Evaluated, promotion: Promotion | None,
    run_id: str, made: RunPlan | None = None,
) -> RunResults:  # fmt: skip
    """Return all results that a report of this run can show.

    Args:
        dataset: The ingested data set.
        prepared: The data prepared from it.
        evaluated: The measured models.
        promotion: Result of the gate; None if the gate was not run.
        run_id: Id of the flow's MLflow run.
        made: RunPlan of a run for a time budget.
    """
    winner = promotion.challenger if promotion else best_allowed(config, evaluated).name
    return replace(
        measured_results(config, evaluated, winner),
        decision=promotion.decision if promotion else None,
        version=promotion.version if promotion else None,
        champion=promotion.champion_version if promotion else None,
        data=_data(config, dataset, prepared),
        digests=_digests(dataset, prepared, evaluated),
        run=_run(config, run_id) | (in_words(outcome(made, evaluated)) if made else {}),
        links=_links(config, prepared, run_id, promotion),
        before=run_of_bundle(config.home / REPORTS, promotion.decision.champion, run_id)
        if promotion and promotion.decision.champion else None,
        config=without_password(config.model_dump_json(indent=2)),
        commands=_commands(config, promotion),
        hints=hints_of(config, prepared, evaluated),
    )


def _data(config: RunConfig, dataset: Artifact, prepared: Prepared) -> dict[str, Any]:
    facts, clean, source = dataset.facts, prepared.clean.facts, config.source
    names = [str(entry.get("name", "")) for entry in facts.get("sources", []) if isinstance(entry, Mapping)]
    found: dict[str, Any] = {"source": ", ".join(names) if source.input else "the embedded synthetic corpus"}
    found |= {words: facts[name] for name, words in COUNTS.items() if name in facts}
    found |= {f"reviews for {name}": split["reviews"] for name, split in clean["splits"].items()}
    dates = [str(facts.get(name) or "unknown")[:10] for name in ("date_min", "date_max")]
    found |= {"first review": dates[0], "last review": dates[1]}
    found["split by"] = config.split.by
    found["languages"] = ", ".join(config.selection.languages) or "not told apart"
    found["personal data"] = "masked by patterns" if config.clean.mask_personal_data else "not masked"
    found["licence"] = source.licence or "not stated"
    return found


def _digests(dataset: Artifact, prepared: Prepared, evaluated: Evaluated) -> dict[str, str]:
    sources = [entry for entry in dataset.facts.get("sources", []) if isinstance(entry, Mapping)]
    found = {f"source {entry.get('name', '')}": str(entry.get("sha256", "")) for entry in sources}
    found |= {"data set": dataset.digest, "clean reviews": prepared.clean.digest}
    found |= {
        "test reviews": prepared.clean.facts["test_digest"],
        "leak certificate": prepared.clean.facts["certificate"],
    }
    found |= {f"vocabulary {name}": artifact.facts["vocabulary_digest"] for name, artifact in
              prepared.vocabularies.items()}  # fmt: skip
    return found | {"comparison": evaluated.comparison.artifact.digest}


def _run(config: RunConfig, run_id: str) -> dict[str, str]:
    commit, begun = git_commit(), started()
    took = duration((datetime.now(UTC) - begun).total_seconds())
    return {
        "preset": config.preset, "started": f"{begun:{MINUTE}}", "took": took,
        **({"commit": commit[:12]} if commit else {}), "MLflow run": run_id,
    }  # fmt: skip


def _links(config: RunConfig, prepared: Prepared, run_id: str, promotion: Promotion | None) -> dict[str, str]:
    """Return the pages about a run: those of servers by address, files of the home by their path from the report."""
    place = config.home / REPORTS / run_id
    files = {"data card": prepared.card.folder / DATA_CARD}
    files |= {f"Data Docs of the {artifact.facts['suite']} data": Path(read_report(artifact).report_path)
              for artifact in prepared.checks if artifact.facts["suite"] in ("raw", "clean")}  # fmt: skip
    near = {name: quote(os.path.relpath(file, place)) for name, file in files.items()}
    if promotion and promotion.version is not None:
        near["model card"] = CARD_FILE
    flow_run = prefect_tags().get(tag.FLOW_RUN_URL, "")
    links = {"MLflow": tracker_of(config).link(run_id), **({"Prefect": flow_run} if flow_run else {}), **near}
    return {**links, "all runs": f"../{ALL_RUNS_FILE}"}


def _commands(config: RunConfig, promotion: Promotion | None) -> tuple[str, ...]:
    """Return the commands that repeat this run, and those that trace its version back to its source files."""
    command = command_line(config, "run" if promotion else "evaluate")
    if command is None:
        return ()
    lines = [*([f"git checkout {commit}"] if (commit := git_commit()) else []), command]
    if promotion and promotion.version is not None:
        verbs = (f"lineage {promotion.version} --verify", f"reproduce {promotion.version}")
        lines += [f"reviewlm {verb} --preset {config.preset}" for verb in verbs]  # tells it the registered model
    return tuple(lines)
