"""Score one model, observe it and draw samples; the stages are the same for n-gram models and networks.

It is observed at every token of a sample of test reviews. What it writes is audited for copied text. What it costs is
read from manifests: parameters, size on disk, seconds of fitting and scoring.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import AuditConfig, EvaluationConfig
from reviewlm.core.errors import BundleError
from reviewlm.core.manifest import seconds_of
from reviewlm.core.store import Artifact, Built
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.scoring.metrics import Figures
from reviewlm.evaluation.scoring.score import FIGURES_FILE, SCORES_FILE, write_scores
from reviewlm.evaluation.writing.audit import SAMPLES_FILE as AUDITED_FILE
from reviewlm.evaluation.writing.audit import TABLES
from reviewlm.evaluation.writing.reference import make_reference
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.models.specs import parts_of
from reviewlm.models.streams import TokenStream
from reviewlm.models.threads import return_freed
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared, check_table, tokenize
from reviewlm.tasks.evaluation.model_work import ModelWork
from reviewlm.tasks.evaluation.observed import (
    RELIABILITY_FILE,
    SAMPLES_FILE,
    SUGGESTIONS_FILE,
    audit_texts,
    observe_tokens,
    write_texts,
)
from reviewlm.tasks.evaluation.processes import with_model
from reviewlm.tasks.evaluation.score_slices import scored_on_nodes
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import (
    as_task_state,
    result_as_task_state,
    run_stage,
    stage_task,
)
from reviewlm.tasks.fitting.fit import bundle_digest
from reviewlm.tasks.fitting.job import BUNDLE_FOLDER, Fitted, MeasuredModel
from reviewlm.tasks.records.track import model_note, tracker_of
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import ADAPTATION, MEASURED_TAG, NOTE

AUDIT_OPTIONS = {"samples", "max_words", "candidates"}
"""Settings of the audit on which its result depends; the others decide what was planted in its inputs."""
OF_FIT = {
    "trained_tokens_per_second": "tokens_per_second",
    "step_seconds_p50": "step_seconds/p50",
    "peak_memory_megabytes": "peak_memory_megabytes",
    "peak_gpu_memory_megabytes": "peak_gpu_memory_megabytes",
}
"""Figures that the fit itself measures: column of the cost table → name in the fit's summary."""
COSTS = (
    "parameters",
    "megabytes",
    "fit_seconds",
    "fit_cpu_seconds",
    *OF_FIT,
    "score_seconds",
    "tokens_per_second",
)


@dataclass(frozen=True)
class Measured(MeasuredModel):
    """Fitted language model with scores, samples, token-level observations and audit.

    `fresh`: whether the test reviews were scored in this run, not taken from the store.
    """

    samples: Artifact
    observed: Artifact
    audit: Artifact
    checks: tuple[Artifact, ...] = ()
    fresh: bool = False

    @property
    def measurements(self) -> tuple[Artifact, ...]:
        """See `MeasuredModel`."""
        return self.test, self.validation, self.samples


@stage_task("score", run_name="score {fitted.spec.name}")
def score(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    fitted: Fitted,
    prepared: Prepared,
) -> tuple[Built, Built]:
    """Return the scores of one model on the test and the validation split."""
    scored = []
    for split in ("test", "validation"):
        tokens = prepared.tokens[fitted.spec.vocabulary][split]
        label = f"{fitted.spec.name} {split}"
        scored.append(
            score_bundle(
                workspace,
                evaluation,
                fitted.bundle,
                tokens,
                label,
            )
        )

    test, validation = scored
    both = Built(test.artifact, test.reused and validation.reused)
    return result_as_task_state(both, (test, validation))


@stage_task("observe", run_name="observe {fitted.spec.name}")
def observe(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    fitted: Fitted,
    scores: Artifact,
    prepared: Prepared,
) -> Artifact:
    """Observe a model with these scores of the test reviews: its tokens, usefulness and calibration on some of them."""
    test = prepared.tokens[fitted.spec.vocabulary]["test"]
    options = {"observed_reviews": evaluation.observed_reviews, "seed": evaluation.seed}
    named = {
        "options": options,
        "stream": str(test.folder),
        "scores": str(scores.folder),
    }
    inputs = {"scores": scores.digest, "test": test.digest}
    built = _work_with_model(
        workspace,
        "observe",
        observe_tokens,
        fitted.bundle,
        fitted.spec.name,
        options,
        inputs,
        named,
    )
    return as_task_state(built)


