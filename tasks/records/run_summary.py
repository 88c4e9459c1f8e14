"""Summarise the result of a flow as plain dictionaries, for the command line's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.figures import ACCURACY, BITS, MACRO_F1, amount
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.account import ACCOUNT
from reviewlm.corpus.ingestion.parts import QUARANTINE_FILE
from reviewlm.corpus.schema import Reason
from reviewlm.evaluation.reports.card import HTML as CARD
from reviewlm.evaluation.statistics.training_advice import training_hints
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.data.drift import NotCompared
from reviewlm.tasks.data.prepare import Prepared
from reviewlm.tasks.evaluation.evaluate import Measured
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.evaluation.observed import PROMPTS, SAMPLES_FILE, SUGGESTIONS_FILE
from reviewlm.tasks.execution.stage import reuse_of_this_run
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.planning.plan import RunPlan
from reviewlm.tasks.planning.rule import NETWORK
from reviewlm.tasks.planning.verdict import describe_outcome, training_of
from reviewlm.tasks.promotion.promote import Promotion
from reviewlm.tasks.records.finished_run import FinishedRun
from reviewlm.tasks.records.result_lines import sorted_models
from reviewlm.tasks.records.track import tracker_of

FLOOR_STATEMENT = "The grammar that generated these test reviews needs this many; no model can need fewer on average."
VALIDATION_FIGURES = ("perplexity", "open_bits_per_byte")
OBSERVED_FIGURES = ("hit@1", "hit@3", "hit@5", "mrr", "keystroke_savings", "ece")
LABELS = ("model", "kind", "unit", "vocabulary", "boundary", "adaptation", "baseline")
"""Columns of the comparison table that do not hold figures."""


def summarise(run: FinishedRun, report: str) -> dict[str, Any]:
    """Return the summary of a run of the pipeline as plain values.

    The page of its MLflow run opens while `reviewlm services start` runs.

    Args:
        run: The run.
        report: Path of its report; empty if there is none.
    """
    config = run.config
    account = account_of(run.dataset, run.prepared.clean)
    summary: dict[str, Any] = {"account": account.to_dict()}
    summary |= describe_compared(config.baseline, run.evaluated)
    if run.promotion is not None:
        summary |= _describe_gate(config.promotion, run.evaluated, run.promotion)

    summary |= reuse_of_this_run()
    summary["mlflow_run_id"] = run.run_id
    summary["report"] = report
    summary["hints"] = hints_of(config.home, run.prepared, run.evaluated, run.plan)
    summary["mlflow_page"] = tracker_of(config.workspace).link(run.run_id)
    if run.plan:
        summary["plan"] = describe_outcome(run.plan, run.evaluated)

    return summary


def _describe_gate(
    promotion_settings: PromotionConfig,
    evaluated: Evaluated,
    promotion: Promotion,
) -> dict[str, Any]:
    """Return the decision of the gate, and samples of the challenger."""
    decision = promotion.decision
    summary: dict[str, Any] = {"challenger": promotion.challenger}
    summary["champion_version"] = promotion.champion_version
    summary["version"] = promotion.version
    summary["registered_model"] = promotion_settings.model_name
    summary["promoted"] = decision.promote
    summary["reason"] = decision.reason
    summary["same_model"] = decision.same_model
    summary["passed_over"] = list(decision.passed_over)
    summary["written"] = written_samples(evaluated.model_named(promotion.challenger))
    return summary


def verdict_of(result: Mapping[str, Any]) -> str:
    """Return the decision of a whole run and the figures of its challenger, in a sentence, from its summary.

    The run is one of language models or of classifiers.
    """
    name = result["challenger"]
    version = f" as version {result['version']}" if result["version"] is not None else ""
    outcome = "Promoted" if result["promoted"] else "Not promoted:"
    reason = result["reason"].rstrip(".")
    return f"{outcome} {name}{version} ({_figures_of(result, name)}): {reason}."


def _figures_of(result: Mapping[str, Any], name: str) -> str:
    """Return the figures of one model of a run on the test reviews, in words."""
    test = next(model["test"] for model in result["models"] if model["name"] == name)
    if MACRO_F1.name in test:
        shown = (
            f"{figure.words} {figure.number(test[figure.name])}" for figure in (MACRO_F1, ACCURACY)
        )
        figures = ", ".join(shown)
    else:
        bits = BITS.number(test[BITS.name])
        figures = f"{bits} bits/byte, perplexity {amount(test['perplexity'])}"

    return f"{figures} on {test['reviews']:,} test reviews"


def end_of_part(result: Mapping[str, Any], until: str) -> str:
    """Return a sentence with the result of the first part of a run and its figures.

    Args:
        until: The part: prepare, train or evaluate.
    """
    if until == "prepare":
        splits = result["splits"].values()
        return (
            f"Prepared {sum(split['reviews'] for split in splits):,} reviews; nothing was trained."
        )

    models = result["models"]
    if until == "train":
        return f"Fitted {', '.join(model['name'] for model in models)}; nothing was compared."

    best = sorted_models(result)[0]["name"]
    return f"Best: {best} ({_figures_of(result, best)}); nothing was registered."


def written_samples(model: Measured) -> dict[str, Any]:
    """Return the first review that a model wrote for each rating, and next words after the first beginning."""
    samples = pl.read_parquet(model.samples.folder / SAMPLES_FILE).filter(pl.col("number") == 0)
    suggestions = pl.read_parquet(model.samples.folder / SUGGESTIONS_FILE)
    words = suggestions.filter(pl.col("prompt") == PROMPTS[0]).select("word", "probability")
    return {
        "reviews": samples.select("stars", "text", "ended").to_dicts(),
        "next_words": {"prompt": PROMPTS[0], "words": words.to_dicts()},
    }


def hints_of(
    home: Path,
    prepared: Prepared,
    evaluated: Evaluated,
    made: RunPlan | None = None,
) -> list[str]:
    """Return which files could not be read, and what the learning curves say about the training (`training_hints`).

    Args:
        made: The plan of a run that was given a time; None: the user has chosen the settings.
    """
    digest = prepared.clean.manifest.get("inputs", {}).get("dataset", "")
    dataset = Store.of(home).find("ingest", digest)
    paced = made is not None and made.ended_by not in ("", "user")
    networks = [model for model in evaluated.models if hasattr(model.fitted.spec, "training")]
    trainings = [training_of(model, paced and model.name == NETWORK) for model in networks]
    hints = [f"{warning}." for warning in told_set_aside(dataset)]
    hints += training_hints(trainings, evaluated.table.to_dicts())
    return hints


def told_set_aside(dataset: Artifact | None) -> list[str]:
    """Return a sentence about each file of a data set that was set aside because it cannot be read."""
    if dataset is None or Reason.UNREADABLE_FILE.value not in dataset.facts["reasons"]:
        return []
    bad = pl.scan_parquet(dataset.folder / QUARANTINE_FILE)
    unreadable = bad.filter(pl.col("reason") == Reason.UNREADABLE_FILE.value)
    rows = unreadable.select("source", "detail").collect()
    return [f"{source} was set aside: {detail}" for source, detail in rows.iter_rows()]


def describe_dataset(dataset: Artifact) -> dict[str, Any]:
    """Return the facts of an ingested data set, with digest and folder, and the number of files that were set aside."""
    facts = dict(dataset.facts)
    unreadable = told_set_aside(dataset)
    if unreadable:
        facts["unreadable_files"] = len(unreadable)

    return {
        **facts,
        "digest": dataset.digest,
        "folder": dataset.path,
    }


def describe_drift(measured: Artifact | NotCompared) -> dict[str, Any]:
    """Return the result of the drift test; `compared` is false if there was nothing to compare."""
    if isinstance(measured, NotCompared):
        reason = " ".join(measured.reason.split())  # an error has several lines
        return {
            "compared": False,
            "drifted": [],
            "sentence": f"nothing was compared: {reason}",
        }

    return {
        "compared": True,
        **measured.facts,
        "digest": measured.digest,
        "folder": measured.path,
    }


def describe_prepared(dataset: Artifact, prepared: Prepared) -> dict[str, Any]:
    """Return the facts of the data set and of the prepared reviews, and the sizes of splits and vocabularies."""
    vocabularies: dict[str, dict[str, int]] = {}
    for name, splits in prepared.tokens.items():
        sizes = {"size": prepared.vocabularies[name].facts["size"]}
        for split, stream in splits.items():
            sizes[f"{split}_tokens"] = stream.facts["tokens"]
        vocabularies[name] = sizes

    summary = dict(prepared.clean.facts)
    summary[ACCOUNT] = account_of(dataset, prepared.clean).to_dict()
    summary["dataset"] = describe_dataset(dataset)
    summary["vocabularies"] = vocabularies
    summary["card"] = str(prepared.card.folder / CARD)
    summary["digest"] = prepared.clean.digest
    return summary


def describe_fitted(
    fitted: list[Fitted],
    run_id: str,
    dataset: Artifact,
    prepared: Prepared,
) -> dict[str, Any]:
    """Return the fitted models with their digests, and the account of the data."""
    summary: dict[str, Any] = {ACCOUNT: account_of(dataset, prepared.clean).to_dict()}
    summary["models"] = [_describe_fit(model) for model in fitted]
    summary["mlflow_run_id"] = run_id
    summary |= {model.spec.name: model.artifact.digest for model in fitted}
    return summary


def _describe_fit(model: Fitted) -> dict[str, Any]:
    """Return a fitted model with the summary of its fit."""
    return {
        "name": model.spec.name,
        "kind": model.spec.kind,
        "digest": model.artifact.digest,
        "reused": model.reused,
        **model.artifact.facts["summary"],
    }


def describe_compared(baseline: str, evaluated: Evaluated) -> dict[str, Any]:
    """Return the models with confidence intervals, their differences, the grammar floor and the worst slices."""
    facts = evaluated.artifact.facts
    floor = None
    if evaluated.floor:
        floor = {**evaluated.floor, "statement": FLOOR_STATEMENT}
    slices = {
        "looked_at": facts["slices"],
        "left_out": facts["slices_left_out"],
        "worst": evaluated.worst.to_dicts(),
    }
    models = [_model(model, evaluated.row(model.name)) for model in evaluated.models]
    return {
        "models": models,
        "floor": floor,
        "baseline": baseline,
        "differences": evaluated.differences.to_dicts(),
        "slices": slices,
    }


def _model(model: Measured, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one model with the figures of its row in the comparison table; x_lo and x_hi are the interval of x."""
    observed = model.observed.facts
    test = {name: observed[name] for name in OBSERVED_FIGURES if name in observed}
    test |= {name: value for name, value in row.items() if name not in LABELS}
    described: dict[str, Any] = {"name": model.name, "kind": model.fitted.spec.kind}
    described |= {name: row[name] for name in ("unit", "adaptation", "baseline")}
    described["mlflow_run_id"] = model.fitted.run_id
    described["test"] = test
    described["validation"] = {name: model.validation.facts[name] for name in VALIDATION_FIGURES}
    return described
