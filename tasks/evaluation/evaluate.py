"""Score one model, observe it and draw samples; the stages are the same for n-gram models and networks.

Observe a model at every token of a sample of test reviews: scores, usefulness, calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from core.config.run_config import RunConfig
from core.errors import converted_errors
from core.store import Artifact, Built
from evaluation.scoring.metrics import Figures, star_slices
from evaluation.scoring.score import FIGURES_FILE, SCORES_FILE
from models.streams import TokenStream
from models.threads import return_freed
from tasks.data.prepare import Prepared, check_table
from tasks.evaluation.audit import audit_bundle, log_audit
from tasks.evaluation.score_job import ScoreJob, is_worth_handing_over, recorded
from tasks.fan_out import fan_out_scores
from tasks.fitting.fit import bundle_digest
from tasks.fitting.job import Fitted
from tasks.fitting.on_cluster import ClusterRun
from tasks.gpus import OpenBundle
from tasks.measuring.fork_server import ModelWork
from tasks.measuring.observed import RELIABILITY_FILE, SAMPLES_FILE, SUGGESTIONS_FILE, drawn, observed, scored
from tasks.measuring.processes import in_processes, with_model
from tasks.progress import progress
from tasks.stage import MADE_ELSEWHERE, result_as_task_state, run_stage, stage
from tasks.track import model_note, tracker_of
from tracking.runs.runs import Tracker
from tracking.tags import ADAPTATION, MEASURED_TAG, NOTE


@dataclass(frozen=True)
class Measured:
    """Fitted model with its scores on both held-out splits, samples, token-level observations and audit.

    `fresh`: whether the test reviews were scored in this run, not taken from the store.
    """

    fitted: Fitted
    test: Artifact
    validation: Artifact
    samples: Artifact
    observed: Artifact
    audit: Artifact
    checks: tuple[Artifact, ...] = ()
    fresh: bool = False

    @property
    def name(self) -> str:
        """The model's name in tables."""
        return self.fitted.spec.name

    @property
    def measured(self) -> tuple[Artifact, ...]:
        """See `tasks.family.Candidate`."""
        return self.test, self.validation, self.samples


@stage("score", run_name="score {fitted.spec.name}")
def score(config: RunConfig, fitted: Fitted, prepared: Prepared) -> tuple[Built, Built]:
    """Return the scores of one model on the test and the validation split."""
    name, tokens = fitted.spec.name, prepared.tokens[fitted.spec.vocabulary]
    with converted_errors(name):
        test = score_bundle(config, fitted.bundle, tokens["test"], f"{name} test")
        validation = score_bundle(config, fitted.bundle, tokens["validation"], f"{name} validation")
    return result_as_task_state(Built(test.artifact, test.reused and validation.reused), (test, validation))


@stage("observe", run_name="observe {fitted.spec.name}")
def observe(config: RunConfig, fitted: Fitted, scores: tuple[Built, Built], prepared: Prepared) -> Built:
    """Observe the token predictions of a scored model."""
    name, tokens = fitted.spec.name, prepared.tokens[fitted.spec.vocabulary]
    with converted_errors(name):
        return _done(observe_bundle(config, fitted.bundle, tokens, scores[0].artifact, name))


@stage("audit", run_name="audit {fitted.spec.name}")
def audit(config: RunConfig, fitted: Fitted, prepared: Prepared) -> Built:
    """Audit what a model writes."""
    name, train = fitted.spec.name, prepared.tokens[fitted.spec.vocabulary]["train"]
    with converted_errors(name):
        return _done(audit_bundle(config, fitted.bundle, prepared, train, name))


@stage("samples", run_name="samples {fitted.spec.name}")
def write_samples(config: RunConfig, fitted: Fitted) -> Built:
    """Draw samples from a model, and its next-word suggestions."""
    with converted_errors(fitted.spec.name):
        return _done(draw_samples(config, fitted.bundle, fitted.spec.name))


def _done(built: Built) -> Built:
    """Return the result of a stage that had a model open."""
    if not built.reused:
        return_freed()  # the next model does not fit into the gaps that this one left
    return result_as_task_state(built, built)


@stage("measure", run_name="measure {fitted.spec.name}")
def measure(
    config: RunConfig, fitted: Fitted, scores: tuple[Built, Built], observed: Built, audited: Built, samples: Built
) -> Measured:
    """Check the predictions and the samples of a model, and log all its figures."""
    name, (test, validation) = fitted.spec.name, scores
    checks = (
        check_table(config, "predictions", test.artifact, f"predictions {name}"),
        check_table(config, "predictions", validation.artifact, f"predictions {name} validation"),
        check_table(config, "samples", samples.artifact, f"samples {name}"),
    )
    parts = (test, validation, samples, observed, audited)
    artifacts = (test.artifact, validation.artifact, samples.artifact, observed.artifact, audited.artifact)
    measured = Measured(fitted, *artifacts, checks, fresh=not test.reused)
    _log_once(tracker_of(config), measured)
    return result_as_task_state(Built(test.artifact, all(built.reused for built in parts)), measured)


