"""Gather the results of a finished run from its artifacts, for the report and the model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from core.config.command_line import command_line
from core.config.run_config import RunConfig
from core.errors import without_password
from core.store import Artifact
from evaluation.plots.curves import journal_lines
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.statistics.floor import Floor
from evaluation.writing.audit import EXPOSURE_FILE, NOVELTY_FILE
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated
from tasks.evaluation.evaluate import FIGURES_FILE, SAMPLES_FILE, Measured
from tasks.evaluation.observe import CONTEXT_FILE, RELIABILITY_FILE, TOKEN_SCORES_FILE
from tasks.fitting.fit import bundle_digest
from tasks.promotion.choose import best_allowed
from tasks.promotion.promote import Promotion
from tasks.stage import git_commit
from tasks.tracking.track import JOURNAL

COUNTS = {"records": "records read", "rows": "reviews in the data set", "quarantined": "records in quarantine",
          "duplicates": "repeated reviews left out"}  # fmt: skip


def results_of(
    config: RunConfig, dataset: Artifact, prepared: Prepared, evaluated: Evaluated, promotion: Promotion | None,
    run_id: str,
) -> RunResults:  # fmt: skip
    """Return all results that a report of this run can show.

    Args:
        config: Configuration of the run.
        dataset: The ingested data set.
        prepared: The data prepared from it.
        evaluated: The measured models.
        promotion: Result of the gate; None if the gate was not run.
        run_id: Id of the flow's MLflow run.
    """
    winner = promotion.challenger if promotion else best_allowed(config, evaluated).name
    floor = evaluated.floor
    return RunResults(
        models=tuple(_model(model) for model in evaluated.models),
        table=evaluated.comparison.table,
        winner=winner,
        baseline=config.baseline,
        confidence=config.evaluation.confidence,
        floor=Floor(**{name: floor[name] for name in ("reviews", "explained", "nats", "bytes")}) if floor else None,
        slices=evaluated.comparison.slices,
        decision=promotion.decision if promotion else None,
        version=promotion.version if promotion else None,
        champion=promotion.champion_version if promotion else None,
        data=_data(config, dataset, prepared),
        digests=_digests(dataset, prepared, evaluated),
        run=_run(config, run_id),
        config=without_password(config.model_dump_json(indent=2)),
        commands=_commands(config, promotion),
    )


def _model(model: Measured) -> ModelResults:
    facts, observed, audited = model.test.facts, model.observed, model.audit
    figures = json.loads((model.test.folder / FIGURES_FILE).read_text(encoding="utf-8"))
    return ModelResults(
        name=model.name, kind=model.fitted.spec.kind, unit=facts["unit"], vocabulary=facts["vocabulary"],
        adaptation=facts["adaptation"], curve=journal_lines(model.fitted.artifact.folder / JOURNAL),
        samples=_table(model.samples, SAMPLES_FILE), tokens=_table(observed, TOKEN_SCORES_FILE),
        reliability=_table(observed, RELIABILITY_FILE), context=_table(observed, CONTEXT_FILE),
        observed=observed.facts, audit=audited.facts, novelty=_table(audited, NOVELTY_FILE),
        exposure=_table(audited, EXPOSURE_FILE), policies=figures["policies"],
        digests={"fit": model.fitted.artifact.digest, "bundle": bundle_digest(model.fitted.bundle),
                 "scores": model.test.digest},
    )  # fmt: skip


def _table(artifact: Artifact, file: str) -> pl.DataFrame:
    return pl.read_parquet(artifact.folder / file)


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
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    commit = git_commit()
    return {"MLflow run": run_id, "preset": config.preset, **({"commit": commit[:12]} if commit else {}), "made": made}


def _commands(config: RunConfig, promotion: Promotion | None) -> tuple[str, ...]:
    """Return the commands that repeat this run, and those that trace its version back to its source files."""
    command = command_line(config, "run" if promotion else "evaluate")
    if command is None:
        return ()
    lines = [*([f"git checkout {commit}"] if (commit := git_commit()) else []), command]
    if promotion and promotion.version is not None:
        verbs = (f"lineage {promotion.version} --verify", f"reproduce {promotion.version}")
        lines += [command_line_of(verb, config) for verb in verbs]
    return tuple(lines)


def command_line_of(verb: str, config: RunConfig) -> str:
    """Return the command line of a verb; the preset tells it which registered model to use."""
    return f"reviewlm {verb} --preset {config.preset}"