@stage_task("audit", run_name="audit {fitted.spec.name}")
def audit(
    workspace: Workspace,
    audit_settings: AuditConfig,
    fitted: Fitted,
    prepared: Prepared,
) -> Artifact:
    """Audit what a model writes, and how that and the canaries relate to the training text."""
    train = prepared.tokens[fitted.spec.vocabulary]["train"]
    planted = prepared.canaries
    reference = reference_of(workspace, audit_settings, prepared.clean).artifact
    text_tokens = train.facts["tokens"] - train.facts["documents"]  # without end tokens of reviews
    named: dict[str, Any] = {"options": audit_settings.model_dump(mode="json")}
    named["reference"] = str(reference.folder)
    named["planted"] = str(planted.folder) if planted else ""
    named["tokens_per_word"] = text_tokens / reference.facts["words"]
    inputs = {"reference": reference.digest, "tokens": train.digest}
    if planted:
        inputs["canaries"] = planted.digest

    options = audit_settings.model_dump(mode="json", include=AUDIT_OPTIONS)
    count = audit_settings.samples
    built = _work_with_model(
        workspace,
        "audit",
        audit_texts,
        fitted.bundle,
        fitted.spec.name,
        options,
        inputs,
        named,
        count,
    )
    return as_task_state(built)


@stage_task("samples", run_name="samples {fitted.spec.name}")
def write_samples(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    fitted: Fitted,
) -> Artifact:
    """Draw samples from a model, and its next-word suggestions."""
    return as_task_state(draw_samples(workspace, evaluation, fitted.bundle, fitted.spec.name))


@stage_task("measure", run_name="measure {fitted.spec.name}")
def measure(
    config: RunConfig,
    fitted: Fitted,
    prepared: Prepared,
) -> Measured:
    """Score, observe and audit a model, let it write, check its predictions and samples, and log all its figures.

    The works of one model follow each other, so that one process opens it once.
    """
    name = fitted.spec.name
    workspace = config.workspace
    evaluation = config.evaluation

    scores = score(workspace, evaluation, fitted, prepared)
    test = scores[0].artifact
    validation = scores[1].artifact
    observed = observe(
        workspace,
        evaluation,
        fitted,
        test,
        prepared,
    )
    audited = audit(workspace, config.audit, fitted, prepared)
    samples = write_samples(workspace, evaluation, fitted)

    on_test = check_table(config, "predictions", test, f"predictions {name}")
    label = f"predictions {name} validation"
    on_validation = check_table(config, "predictions", validation, label)
    on_samples = check_table(config, "samples", samples, f"samples {name}")
    checks = (on_test, on_validation, on_samples)

    measured = Measured(
        fitted,
        test,
        validation,
        samples,
        observed,
        audited,
        checks,
        fresh=not scores[0].reused,
    )
    _log_once(tracker_of(workspace), measured)
    return measured


def tokens_for(
    workspace: Workspace,
    bundle: Path,
    prepared: Prepared,
) -> Artifact:
    """Return the test token stream in a bundle's own vocabulary; tokenize if this run does not have it.

    Raises:
        BundleError: The vocabulary is not the one that the model was trained with, so it must not be used.
    """
    file = bundle / VOCABULARY_FILE
    digest = Vocabulary.load(file).digest
    trained_with = json.loads((bundle / SPEC).read_text(encoding="utf-8"))["vocabulary_digest"]
    if digest != trained_with:
        raise BundleError(
            "The vocabulary of the bundle was changed",
            where=file,
            value=f"{digest}, not {trained_with}",
        )

    for name, artifact in prepared.vocabularies.items():
        if artifact.facts["vocabulary_digest"] == digest:
            return prepared.tokens[name]["test"]

    return tokenize(
        workspace,
        str(file),
        "test",
        prepared.clean,
        "champion",
    )