def score_bundle(config: RunConfig, bundle_folder: Path, tokens: Artifact, label: str) -> Built:
    """Return the scores of a bundle on a token stream; champion and challenger go through this same stage.

    A node of `execution.cluster` scores what would take this machine long, see `is_worth_handing_over`.

    Args:
        config: Section `evaluation` has the number of observed reviews.
        bundle_folder: Folder of the model's bundle.
        tokens: The token stream in its vocabulary.
        label: Name in messages.
    """
    options: dict[str, Any] = {"observed_reviews": config.evaluation.observed_reviews, "seed": config.evaluation.seed}
    inputs = {"bundle": bundle_digest(bundle_folder), "tokens": tokens.digest}
    cluster = ClusterRun(config) if is_worth_handing_over(config, bundle_folder, tokens) else None

    def make(work: Path) -> dict[str, Any]:
        job = ScoreJob(work=work, label=label, model=bundle_folder, tokens=tokens.folder, **options)
        with progress(label, len(TokenStream.open(job.tokens)), job.UNIT) as report:
            if cluster:
                return {**cluster(job, lambda news: report(news["step"])), MADE_ELSEWHERE: cluster.made_by}
            if in_processes():
                return with_model(ModelWork(scored, label, bundle_folder, work, {"job": job}), opened, report)
            return recorded(job, opened(), lambda done, total: report(done), fan_out_scores(config))

    with OpenBundle(config, bundle_folder) as opened:
        return run_stage(config, "score", options, inputs, make, label)


def draw_samples(config: RunConfig, bundle_folder: Path, label: str) -> Built:
    """Return reviews that a bundle generated for each star rating, and its next-word suggestions for the prompts."""
    chosen = config.evaluation
    options = {"max_tokens": chosen.max_tokens, "seed": chosen.seed}
    inputs = {"bundle": bundle_digest(bundle_folder)}

    def make(work: Path) -> dict[str, Any]:
        return with_model(ModelWork(drawn, label, bundle_folder, work, {"options": options}), opened)

    with OpenBundle(config, bundle_folder) as opened:
        return run_stage(config, "samples", options, inputs, make, label)


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
    """Log test and validation figures, per-star slices, samples and audit to the model's MLflow run."""
    run = model.fitted.run_id
    # "final_validation" because "validation/perplexity" is the trainer's curve by step. "observed" because these test
    # reviews are a sample: their nll is not the logarithm of "test/perplexity".
    stars = star_slices(scores_of(model.test), figures_of_artifact(model.test))
    by_star = {f"stars_{row['stars']}/open_bits_per_byte": row["open_bits_per_byte"] for row in stars.to_dicts()}
    for name, split, artifact, facts in (
        ("test", "test", model.test, {**model.test.facts, **by_star}),
        ("observed", "test", model.test, model.observed.facts),
        ("final_validation", "validation", model.validation, model.validation.facts),
    ):
        numbers = {f"{name}/{key}": value for key, value in facts.items() if isinstance(value, int | float)}
        dataset = (f"{model.fitted.spec.vocabulary}-{split}", artifact.manifest["inputs"]["tokens"])
        tracker.log_metrics(run, numbers, dataset=dataset)
    tracker.log_table(run, stars, "per_star.json")
    tracker.log_text(run, (model.test.folder / FIGURES_FILE).read_text(encoding="utf-8"), FIGURES_FILE)
    for artifact, files in (
        (model.samples, (SAMPLES_FILE, SUGGESTIONS_FILE)), (model.observed, (RELIABILITY_FILE,)),
    ):  # fmt: skip
        for file in files:
            tracker.log_table(run, pl.read_parquet(artifact.folder / file), Path(file).with_suffix(".json").name)
    log_audit(tracker, run, model.audit)


def observe_bundle(
    config: RunConfig, bundle_folder: Path, tokens: dict[str, Artifact], scores: Artifact, label: str
) -> Built:  # fmt: skip
    """Return token scores, usefulness and calibration of a bundle on the observed test reviews.

    Args:
        config: Number of reviews.
        bundle_folder: Folder of the model's bundle.
        tokens: Token streams in its vocabulary, by split.
        scores: Scores of this bundle on the test split.
        label: Name in messages.
    """
    options = {"observed_reviews": config.evaluation.observed_reviews, "seed": config.evaluation.seed}

    def make(work: Path) -> dict[str, Any]:
        named = {"options": options, "stream": str(tokens["test"].folder), "scores": str(scores.folder)}
        return with_model(ModelWork(observed, label, bundle_folder, work, named), opened)

    inputs = {
        "bundle": bundle_digest(bundle_folder), "scores": scores.digest, "test": tokens["test"].digest
    }  # fmt: skip
    with OpenBundle(config, bundle_folder) as opened:
        return run_stage(config, "observe", options, inputs, make, label)