def score_bundle(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    bundle_folder: Path,
    tokens: Artifact,
    label: str,
) -> Built:
    """Return the scores of a bundle on a token stream; champion and challenger go through this same stage.

    Nodes of `execution.cluster` score what would take this machine long, see `scored_on_nodes`.
    """
    chosen: dict[str, Any] = {
        "observed_reviews": evaluation.observed_reviews,
        "seed": evaluation.seed,
    }
    inputs = {"bundle": bundle_digest(bundle_folder), "tokens": tokens.digest}

    def make(work: Path) -> dict[str, Any]:
        named = {
            "tokens": tokens.folder,
            **chosen,
            "elsewhere": scored_on_nodes(workspace.execution, bundle_folder, tokens),
        }
        with progress(label, len(TokenStream.open(tokens.folder)), "reviews") as report:
            order = ModelWork(
                write_scores,
                label,
                bundle_folder,
                named,
                work=work,
            )
            return with_model(workspace.execution, order, report)

    return run_stage(
        workspace,
        "score",
        chosen,
        inputs,
        make,
        label,
    )


def draw_samples(
    workspace: Workspace,
    evaluation: EvaluationConfig,
    bundle_folder: Path,
    label: str,
) -> Built:
    """Return reviews that a bundle generated for each star rating, and its next-word suggestions for the prompts."""
    options = {"max_tokens": evaluation.max_tokens, "seed": evaluation.seed}
    return _work_with_model(
        workspace,
        "samples",
        write_texts,
        bundle_folder,
        label,
        options,
        {},
        {"options": options},
    )


def _work_with_model(
    workspace: Workspace,
    name: str,
    function: Callable[..., dict[str, Any]],
    bundle_folder: Path,
    label: str,
    options: Mapping[str, Any],
    inputs: Mapping[str, str],
    named: Mapping[str, Any],
    samples: int = 0,
) -> Built:
    """Return the result of a stage that does one work with a model.

    Args:
        function: See `ModelWork`; *named* are its further arguments.
        inputs: Digests besides that of the bundle.
        samples: Number of samples, for a work that reports how many it has drawn.
    """

    def make(work: Path) -> dict[str, Any]:
        counted: AbstractContextManager[Callable[..., None]] = nullcontext(lambda done: None)
        if samples:
            counted = progress(f"{name} {label}", samples, "samples")

        with counted as report:
            return with_model(
                workspace.execution,
                ModelWork(
                    function,
                    label,
                    bundle_folder,
                    named,
                    work=work,
                ),
                report,
            )

    digests = {"bundle": bundle_digest(bundle_folder), **inputs}
    built = run_stage(
        workspace,
        name,
        options,
        digests,
        make,
        label,
    )
    if not built.reused:
        return_freed()  # the next model does not fit into the gaps that this one left

    return built


def scores_of(artifact: Artifact) -> pl.DataFrame:
    """Return the rows of a score artifact, one per review."""
    return pl.read_parquet(artifact.folder / SCORES_FILE)


def figures_of_artifact(artifact: Artifact) -> Figures:
    """Return the figures of a score artifact, from the sums among its facts."""
    return Figures(**{field.name: artifact.facts[field.name] for field in fields(Figures)})


def _log_once(tracker: Tracker, model: Measured) -> None:
    """Log the figures unless the run has their tag, which is set last: an interrupted attempt is repeated."""
    measured = (model.test, model.validation, model.samples, model.observed, model.audit)
    stamp = " ".join(artifact.digest for artifact in measured)
    if not tracker.has_tag(model.fitted.run_id, MEASURED_TAG, stamp):
        _log_figures(tracker, model)
        figures = figures_of_artifact(model.test)
        described = {ADAPTATION: figures.adaptation, NOTE: model_note(model.fitted.spec, figures)}
        tracker.set_tags(model.fitted.run_id, {**described, MEASURED_TAG: stamp})


def _log_figures(tracker: Tracker, model: Measured) -> None:
    """Log test and validation figures, samples and audit to the model's MLflow run."""
    run = model.fitted.run_id
    # "final_validation" because "validation/perplexity" is the trainer's curve by step. "observed" because these test
    # reviews are a sample: their nll is not the logarithm of "test/perplexity".
    for name, split, artifact, facts in (
        ("test", "test", model.test, model.test.facts),
        ("observed", "test", model.test, model.observed.facts),
        ("final_validation", "validation", model.validation, model.validation.facts),
    ):
        numbers = {}
        for key, value in facts.items():
            if isinstance(value, int | float):
                numbers[f"{name}/{key}"] = value

        dataset = (f"{model.fitted.spec.vocabulary}-{split}", artifact.manifest["inputs"]["tokens"])
        tracker.log_metrics(run, numbers, dataset=dataset)

    figures = (model.test.folder / FIGURES_FILE).read_text(encoding="utf-8")
    tracker.log_text(run, figures, FIGURES_FILE)
    tables = (
        model.samples.folder / SAMPLES_FILE,
        model.samples.folder / SUGGESTIONS_FILE,
        model.observed.folder / RELIABILITY_FILE,
    )
    for file in tables:
        tracker.log_table(run, pl.read_parquet(file), file.with_suffix(".json").name)

    log_audit(tracker, run, model.audit)


def reference_of(
    workspace: Workspace,
    audit_settings: AuditConfig,
    clean: Artifact,
) -> Built:
    """Return the audit reference of a data set: built for the first model, reused for all others."""
    options = audit_settings.model_dump(mode="json", include={"max_words"})

    def make(work: Path) -> dict[str, Any]:
        total = int(clean.facts["splits"]["train"]["reviews"])
        with progress("audit reference", total, "reviews") as report:
            return make_reference(clean.folder, work, options["max_words"], report)

    return run_stage(
        workspace,
        "reference",
        options,
        {"clean": clean.digest},
        make,
        "of the audit",
    )


def log_audit(
    tracker: Tracker,
    run_id: str,
    artifact: Artifact,
) -> None:
    """Log an audit's figures (in one batch) and its tables to a model's MLflow run."""
    figures = {}
    for name, value in artifact.facts.items():
        if value is not None:
            figures[f"audit/{name}"] = float(value)

    tracker.log_metrics(run_id, figures)
    for file in (AUDITED_FILE, *TABLES):
        table = pl.read_parquet(artifact.folder / file)
        tracker.log_table(run_id, table, f"audit/{Path(file).with_suffix('.json').name}")


def costs_of(measured: Sequence[Measured]) -> dict[str, dict[str, float | None]]:
    """Return the cost of each model (`COSTS`) by name; None for figures that were not recorded.

    Of a model with parts, parameters are those of its parts; fit_seconds and fit_cpu_seconds (processor time of the
    updates, which only networks have) include them, each part once. megabytes: 10^6 bytes of the bundle; score_seconds
    and tokens_per_second are of the test reviews.
    """
    models = {model.name: model for model in measured}
    summaries = {
        name: model.fitted.artifact.facts.get("summary", {}) for name, model in models.items()
    }
    costs = {}
    for name, model in models.items():
        whole = _within(name, models)
        files = model.fitted.artifact.manifest["files"]
        bundle = []
        for file, entry in files.items():
            if file.startswith(f"{BUNDLE_FOLDER}/"):
                bundle.append(entry["bytes"])

        leaves = [one for one in whole if not parts_of(models[one].fitted.spec)]
        updates = [summaries[one].get("cpu_seconds") for one in whole]
        fits = [seconds_of(models[one].fitted.artifact.manifest) for one in whole]
        row = {column: summaries[name].get(key) for column, key in OF_FIT.items()}
        row["parameters"] = _total(summaries[one].get("parameters") for one in leaves)
        row["megabytes"] = sum(bundle) / 1e6
        row["fit_seconds"] = _total(fits)
        row["fit_cpu_seconds"] = _total(seconds for seconds in updates if seconds is not None)
        costs[name] = row | speed_of(model.test)

    return costs


def _within(name: str, models: Mapping[str, Measured]) -> list[str]:
    """Return the names of a model and of all its parts, at any depth, each once."""
    inner = [one for part in parts_of(models[name].fitted.spec) for one in _within(part, models)]
    return list(dict.fromkeys([name, *inner]))


def _total(values: Iterable[float | None]) -> float | None:
    """Return the sum; None if there is no value, or one is not known."""
    known = list(values)
    if not known or None in known:
        return None
    return sum(value for value in known if value is not None)


def speed_of(test: Artifact) -> dict[str, float | None]:
    """Return seconds and tokens per second of a scoring."""
    seconds = test.facts["score_seconds"]
    speed = None
    if seconds:
        speed = test.facts["tokens"] / seconds

    return {"score_seconds": seconds, "tokens_per_second": speed}


def megabytes(folder: Path) -> float:
    """Return the size of all files of a folder in megabytes (10^6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
